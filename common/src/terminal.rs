//! The terminal: lent to the command, and taken back as it was.

use std::io::{self, IsTerminal};
use std::os::fd::BorrowedFd;

use nix::sys::signal::Signal;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getpid, setpgid, tcgetpgrp, tcsetpgrp};

use crate::signals;

/// The terminal on standard input, when it is the controlling one.
///
/// The command gets a process group of its own and, while the runner is in the
/// foreground, the terminal with it: Ctrl-C then reaches the command and never
/// the runner. Source: setpgid(2), tcsetpgrp(3), "Process groups" in
/// credentials(7).
///
/// Every change of the foreground below is made with SIGTTOU blocked, so that
/// the kernel allows it from the background, too.
pub(crate) struct Terminal {
    stdin: BorrowedFd<'static>,
    modes: Termios,
    lent: bool,
    /// The group that had it when it was taken back: a shell in the container
    /// leads one of its own.
    last: Option<Pid>,
}

impl Terminal {
    /// The terminal on standard input and output, or nothing when one of them
    /// is a file, a pipe or somebody else's terminal.
    pub(crate) fn of_streams() -> Option<Terminal> {
        let stdin = standard_input();
        let modes = tcgetattr(stdin).ok()?;
        let foreground = tcgetpgrp(stdin).ok()?;
        // In `step | less`, both need the foreground.
        if !io::stdout().is_terminal() {
            return None;
        }
        let own = getpgrp();
        // A group outside of our PID namespace reads as 0: what cannot be
        // named cannot be given the terminal back.
        if own.as_raw() == 0 {
            return None;
        }
        Some(Terminal { stdin, modes, lent: foreground == own, last: None })
    }

    /// In the child: leads a new process group, into the foreground when the
    /// runner was there. A failure costs job control and nothing else.
    pub(crate) fn lead(&self) {
        let own = getpid();
        let _ = setpgid(own, own);
        if self.lent {
            let _ = tcsetpgrp(self.stdin, own);
        }
    }

    /// In a command that is process 1 and not in the foreground: lets it fail
    /// to read from the terminal.
    ///
    /// Otherwise the kernel would stop it, which process 1 is immune to, and
    /// have it try again for ever.
    pub(crate) fn fail_in_background() {
        if tcgetpgrp(standard_input()).is_ok_and(|foreground| foreground != getpgrp()) {
            signals::ignore([Signal::SIGTTIN, Signal::SIGTTOU]);
        }
    }

    /// Whether the runner is in the foreground right now.
    fn ours(&self) -> bool {
        tcgetpgrp(self.stdin) == Ok(getpgrp())
    }

    /// Gives the terminal to the process group `group`, when it is ours to
    /// give; says whether it was.
    pub(crate) fn lend(&mut self, group: Pid) -> bool {
        let to = |group| tcsetpgrp(self.stdin, group).is_ok();
        let ours = self.ours();
        let modes = tcgetattr(self.stdin);
        let given = ours && (self.last.take().is_some_and(to) || to(group));
        if let (true, Ok(modes)) = (given, modes) {
            self.modes = modes;
        }
        self.lent |= given;
        given
    }

    /// Takes back a terminal that was lent; returns the group that had it.
    pub(crate) fn take_back(&mut self) -> Option<Pid> {
        if !self.lent {
            return None;
        }
        self.last = tcgetpgrp(self.stdin).ok().filter(|group| *group != getpgrp());
        // Fails only when the terminal is gone, and then nobody needs it.
        let _ = tcsetpgrp(self.stdin, getpgrp());
        self.lent = false;
        self.last
    }

    /// Puts back the modes that the terminal had when it was lent: a command
    /// that was killed may have left it without echo.
    pub(crate) fn restore_modes(&self) {
        if self.ours() {
            let _ = tcsetattr(self.stdin, SetArg::TCSADRAIN, &self.modes);
        }
    }
}

/// Standard input, without the buffer that std would make for it.
fn standard_input() -> BorrowedFd<'static> {
    #[allow(unsafe_code, reason = "std has no bare descriptor 0")]
    // SAFETY: nothing in a step closes it, and std opens it on something when
    // the caller had closed it.
    unsafe {
        BorrowedFd::borrow_raw(libc::STDIN_FILENO)
    }
}
