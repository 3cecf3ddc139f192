//! Lesson 18: the mounts of the configuration, before there is a container.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::open_tree;
use libc::{AT_RECURSIVE, MOUNT_ATTR_IDMAP, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use nix::fcntl::AT_FDCWD;
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::config::Config;
use crate::mounts::set;
use crate::namespaces::{Kind, is_new};
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

impl Mount {
    /// Whether it shows files of the host.
    pub(crate) fn is_bind(&self) -> bool {
        self.kind == "bind" || self.options.iter().any(|it| it == "bind" || it == "rbind")
    }

    pub(crate) fn doing(&self) -> String {
        format!("mount {} on {}", self.kind, self.destination.display())
    }
}

/// Reads the options of each mount. Opens what the child may not: root of a user namespace
/// has no rights over files of others, and none to map their owners.
pub(crate) fn plan<'a>(config: &'a Config, bundle: &Path) -> Result<Vec<Plan<'a>>> {
    let by_runner = geteuid().is_root() && is_new(&config.linux, Kind::User);
    let plan = |mount: &'a Mount| -> Result<Plan<'a>> {
        let options = options::read(&mount.options, mount.is_bind())?;
        ensure!(mount.destination.components().count() > 1, "its place is the root itself");
        let has_maps = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        let idmap = options.idmap.or(has_maps.then_some(false));
        ensure!(
            options.bind.is_some() || idmap.is_none() && !has_maps,
            "only a bind can map owners; leave the option idmap out"
        );
        ensure!(
            !options.copy_up || mount.kind == "tmpfs",
            "only a tmpfs can begin with files; leave the option tmpcopyup out"
        );
        let mut source = None;
        if let Some(all) = options.bind.filter(|_| by_runner || idmap.is_some()) {
            let tree = copy(&bundle.join(&mount.source), all)?;
            if let Some(all) = idmap {
                let maps = match has_maps {
                    true => [&mount.uid_mappings[..], &mount.gid_mappings],
                    false => [&config.linux.uid_mappings[..], &config.linux.gid_mappings],
                };
                let user = in_maps(maps)?;
                let change = Change { set: MOUNT_ATTR_IDMAP, clear: 0 };
                set(&tree, change, 0, all, Some(user)).context("map the owners")?;
            }
            source = Some(tree);
        }
        Ok(Plan { mount, options, source })
    };
    config.mounts.iter().map(|mount| plan(mount).with_context(|| mount.doing())).collect()
}

/// Copies the mount of a file or directory of the host. It has no place yet.
pub(crate) fn copy(path: &Path, all: bool) -> Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    let flags = if all { flags | AT_RECURSIVE as u32 } else { flags };
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    let tree = open_tree(AT_FDCWD, &name, flags);
    tree.with_context(|| format!("open {}", path.display()))
}
