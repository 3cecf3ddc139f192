//! Lesson 19: what is known about a container, and whether it lives.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::{pidfd_open, pidfd_wait};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{self, Config};
use crate::groups::Groups;
use crate::state::{Container, SOCKET};

/// What is in state.json.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// The process of the container, and when it started: the number is used again.
    pub(crate) pid: Option<i32>,
    pub(crate) start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// When the container waited for `start`.
    pub(crate) created: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The groups of the container, and whether they are made: before, they may be those
    /// of another one.
    pub(crate) groups: Vec<PathBuf>,
    pub(crate) has_groups: bool,
    /// Groups above them that go with the last container in them.
    pub(crate) groups_above: Vec<PathBuf>,
}

/// The life of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The word of the specification.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl Container {
    /// Keeps the configuration of the bundle: later changes of that file are not for this
    /// container.
    pub(crate) fn keep_config(&self, bundle: &Path) -> Result<()> {
        let file = bundle.join("config.json");
        let doing = || format!("read {}", file.display());
        let text = config::bytes(&file).with_context(doing)?;
        fs::write(self.at("config.json"), text).context("keep the configuration")
    }

    /// The configuration as it was at `create`.
    pub(crate) fn config(&self) -> Result<Config> {
        let bundle = self.state()?.bundle;
        Config::read(&self.at("config.json"), &bundle)
    }

    /// The groups that `create` has made.
    pub(crate) fn groups(&self) -> Result<Groups> {
        Groups::of(&self.state()?.groups)
    }

    /// The process of the container, open. Nothing if it has ended.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        self.state()?.pidfd()
    }

    /// The life of the container now.
    pub(crate) fn status(&self) -> Result<Status> {
        let mut state = self.state()?;
        if state.created.is_none() {
            if self.is_being_made() {
                return Ok(Status::Creating);
            }
            // `create` writes the state before it unlocks.
            state = self.state()?;
        }
        Ok(match state.created {
            None => Status::Stopped,
            Some(_) if state.pidfd()?.is_none() => Status::Stopped,
            Some(_) if Groups::of(&state.groups)?.is_frozen() => Status::Paused,
            Some(_) if self.at(SOCKET).exists() => Status::Created,
            Some(_) => Status::Running,
        })
    }
}

impl State {
    /// The process of the container. Nothing if it has ended. The descriptor means this
    /// process, also if the number is used again.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        let Some(pid) = self.pid else { return Ok(None) };
        match pidfd_open(Pid::from_raw(pid)) {
            Err(Errno::ESRCH) => Ok(None),
            open => {
                let open = open.with_context(|| format!("open the process {pid}"))?;
                // It has ended with its last thread: the first one may end before.
                let is_over =
                    pidfd_wait(&open, 0u16.into()).context("look at a process")?;
                let is_same = start_time(pid) == Some(self.start_time);
                Ok((is_same && !is_over).then_some(open))
            }
        }
    }

    /// The state that hooks and callers get.
    pub(crate) fn to_json(&self, status: Status) -> Value {
        let mut json = json!({
            "ociVersion": self.oci_version, "id": self.id, "status": status.word(),
            "bundle": self.bundle, "annotations": self.annotations,
        });
        if let Some(pid) = self.pid.filter(|_| status != Status::Stopped) {
            json["pid"] = pid.into();
        }
        json
    }
}

/// When a process started, in ticks since the boot; proc_pid_stat(5). Nothing if there is
/// none.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = common::open::text(format!("/proc/{pid}/stat")).ok()?;
    // The name may have blanks and parentheses.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests;
