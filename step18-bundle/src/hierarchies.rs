//! Lesson 18: where the control groups are, v1 and v2; cgroups(7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A tree of groups.
pub(crate) struct Hierarchy {
    /// The controllers of v1, or `name=…`. The tree of v2 has none here.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// The group of this process.
    pub(crate) own: PathBuf,
    /// The group of the container, if it has its own.
    pub(crate) group: Option<PathBuf>,
}

/// The hierarchies of this host: a line of /proc/self/cgroup for each, and its mount.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let read = |file| fs::read_to_string(file).with_context(|| format!("read {file}"));
    let (groups, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let controllers: Vec<String> =
            names.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let Some((root, mount)) = mounts.lines().find_map(|it| mount_of(it, &controllers)) else {
            continue;
        };
        // A container sees only a part of the tree.
        let path = Path::new(path);
        let inside = path.strip_prefix(&root).unwrap_or(path.strip_prefix("/").unwrap_or(path));
        let own = mount.join(inside);
        found.push(Hierarchy { controllers, group: None, own, mount });
    }
    ensure!(!found.is_empty(), "find the control groups: none are mounted; mount them first");
    Ok(found)
}

/// The root and the place of a mount in mountinfo, if it is of these controllers.
fn mount_of(line: &str, controllers: &[String]) -> Option<(String, PathBuf)> {
    let (first, rest) = line.split_once(" - ")?;
    let mut first = first.split(' ').skip(3);
    let (root, place) = (first.next()?, first.next()?);
    let mut rest = rest.split(' ');
    let (kind, options) = (rest.next()?, rest.nth(1)?);
    let fits = match controllers.first() {
        Some(name) => kind == "cgroup" && options.split(',').any(|it| it == name),
        None => kind == "cgroup2",
    };
    // No distribution has a blank in these names, which the kernel would write as \040.
    (fits && !place.contains('\\')).then(|| (root.to_owned(), PathBuf::from(place)))
}

impl Hierarchy {
    /// Gives the controllers of a group to the groups in it; v2 alone needs this.
    pub(crate) fn give_controllers(&self, group: &Path) -> io::Result<()> {
        if !self.controllers.is_empty() {
            return Ok(());
        }
        let all = fs::read_to_string(group.join("cgroup.controllers"))?;
        for name in all.split_whitespace() {
            // A controller that is missing later is an error when a limit needs it.
            let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{name}"));
        }
        Ok(())
    }

    /// A new group of v1 has no processors and no memory, and takes no process until it has:
    /// those of the group above.
    pub(crate) fn copy_cpuset(&self, above: &Path, group: &Path) -> io::Result<()> {
        if !self.controllers.iter().any(|it| it == "cpuset") {
            return Ok(());
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(group.join(file))?.trim().is_empty() {
                fs::write(group.join(file), fs::read_to_string(above.join(file))?)?;
            }
        }
        Ok(())
    }
}
