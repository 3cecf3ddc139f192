//! Lesson 19: what is known about a container, and whether it lives.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Config;
use crate::hooks::Hooks;
use crate::state::{Container, SOCKET};

/// What is in state.json.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// The process of the container, and what no later process with its number has: the
    /// inode of its pidfd, since Linux 6.9, and the time of its start.
    pub(crate) pid: Option<i32>,
    pub(crate) inode: Option<u64>,
    pub(crate) start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// When the container waited for `start`.
    pub(crate) created: Option<String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) hooks: Option<Hooks>,
    /// The groups of the container, and whether they are made: before, they may be those
    /// of another one. None while the last hooks run.
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
    /// Reads the configuration of the bundle, and keeps it: later changes of that file
    /// are not for this container.
    pub(crate) fn keep_config(&self, bundle: &Path) -> Result<Config> {
        let (config, bytes) = Config::read(&bundle.join("config.json"), bundle)?;
        fs::write(self.at("config.json"), bytes).context("keep the configuration")?;
        Ok(config)
    }

    /// The configuration as it was at `create`.
    pub(crate) fn config(&self, state: &State) -> Result<Config> {
        Config::read(&self.at("config.json"), &state.bundle).map(|(config, _)| config)
    }

    /// The hooks at `create`. A state that an older version has written has none.
    pub(crate) fn hooks(&self, state: &State) -> Result<Hooks> {
        state.hooks.clone().map_or_else(|| Ok(self.config(state)?.hooks), Ok)
    }

    /// The process of the container, open. Nothing if it has ended.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>> {
        self.state()?.pidfd()
    }

    /// What is known, and the life of the container now.
    pub(crate) fn look(&self) -> Result<(State, Status)> {
        let mut state = self.state()?;
        if state.created.is_none() {
            if self.is_being_made() {
                return Ok((state, Status::Creating));
            }
            // `create` writes the state before it unlocks.
            state = self.state()?;
        }
        let status = match state.created {
            None => Status::Stopped,
            Some(_) if state.pidfd()?.is_none() => Status::Stopped,
            Some(_) if common::are_frozen(&state.groups) => Status::Paused,
            Some(_) if self.at(SOCKET).exists() => Status::Created,
            Some(_) => Status::Running,
        };
        Ok((state, status))
    }
}

impl State {
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
