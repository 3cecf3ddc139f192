//! Lesson 17: what can be asked of a container that has a name.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail, ensure};
use common::{Args, Exit, Verb};
use libc::c_int;
use nix::errno::Errno;
use nix::poll::PollTimeout;

use crate::facts::{self, Facts, Running};
use crate::state::Container;
use crate::{enter, list, logs};

/// The time before SIGKILL without --time, in seconds.
const PATIENCE: u64 = 10;

/// Does what the caller asks.
pub(crate) fn act(args: &Args, verb: Verb) -> Result<Exit> {
    if verb == Verb::List {
        return list::list(args.names.json);
    }
    let (container, facts) = named(args)?;
    let signal = args.names.signal.unwrap_or(libc::SIGKILL);
    match verb {
        Verb::Exec => enter::exec(args, &container, facts),
        Verb::Logs => logs::print(args, &container, &facts),
        Verb::Stop => stop(&container, &facts, args.names.time.unwrap_or(PATIENCE)),
        Verb::Kill => kill(&container, &facts, signal),
        Verb::Remove => remove(container),
        Verb::Wait | Verb::List => wait(&container),
    }
}

/// The container that the command line names.
fn named(args: &Args) -> Result<(Container, Facts)> {
    let name = args.names.name.as_deref().unwrap_or_default();
    let Some(found) = Container::find(name)? else {
        bail!("find the container {name}: --list has none")
    };
    let facts = found.facts()?;
    Ok((found, facts))
}

/// Sends SIGTERM to the keeper, which passes on the signal that stops the command. If the
/// container lives on, SIGKILL to process 1: then the kernel ends the whole PID
/// namespace.
fn stop(container: &Container, facts: &Facts, seconds: u64) -> Result<Exit> {
    send(facts.keeper, libc::SIGTERM)?;
    if !ends_within(facts.keeper, seconds)? {
        send(facts.init.or(facts.keeper), libc::SIGKILL)?;
    }
    container.wait()?;
    Ok(Exit::SUCCESS)
}

/// Sends a signal to the command; before it runs, to its keeper, which passes signals on.
fn kill(container: &Container, facts: &Facts, signal: c_int) -> Result<Exit> {
    let sent = container.has_keeper()? && send(facts.command.or(facts.keeper), signal)?;
    ensure!(sent, "send a signal to the container {}: it has ended", container.name);
    Ok(Exit::SUCCESS)
}

/// Opens a process, if it has begun and runs.
pub(crate) fn open(process: Option<Running>) -> Result<Option<OwnedFd>> {
    Ok(process.map(Running::open).transpose()?.flatten())
}

/// Sends a signal, if the process runs. Returns whether it does; pidfd_send_signal(2).
fn send(process: Option<Running>, signal: c_int) -> Result<bool> {
    let Some(open) = open(process)? else { return Ok(false) };
    match common::pidfd_send_signal(&open, signal) {
        Err(Errno::ESRCH) => Ok(false),
        sent => sent.map(|()| true).context("send a signal to the container"),
    }
}

/// Waits for the end of a process, at most that long.
fn ends_within(process: Option<Running>, seconds: u64) -> Result<bool> {
    let Some(open) = open(process)? else { return Ok(true) };
    let time = i32::try_from(seconds * 1000).ok().and_then(|time| time.try_into().ok());
    let ended = common::pidfd_wait(open, time.unwrap_or(PollTimeout::MAX));
    ended.context("wait for the keeper")
}

/// Removes what is left of a container.
fn remove(container: Container) -> Result<Exit> {
    if container.has_keeper()? {
        bail!("remove the container {0}: it runs; --stop {0} first", container.name);
    }
    container.remove()?;
    Ok(Exit::SUCCESS)
}

/// Waits for the end, and returns the status of the command.
fn wait(container: &Container) -> Result<Exit> {
    let end = container.open_end()?;
    container.wait()?;
    let status = facts::status_in(&end).with_context(|| {
        format!(
            "wait for the container {}: its keeper was killed, and the status is lost",
            container.name
        )
    })?;
    Ok(Exit::of_code(status))
}
