//! Lesson 19: the processes in control groups, and the end of groups.

use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
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

/// Refuses groups that another container has, or groups in them. That container may have
/// ended: its `delete` ends all processes in them. Two that begin at once see each other,
/// because each has written its state before.
fn refuse_shared(root: &Path, state: &State) -> Result<()> {
    for other in Container::all(root)?.iter().filter(|it| it.name != state.id) {
        // What cannot be read has no `delete`.
        let theirs = other.state().unwrap_or_default().groups;
        let is_shared = |it: &&PathBuf| theirs.iter().any(|group| it.starts_with(group));
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
    /// Lets frozen processes go on: a signal cannot end them before. The container may
    /// have frozen a group of its own.
    pub(crate) fn thaw(&self) {
        for group in self.all() {
            // A hierarchy without the file freezes nothing.
            let _ = fs::write(group.join("freezer.state"), "THAWED");
            let _ = fs::write(group.join("cgroup.freeze"), "0");
        }
    }

    /// The groups, and the groups inside of them.
    fn all(&self) -> Vec<PathBuf> {
        let (mut found, mut left) = (Vec::new(), self.paths());
        while let Some(group) = left.pop() {
            left.extend(inner(&group));
            found.push(group);
        }
        found
    }

    /// The processes in the groups, and in groups inside of them.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let mut found: Vec<Pid> =
            self.all().iter().flat_map(|it| processes_in(it)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The group of a process: one of these, or one inside of them.
    pub(crate) fn of_process(&self, process: Pid) -> Option<PathBuf> {
        self.all().into_iter().find(|it| processes_in(it).contains(&process))
    }

    /// Removes those that have no process: others may be those of another container.
    pub(crate) fn remove_empty(&self) {
        self.paths().iter().for_each(|group| drop(fs::remove_dir(group)));
    }

    /// Removes the groups, and groups that the container has made in them.
    pub(crate) fn remove(&self) -> Result<()> {
        for group in self.paths() {
            let doing = || format!("remove the control group {}", group.display());
            match common::remove_group(&group) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.with_context(doing)?,
            }
        }
        Ok(())
    }
}

/// The processes in a group.
fn processes_in(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().flat_map(str::parse).map(Pid::from_raw).collect()
}

/// The groups in a group.
fn inner(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let is_dir = |it: &DirEntry| it.file_type().is_ok_and(|it| it.is_dir());
    entries.filter(is_dir).map(|entry| entry.path()).collect()
}
