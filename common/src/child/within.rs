//! Work of the runner in other namespaces: a child does it, and the runner waits.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::child::clone::{cloning, raw_clone, work_and_exit};
use crate::child::signals;
use crate::child::timeout::{InTime, Timeout};
use crate::{Exit, one_line};

/// The first byte of the answer of a child that has done its work. An error is text.
const DONE: u8 = 0;

/// Waits for the answer of a child: the bytes that its work has given.
fn hear(mut line: InTime<'_>) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    match line.read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::TimedOut => return Err(error.into()),
        // Another error means that the child has ended.
        _ => {}
    }
    match answer.split_first() {
        None => bail!("a child of this process has ended before its work was done"),
        Some((&DONE, bytes)) => Ok(bytes.to_vec()),
        Some(_) => bail!("{}", String::from_utf8_lossy(&answer)),
    }
}

/// Does `work` in a child in new namespaces, as a part of this process: it has the same
/// terminal, process group and blocked signals, and dies with this process. First the runner
/// calls `prepare` with the child's ID, for example to write the maps of a user namespace.
pub fn in_child(
    namespaces: CloneFlags,
    prepare: impl FnOnce(Pid) -> Result<()>,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    given_in_child(namespaces, None, prepare, |_| work().map(|()| Vec::new())).map(drop)
}

/// As [`in_child`], for work that gives bytes, and gets the number of the line to the runner.
pub(crate) fn given_in_child(
    namespaces: CloneFlags,
    timeout: Option<&Timeout>,
    prepare: impl FnOnce(Pid) -> Result<()>,
    work: impl FnOnce(RawFd) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let (mut ours, mut theirs) = UnixStream::pair().context("open a line to a child")?;
    let pid = raw_clone(namespaces).with_context(|| cloning(namespaces))?;
    if pid.as_raw() == 0 {
        drop(ours);
        work_and_exit(|| {
            set_pdeathsig(Signal::SIGKILL).context("ask to die with the runner")?;
            // Without a byte, the runner has ended, or reports the reason.
            if theirs.read(&mut [0]).unwrap_or(0) == 0 {
                return Ok(Exit::SETUP);
            }
            let answer = match work(theirs.as_raw_fd()) {
                Ok(bytes) => [&[DONE], &bytes[..]].concat(),
                Err(error) => one_line(&error).into_bytes(),
            };
            theirs.write_all(&answer).context("answer the runner")?;
            // A child of this one has the line, too, and may not close it soon.
            theirs.shutdown(Shutdown::Write).context("end the answer")?;
            Ok(Exit::SUCCESS)
        });
    }
    drop(theirs);
    let done = prepare(pid).and_then(|()| {
        // An error means that the child has ended.
        let _ = ours.write_all(&[DONE]);
        hear(InTime { line: &ours, timeout })
    });
    if done.is_err() {
        signals::send(pid, libc::SIGKILL);
    }
    // An error means that the caller ignores the end of children.
    let _ = waitpid(pid, None);
    done
}

#[cfg(test)]
pub(crate) mod tests {
    use std::env;
    use std::process::{self, Command};

    use nix::sys::signal::kill;

    use super::*;

    /// Runs a test again in a process without other tests: their threads may hold a lock.
    pub(crate) fn alone(module: &str, name: &str) -> bool {
        const ALONE: &str = "ALONE";
        if env::var_os(ALONE).is_some() {
            return true;
        }
        let mut test = Command::new(env::current_exe().expect("a test has a path"));
        let module = module.trim_start_matches("common::");
        test.args(["--exact", &format!("{module}::{name}")]).env(ALONE, "1");
        let output = test.output().expect("start this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        false
    }

    #[test]
    fn a_child_does_the_work_after_the_preparation() {
        if !alone(module_path!(), "a_child_does_the_work_after_the_preparation") {
            return;
        }
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut child = 0;
        let mut answer = [0; 5];
        let done = in_child(
            CloneFlags::empty(),
            |pid| {
                child = pid.as_raw();
                Ok(ours.write_all(b"x")?)
            },
            || {
                theirs.set_nonblocking(true)?;
                let mut first = [0];
                theirs.read_exact(&mut first)?;
                theirs.write_all(&first)?;
                Ok(theirs.write_all(&process::id().to_ne_bytes())?)
            },
        );
        done.expect("the work");
        ours.read_exact(&mut answer).expect("an answer");
        assert_eq!((answer[0], &answer[1..]), (b'x', &child.to_ne_bytes()[..]));
    }

    #[test]
    fn an_error_of_the_work_or_of_the_preparation_is_the_callers() {
        if !alone(module_path!(), "an_error_of_the_work_or_of_the_preparation_is_the_callers") {
            return;
        }
        let fails = |why: &str| match why {
            "" => Ok(()),
            why => Err(anyhow::anyhow!("{why}")),
        };
        let run = |prepare: &str, work: &str| {
            let done = in_child(CloneFlags::empty(), |_| fails(prepare), || fails(work));
            done.map_err(|error| one_line(&error))
        };
        assert_eq!(run("", ""), Ok(()));
        assert_eq!(run("not ready", "no work"), Err("not ready".to_owned()));
        assert_eq!(run("", "no work"), Err("no work".to_owned()));
        let killed = |pid| Ok(kill(pid, Signal::SIGKILL)?);
        let killed = in_child(CloneFlags::empty(), killed, || Ok(()));
        assert!(one_line(&killed.expect_err("killed")).ends_with("before its work was done"));
    }
}
