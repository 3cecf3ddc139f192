//! Where the control groups are, v1 and v2; cgroups(7).

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libc::c_int;
use nix::fcntl::AT_FDCWD;
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::calls::process::{pidfd_open, pidfd_send_signal};
use crate::places::open;

/// A tree of groups.
#[derive(Debug)]
pub struct Hierarchy {
    /// The controllers of v1, or `name=…`. The tree of v2 has none here.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The group of this process.
    pub own: PathBuf,
    /// The group of the container, if it has its own.
    pub group: Option<PathBuf>,
}

/// The hierarchies of this host: a line of /proc/self/cgroup for each, and its mount.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let read = |file| open::text(file).with_context(|| format!("read {file}"));
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

/// Calls `enter` with each group of a tree of groups, and `leave` with each group in the first
/// one when it has none left: its name, and the open group above. By descriptors, for root
/// inside can make more of them in each other than a path can name.
fn walk(
    group: &Path,
    mut enter: impl FnMut(&Path),
    mut leave: impl FnMut(&File, &OsStr) -> nix::Result<()>,
) -> io::Result<()> {
    let mut here = open::directory(&AT_FDCWD, group)?;
    // The group itself has no name here.
    let (mut names, mut left) = (Vec::new(), Vec::new());
    loop {
        let path = PathBuf::from(format!("/proc/self/fd/{}", here.as_raw_fd()));
        enter(&path);
        // An error means that it has just gone.
        left.push(inner(&path).unwrap_or_default());
        loop {
            match left.last_mut().and_then(Vec::pop) {
                Some(name) => {
                    // It may have gone, too.
                    if let Ok(next) = open::directory(&here, &*name) {
                        here = next;
                        names.push(name);
                        break;
                    }
                }
                None => {
                    let Some(name) = names.pop() else { return Ok(()) };
                    left.pop();
                    here = open::directory(&here, "..")?;
                    leave(&here, &name)?;
                }
            }
        }
    }
}

/// Calls `look` with the path of each group, and of each group in it, while that is open. A
/// group that is gone is no error.
pub fn each_group(groups: &[PathBuf], mut look: impl FnMut(&Path)) {
    groups.iter().for_each(|group| drop(walk(group, &mut look, |_, _| Ok(()))));
}

/// The processes in groups and in those in them, each once.
pub fn processes_in(groups: &[PathBuf]) -> Vec<Pid> {
    let mut found = Vec::new();
    each_group(groups, |group| {
        let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        // 0 is a process that this PID namespace does not have.
        found.extend(text.lines().flat_map(str::parse).filter(|id| *id > 0).map(Pid::from_raw));
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// Lets frozen processes go on: in v1, a signal cannot end them before. Root inside may have
/// frozen a group of its own.
pub fn thaw_groups(groups: &[PathBuf]) {
    each_group(groups, |group| {
        // A hierarchy without the file freezes nothing.
        let _ = fs::write(group.join("freezer.state"), "THAWED");
        let _ = fs::write(group.join("cgroup.freeze"), "0");
    });
}

/// Sends a signal to the processes in groups and in those in them, to each once. Lets frozen
/// ones go on if it is SIGKILL.
pub fn signal_groups(groups: &[PathBuf], number: c_int) {
    // The file is in v2 since Linux 5.14.
    let kill = |group: &PathBuf| fs::write(group.join("cgroup.kill"), "1").is_ok();
    if number == libc::SIGKILL && groups.iter().all(kill) {
        return;
    }
    // Each has a descriptor, and there is a limit on those.
    for some in processes_in(groups).chunks(64) {
        let open = some.iter().flat_map(|id| pidfd_open(*id).map(|open| (id, open)));
        let open: Vec<_> = open.collect();
        // A process may have ended before, and its number be that of another one.
        let still = processes_in(groups);
        for (id, open) in open {
            if *id != Pid::this() && still.binary_search(id).is_ok() {
                // An error means that it has ended.
                let _ = pidfd_send_signal(open, number);
            }
        }
    }
    if number == libc::SIGKILL {
        thaw_groups(groups);
    }
}

/// Removes a group and the groups in it. They have no processes. Fails with EBUSY when there is
/// still a process in one of them; rmdir(2).
pub(crate) fn remove_group(group: &Path) -> io::Result<()> {
    match fs::remove_dir(group) {
        // It has groups in it, or processes.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
        removed => return removed,
    }
    walk(group, |_| {}, |above, name| unlinkat(above, name, UnlinkatFlags::RemoveDir))?;
    fs::remove_dir(group)
}

/// Kills the processes in groups and in those in them, and removes all of them. A killed process
/// may be in a call that no signal ends: this waits for at most ten seconds. A group that is gone
/// is no error. Fails when one cannot be removed; rmdir(2). Then the others are.
pub fn end_groups(groups: &[PathBuf]) -> Result<()> {
    let mut tries = 0..10_000;
    let mut end = |group: &PathBuf| loop {
        match remove_group(group) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && tries.next().is_some() => {
                // In v1, what freezes a process of this group is another one.
                signal_groups(groups, libc::SIGKILL);
                // In v1, there is no event for the end of the last process.
                thread::sleep(Duration::from_millis(1));
            }
            done => {
                let doing = || format!("remove the control group {}", group.display());
                return done.with_context(doing);
            }
        }
    };
    let ends: Vec<Result<()>> = groups.iter().map(&mut end).collect();
    ends.into_iter().collect()
}

/// The names of the groups in a group.
fn inner(group: &Path) -> io::Result<Vec<OsString>> {
    let all = fs::read_dir(group)?.flatten();
    let groups = all.filter(|it| it.file_type().is_ok_and(|it| it.is_dir()));
    Ok(groups.map(|it| it.file_name()).collect())
}

impl Hierarchy {
    /// The group of the container, else that of its caller.
    pub fn group(&self) -> &Path {
        self.group.as_deref().unwrap_or(&self.own)
    }

    /// Where a path of a group counts from: one that begins with `/` from the root of all groups,
    /// another one from the group of this process.
    pub fn base(&self, path: &str) -> &Path {
        if path.starts_with('/') { &self.mount } else { &self.own }
    }

    /// Makes a group below `base`, and those above it. Returns those that were missing, in the
    /// order in which they are made, and a lock on the group: with flock(2), as long as it is open.
    /// Fails when this caller may not make it, it has processes, or another caller has locked it.
    /// Then none is left.
    pub fn make(&self, base: &Path, group: &Path) -> io::Result<(Vec<PathBuf>, File)> {
        let (mut made, mut tries) = (Vec::new(), 0..100);
        loop {
            match self.make_all(base, group, &mut made) {
                Ok(lock) => return Ok((made, lock)),
                // Another container has just removed the group above.
                Err(error) if error.kind() == ErrorKind::NotFound && tries.next().is_some() => {}
                Err(error) => {
                    made.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
                    return Err(error);
                }
            }
        }
    }

    fn make_all(&self, base: &Path, group: &Path, made: &mut Vec<PathBuf>) -> io::Result<File> {
        let left = group.strip_prefix(base).unwrap_or(Path::new(""));
        let mut path = base.to_owned();
        for part in left {
            self.give_controllers(&path)?;
            let above = path.clone();
            path.push(part);
            match fs::create_dir(&path) {
                Ok(()) => made.push(path.clone()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            self.copy_cpuset(&above, &path)?;
        }
        // Another container may have this group, or begin with it, and each would count for both.
        // A group with groups in it may be the host's, and `remove` would remove them.
        let lock = open::directory(&AT_FDCWD, group)?;
        if left != Path::new("") && lock.try_lock().is_err() {
            // It is the other one's, also if it was made here.
            made.retain(|path| path != group);
            return Err(ErrorKind::AlreadyExists.into());
        }
        let here = PathBuf::from(format!("/proc/self/fd/{}", lock.as_raw_fd()));
        let processes = here.join("cgroup.procs");
        let is_empty = || -> io::Result<bool> {
            Ok(fs::read_to_string(&processes)?.is_empty() && inner(&here)?.is_empty())
        };
        // A user can find a group, and may not join it.
        File::options().write(true).open(&processes)?;
        match left != Path::new("") && is_empty()? {
            true => Ok(lock),
            false => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    /// Gives the controllers of a group to the groups in it; v2 alone needs this.
    fn give_controllers(&self, group: &Path) -> io::Result<()> {
        // With processes in it, only some controllers can be given, and then no process may
        // join the inner groups. The root of all groups is an exception; it has no type.
        let is_busy = || -> io::Result<bool> {
            let has_type = group.join("cgroup.type").exists();
            Ok(has_type && !fs::read_to_string(group.join("cgroup.procs"))?.is_empty())
        };
        if !self.controllers.is_empty() || is_busy()? {
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
    fn copy_cpuset(&self, above: &Path, group: &Path) -> io::Result<()> {
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
