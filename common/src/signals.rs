//! The runner and process 1 take their signals one at a time, from a
//! descriptor, and hand them on to the command.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;

/// What the terminal sends to stop a job.
const STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// What a fault of the process itself raises: there is nothing to hand on, and
/// the kernel ends a process that blocks them.
const FAULTS: [Signal; 7] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Puts every signal back to its default action and returns those that the
/// caller had ignored, as nohup(1) does with SIGHUP.
///
/// A command must not inherit ignored signals from whoever started the step:
/// an ignored one stays ignored across execve(2). Rust itself ignores SIGPIPE.
pub(crate) fn reset() -> Result<SigSet> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let mut ignored = SigSet::empty();
    for signal in Signal::iterator() {
        if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            continue;
        }
        #[allow(unsafe_code, reason = "sigaction(2) can install handlers")]
        // SAFETY: the default action runs no code of ours.
        let old = unsafe { sigaction(signal, &default) }
            .with_context(|| format!("reset the action of {signal}"))?;
        if matches!(old.handler(), SigHandler::SigIgn) && signal != Signal::SIGPIPE {
            ignored.add(signal);
        }
    }
    Ok(ignored)
}

/// Lets a program that only prints end quietly when its reader has left, as in
/// `cargo xtask diff 5 | head`. Rust ignores SIGPIPE, and printing then panics.
pub fn end_on_closed_pipe() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    #[allow(unsafe_code, reason = "sigaction(2) can install handlers")]
    // SAFETY: the default action runs no code of ours.
    let set = unsafe { sigaction(Signal::SIGPIPE, &default) };
    // It can only fail for a number that is no signal.
    debug_assert!(set.is_ok());
}

/// Blocks what [`Signals`] hands out, from now until [`unblock_all`].
///
/// Where the runner shares its process group with the command
/// (`shared_group`), Ctrl-Z must stop both, so that signal and its kin keep
/// their default action.
pub(crate) fn block(shared_group: bool) -> Result<SigSet> {
    let mut blocked = SigSet::all();
    for fault in FAULTS {
        blocked.remove(fault);
    }
    if shared_group {
        for stop in STOPS {
            blocked.remove(stop);
        }
    }
    blocked.thread_set_mask().context("block signals")?;
    Ok(blocked)
}

/// Lets every signal through again, for the command.
pub(crate) fn unblock_all() -> Result<()> {
    let none = SigSet::empty();
    none.thread_set_mask().context("unblock signals")
}

/// The blocked signals as a descriptor to read from; signalfd(2).
pub(crate) struct Signals {
    fd: SignalFd,
    /// Not handed on: the caller did not want them.
    ignored: SigSet,
    /// Whether the command gets the terminal's signals by itself, because it
    /// is in our process group.
    shared_group: bool,
}

impl Signals {
    pub(crate) fn new(blocked: &SigSet, ignored: SigSet, shared_group: bool) -> Result<Signals> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(blocked, flags).context("open a signal descriptor")?;
        Ok(Signals { fd, ignored, shared_group })
    }

    /// The next signal that has arrived, or nothing.
    pub(crate) fn next(&self) -> Result<Option<siginfo>> {
        self.fd.read_signal().context("read a signal")
    }

    /// Sends a signal on to `to`, unless it has had it or must not have it.
    pub(crate) fn hand_on(&self, signal: &siginfo, to: Pid) {
        // A positive code is the kernel's own, sigaction(2): Ctrl-C, sent to
        // the whole foreground process group.
        if self.shared_group && signal.ssi_code > 0 {
            return;
        }
        let Ok(signal) = Signal::try_from(signal.ssi_signo as i32) else {
            return;
        };
        if signal != Signal::SIGCHLD && !self.ignored.contains(signal) {
            // A command that has just ended needs no signal.
            let _ = kill(to, signal);
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
