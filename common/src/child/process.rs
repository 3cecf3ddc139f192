//! The two calls below `clone` and `fork`: the start of a process, and its end.

use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::Exit;
use crate::said::doing::Doing;
use crate::said::error::report;

/// Starts a process that calls `work`, and exits with the status that `work` returns; fork(2).
/// If `work` fails, the process prints the error, and exits with the status of the error.
pub fn spawn(work: impl FnOnce() -> Result<Exit>) -> Result<Pid> {
    let pid = raw_clone(CloneFlags::empty()).context(Doing::Fork)?;
    if pid.as_raw() == 0 {
        work_and_exit(work);
    }
    Ok(pid)
}

/// Calls the work of a child, and ends the process with its status.
pub(crate) fn work_and_exit(work: impl FnOnce() -> Result<Exit>) -> ! {
    // This process has a copy of the parent's frames, and a panic must not unwind
    // into them. The panic has already printed its message.
    let exit = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => report(&error),
        Err(_panic) => Exit::SETUP,
    };
    #[allow(unsafe_code, reason = "nix has no _exit(2)")]
    // SAFETY: ends the process; nothing of it runs afterwards.
    unsafe {
        libc::_exit(i32::from(exit.code()))
    }
}

/// clone(2) without shared memory or a new stack: fork(2) with flags.
///
/// Not clone3(2), which the seccomp filters of containers refuse.
pub(crate) fn raw_clone(flags: CloneFlags) -> nix::Result<Pid> {
    const NONE: libc::c_long = 0;
    let flags = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    // s390x has the stack before the flags; clone(2).
    let (first, second) = if cfg!(target_arch = "s390x") { (NONE, flags) } else { (flags, NONE) };
    #[allow(unsafe_code, reason = "nix's clone wants a stack and a function")]
    // SAFETY: the child gets a copy of this process, as after fork(2). The
    // process has one thread, so no other thread holds a lock. Zero is valid for
    // the stack and for the pointers that the flags do not ask for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, NONE, NONE, NONE) };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}

/// As [`raw_clone`], but the child begins in a control group of v2; CLONE_INTO_CGROUP in clone3(2),
/// since Linux 5.7. To move it there later, the kernel waits until every processor has paused.
pub(crate) fn clone_into_group(flags: CloneFlags, group: &OwnedFd) -> nix::Result<Pid> {
    /// The C library has it only as a number that is too large for its type.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    // With CLONE_PARENT, the signal is that of this process.
    let signal = if flags.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 };
    let arguments = libc::clone_args {
        flags: flags.bits() as u64 | CLONE_INTO_CGROUP,
        exit_signal: signal,
        cgroup: group.as_raw_fd() as u64,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    #[allow(unsafe_code, reason = "nix has no clone3(2)")]
    // SAFETY: as in `raw_clone`. The kernel reads `arguments`, whose size it gets.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}
