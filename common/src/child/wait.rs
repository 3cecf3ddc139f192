//! Looks at children without waiting, and sleeps until an event arrives.

use std::os::fd::AsFd;

use anyhow::{Context, Result};
use libc::c_int;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Exit;

/// Any child, for waitpid(2).
pub(crate) const ANY: Pid = Pid::from_raw(-1);

/// The new state of a child.
pub(crate) enum Waited {
    Nothing,
    Stopped(Pid, Signal),
    Ended(Pid, Ended),
}

/// The end of a process.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The number of the signal that ended the process; nix has no names for real-time signals.
    pub(crate) signal: Option<c_int>,
}

/// Returns the child that has ended or stopped, without waiting; waitpid(2).
pub(crate) fn wait_for(child: Pid) -> Result<Waited> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED;
    #[allow(unsafe_code, reason = "nix's waitpid fails when a real-time signal ended the child")]
    // SAFETY: the kernel writes only to `status`.
    let pid = unsafe { libc::waitpid(child.as_raw(), &raw mut status, flags) };
    let pid = Errno::result(pid).map(Pid::from_raw).context("wait for a child")?;
    Ok(if pid.as_raw() == 0 {
        Waited::Nothing
    } else if libc::WIFSTOPPED(status) {
        let signal = Signal::try_from(libc::WSTOPSIG(status)).unwrap_or(Signal::SIGSTOP);
        Waited::Stopped(pid, signal)
    } else {
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        Waited::Ended(pid, Ended { exit: Exit::of(status), signal })
    })
}

/// Sleeps until a descriptor has something to read; poll(2).
pub(crate) fn poll_on(fds: &mut [PollFd<'_>]) -> Result<()> {
    poll_for(fds, PollTimeout::NONE)
}

/// As [`poll_on`], at most for `time`.
pub(crate) fn poll_for(fds: &mut [PollFd<'_>], time: PollTimeout) -> Result<()> {
    match poll(fds, time) {
        // Interrupted by a signal that is not blocked, such as SIGCONT.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("wait for a signal"),
    }
}

/// Whether a descriptor has one of these events now, or its other end is closed.
pub(crate) fn is_ready(fd: impl AsFd, events: PollFlags) -> Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), events)];
    poll_for(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].any().unwrap_or(false))
}

/// Whether poll(2) has found something to read.
pub(crate) fn has_something(fd: &PollFd<'_>) -> bool {
    fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
}
