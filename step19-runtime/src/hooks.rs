//! Lesson 19: programs of the host that are told of the container's life.

use std::env;
use std::ffi::{CString, OsString};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::{pidfd_open, pidfd_send_signal, pidfd_wait};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{AccessFlags, access, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The hooks by the time when they run. No other names are known.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Hooks {
    /// In `create`, before pivot_root(2), with the namespaces of the runtime.
    pub(crate) prestart: Vec<Hook>,
    pub(crate) create_runtime: Vec<Hook>,
    /// The same time, with the namespaces of the container.
    pub(crate) create_container: Vec<Hook>,
    /// In `start`, in the container, before the command.
    pub(crate) start_container: Vec<Hook>,
    /// In `start`, after the command was executed.
    pub(crate) poststart: Vec<Hook>,
    /// In `delete`, when the process and its groups are gone.
    pub(crate) poststop: Vec<Hook>,
}

/// A program of a hook.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hook {
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    /// Without a list, the variables of this process or of the command.
    env: Option<Vec<String>>,
    /// In seconds.
    timeout: Option<u64>,
}

impl Hooks {
    /// Something if there are hooks that this process runs in `create`.
    pub(crate) fn are_early(&self) -> Option<()> {
        (!self.prestart.is_empty() || !self.create_runtime.is_empty()).then_some(())
    }

    /// All hooks, with the names of their times.
    pub(crate) fn all(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }

    /// Refuses what makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        for Hook { path, timeout, .. } in self.all().into_iter().flat_map(|it| it.1) {
            let shown = path.display();
            ensure!(path.is_absolute(), "the path {shown} of a hook must begin with /");
            ensure!(
                timeout.is_none_or(|it| it > 0),
                "the timeout of the hook {shown} must be above 0"
            );
        }
        Ok(())
    }
}

/// Runs hooks, in the order of the list, until one of them fails.
pub(crate) fn run(hooks: &[Hook], name: &str, state: &Value) -> Result<()> {
    let own = |(name, value): (OsString, OsString)| {
        Some(format!("{}={}", name.to_str()?, value.to_str()?))
    };
    run_with(hooks, name, state, || env::vars_os().filter_map(own).collect())
}

/// As [`run`], with the variables for hooks that name none.
pub(crate) fn run_with(
    hooks: &[Hook],
    name: &str,
    state: &Value,
    env: impl Fn() -> Vec<String>,
) -> Result<()> {
    let run = |hook: &Hook| {
        hook.run(state, &env())
            .with_context(|| format!("run the {name} hook {}", hook.path.display()))
    };
    hooks.iter().try_for_each(run)
}

impl Hook {
    /// Starts the program with the state on its standard input, and waits for it.
    fn run(&self, state: &Value, env: &[String]) -> Result<()> {
        let words = |words: &[String]| -> Result<Vec<CString>> {
            Ok(words.iter().map(|it| CString::new(&**it)).collect::<Result<_, _>>()?)
        };
        access(&self.path, AccessFlags::X_OK)?;
        let path = CString::new(self.path.as_os_str().as_encoded_bytes())?;
        let (mut args, env) =
            (words(&self.args)?, words(self.env.as_deref().unwrap_or(env))?);
        if args.is_empty() {
            args.push(path.clone());
        }
        let (ours, theirs) = UnixStream::pair().context("open a line to it")?;
        let pid = common::spawn(|| {
            dup2_stdin(&theirs).context("give it the state")?;
            // Standard output belongs to the command.
            dup2_stdout(io::stderr()).context("give it an output")?;
            common::reset_signals()?;
            common::become_program(&path, &args, &env)
        })?;
        drop(theirs);
        let open = pidfd_open(pid).context("open its process")?;
        let in_time = self.tell(ours, state, &open).context("wait for it")?;
        if !in_time {
            let _ = pidfd_send_signal(&open, libc::SIGKILL);
        }
        match waitpid(pid, None).context("wait for it")? {
            _ if !in_time => {
                bail!("it takes longer than its timeout, {} s", self.timeout.unwrap_or(0))
            }
            WaitStatus::Exited(_, 0) => Ok(()),
            WaitStatus::Exited(_, status) => bail!("exit status {status}"),
            WaitStatus::Signaled(_, signal, _) => bail!("{signal} has ended it"),
            other => bail!("it is {other:?}"),
        }
    }

    /// Writes the state, and waits for the end. Returns whether that came in time.
    fn tell(&self, mut line: UnixStream, state: &Value, open: &OwnedFd) -> Result<bool> {
        let time = self.timeout.map(Duration::from_secs);
        let end = time.and_then(|it| Instant::now().checked_add(it));
        let left = || {
            let left = end.map(|it| it.saturating_duration_since(Instant::now()));
            left.map_or(PollTimeout::NONE, |it| it.try_into().unwrap_or(PollTimeout::MAX))
        };
        line.set_nonblocking(true)?;
        let text = state.to_string();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match line.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let reads = PollFd::new(line.as_fd(), PollFlags::POLLOUT);
                    let mut fds = [reads, PollFd::new(open.as_fd(), PollFlags::POLLIN)];
                    // A child of it may still have the line.
                    if poll(&mut fds, left())? == 0 || fds[1].any() == Some(true) {
                        break;
                    }
                }
                // A program may end without reading it.
                Err(_) => break,
            }
        }
        drop(line);
        Ok(pidfd_wait(open, left())?)
    }
}
