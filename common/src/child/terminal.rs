//! Lends the terminal to the command, and takes it back.

use std::io::{self, IsTerminal};

use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, setpgid, tcgetpgrp, tcsetpgrp};

use crate::child::signals;

/// The terminal on standard input, if it is the controlling terminal.
///
/// The command gets its own process group. While the runner is in the foreground,
/// that group gets the terminal: Ctrl-C then reaches the command and never the
/// runner. Source: setpgid(2), tcsetpgrp(3), "Process groups" in credentials(7).
///
/// SIGTTOU is blocked during each change of the foreground below, so that the
/// kernel also allows it from the background.
pub(crate) struct Terminal {
    modes: Termios,
    lent: bool,
    /// The group that had the terminal when the runner took it back: a shell in the
    /// container leads its own group.
    last: Option<Pid>,
}

impl Terminal {
    /// The terminal on standard input and output, or nothing if either is a file, a
    /// pipe or another session's terminal.
    pub(crate) fn of_streams() -> Option<Terminal> {
        let modes = tcgetattr(io::stdin()).ok()?;
        let foreground = tcgetpgrp(io::stdin()).ok()?;
        // In `step | less`, both need the foreground.
        if !io::stdout().is_terminal() {
            return None;
        }
        let own = getpgrp();
        // A group outside of this PID namespace has the number 0: the runner
        // could not give the terminal back to it.
        if own.as_raw() == 0 {
            return None;
        }
        Some(Terminal { modes, lent: foreground == own, last: None })
    }

    /// In the child: makes a new process group. If the runner was in the foreground,
    /// the group goes there. A failure loses only job control.
    pub(crate) fn lead(&self) {
        let own = getpid();
        let _ = setpgid(own, own);
        if self.lent {
            let _ = tcsetpgrp(io::stdin(), own);
        }
    }

    /// In a command that is process 1 and not in the foreground: makes a read from the
    /// terminal fail.
    ///
    /// Otherwise the kernel would send a stop signal, process 1 would ignore it, and
    /// the read would repeat for ever.
    pub(crate) fn fail_in_background() {
        if tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != getpgrp()) {
            signals::ignore([Signal::SIGTTIN, Signal::SIGTTOU]);
        }
    }

    /// In process 1, when `signal` has stopped the command: gives the terminal to the group of the
    /// command and continues it, if it only needs the terminal and process 1 has it. Returns
    /// whether it did so.
    ///
    /// The runner gives the terminal to the group of process 1. It has not always seen that a shell
    /// in the container has begun a group of its own.
    pub(crate) fn pass_on(command: Pid, signal: Signal) -> bool {
        let Ok(group) = getpgid(Some(command)) else { return false };
        let own = getpgrp();
        matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU)
            && group != own
            && tcgetpgrp(io::stdin()) == Ok(own)
            && tcsetpgrp(io::stdin(), group).is_ok()
            && signals::send(Pid::from_raw(-group.as_raw()), libc::SIGCONT)
    }

    /// Whether the runner is in the foreground now.
    fn ours(&self) -> bool {
        tcgetpgrp(io::stdin()) == Ok(getpgrp())
    }

    /// Gives the terminal to the process group `group`, if the runner has it. Returns
    /// whether the group got it.
    pub(crate) fn lend(&mut self, group: Pid) -> bool {
        let to = |group| tcsetpgrp(io::stdin(), group).is_ok();
        let ours = self.ours();
        let modes = tcgetattr(io::stdin());
        let given = ours && (self.last.take().is_some_and(to) || to(group));
        if let (true, Ok(modes)) = (given, modes) {
            self.modes = modes;
        }
        self.lent |= given;
        given
    }

    /// Takes the lent terminal back, and returns the group that had it.
    pub(crate) fn take_back(&mut self) -> Option<Pid> {
        if !self.lent {
            return None;
        }
        self.last = tcgetpgrp(io::stdin()).ok().filter(|group| *group != getpgrp());
        // Fails only if the terminal is gone.
        let _ = tcsetpgrp(io::stdin(), getpgrp());
        self.lent = false;
        self.last
    }

    /// Restores the terminal's modes from before the command: a killed command may
    /// leave the terminal without echo.
    pub(crate) fn restore_modes(&self) {
        if self.ours() {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.modes);
        }
    }
}
