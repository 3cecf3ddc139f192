//! The two calls below `clone` and `fork`: the start of a process, and its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::Pid;

use crate::Exit;
use crate::said::error::report;

/// Starts a process that calls `work`, and exits with the status that `work` returns; fork(2).
/// If `work` fails, the process prints the error, and exits with the status of the error.
pub fn spawn(work: impl FnOnce() -> Result<Exit>) -> Result<Pid> {
    let pid = raw_clone(CloneFlags::empty()).context(FORK)?;
    if pid.as_raw() == 0 {
        work_and_exit(work);
    }
    Ok(pid)
}

/// The contexts of a failed clone(2), for which there are remedies.
pub(crate) const FORK: &str = "fork the command";

pub(crate) fn cloning(namespaces: CloneFlags) -> String {
    let names: Vec<&str> = namespaces.iter_names().map(|(name, _)| name).collect();
    let with = if names.is_empty() { "" } else { " with " };
    format!("clone a child{with}{}", names.join(" | "))
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
