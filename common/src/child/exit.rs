//! Exit statuses, as shells and other container tools use them.

use std::process::ExitCode;

use libc::c_int;
use nix::sys::prctl::set_dumpable;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::signals;

/// The exit status of a step: the command's own status, 128 + N if signal N ended
/// the command, or a constant below if the command did not start.
///
/// Source: wait(2), and "Exit Status" in bash(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    code: u8,
    /// The key whose signal ended the command.
    key: Option<Key>,
}

/// A key of the terminal that sends a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    signal: Signal,
    /// Whether only the command got the signal, and not the runner's group.
    alone: bool,
}

impl Exit {
    /// The command line is wrong.
    pub const USAGE: Exit = Exit::of_code(2);
    /// The step could not set up the container.
    pub const SETUP: Exit = Exit::of_code(125);
    /// The command exists, but cannot be executed.
    pub const NOT_EXECUTABLE: Exit = Exit::of_code(126);
    /// The command does not exist.
    pub const NOT_FOUND: Exit = Exit::of_code(127);
    /// Success.
    pub const SUCCESS: Exit = Exit::of_code(0);

    /// The exit status with this number, of a command that has ended before.
    pub const fn of_code(code: u8) -> Exit {
        Exit { code, key: None }
    }

    /// The exit status as a number.
    pub fn code(self) -> u8 {
        self.code
    }

    /// The same status, for a command that a key of the terminal ended. `alone` means
    /// that the runner's group did not get the signal.
    pub(crate) fn by_key(self, signal: Signal, alone: bool) -> Exit {
        Exit { key: Some(Key { signal, alone }), ..self }
    }

    /// The exit status for a signal that ends the runner itself. For a signal of a key, the
    /// runner ends by it.
    pub(crate) fn by_signal(signal: Signal) -> Exit {
        let exit = Exit::of_code(128 + signal as u8);
        match signal {
            Signal::SIGINT | Signal::SIGQUIT => exit.by_key(signal, false),
            _ => exit,
        }
    }

    /// Ends the runner: by the signal of the key that ended the command, or with the
    /// status. Call it last.
    ///
    /// A shell waits for a program and gets a Ctrl-C. If the program exits, the shell
    /// continues its script. If the signal ends the program, the shell ends too. In
    /// both cases it shows status 130.
    pub(crate) fn end(self) -> ExitCode {
        if let Some(Key { signal, alone }) = self.key {
            // Without a core dump: the command has left its own. If the signal has
            // no effect, as in process 1, the status says the same.
            let _ = set_dumpable(false);
            if alone {
                let _ = kill(Pid::from_raw(0), signal);
            }
            let _ = signals::suffer(signal);
        }
        ExitCode::from(self.code)
    }

    /// Reads the wait status of a process that has ended; wait(2).
    pub(crate) fn of(status: c_int) -> Exit {
        if libc::WIFSIGNALED(status) {
            return Exit::of_code(128 + libc::WTERMSIG(status) as u8);
        }
        // The kernel keeps the low eight bits of a status, _exit(2).
        Exit::of_code(libc::WEXITSTATUS(status) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_commands_own_or_128_and_its_signal() {
        assert_eq!(Exit::of(0), Exit::SUCCESS);
        assert_eq!(Exit::of(255 << 8), Exit::of_code(255));
        assert_eq!(Exit::of(libc::SIGKILL), Exit::of_code(137));
        // With a core dump.
        assert_eq!(Exit::of(libc::SIGSEGV | 0x80), Exit::of_code(139));
        assert_eq!(Exit::of(64), Exit::of_code(192));
    }
}
