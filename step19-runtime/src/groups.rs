//! Lesson 11: a control group. Lesson 18: the group of a path, in v1 and in v2.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::{Hierarchy, hierarchies};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use crate::mounts::{attach, copy, look, make};
use crate::options;
use crate::resources::Resources;
use crate::rules;

/// The group of the container in each hierarchy.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(crate) hierarchies: Vec<Hierarchy>,
    /// Keep others from these groups until the container's process is in them.
    pub(crate) locks: Vec<File>,
}

impl Groups {
    /// The groups with these directories.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Groups> {
        let mut groups = Groups { hierarchies: hierarchies()?, locks: Vec::new() };
        for hierarchy in &mut groups.hierarchies {
            hierarchy.group =
                paths.iter().find(|it| it.starts_with(&hierarchy.mount)).cloned();
        }
        Ok(groups)
    }

    /// Their directories.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.hierarchies.iter().filter_map(|it| it.group.clone()).collect()
    }

    /// Makes the groups with their limits; cgroups(7). A user who may make none has none,
    /// if the configuration does not ask for one. Adds to `all_made` what was missing,
    /// also groups above them, and also if it fails.
    pub(crate) fn make(
        &mut self,
        path: &str,
        resources: &Resources,
        all_made: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let limits = resources.limits(self.is_v2())?;
        let has_limits = !limits.is_empty() || !resources.devices.is_empty();
        let may_not = |error: &io::Error| {
            [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem]
                .contains(&error.kind())
        };
        for hierarchy in &self.hierarchies {
            let group = hierarchy.group();
            match hierarchy.make(hierarchy.base(path), group) {
                Err(error) if path.is_empty() && !has_limits && may_not(&error) => {
                    // It stays in the groups of its caller.
                    *self = Groups::of(&[])?;
                    all_made.drain(..).rev().for_each(|it| drop(fs::remove_dir(it)));
                    return Ok(());
                }
                made => {
                    let (made, lock) = made.with_context(|| {
                        format!("make the control group {}", group.display())
                    })?;
                    all_made.extend(made);
                    self.locks.push(lock);
                }
            }
        }
        // A group above may be frozen.
        self.refuse_frozen()?;
        limits.iter().try_for_each(|(file, value)| self.write(file, value))?;
        rules::apply(&resources.devices, self)
    }

    /// Whether no engine removes a group: one of v2, with v1 beside it.
    pub(crate) fn is_beside_v1(&self, group: &Path) -> bool {
        let mut v2 = self.hierarchies.iter().filter(|it| it.controllers.is_empty());
        !self.is_v2() && v2.any(|it| group.starts_with(&it.mount))
    }

    /// Whether this host has control groups v2 alone.
    pub(crate) fn is_v2(&self) -> bool {
        self.hierarchies.iter().all(|it| it.controllers.is_empty())
    }

    /// The group with a controller. With v2 alone, there is only one.
    pub(crate) fn group(&self, controller: &str) -> Result<&Path> {
        let has = |it: &&Hierarchy| {
            self.is_v2() || it.controllers.iter().any(|c| c == controller)
        };
        let found = self.hierarchies.iter().find(has);
        let found = found.with_context(|| {
            format!("use the controller {controller}: this host has none; leave it out")
        })?;
        Ok(found.group())
    }

    /// Writes a value to a file. Its name begins with that of the controller.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<()> {
        let controller = file.split('.').next().unwrap_or_default();
        let file = self.group(controller)?.join(file);
        write(&file, value)
            .with_context(|| format!("write {value} to {}", file.display()))
    }

    /// A mount that shows the groups: with v2 alone the group of this container, else a
    /// directory in memory with a place for each hierarchy.
    pub(crate) fn tree(&self) -> Result<OwnedFd> {
        match &self.hierarchies[..] {
            [only] if self.is_v2() => Ok(copy(look(only.group())?, true)?),
            _ => {
                let options = ["mode=755", "size=64k"].map(str::to_owned);
                make("tmpfs", Path::new("cgroup"), &options::read(&options, false)?)
            }
        }
    }

    /// Mounts the group of each hierarchy in that directory.
    pub(crate) fn mount_each(&self, directory: &OwnedFd) -> Result<()> {
        if self.is_v2() {
            return Ok(());
        }
        for hierarchy in &self.hierarchies {
            let Some(name) = hierarchy.mount.file_name() else { continue };
            let tree = copy(look(hierarchy.group())?, true)?;
            mkdirat(directory, name, Mode::from_bits_truncate(0o755))?;
            let place = common::open::directory(directory, name)?;
            attach(&tree, &place)?;
            let others = hierarchy.controllers.iter().filter(|it| name != it.as_str());
            // A hierarchy of several controllers has a link for each.
            for controller in others.filter(|it| !it.starts_with("name=")) {
                symlinkat(Path::new(name), directory, &**controller)?;
            }
        }
        Ok(())
    }
}

/// Writes a file of the kernel, which must be there.
pub(crate) fn write(file: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(value.as_bytes())
}
