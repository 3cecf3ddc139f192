//! Lesson 19: what `create` does while the process of the container waits.

use std::time::SystemTime;

use anyhow::Result;
use common::{Child, Relay, utc};

use crate::config::Config;
use crate::groups::Groups;
use crate::hooks;
use crate::namespaces::{Kind, is_new};
use crate::state::Container;
use crate::status::{State, Status};
use crate::wanted::{Wanted, write_pid};
use crate::{terminal, users};

/// Meets the child as often as it waits. If it has ended, the state says no time in the
/// end.
pub(crate) fn hold(
    child: &mut Child,
    config: &Config,
    wanted: &Wanted,
    (container, state): (&Container, &mut State),
    groups: &Groups,
) -> Result<Option<Relay>> {
    let (linux, hooks) = (&config.linux, &config.hooks);
    child.meet(Some(()), |(), id| {
        state.set_process(id)?;
        container.write(state)?;
        if is_new(linux, Kind::User) {
            users::write_maps([&linux.uid_mappings, &linux.gid_mappings], id)?;
        }
        groups.add(id)
    })?;
    let relay = child.take_terminal(config.process.terminal, |terminal| match &wanted
        .console
    {
        Some(path) => terminal::send(&terminal, path).map(|()| None),
        None => Relay::start(terminal).map(Some),
    })?;
    child.meet(hooks.are_early(), |(), _| {
        // In version 1.0 of the specification, `start` ran them.
        hooks::run(&hooks.prestart, "prestart", &state.to_json(Status::Created))?;
        let state = state.to_json(Status::Creating);
        hooks::run(&hooks.create_runtime, "createRuntime", &state)
    })?;
    child.meet(Some(()), |(), id| config.process.set_limits(id))?;
    child.meet(Some(()), |(), id| {
        state.created = Some(utc(SystemTime::now()));
        // From now on, an engine removes the others.
        state.groups_above.retain(|it| groups.is_beside_v1(it));
        container.write(state)?;
        // Last: no file may have the number of a process that has ended.
        wanted.pid_file.as_ref().map_or(Ok(()), |file| write_pid(file, id))
    })?;
    Ok(relay.flatten())
}
