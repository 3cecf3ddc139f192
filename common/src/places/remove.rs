//! Removes a tree. Other users may own parts of it, and change it at the same time.

mod reach;

use std::ffi::{CStr, CString, OsStr};
use std::fmt::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use reach::{entries, is_ours, open};

/// Removes a directory and all files below it, as `rm -rf`. It also removes
/// directories without read or write permission, such as the `work/work` of mode
/// 000 that an overlay leaves.
///
/// It removes and changes nothing outside of the tree, even if another process
/// moves things in the tree at the same time. It follows no symbolic link, enters
/// no mount, and never uses `..`. It opens at most about 60 descriptors at a time,
/// for a tree of any depth, and fewer if the limit is low.
///
/// # Errors
///
/// When something cannot be removed; unlinkat(2). It removes the rest, and the error
/// names the first path that stays, and the remedy. A missing tree is not an error.
pub fn remove_tree(tree: &Path) -> Result<()> {
    match unlinkat(AT_FDCWD, tree, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(_not_empty) => {}
    }
    let above = tree.parent().filter(|above| !above.as_os_str().is_empty());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let above = openat(AT_FDCWD, above.unwrap_or(Path::new(".")), flags, Mode::empty());
    remove_tree_in(above.with_context(|| doing(tree))?, tree)
}

/// As [`remove_tree`], for a tree in the open directory `above`. It uses only the
/// last name of the path, and the whole path in messages.
///
/// # Errors
///
/// As [`remove_tree`].
pub fn remove_tree_in(above: impl AsFd, tree: &Path) -> Result<()> {
    let above = above.as_fd().try_clone_to_owned().with_context(|| doing(tree))?;
    let name =
        tree.file_name().with_context(|| format!("{}: the path has no last name", doing(tree)))?;
    let name = CString::new(name.as_bytes()).with_context(|| doing(tree))?;
    let mut walk = Walk::new(above, name, tree, DESCRIPTORS);
    while walk.step() {}
    walk.end()
}

fn doing(tree: &Path) -> String {
    format!("remove {}", tree.display())
}

/// The number of directories that stay open.
const DESCRIPTORS: usize = 60;

/// A directory on the way to the current one.
struct Level {
    /// Its name in the directory above.
    name: CString,
    /// The device and the inode, which identify it.
    id: (u64, u64),
    /// Open in the first level, the last level, and some levels before the last.
    dir: Option<OwnedFd>,
    /// Directories in it that are not empty.
    left: Vec<CString>,
    /// Whether something in it cannot be removed, and stays.
    stays: bool,
}

/// A walk through a tree that other processes may change.
struct Walk<'a> {
    tree: &'a Path,
    /// The first level is the directory above the tree. Only the tree is changed in
    /// it.
    levels: Vec<Level>,
    most: usize,
    skipped: Skipped,
}

/// The paths that stay.
#[derive(Default)]
struct Skipped {
    first: Option<(PathBuf, Why)>,
    more: usize,
}

/// The reason why a path stays.
#[derive(Clone, Copy)]
enum Why {
    Errno(Errno),
    /// The same, if another user owns it or the directory above it.
    Theirs(Errno),
    /// Its name now means another directory.
    Moved,
}

impl Walk<'_> {
    fn new(above: OwnedFd, name: CString, tree: &Path, most: usize) -> Walk<'_> {
        let left = vec![name];
        let first =
            Level { name: CString::default(), id: (0, 0), dir: Some(above), left, stays: false };
        Walk { tree, levels: vec![first], most, skipped: Skipped::default() }
    }

    /// Enters a directory and empties it, or leaves a directory and removes it. Returns
    /// whether there is more to do.
    fn step(&mut self) -> bool {
        let Some(level) = self.levels.last_mut() else {
            return false;
        };
        match level.left.pop() {
            Some(name) => self.enter(name),
            None => self.leave(),
        }
        !self.levels.is_empty()
    }

    fn enter(&mut self, name: CString) {
        let opened = loop {
            let Some(dir) = self.current() else {
                return;
            };
            match open(dir, &name).and_then(|(dir, id)| Ok((entries(&dir)?, dir, id))) {
                Err(Errno::EMFILE | Errno::ENFILE) if self.close_one() => {}
                opened => break opened,
            }
        };
        match opened {
            Ok((entries, dir, id)) => {
                let dir = Some(dir);
                self.levels.push(Level { name, id, dir, left: Vec::new(), stays: false });
                self.spare(self.levels.len() - 1);
                self.empty(entries);
            }
            Err(why) => self.skip(&name, Why::Errno(why)),
        }
    }

    /// Removes the entries of the current directory. It adds directories that are not
    /// empty to `left`.
    fn empty(&mut self, entries: Vec<(CString, Option<Type>)>) {
        for (name, kind) in entries {
            let Some(dir) = self.current() else {
                return;
            };
            let mut is_dir = kind == Some(Type::Directory);
            let flag = |is_dir| match is_dir {
                true => UnlinkatFlags::RemoveDir,
                false => UnlinkatFlags::NoRemoveDir,
            };
            let mut removed = unlinkat(dir, name.as_c_str(), flag(is_dir));
            // The file system did not say the type of the entry, or the entry has
            // changed.
            if let Err(Errno::EISDIR | Errno::ENOTDIR) = removed {
                is_dir = !is_dir;
                removed = unlinkat(dir, name.as_c_str(), flag(is_dir));
            }
            match removed {
                Ok(()) => {}
                // EACCES: the file system looks into the directory first.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) if is_dir => {
                    if let Some(level) = self.levels.last_mut() {
                        level.left.push(name);
                    }
                }
                Err(why) => self.skip(&name, Why::Errno(why)),
            }
        }
    }

    /// Goes back to the directory above, by its open descriptor.
    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else {
            return;
        };
        if self.levels.last().is_some_and(|above| above.dir.is_none()) && !self.reopen() {
            return;
        }
        let Some(above) = self.levels.last_mut() else {
            return;
        };
        if level.stays {
            above.stays = true;
            return;
        }
        let removed = above
            .dir
            .as_ref()
            .map_or(Ok(()), |dir| unlinkat(dir, level.name.as_c_str(), UnlinkatFlags::RemoveDir));
        if let Err(why) = removed {
            self.skip(&level.name, Why::Errno(why));
        }
    }

    /// Opens the last level again, by the names from the first level on. If a directory
    /// has moved, the level above it becomes the last level.
    ///
    /// Returns whether it found all levels.
    fn reopen(&mut self) -> bool {
        for index in 1..self.levels.len() {
            let Some(above) = self.levels[index - 1].dir.as_ref() else {
                return false;
            };
            let why = match open(above.as_fd(), &self.levels[index].name) {
                Ok((dir, id)) if id == self.levels[index].id => {
                    self.levels[index].dir = Some(dir);
                    self.spare(index);
                    continue;
                }
                Ok(_another) => Why::Moved,
                Err(why) => Why::Errno(why),
            };
            let name = self.levels[index].name.clone();
            self.levels.truncate(index);
            self.skip(&name, why);
            return false;
        }
        true
    }

    fn current(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last()?.dir.as_ref().map(AsFd::as_fd)
    }

    /// Closes a directory above level `index`, which was opened last, if the most
    /// directories are open.
    fn spare(&mut self, index: usize) {
        if index > self.most {
            self.levels[index - self.most].dir = None;
        }
    }

    /// Uses fewer descriptors, if possible. Returns whether it closed any.
    fn close_one(&mut self) -> bool {
        let last = self.levels.len() - 1;
        let open = self.most.min(last);
        if open < 2 {
            return false;
        }
        self.most = open - 1;
        self.spare(last);
        true
    }

    /// Notes that `name` stays in the current directory, unless it no longer exists.
    fn skip(&mut self, name: &CStr, why: Why) {
        if matches!(why, Why::Errno(Errno::ENOENT)) {
            return;
        }
        if self.skipped.first.is_some() {
            self.skipped.more += 1;
        } else {
            self.skipped.first = Some((self.path(name), self.looked_into(name, why)));
        }
        if let Some(level) = self.levels.last_mut() {
            level.stays = true;
        }
    }

    /// Finds out whether the reason is another user.
    fn looked_into(&self, name: &CStr, why: Why) -> Why {
        let (Why::Errno(errno @ (Errno::EACCES | Errno::EPERM)), Some(dir)) = (why, self.current())
        else {
            return why;
        };
        let entry = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let owners = [fstat(dir), entry];
        let theirs = !geteuid().is_root() && owners.iter().flatten().any(|it| !is_ours(it));
        if theirs { Why::Theirs(errno) } else { why }
    }

    /// The path of an entry of the current directory.
    fn path(&self, name: &CStr) -> PathBuf {
        let mut path = self.tree.parent().unwrap_or(Path::new("")).to_owned();
        let names = self.levels.iter().skip(1).map(|level| level.name.as_c_str());
        // Thousands of names do not help a reader.
        let (start, end) = (names.clone().take(SHOWN), names.skip(SHOWN));
        path.extend(start.map(|name| OsStr::from_bytes(name.to_bytes())));
        if end.count() > 0 {
            path.push("...");
        }
        path.push(OsStr::from_bytes(name.to_bytes()));
        path
    }

    /// Returns an error that names the paths that stay, if any.
    fn end(self) -> Result<()> {
        let tree = self.tree.display();
        let Some((first, why)) = self.skipped.first else {
            return Ok(());
        };
        let mut line = doing(self.tree);
        if first != self.tree {
            // Writing to a string does not fail.
            let _ = write!(line, ": {} stays", first.display());
        }
        if self.skipped.more > 0 {
            let _ = write!(line, ", and {} more", self.skipped.more);
        }
        let is_theirs = matches!(why, Why::Theirs(_));
        let (why, remedy) = match why {
            Why::Theirs(errno) => (
                errno.desc(),
                format!("it belongs to another user: remove the rest as root (sudo rm -r {tree})"),
            ),
            Why::Errno(Errno::EXDEV | Errno::EBUSY) => (
                "a file system is mounted there",
                format!("unmount it with umount(8), and remove {tree} again"),
            ),
            Why::Errno(Errno::EPERM) => (
                Errno::EPERM.desc(),
                format!("make it mutable with chattr(1), and remove {tree} again"),
            ),
            Why::Errno(errno) => (errno.desc(), format!("remove {tree} again")),
            Why::Moved => ("another process has moved it", format!("remove {tree} again")),
        };
        let line = format!("{line}: {why}; {remedy}");
        match is_theirs {
            true => Err(Error::new(Theirs(line))),
            false => bail!(line),
        }
    }
}

/// The reason why a tree stays: another user owns a part of it.
#[derive(Debug)]
pub(crate) struct Theirs(String);

impl fmt::Display for Theirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Theirs {}

/// The most directories of a path in a message.
const SHOWN: usize = 40;

#[cfg(test)]
#[path = "remove/tests.rs"]
mod tests;
