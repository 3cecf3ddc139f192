//! Lesson 11: a control group. Lesson 18: the group of a path, in v1 and in v2.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::{Hierarchy, hierarchies};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Pid, symlinkat};

use crate::mounts::{attach, copy, look, make};
use crate::options;
use crate::resources::Resources;
use crate::rules;

/// The group of the container in each hierarchy. It is removed when this is dropped, and
/// those above it that were made for it.
pub(crate) struct Groups {
    hierarchies: Vec<Hierarchy>,
    made: Vec<PathBuf>,
}

/// Makes the groups with their limits; cgroups(7). A user who may make none has none, if
/// the configuration does not ask for one.
pub(crate) fn make_groups(
    path: &str,
    resources: &Resources,
    name: &str,
) -> Result<Groups> {
    let mut groups = Groups { hierarchies: hierarchies()?, made: Vec::new() };
    let limits = resources.limits(groups.is_v2())?;
    let has_limits = !limits.is_empty() || !resources.devices.is_empty();
    let wanted = if path.is_empty() { name } else { path };
    ensure!(
        common::is_inside(Path::new(&format!("/{}", wanted.trim_start_matches('/')))),
        "use linux.cgroupsPath {wanted}: it has `..` or is too long; give another path"
    );
    let refusals = [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem];
    let may_not = |error: &io::Error| refusals.contains(&error.kind());
    for hierarchy in &mut groups.hierarchies {
        let base = hierarchy.base(wanted);
        let group = base.join(wanted.trim_start_matches('/'));
        match hierarchy.make(base, &group) {
            Err(error) if path.is_empty() && !has_limits && may_not(&error) => {
                // It stays in the groups of its caller.
                return Ok(Groups { hierarchies: hierarchies()?, made: Vec::new() });
            }
            made => {
                let made = made.with_context(|| {
                    format!("make the control group {}", group.display())
                });
                groups.made.extend(made?.0);
            }
        }
        hierarchy.group = Some(group);
    }
    limits.iter().try_for_each(|(file, value)| groups.write(file, value))?;
    rules::apply(&resources.devices, &groups)?;
    Ok(groups)
}

impl Groups {
    /// Whether this host has control groups v2 alone.
    pub(crate) fn is_v2(&self) -> bool {
        self.hierarchies.iter().all(|it| it.controllers.is_empty())
    }

    /// Whether the container has groups of its own.
    pub(crate) fn are_own(&self) -> bool {
        self.hierarchies.iter().any(|it| it.group.is_some())
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

    /// Adds the child to the groups.
    pub(crate) fn add(&self, child: Pid) -> Result<()> {
        let groups = self.hierarchies.iter().filter_map(|it| it.group.as_ref());
        for file in groups.map(|it| it.join("cgroup.procs")) {
            let added = write(&file, &child.to_string());
            added.with_context(|| format!("write {child} to {}", file.display()))?;
        }
        Ok(())
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
fn write(file: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(value.as_bytes())
}

impl Drop for Groups {
    fn drop(&mut self) {
        let groups = self.hierarchies.iter().filter_map(|it| it.group.clone());
        // What is left is in the way of no other container.
        let _ = common::end_groups(&groups.collect::<Vec<_>>());
        // Another container may have a group in one.
        self.made.iter().rev().for_each(|group| drop(fs::remove_dir(group)));
    }
}
