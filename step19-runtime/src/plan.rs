//! Lesson 18: the mounts of the configuration, before there is a container.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::Root;
use libc::MOUNT_ATTR_IDMAP;
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::config::Config;
use crate::mounts::{copy, look, set};
use crate::namespaces::{Kind, has};
use crate::options::{self, Change, Options};
use crate::users::{Mapping, in_maps};

/// A mount of the configuration.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) destination: PathBuf,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: PathBuf,
    options: Vec<String>,
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

/// A mount, and what must happen before there is a container.
pub(crate) struct Plan<'a> {
    pub(crate) mount: &'a Mount,
    pub(crate) options: Options,
    /// What the runner has opened, because the child may not.
    pub(crate) source: Option<OwnedFd>,
}

/// A mount that is needed again, after those of the list that follow it.
pub(crate) enum Kept {
    /// A new tmpfs that becomes read-only.
    Tmpfs(OwnedFd),
    /// A proc or a sysfs, or a part of one, and its place.
    Kernel(Root, PathBuf),
}

impl Mount {
    /// Whether it shows files of the host.
    pub(crate) fn is_bind(&self) -> bool {
        self.kind == "bind" || self.options.iter().any(|it| it == "bind" || it == "rbind")
    }

    pub(crate) fn doing(&self) -> String {
        format!("mount {} on {}", self.kind, self.destination.display())
    }

    /// Reads the options. Opens what the child may not: root of a user namespace has no
    /// rights over files of others, and none to map their owners.
    pub(crate) fn plan(&self, config: &Config, bundle: &Path) -> Result<Plan<'_>> {
        let linux = &config.linux;
        ensure!(self.destination.is_absolute(), "the destination must begin with /");
        let options = options::read(&self.options, self.is_bind())?;
        let own = [&self.uid_mappings[..], &self.gid_mappings];
        let has_maps = own.iter().any(|map| !map.is_empty());
        let idmap = options.idmap.or(has_maps.then_some(false));
        let can_map = options.bind.is_some() || idmap.is_none();
        ensure!(can_map, "only a bind can map owners; leave the option idmap out");
        let can_copy = !options.copy_up || self.kind == "tmpfs";
        ensure!(can_copy, "only a tmpfs can begin with files; leave out tmpcopyup");
        let by_runner = geteuid().is_root() && has(linux, Kind::User);
        let mut source = None;
        if let Some(all) = options.bind.filter(|_| by_runner || idmap.is_some()) {
            let tree = copy(look(&bundle.join(&self.source))?, all)?;
            if let Some(all) = idmap {
                let maps = [&linux.uid_mappings[..], &linux.gid_mappings];
                let user = in_maps(if has_maps { own } else { maps })?;
                let user = user.as_raw_fd() as u64;
                let change = Change { set: MOUNT_ATTR_IDMAP, user, ..Change::default() };
                set(&tree, change, all).context("map the owners")?;
            }
            source = Some(tree);
        }
        Ok(Plan { mount: self, options, source })
    }
}
