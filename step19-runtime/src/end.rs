//! Lesson 19: signals for the container, and its end.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::{pidfd_open, pidfd_send_signal, pidfd_wait};
use libc::c_int;
use nix::errno::Errno;
use nix::unistd::Pid;

use crate::groups::Groups;
use crate::hooks;
use crate::state::Container;
use crate::status::Status;
use crate::words::Words;

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
    let open = container.pidfd()?.context("container not running").with_context(doing)?;
    match pidfd_send_signal(&open, signal) {
        Err(Errno::ESRCH) => bail!("{}: container not running", doing()),
        sent => sent.with_context(doing)?,
    }
    let_end(&container.groups()?, signal);
    Ok(())
}

/// A frozen process of v1 ends only when it goes on. An engine may not know that it is
/// frozen: `pause` may have been killed.
fn let_end(groups: &Groups, signal: c_int) {
    if signal == libc::SIGKILL {
        groups.thaw();
    }
}

/// Sends a signal to all processes of a container.
pub(crate) fn kill_all(container: &Container, signal: c_int) -> Result<()> {
    let groups = container.groups()?;
    if groups.paths().is_empty() {
        return kill(container, signal);
    }
    groups
        .processes()
        .into_iter()
        .for_each(|process| kill_in(container, process, signal));
    let_end(&groups, signal);
    Ok(())
}

/// Sends a signal to a process of the groups. It may end meanwhile, and its number be
/// used for another process.
fn kill_in(container: &Container, process: Pid, signal: c_int) {
    if let Ok(open) = pidfd_open(process)
        && process != Pid::this()
        && container.groups().is_ok_and(|it| it.processes().contains(&process))
    {
        // An error means that it has ended.
        let _ = pidfd_send_signal(open, signal);
    }
}

/// Removes a container that has ended, or with `force` any one.
pub(crate) fn delete(root: &Path, name: &str, force: bool) -> Result<()> {
    let Some(container) = Container::find(root, name)? else {
        ensure!(force, "delete the container {name}: it does not exist");
        return Ok(());
    };
    let container = if force { container.lock_soon()? } else { container.lock()? };
    let mut status = container.status()?;
    if let (false, Status::Running, Some(open)) = (force, status, container.pidfd()?) {
        // It may be ending.
        wait_for_end(&open, SHORT_TIME).unwrap_or_default();
        status = container.status()?;
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
    let state = container.state()?;
    let mut groups = Groups::of(&state.groups)?;
    if state.pid.is_none() {
        // They may be those of another container, and `create` has failed for that.
        groups.remove_empty();
        groups = Groups::of(&[])?;
    }
    if let Some(open) = state.pidfd()? {
        // An error means that it has just ended.
        let _ = pidfd_send_signal(&open, libc::SIGKILL);
        groups.thaw();
        wait_for_end(&open, MOST_TIME)?;
    }
    let mut rounds = 0..MOST_ROUNDS;
    while let Err(error) = groups.remove() {
        let is_busy = error.chain().find_map(common::errno_of) == Some(Errno::EBUSY);
        if !is_busy || rounds.next().is_none() {
            return Err(error);
        }
        // Without a PID namespace, others may be left. Each may start others.
        let left = groups.processes();
        left.iter().for_each(|process| kill_in(container, *process, libc::SIGKILL));
        groups.thaw();
        let open = left.iter().flat_map(|it| pidfd_open(*it));
        open.into_iter().try_for_each(|it| wait_for_end(it, MOST_TIME))?;
        // The last one may still be in its group. In v1, there is no event for its end.
        sleep(Duration::from_millis(u64::from(left.is_empty())));
    }
    // With a group in it, it stays.
    state.groups_above.iter().rev().for_each(|group| drop(fs::remove_dir(group)));
    let config = container.config();
    container.remove()?;
    let json = state.to_json(Status::Stopped);
    // Without a configuration, `create` has not come far.
    for hook in config.iter().flat_map(|it| &it.hooks.poststop) {
        let ran = hooks::run(std::slice::from_ref(hook), "poststop", &json);
        // The specification says that this is only a warning.
        ran.unwrap_or_else(|error| common::note(&common::one_line(&error)));
    }
    Ok(())
}

/// A process that starts others faster than they end would never let this end.
const MOST_ROUNDS: u32 = 5000;

/// How long a killed process may take to end, in milliseconds.
const MOST_TIME: u16 = 10_000;
const SHORT_TIME: u16 = 100;

fn wait_for_end(process: impl AsFd, time: u16) -> Result<()> {
    let ended = pidfd_wait(process, time.into()).context("wait for a process")?;
    ensure!(ended, "a killed process does not end; look for what it waits");
    Ok(())
}
