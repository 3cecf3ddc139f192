//! Where the control groups are, v1 and v2; cgroups(7).

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libc::c_int;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use crate::calls::process::{pidfd_open, pidfd_send_signal};
use crate::errno_of;
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
    let mounts: Vec<&str> = mounts.lines().filter(|it| it.contains(" - cgroup")).collect();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(names), Some(path)) = (fields.next(), fields.next()) else { continue };
        let controllers: Vec<String> =
            names.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        let Some((root, mount)) = mounts.iter().find_map(|it| mount_of(it, &controllers)) else {
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

/// Whether an error says that a group is not there. While another process removes it, the kernel
/// says ENODEV.
fn is_gone(errno: Errno) -> bool {
    [Errno::ENOENT, Errno::ENODEV].contains(&errno)
}

/// Calls `enter` with each group of a tree of groups, and `leave` with each group in the first
/// one when it has none left: its name, and the open group above. By descriptors, for root
/// inside can make more of them in each other than a path can name.
fn walk(
    group: &Path,
    mut enter: impl FnMut(&Path),
    mut leave: impl FnMut(&File, &OsStr) -> nix::Result<()>,
) -> io::Result<()> {
    let mut here = enter_group(&AT_FDCWD, group)?;
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
                    if let Ok(next) = enter_group(&here, &*name) {
                        here = next;
                        names.push(name);
                        break;
                    }
                }
                None => {
                    let Some(name) = names.pop() else { return Ok(()) };
                    left.pop();
                    here = open::directory(&here, "..")?;
                    match leave(&here, &name) {
                        // Root inside may have just removed it. The tree is still there.
                        Err(errno) if is_gone(errno) => {}
                        left => left?,
                    }
                }
            }
        }
    }
}

/// Opens a group. A container that has groups of its caller can take the rights to them.
fn enter_group<P: NixPath + ?Sized>(at: &impl AsFd, name: &P) -> nix::Result<File> {
    match open::directory(at, name) {
        Err(Errno::EACCES) => {
            let (mode, follow) = (Mode::from_bits_truncate(0o755), FchmodatFlags::FollowSymlink);
            fchmodat(at, name, mode, follow)?;
            open::directory(at, name)
        }
        opened => opened,
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
        let file = group.join("cgroup.procs");
        let read = || fs::read_to_string(&file);
        let mut text = read();
        if text.as_ref().is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            let given = fs::set_permissions(&file, Permissions::from_mode(0o644));
            text = given.and_then(|()| read());
        }
        let text = text.unwrap_or_default();
        // 0 is a process that this PID namespace does not have.
        found.extend(text.lines().flat_map(str::parse).filter(|id| *id > 0).map(Pid::from_raw));
    });
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether groups are frozen, themselves or with a group of v1 above them.
pub fn are_frozen(groups: &[PathBuf]) -> bool {
    // The kernel lists v2 last.
    let groups = || groups.iter().rev();
    let read = |file: &str| groups().find_map(|it| fs::read_to_string(it.join(file)).ok());
    read("freezer.state").is_some_and(|it| it.trim() != "THAWED")
        || read("cgroup.freeze").is_some_and(|it| it.trim() == "1")
}

/// Lets frozen processes go on: in v1, a signal cannot end them before. Root inside may have
/// frozen a group of its own.
pub fn thaw_groups(groups: &[PathBuf]) {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        // A hierarchy without the file freezes nothing.
        let has = |group: &&PathBuf| !matches!(group.join(file).try_exists(), Ok(false));
        let freezes: Vec<PathBuf> = groups.iter().filter(has).cloned().collect();
        each_group(&freezes, |group| drop(fs::write(group.join(file), word)));
    }
}

/// Sends a signal to the processes in groups and in those in them, to each once. Lets frozen
/// ones go on if it is SIGKILL.
pub fn signal_groups(groups: &[PathBuf], number: c_int) {
    // The file is in v2 since Linux 5.14.
    let kill = |group: &PathBuf| fs::write(group.join("cgroup.kill"), "1").is_ok();
    if number == libc::SIGKILL && groups.iter().all(kill) {
        return;
    }
    // Each has a descriptor, and half of those that this process may have are for others. A small
    // part takes long: with each, all groups are read again.
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(64, |(soft, _)| soft / 2);
    let part = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    for some in processes_in(groups).chunks(part) {
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
            Err(error) if errno_of(&error).is_some_and(is_gone) => return Ok(()),
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

/// The error for a group that is not for this container alone.
fn taken(why: &str) -> io::Error {
    let text = format!("{why}; give another linux.cgroupsPath");
    io::Error::new(ErrorKind::AlreadyExists, text)
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
            // Until the group is locked, no other user may open it: everybody who can, can lock it.
            let mode = if path == group { 0o700 } else { 0o755 };
            match DirBuilder::new().mode(mode).create(&path) {
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
            return Err(taken("another container has it"));
        }
        if made.iter().any(|path| path == group) {
            lock.set_permissions(Permissions::from_mode(0o755))?;
        }
        // A user can find a group, and may not join it.
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let mut processes = File::from(openat(&lock, "cgroup.procs", flags, Mode::empty())?);
        // Each directory in it has a link to it, besides its own two; inode(7).
        let mut is_empty = || -> io::Result<bool> {
            Ok(processes.read(&mut [0])? == 0 && lock.metadata()?.nlink() == 2)
        };
        match left != Path::new("") && is_empty()? {
            true => Ok(lock),
            false => Err(taken("it has processes or groups")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::place::Place;

    #[test]
    fn a_group_without_rights_is_entered() {
        let place = Place::new();
        let (outer, inner) = (place.path("outer"), place.path("outer/inner"));
        fs::create_dir_all(&inner).expect("make a directory");
        fs::write(inner.join("cgroup.procs"), "7\n").expect("write");
        for path in [&inner.join("cgroup.procs"), &inner, &outer] {
            fs::set_permissions(path, Permissions::from_mode(0o000)).expect("take the rights");
        }
        assert_eq!(processes_in(&[outer]), [Pid::from_raw(7)]);
    }

    /// A container can remove its groups while they are ended.
    #[test]
    fn a_group_that_goes_meanwhile_is_not_the_whole_tree() {
        let place = Place::new();
        for name in ["a/b", "c/d", "e"] {
            fs::create_dir_all(place.path(name)).expect("make a directory");
        }
        let (mut left, mut is_first) = (0, true);
        let gone = |_: &Path| {
            // The names in the outer one are known now.
            if !is_first && place.path("c").exists() {
                fs::remove_dir_all(place.path("c")).expect("remove");
            }
            is_first = false;
        };
        let remove = |above: &File, name: &OsStr| {
            left += 1;
            if name == "b" {
                fs::remove_dir_all(place.path("a")).expect("remove");
            }
            unlinkat(above, name, UnlinkatFlags::RemoveDir)
        };
        let walked = walk(&place.path(""), gone, remove);
        assert!(walked.is_ok(), "{walked:?}");
        assert!(left >= 3, "{left}");
        assert!(inner(&place.path("")).expect("list").is_empty());
    }
}
