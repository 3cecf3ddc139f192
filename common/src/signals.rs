//! The runner and process 1 take their signals one at a time, from a
//! descriptor, and hand them on to the command.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

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

/// Gives two signals their default action: SIGPIPE, which Rust ignores, and
/// SIGCHLD, whose end could not be waited for if the caller ignored it.
///
/// Any other that the caller ignores, the command ignores as well, as after
/// nohup(1): that is the caller's wish, and execve(2) keeps it.
pub(crate) fn reset() -> Result<()> {
    for signal in [Signal::SIGPIPE, Signal::SIGCHLD] {
        act(signal, SigHandler::SigDfl).with_context(|| format!("reset the action of {signal}"))?;
    }
    Ok(())
}

/// Ignores signals that can be ignored.
pub(crate) fn ignore(signals: [Signal; 2]) {
    for signal in signals {
        // Refused for SIGKILL and SIGSTOP alone; sigaction(2).
        let _ = act(signal, SigHandler::SigIgn);
    }
}

fn act(signal: Signal, handler: SigHandler) -> nix::Result<SigAction> {
    debug_assert!(matches!(handler, SigHandler::SigDfl | SigHandler::SigIgn));
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[allow(unsafe_code, reason = "sigaction(2) can install handlers")]
    // SAFETY: neither of the two actions runs code of ours.
    unsafe {
        sigaction(signal, &action)
    }
}

/// Lets a program that only prints end quietly when its reader has left, as in
/// `cargo xtask diff 5 | head`. Rust ignores SIGPIPE, and printing then panics.
pub fn end_on_closed_pipe() {
    // Refused for SIGKILL and SIGSTOP alone; sigaction(2).
    let _ = act(Signal::SIGPIPE, SigHandler::SigDfl);
}

/// Blocks what [`Signals`] hands out, from now until [`unblock_all`].
pub(crate) fn block() -> Result<()> {
    taken().thread_set_mask().context("block signals")
}

/// Lets every signal through again, for the command.
pub(crate) fn unblock_all() -> Result<()> {
    let none = SigSet::empty();
    none.thread_set_mask().context("unblock signals")
}

/// What [`Signals`] hands out.
fn taken() -> SigSet {
    let mut taken = SigSet::all();
    for fault in FAULTS {
        taken.remove(fault);
    }
    taken
}

/// The blocked signals as a descriptor to read from; signalfd(2).
pub(crate) struct Signals {
    fd: SignalFd,
    /// What had arrived when the command was being started, so that nobody
    /// knows whether it got it, too.
    early: SigSet,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&taken(), flags).context("open a signal descriptor")?;
        Ok(Signals { fd, early: pending() })
    }

    /// The next signal that has arrived, or nothing.
    pub(crate) fn next(&mut self) -> Result<Option<Received>> {
        let Some(info) = self.fd.read_signal().context("read a signal")? else {
            return Ok(None);
        };
        let number = info.ssi_signo as c_int;
        let named = Signal::try_from(number).ok();
        let early = named.is_some_and(|named| self.early.contains(named));
        if let Some(named) = named {
            // Of each, only one is kept until it is read: this was that one.
            self.early.remove(named);
        }
        Ok(Some(Received {
            number,
            sender: Pid::from_raw(info.ssi_pid as libc::pid_t),
            // sigaction(2): a positive code is the kernel's own.
            by_kernel: info.ssi_code > 0,
            early,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A signal that has arrived.
pub(crate) struct Received {
    /// Its number; a real-time signal has no name in nix.
    pub(crate) number: c_int,
    /// Who sent it: 0 for the kernel and for whoever is outside of our PID
    /// namespace.
    pub(crate) sender: Pid,
    /// Whether the kernel sent it, as it does for the terminal.
    pub(crate) by_kernel: bool,
    /// Whether it came before or while the command was started.
    pub(crate) early: bool,
}

impl Received {
    /// Whether it is one that a terminal or a shell sends to a whole group.
    pub(crate) fn is_for_group(&self) -> bool {
        let others = [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH, libc::SIGCONT];
        self.stop().is_some() || others.contains(&self.number)
    }

    /// Its name, when it is one that stops a job and can be blocked.
    pub(crate) fn stop(&self) -> Option<Signal> {
        let stops = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
        stops.into_iter().find(|stop| *stop as c_int == self.number)
    }
}

/// Sends a signal; says whether anybody was there to get it. A process that
/// has just ended needs none, so that nobody there is no error.
pub(crate) fn send(to: Pid, number: c_int) -> bool {
    #[allow(unsafe_code, reason = "nix's kill has no real-time signals")]
    // SAFETY: kill(2) takes two numbers and touches no memory.
    let sent = unsafe { libc::kill(to.as_raw(), number) };
    sent == 0
}

/// Lets a signal take effect on this process alone, as if it were not blocked.
pub(crate) fn suffer(signal: Signal) -> Result<()> {
    let mut only = SigSet::empty();
    only.add(signal);
    let done = raise(signal).and_then(|()| only.thread_unblock());
    done.and_then(|()| only.thread_block()).with_context(|| format!("take {signal}"))
}

/// The blocked signals that have arrived.
pub(crate) fn pending() -> SigSet {
    let mut set = *SigSet::empty().as_ref();
    #[allow(unsafe_code, reason = "nix has no sigpending(2)")]
    // SAFETY: the kernel writes to `set`, which is a whole set before and
    // after.
    unsafe {
        libc::sigpending(&raw mut set);
        SigSet::from_sigset_t_unchecked(set)
    }
}
