//! Lesson 19: the processes in control groups, and the end of groups.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use common::{hierarchies, is_inside};
use nix::unistd::Pid;

use crate::config::Linux;
use crate::groups::Groups;
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
    let mut groups = Groups { hierarchies: hierarchies()? };
    for hierarchy in &mut groups.hierarchies {
        hierarchy.group = Some(hierarchy.base(wanted).join(inner));
    }
    // Before anything is known of them: what is there is not removed.
    groups.refuse_frozen().map(|()| groups)
}

/// Makes the groups of a container, which its state names before: if this process is
/// killed, `delete` finds what to remove.
pub(crate) fn make_groups(
    root: &Path,
    (container, state): (&Container, &mut State),
    linux: &Linux,
) -> Result<Groups> {
    let path = &linux.cgroups_path;
    let mut groups = find_groups(path, &container.name)?;
    state.groups = groups.paths();
    container.write(state)?;
    if let Err(error) = refuse_shared(root, state) {
        state.groups.clear();
        container.write(state)?;
        return Err(error);
    }
    let made = groups.make(path, &linux.resources, &mut state.groups_above);
    state.groups = groups.paths();
    // If this fails, all that is made goes.
    container.write(state)?;
    made.map(|()| groups)
}

/// Refuses groups that another container has, or groups in them or above them. That
/// container may have ended: its `delete` ends all processes in them. Two that begin at
/// once see each other, because each has written its state before.
fn refuse_shared(root: &Path, state: &State) -> Result<()> {
    for other in Container::all(root)?.iter().filter(|it| it.name != state.id) {
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
    /// Refuses groups in which another process is beside this one: a container of another
    /// `--root` began with them, too. Each looks when its own process is in them, so at
    /// least one sees the other.
    pub(crate) fn refuse_others(&self, process: Pid) -> Result<()> {
        ensure!(
            common::processes_in(&self.paths()).iter().all(|it| *it == process),
            "use the control groups: another container began with them at the same time; \
             give another linux.cgroupsPath"
        );
        Ok(())
    }

    /// Removes those that have no process: others may be those of another container.
    pub(crate) fn remove_empty(&self) {
        self.paths().iter().for_each(|group| drop(fs::remove_dir(group)));
    }
}
