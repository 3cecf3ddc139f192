//! Calls that name a process by a descriptor. nix does not have them.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

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

/// Waits for the end of an open process, at most for a time. Returns whether it has ended;
/// poll(2). For another descriptor: whether it has something to read.
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
