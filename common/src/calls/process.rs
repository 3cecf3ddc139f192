//! Calls that name a process by a descriptor, or change how the kernel treats it. nix does not have
//! them.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Sets the soft and the hard limit of a process; prlimit(2). `resource` is `RLIMIT_…`. Fails with
/// EPERM when a process without CAP_SYS_RESOURCE raises a hard limit.
pub fn set_limit(process: Pid, resource: u32, soft: u64, hard: u64) -> nix::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    let old: *mut libc::rlimit64 = std::ptr::null_mut();
    let number = process.as_raw();
    #[allow(unsafe_code, reason = "nix has no prlimit(2)")]
    // SAFETY: the kernel reads `limit`, which outlives the call, and writes nothing.
    let set =
        unsafe { libc::syscall(libc::SYS_prlimit64, number, resource, &raw const limit, old) };
    Errno::result(set).map(drop)
}

/// Sets the priority of a process on disks; ioprio_set(2).
pub fn set_io_priority(process: Pid, class: i32, level: i32) -> nix::Result<()> {
    /// In linux/ioprio.h.
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_SHIFT: i32 = 13;
    let (number, priority) = (process.as_raw(), class << IOPRIO_CLASS_SHIFT | level);
    #[allow(unsafe_code, reason = "nix has no ioprio_set(2)")]
    // SAFETY: the call takes numbers and touches no memory.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, number, priority) };
    Errno::result(set).map(drop)
}

/// Sets how the kernel gives processor time to a process; sched_setattr(2).
pub fn set_scheduler(process: Pid, attributes: &libc::sched_attr) -> nix::Result<()> {
    const NO_FLAGS: libc::c_uint = 0;
    let (number, attributes) = (process.as_raw(), &raw const *attributes);
    #[allow(unsafe_code, reason = "nix has no sched_setattr(2)")]
    // SAFETY: the kernel reads `attributes`, which has its size in it.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, number, attributes, NO_FLAGS) };
    Errno::result(set).map(drop)
}

/// Sets the NIS domain name of the UTS namespace; setdomainname(2). Fails with EINVAL when the
/// name is longer than 64 bytes. Fails with EPERM without CAP_SYS_ADMIN.
pub fn set_domainname(name: &str) -> nix::Result<()> {
    #[allow(unsafe_code, reason = "nix has no setdomainname(2)")]
    // SAFETY: the kernel reads `name`, whose length it gets.
    let set = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    Errno::result(set).map(drop)
}

/// Sets from which nodes of memory this process and its programs get pages; set_mempolicy(2).
/// `nodes` has a bit for each node.
pub fn set_memory_policy(mode: u32, nodes: &[u64; 16]) -> nix::Result<()> {
    // The kernel leaves the last bit out.
    let bits = u64::BITS as usize * nodes.len() + 1;
    #[allow(unsafe_code, reason = "nix has no set_mempolicy(2)")]
    // SAFETY: the kernel reads `bits - 1` bits of `nodes`, and no more are there.
    let set = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) };
    Errno::result(set).map(drop)
}

/// Makes this process and its programs see another kernel; personality(2).
pub fn set_personality(persona: libc::c_ulong) -> nix::Result<()> {
    #[allow(unsafe_code, reason = "nix has personality(2) only with glibc")]
    // SAFETY: the call takes a number and touches no memory.
    let set = unsafe { libc::personality(persona) };
    Errno::result(set).map(drop)
}

/// Opens a process; pidfd_open(2), since Linux 5.3. After its end, the kernel may give its ID
/// to another process, but the descriptor never means another process. poll(2) finds it
/// readable when the process has ended.
pub fn pidfd_open(process: Pid) -> nix::Result<OwnedFd> {
    const NO_FLAGS: c_long = 0;
    #[allow(unsafe_code, reason = "nix has no pidfd_open(2)")]
    // SAFETY: the call takes two numbers. The kernel returns a new descriptor, which nothing
    // else has.
    unsafe {
        let opened = libc::syscall(libc::SYS_pidfd_open, process.as_raw(), NO_FLAGS);
        Errno::result(opened).map(|new| OwnedFd::from_raw_fd(new as c_int))
    }
}

/// Sends the signal with this number to an open process; pidfd_send_signal(2), since Linux 5.1.
pub fn pidfd_send_signal(process: impl AsFd, number: c_int) -> nix::Result<()> {
    const NO_FLAGS: c_long = 0;
    const NO_DETAILS: *const libc::siginfo_t = std::ptr::null();
    let process = process.as_fd().as_raw_fd();
    #[allow(unsafe_code, reason = "nix has no pidfd_send_signal(2)")]
    // SAFETY: with a null pointer, the kernel makes the details of the signal itself.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process, number, NO_DETAILS, NO_FLAGS)
    };
    Errno::result(sent).map(drop)
}

/// Waits for the end of an open process, at most for a time. Returns whether it has ended: its
/// last thread, too; poll(2).
pub fn pidfd_wait(process: impl AsFd, time: PollTimeout) -> nix::Result<bool> {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, time).map(|ended| ended > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_signal_reaches_an_open_process() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("start sleep");
        let pid = Pid::from_raw(child.id().try_into().expect("an ID"));
        let open = pidfd_open(pid).expect("open it");
        assert_eq!(pidfd_wait(&open, PollTimeout::ZERO), Ok(false));
        pidfd_send_signal(&open, libc::SIGTERM).expect("send a signal");
        assert_eq!(pidfd_wait(&open, PollTimeout::NONE), Ok(true));
        assert_eq!(child.wait().expect("wait").signal(), Some(libc::SIGTERM));
        assert_eq!(pidfd_send_signal(&open, 0), Err(Errno::ESRCH));
    }
}
