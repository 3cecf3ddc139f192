//! Exit statuses, as shells and other container tools use them.

use std::process::ExitCode;

use nix::sys::wait::WaitStatus;

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

    /// What a wait status says about the end of a process; nothing when the
    /// process has not ended.
    pub(crate) fn of(status: WaitStatus) -> Option<Exit> {
        match status {
            // The kernel keeps the low eight bits of a status, _exit(2).
            WaitStatus::Exited(_, code) => Some(Exit(code as u8)),
            WaitStatus::Signaled(_, signal, _) => Some(Exit(128 + signal as u8)),
            _ => None,
        }
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
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;

    #[test]
    fn a_status_is_the_commands_own_or_128_and_its_signal() {
        let pid = Pid::from_raw(2);
        assert_eq!(Exit::of(WaitStatus::Exited(pid, 0)), Some(Exit::SUCCESS));
        assert_eq!(Exit::of(WaitStatus::Exited(pid, 255)), Some(Exit(255)));
        let killed = WaitStatus::Signaled(pid, Signal::SIGKILL, false);
        assert_eq!(Exit::of(killed), Some(Exit(137)));
        assert_eq!(Exit::of(WaitStatus::Stopped(pid, Signal::SIGSTOP)), None);
        assert_eq!(Exit::of(WaitStatus::StillAlive), None);
    }
}
