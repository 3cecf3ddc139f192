//! Lesson 19: the processes in control groups, and the end of groups.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use common::{Hierarchy, is_inside};
use nix::unistd::Pid;

use crate::config::Linux;
use crate::groups::{Groups, write};
use crate::mounts::look;
use crate::state::Container;
use crate::status::State;

/// The groups that the configuration wants, which are not made yet.
fn find_groups(path: &str, name: &str) -> Result<Groups> {
    let wanted = if path.is_empty() { name } else { path };
    ensure!(
        wanted.split(':').count() != 3,
        "linux.cgroupsPath {wanted} is for systemd, which is not done here; use cgroupfs"
    );
    let inner = wanted.trim_start_matches('/');
    ensure!(
        is_inside(Path::new(&format!("/{inner}"))),
        "use linux.cgroupsPath {wanted}: it has `..` or is too long; give another path"
    );
    let mut groups = Groups::of(&[])?;
    for hierarchy in &mut groups.hierarchies {
        hierarchy.group = Some(hierarchy.base(wanted).join(inner));
    }
    // Before anything is known of them: what is there is not removed.
    groups.refuse_frozen().map(|()| groups)
}

/// Makes the groups of a container, which its state names before: if this process is
/// killed, `delete` finds what to remove.
pub(crate) fn make_groups(
    (container, state): (&Container, &mut State),
    linux: &Linux,
) -> Result<Groups> {
    let path = &linux.cgroups_path;
    let mut groups = find_groups(path, &container.name)?;
    state.groups = groups.paths();
    container.write(state)?;
    if let Err(error) = refuse_shared(container, state) {
        state.groups.clear();
        container.write(state)?;
        return Err(error);
    }
    let made = groups.make(path, &linux.resources, &mut state.groups_above);
    // If this fails, all that is made goes, and no more.
    state.groups = groups.paths();
    state.groups.truncate(groups.locks.len());
    state.has_groups = true;
    container.write(state)?;
    made.map(|()| groups)
}

/// Refuses groups that another container has, or groups in them or above them. That
/// container may have ended: its `delete` ends all processes in them. Two that begin at
/// once see each other, because each has written its state before. One with another
/// `--root` finds a lock on the groups, and then a process in them.
fn refuse_shared(container: &Container, state: &State) -> Result<()> {
    for other in Container::all(&container.all)?.iter().filter(|it| it.name != state.id) {
        // What cannot be read has no `delete`.
        let theirs = other.state().unwrap_or_default().groups;
        let is_shared = |it: &&PathBuf| {
            theirs.iter().any(|group| it.starts_with(group) || group.starts_with(it))
        };
        if let Some(group) = state.groups.iter().find(is_shared) {
            bail!(
                "make the control group {}: it belongs to the container {}; delete that \
                 first, or give another linux.cgroupsPath",
                group.display(),
                other.name
            );
        }
    }
    Ok(())
}

impl Groups {
    /// The groups of the container with v1, or that with v2.
    pub(crate) fn of_version(&self, is_v2: bool) -> impl Iterator<Item = &PathBuf> {
        let fits = move |it: &&Hierarchy| it.controllers.is_empty() == is_v2;
        self.hierarchies.iter().filter(fits).filter_map(|it| it.group.as_ref())
    }

    /// The group in which the child begins: one of v2.
    pub(crate) fn first(&self) -> Result<Option<OwnedFd>> {
        self.of_version(true).next().map(|it| look(it)).transpose()
    }

    /// Adds the child to the group of v2, if it has not begun there.
    pub(crate) fn add(&self, child: Pid) -> Result<()> {
        let child = child.to_string();
        for file in self.of_version(true).map(|it| it.join("cgroup.procs")) {
            let there = fs::read_to_string(&file).unwrap_or_default();
            if there.lines().all(|it| it != child) {
                let added = write(&file, &child);
                added.with_context(|| format!("write {child} to {}", file.display()))?;
            }
        }
        Ok(())
    }
}

/// Removes groups that have no process, and will have none of another container.
pub(crate) fn remove_empty(groups: impl Iterator<Item = PathBuf>) {
    for group in groups {
        if let Ok(open) = File::open(&group)
            && open.try_lock().is_ok()
        {
            let _ = fs::remove_dir(group);
        }
    }
}
