//! Exit statuses, as shells and other container tools use them.

use std::process::ExitCode;

use libc::c_int;

/// The exit status of a step: the command's own, 128 + N when signal N ended
/// it, or one of the constants below when it was never started.
///
/// Source: wait(2), and "Exit Status" in bash(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// The command line could not be understood.
    pub const USAGE: Exit = Exit(2);
    /// The container could not be set up.
    pub const SETUP: Exit = Exit(125);
    /// The command was found and could not be executed.
    pub const NOT_EXECUTABLE: Exit = Exit(126);
    /// The command was not found.
    pub const NOT_FOUND: Exit = Exit(127);
    /// Success.
    pub const SUCCESS: Exit = Exit(0);

    /// The exit status as a number.
    pub fn code(self) -> u8 {
        self.0
    }

    /// What the wait status of a process that has ended says; wait(2).
    pub(crate) fn of(status: c_int) -> Exit {
        if libc::WIFSIGNALED(status) {
            return Exit(128 + libc::WTERMSIG(status) as u8);
        }
        // The kernel keeps the low eight bits of a status, _exit(2).
        Exit(libc::WEXITSTATUS(status) as u8)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_commands_own_or_128_and_its_signal() {
        assert_eq!(Exit::of(0), Exit::SUCCESS);
        assert_eq!(Exit::of(255 << 8), Exit(255));
        assert_eq!(Exit::of(libc::SIGKILL), Exit(137));
        // The core was dumped.
        assert_eq!(Exit::of(libc::SIGSEGV | 0x80), Exit(139));
        assert_eq!(Exit::of(64), Exit(192));
    }
}
