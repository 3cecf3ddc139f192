//! A limit on the time of a wait for a process that a container can stop or freeze.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::calls::process::{pidfd_open, pidfd_wait};
use crate::hierarchy::{are_frozen, thaw_groups};

/// How long a runner waits for each answer of a process that enters a container: a hostile
/// container may stop the process with a signal, or freeze it in a control group of v1.
#[derive(Clone, Debug)]
pub struct Timeout {
    /// The time for one answer.
    pub time: Duration,
    /// The control groups of the container. While all of it is frozen, the time does not end: the
    /// caller has paused it.
    pub groups: Vec<PathBuf>,
}

/// The longest part of a wait.
const PART: Duration = Duration::from_secs(1);
/// How long a killed process may take to end, before its groups are thawed, in milliseconds.
const SHORT_TIME: u16 = 100;
/// How often the groups of a killed process are thawed: others may freeze them again.
const MOST_TRIES: u32 = 50;

impl Timeout {
    /// Waits until a line has something to read, or is closed; poll(2). Fails with
    /// [`ErrorKind::TimedOut`].
    pub(crate) fn wait(&self, line: &UnixStream) -> io::Result<()> {
        let mut left = self.time;
        loop {
            // Short, because one wait counts even if this process itself stood still meanwhile.
            let part = left.min(PART);
            let time = PollTimeout::try_from(part).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(line.as_fd(), PollFlags::POLLIN)], time) {
                Ok(0) if are_frozen(&self.groups) => {}
                Ok(0) if left == part => return Err(self.error()),
                Ok(0) => left -= part,
                Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn error(&self) -> io::Error {
        let time = self.time.as_secs();
        let why = format!(
            "the process that enters has not gone on for {time} seconds; look for what stops or freezes it in the container"
        );
        io::Error::new(ErrorKind::TimedOut, why)
    }

    /// Lets a killed child of this process end. Returns false if it has not ended, for example
    /// because the caller has paused the container.
    pub(crate) fn lets_end(&self, process: Pid) -> bool {
        let Ok(open) = pidfd_open(process) else { return true };
        for _ in 0..MOST_TRIES {
            match pidfd_wait(&open, SHORT_TIME.into()) {
                Ok(false) if are_frozen(&self.groups) => return false,
                Ok(false) | Err(Errno::EINTR) => thaw_groups(&self.groups),
                _ => return true,
            }
        }
        false
    }
}

/// Reads from a line. A read fails with [`ErrorKind::TimedOut`] after the time of a timeout.
pub struct InTime<'a> {
    pub(crate) line: &'a UnixStream,
    pub(crate) timeout: Option<&'a Timeout>,
}

impl Read for InTime<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.timeout.map_or(Ok(()), |it| it.wait(self.line))?;
        self.line.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::thread;

    use anyhow::Result;
    use nix::sched::CloneFlags;
    use nix::sys::signal::{Signal, kill, raise};
    use nix::sys::stat::Mode;
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::mkfifo;

    use super::*;
    use crate::child::clone::{clone_after, spawn};
    use crate::child::runner::Child;
    use crate::child::within::given_in_child;
    use crate::child::within::tests::alone;
    use crate::places::place::Place;
    use crate::{Exit, wait_for_runner};

    const NONE: CloneFlags = CloneFlags::empty();

    fn short(groups: Vec<PathBuf>) -> Option<Timeout> {
        Some(Timeout { time: Duration::from_millis(1), groups })
    }

    fn is_late(error: &anyhow::Error) -> bool {
        let kinds = error.chain().filter_map(|it| it.downcast_ref::<io::Error>());
        kinds.map(io::Error::kind).any(|it| it == ErrorKind::TimedOut)
    }

    /// A child that stops between two meetings, after the first one, and its number.
    fn stopped() -> (Child, Pid) {
        let work = || {
            wait_for_runner(Some(()))?;
            raise(Signal::SIGSTOP)?;
            wait_for_runner(Some(()))?;
            Ok(Exit::SUCCESS)
        };
        let mut child = clone_after(true, None, || Ok(None), NONE, work).expect("a child");
        let met = child.meet(Some(()), |(), pid| Ok(pid)).expect("a meeting");
        let pid = met.expect("a number");
        // Before, a SIGCONT would be lost.
        let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED));
        assert!(matches!(status, Ok(WaitStatus::Stopped(..))), "{status:?}");
        (child, pid)
    }

    #[test]
    fn a_child_that_others_stop_is_not_waited_for() {
        if !alone(module_path!(), "a_child_that_others_stop_is_not_waited_for") {
            return;
        }
        let (child, pid) = stopped();
        let mut child = child.within(short(Vec::new()));
        let error = child.meet(Some(()), |(), _| Ok(())).expect_err("it is stopped");
        assert!(is_late(&error), "{error:#}");
        assert_eq!(waitpid(pid, None), Err(Errno::ECHILD));
        let (child, _) = stopped();
        let mut child = child.within(short(Vec::new()));
        let (ours, _theirs) = UnixStream::pair().expect("a line");
        let read = child.in_time(&ours).read(&mut [0]).expect_err("nobody writes");
        assert_eq!(read.kind(), ErrorKind::TimedOut);
        child.end();
    }

    #[test]
    fn a_process_between_that_others_stop_is_not_waited_for() {
        if !alone(module_path!(), "a_process_between_that_others_stop_is_not_waited_for") {
            return;
        }
        let stop = || {
            raise(Signal::SIGSTOP)?;
            Ok(None)
        };
        let cloned: Result<Child> =
            clone_after(true, short(Vec::new()), stop, NONE, || Ok(Exit::SUCCESS));
        assert!(cloned.is_err_and(|error| is_late(&error)));
    }

    #[test]
    fn an_answer_ends_also_with_a_child_that_others_stop() {
        if !alone(module_path!(), "an_answer_ends_also_with_a_child_that_others_stop") {
            return;
        }
        let stop = |_| {
            let pid = spawn(|| {
                raise(Signal::SIGSTOP)?;
                Ok(Exit::SUCCESS)
            })?;
            Ok(pid.as_raw().to_ne_bytes().to_vec())
        };
        // It is stopped when the answer is read.
        let time = Some(Timeout { time: Duration::from_secs(20), groups: Vec::new() });
        let answer = given_in_child(NONE, time.as_ref(), |_| Ok(()), stop).expect("an answer");
        let pid = i32::from_ne_bytes(answer.try_into().expect("a number"));
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("end it");
    }

    #[test]
    fn the_time_of_a_pause_does_not_count() {
        if !alone(module_path!(), "the_time_of_a_pause_does_not_count") {
            return;
        }
        let place = Place::new();
        let (file, other) = (place.path("freezer.state"), place.path("other"));
        // The first look at the group waits for a writer.
        mkfifo(&file, Mode::S_IRWXU).expect("make a FIFO");
        fs::write(&other, "FROZEN\n").expect("write");
        let (child, pid) = stopped();
        let mut child = child.within(short(vec![place.path("")]));
        let resume = thread::spawn(move || {
            let mut fifo = File::options().write(true).open(&file).expect("open");
            fs::rename(&other, &file).expect("rename");
            fifo.write_all(b"FROZEN\n").expect("write");
            kill(pid, Signal::SIGCONT).expect("let it go on");
        });
        child.meet(Some(()), |(), _| Ok(())).expect("a meeting");
        resume.join().expect("a thread");
        assert!(child.wait().is_ok_and(|exit| exit.code() == 0));
    }
}
