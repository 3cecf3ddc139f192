//! Lesson 19: signals for the container, and its end.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use common::{pidfd_send_signal, pidfd_wait};
use libc::c_int;
use nix::errno::Errno;

use crate::state::Container;
use crate::status::{State, Status};
use crate::words::Words;
use crate::{hooks, members};

/// Sends the signal that the caller names, or SIGTERM.
pub(crate) fn signal(root: &Path, words: &mut Words) -> Result<()> {
    let container = Container::open(root, &words.take("the name of a container")?)?;
    let signal = words.rest.pop_front().unwrap_or_else(|| "TERM".to_owned());
    words.end()?;
    // 0 is no signal: it only asks whether the process lives; kill(2).
    let signal = if signal == "0" { 0 } else { common::signal_number(&signal)? };
    if words.has("all") { kill_all(&container, signal) } else { kill(&container, signal) }
}

/// Sends a signal to the process of a container.
pub(crate) fn kill(container: &Container, signal: c_int) -> Result<()> {
    let doing = || format!("kill the container {}", container.name);
    // Engines look for these words.
    let state = container.state()?;
    let open = state.pidfd()?.context("container not running").with_context(doing)?;
    match pidfd_send_signal(&open, signal) {
        Err(Errno::ESRCH) => bail!("{}: container not running", doing()),
        sent => sent.with_context(doing)?,
    }
    // A frozen process of v1 ends only when it goes on. An engine may not know that it is
    // frozen: `pause` may have been killed.
    if signal == libc::SIGKILL {
        common::thaw_groups(&state.groups);
    }
    Ok(())
}

/// Sends a signal to all processes of a container.
pub(crate) fn kill_all(container: &Container, signal: c_int) -> Result<()> {
    let groups = container.state()?.groups;
    if groups.is_empty() {
        return kill(container, signal);
    }
    common::signal_groups(&groups, signal);
    Ok(())
}

/// Removes a container that has ended, or with `force` any one.
pub(crate) fn delete(root: &Path, name: &str, force: bool) -> Result<()> {
    let Some(container) = Container::find(root, name)? else {
        ensure!(force, "delete the container {name}: it does not exist");
        return Ok(());
    };
    let locked = if force { container.lock_soon() } else { container.lock() };
    let container = match locked {
        // Another `delete` has just removed it.
        Err(_) if force && Container::find(root, name)?.is_none() => return Ok(()),
        locked => locked?,
    };
    let (state, mut status) = container.look()?;
    let waits = !force && status == Status::Running;
    if waits && let Some(open) = state.pidfd()? {
        // It may be ending.
        wait_for_end(&open)?;
        (_, status) = container.look()?;
    }
    ensure!(
        force || status == Status::Stopped,
        "delete the container {name}: it is {}, and not stopped; kill it, or use --force",
        status.word()
    );
    destroy(&container)
}

/// Ends a container, and removes all that `create` has made.
pub(crate) fn destroy(container: &Container) -> Result<()> {
    let mut state = container.state()?;
    if !state.has_groups {
        members::remove_empty(state.groups.drain(..));
    }
    if let Some(open) = state.pidfd()? {
        end_process(&open, &state.groups)?;
    }
    // Without a PID namespace, others may be left.
    common::end_groups(&state.groups)?;
    // With a group in it, it stays.
    state.groups_above.iter().rev().for_each(|group| drop(fs::remove_dir(group)));
    // Without a configuration, `create` has not come far.
    let hooks = container.hooks(&state).unwrap_or_default().poststop;
    // A killed `delete` does not say which hooks have run, so the next one runs all:
    // rather twice than never.
    let kept = if hooks.is_empty() { None } else { container.hold(&mut state).ok() };
    if kept.is_none() && container.is_ending() {
        return Ok(());
    } else if kept.is_none() {
        container.remove()?;
    }
    for hook in hooks.chunks(1) {
        let ran = hooks::run(hook, "poststop", &state.to_json(Status::Stopped));
        // The specification says that this is only a warning.
        ran.unwrap_or_else(|error| common::note(&common::one_line(&error)));
    }
    kept.map_or(Ok(()), |_lock| container.remove())
}

/// The file of a container whose last hooks run.
const ENDING: &str = "ending";

impl Container {
    /// Whether its last hooks run in another process: then it does not exist any more.
    pub(crate) fn is_ending(&self) -> bool {
        File::open(self.at(ENDING))
            .is_ok_and(|it| common::open::is_locked_by_another(&it))
    }

    /// Keeps it for its last hooks, without its groups: they may be another's soon.
    fn hold(&self, state: &mut State) -> Result<File> {
        (state.groups, state.groups_above) = Default::default();
        self.write(state)?;
        let file = File::create(self.at(ENDING))?;
        Ok(common::open::lock_for_process(&file).map(|()| file)?)
    }
}

/// Ends the process of a container, and waits for its end. In v1, a frozen one ends only
/// when it goes on, and others in its groups may freeze it again and again: so if it does
/// not end at once, they end, too.
fn end_process(process: impl AsFd, groups: &[PathBuf]) -> Result<()> {
    for _ in 0..MOST_TRIES {
        // An error means that it has just ended.
        let _ = pidfd_send_signal(&process, libc::SIGKILL);
        if wait_for_end(&process)? {
            return Ok(());
        }
        common::signal_groups(groups, libc::SIGKILL);
    }
    bail!("a killed process does not end; look for what it waits")
}

/// How often a process is killed: it may need ten seconds to end.
const MOST_TRIES: u32 = 100;
/// How long a process may take to end, before it is looked at again, in milliseconds.
const SHORT_TIME: u16 = 100;

fn wait_for_end(process: impl AsFd) -> Result<bool> {
    pidfd_wait(process, SHORT_TIME.into()).context("wait for a process")
}
