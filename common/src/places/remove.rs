//! Removes a tree. Other users may own parts of it, and change it at the same time.

mod reach;

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, renameat};
use nix::sys::stat::{fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use crate::places::open::place;
use reach::{entries, is_ours, open};

/// Removes a directory and all files below it, as `rm -rf`. It also removes directories without
/// read or write permission, such as the `work/work` of mode 000 that an overlay leaves.
///
/// It removes and changes nothing outside of the tree, even if another process moves things in the
/// tree at the same time. It follows no symbolic link, enters no mount, and never uses `..`. It
/// opens at most about 60 descriptors at a time, for a tree of any depth, and fewer if the limit
/// is low: it moves deeper directories up into the tree. Fails when something cannot be removed;
/// unlinkat(2). It removes the rest, and the error names the first path that stays, and the
/// remedy. A missing tree is not an error.
pub fn remove_tree(tree: &Path) -> Result<()> {
    match unlinkat(AT_FDCWD, tree, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(_not_empty) => {}
    }
    let above = tree.parent().filter(|above| !above.as_os_str().is_empty());
    let above = place(above.unwrap_or(Path::new(".")));
    remove_tree_in(above.with_context(|| doing(tree))?, tree)
}

/// As [`remove_tree`], for a tree in the open directory `above`. It uses only the last name of the
/// path, and the whole path in messages. Fails as [`remove_tree`].
pub fn remove_tree_in(above: impl AsFd, tree: &Path) -> Result<()> {
    let name =
        tree.file_name().with_context(|| format!("{}: the path has no last name", doing(tree)))?;
    let name = CString::new(name.as_bytes()).with_context(|| doing(tree))?;
    let mut removal = Removal::of(tree, DEEPEST);
    removal.directory(above.as_fd(), &name, None);
    removal.end()
}

fn doing(tree: &Path) -> String {
    format!("remove {}", tree.display())
}

/// The most directories on the way down, which are open. A deeper one is first moved up.
const DEEPEST: usize = 60;

/// A removal of a tree that other processes may change.
struct Removal<'a> {
    tree: &'a Path,
    deepest: usize,
    /// The names from the tree to the current directory.
    way: Vec<CString>,
    /// The names of directories that were moved up into the tree, and are still there.
    moved: Vec<CString>,
    /// The number of names for them.
    names: usize,
    /// The first path that stays, and the reason: an error, and whether another user owns
    /// the path or the directory above it.
    first: Option<(PathBuf, Errno, bool)>,
    /// The number of paths that stay.
    stay: usize,
}

impl<'a> Removal<'a> {
    fn of(tree: &'a Path, deepest: usize) -> Removal<'a> {
        let (way, moved) = (Vec::new(), Vec::new());
        Removal { tree, deepest, way, moved, names: 0, first: None, stay: 0 }
    }

    /// Empties a directory and removes it. `top` is the tree, for all directories in it.
    fn directory(&mut self, above: BorrowedFd<'_>, name: &CStr, top: Option<BorrowedFd<'_>>) {
        let stay = self.stay;
        let opened = match top {
            Some(top) if self.way.len() > self.deepest => {
                return self.move_up(above, name, top);
            }
            _ => open(above, name).and_then(|dir| Ok((entries(&dir)?, dir))),
        };
        let (entries, dir) = match (opened, top) {
            (Ok(opened), _) => opened,
            (Err(Errno::EMFILE | Errno::ENFILE), Some(top)) if self.way.len() > 1 => {
                return self.move_up(above, name, top);
            }
            (Err(why), _) => return self.skip(above, name, why),
        };
        #[cfg(test)]
        tests::entered(name);
        self.way.push(name.to_owned());
        for (name, kind) in entries {
            self.entry(dir.as_fd(), &name, kind, top.unwrap_or(dir.as_fd()));
        }
        while top.is_none()
            && let Some(name) = self.moved.pop()
        {
            self.directory(dir.as_fd(), &name, Some(dir.as_fd()));
        }
        self.way.pop();
        if self.stay == stay
            && let Err(why) = unlinkat(above, name, UnlinkatFlags::RemoveDir)
        {
            self.skip(above, name, why);
        }
    }

    /// Removes an entry of a directory.
    fn entry(&mut self, dir: BorrowedFd<'_>, name: &CStr, kind: Option<Type>, top: BorrowedFd<'_>) {
        let mut is_dir = kind == Some(Type::Directory);
        let flag = |is_dir| match is_dir {
            true => UnlinkatFlags::RemoveDir,
            false => UnlinkatFlags::NoRemoveDir,
        };
        let mut removed = unlinkat(dir, name, flag(is_dir));
        // The file system did not say the type of the entry, or the entry has changed.
        if let Err(Errno::EISDIR | Errno::ENOTDIR) = removed {
            is_dir = !is_dir;
            removed = unlinkat(dir, name, flag(is_dir));
        }
        match removed {
            Ok(()) => {}
            // EACCES: the file system looks into the directory first.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) if is_dir => {
                self.directory(dir, name, Some(top));
            }
            Err(why) => self.skip(dir, name, why),
        }
    }

    /// Moves a directory up into the tree, which removes it later.
    fn move_up(&mut self, above: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) {
        // Only who can write to a directory can move it. This may give the right.
        drop(open(above, name));
        loop {
            self.names += 1;
            let new = CString::new(format!(".moved-{}", self.names)).unwrap_or_default();
            match renameat(above, name, top, &*new) {
                Ok(()) => return self.moved.push(new),
                // The tree has that name, but not for ever.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) if self.names < MOST => {}
                Err(why) => return self.skip(above, name, why),
            }
        }
    }

    /// Notes that an entry of the directory `dir` stays, unless it no longer exists.
    fn skip(&mut self, dir: BorrowedFd<'_>, name: &CStr, why: Errno) {
        if why == Errno::ENOENT {
            return;
        }
        self.stay += 1;
        if self.first.is_none() {
            let owners = [fstat(dir), fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)];
            let theirs = matches!(why, Errno::EACCES | Errno::EPERM)
                && !geteuid().is_root()
                && owners.iter().flatten().any(|it| !is_ours(it));
            self.first = Some((self.path(name), why, theirs));
        }
    }

    /// The path of an entry of the current directory.
    fn path(&self, name: &CStr) -> PathBuf {
        let mut path = self.tree.parent().unwrap_or(Path::new("")).to_owned();
        let names = self.way.iter().map(CString::as_c_str);
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
        let Some((first, errno, theirs)) = self.first else {
            return Ok(());
        };
        let mut line = doing(self.tree);
        if first != self.tree {
            // Writing to a string does not fail.
            let _ = write!(line, ": {} stays", first.display());
        }
        if self.stay > 1 {
            let _ = write!(line, ", and {} more", self.stay - 1);
        }
        let (why, remedy) = match errno {
            errno if theirs => (
                errno.desc(),
                format!("it belongs to another user: remove the rest as root (sudo rm -r {tree})"),
            ),
            Errno::EXDEV | Errno::EBUSY => (
                "a file system is mounted there",
                format!("unmount it with umount(8), and remove {tree} again"),
            ),
            Errno::EPERM => (
                Errno::EPERM.desc(),
                format!("make it mutable with chattr(1), and remove {tree} again"),
            ),
            errno => (errno.desc(), format!("remove {tree} again")),
        };
        bail!("{line}: {why}; {remedy}")
    }
}

/// The most names for directories that are moved up.
const MOST: usize = 1 << 20;

/// The most directories of a path in a message.
const SHOWN: usize = 40;

#[cfg(test)]
#[path = "remove/tests.rs"]
mod tests;
