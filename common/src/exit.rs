//! Exit statuses, as shells and other container tools use them.

use std::process::ExitCode;

use libc::c_int;
use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::signals;

/// The exit status of a step: the command's own, 128 + N when signal N ended
/// it, or one of the constants below when it was never started.
///
/// Source: wait(2), and "Exit Status" in bash(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    code: u8,
    /// The signal of the key that ended the command.
    key: Option<Key>,
}

/// A signal of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    signal: Signal,
    /// Whether it came to the command alone, and not to the runner's group.
    alone: bool,
}

impl Exit {
    /// The command line could not be understood.
    pub const USAGE: Exit = Exit::with(2);
    /// The container could not be set up.
    pub const SETUP: Exit = Exit::with(125);
    /// The command was found and could not be executed.
    pub const NOT_EXECUTABLE: Exit = Exit::with(126);
    /// The command was not found.
    pub const NOT_FOUND: Exit = Exit::with(127);
    /// Success.
    pub const SUCCESS: Exit = Exit::with(0);

    const fn with(code: u8) -> Exit {
        Exit { code, key: None }
    }

    /// The exit status as a number.
    pub fn code(self) -> u8 {
        self.code
    }

    /// The same, of a command that a key of the terminal has ended; `alone` if
    /// the signal came to the command and not to the runner's group.
    pub(crate) fn by_key(self, signal: Signal, alone: bool) -> Exit {
        Exit { key: Some(Key { signal, alone }), ..self }
    }

    /// Ends the runner: by the signal of the key that ended the command, or with
    /// the status. To be called when all else is done.
    ///
    /// A shell that runs a script goes on after a Ctrl-C when what it waited
    /// for exits, and ends when the signal ended that. To the shell, both are
    /// status 130.
    pub(crate) fn end(self) -> ExitCode {
        if let Some(Key { signal, alone }) = self.key {
            // Without a core: the command has left its own. And if the signal
            // changes nothing, as in process 1, the status says the same.
            let _ = set_dumpable(false);
            if alone {
                let _ = kill(Pid::from_raw(0), signal);
            }
            let _ = signals::suffer(signal);
        }
        ExitCode::from(self.code)
    }

    /// What the wait status of a process that has ended says; wait(2).
    pub(crate) fn of(status: c_int) -> Exit {
        if libc::WIFSIGNALED(status) {
            return Exit::with(128 + libc::WTERMSIG(status) as u8);
        }
        // The kernel keeps the low eight bits of a status, _exit(2).
        Exit::with(libc::WEXITSTATUS(status) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_commands_own_or_128_and_its_signal() {
        assert_eq!(Exit::of(0), Exit::SUCCESS);
        assert_eq!(Exit::of(255 << 8), Exit::with(255));
        assert_eq!(Exit::of(libc::SIGKILL), Exit::with(137));
        // The core was dumped.
        assert_eq!(Exit::of(libc::SIGSEGV | 0x80), Exit::with(139));
        assert_eq!(Exit::of(64), Exit::with(192));
    }
}
