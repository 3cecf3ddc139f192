//! Removing a tree, of which others may own parts and in which others may be at
//! work.

mod reach;

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::dir::Type;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use reach::{entries, is_ours, open};

/// Removes a directory and all below it, as `rm -rf`, but also directories
/// that may not be read or written, such as the `work/work` of mode 000 that
/// an overlay leaves behind.
///
/// Nothing outside of the tree is removed or changed, whoever moves things in
/// it meanwhile: no symbolic link is followed, no mount is entered, and no
/// directory is reached by `..`. It holds some 60 descriptors at most, however
/// deep the tree is, and does with fewer where the limit is low.
///
/// # Errors
///
/// When something cannot be removed: the rest is, and the error names the first
/// such path, and the remedy; unlinkat(2). A tree that is gone already is no
/// error.
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

/// As [`remove_tree`], for a tree in the open directory `above`. The path of
/// the tree is for its last name, and for messages.
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

/// How many directories stay open.
const DESCRIPTORS: usize = 60;

/// A directory on the way to the current one.
struct Level {
    /// Its name in the one above.
    name: CString,
    /// The device and the inode, by which it is known again.
    id: (u64, u64),
    /// Open in the first level, the last one, and some before that.
    dir: Option<OwnedFd>,
    /// Directories in it that have something in them.
    left: Vec<CString>,
    /// Whether something in it stays, as it cannot be removed.
    stays: bool,
}

/// A way through a tree, during which others may move what is on it.
struct Walk<'a> {
    tree: &'a Path,
    /// The first is the directory above the tree, in which only that is
    /// touched.
    levels: Vec<Level>,
    most: usize,
    skipped: Skipped,
}

/// What stays.
#[derive(Default)]
struct Skipped {
    first: Option<(PathBuf, Why)>,
    more: usize,
}

/// Why something stays.
#[derive(Clone, Copy)]
enum Why {
    Errno(Errno),
    /// The same where another user owns it, or the directory that it is in.
    Theirs(Errno),
    /// Another directory has its name now.
    Moved,
}

impl Walk<'_> {
    fn new(above: OwnedFd, name: CString, tree: &Path, most: usize) -> Walk<'_> {
        let left = vec![name];
        let first =
            Level { name: CString::default(), id: (0, 0), dir: Some(above), left, stays: false };
        Walk { tree, levels: vec![first], most, skipped: Skipped::default() }
    }

    /// Goes into a directory and empties it, or out of one and removes it.
    /// Returns whether there is more to do.
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

    /// Removes the entries of the current directory, save directories with
    /// something in them, which it notes as left.
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
            // A file system that does not tell the type of an entry, or another
            // entry by now.
            if let Err(Errno::EISDIR | Errno::ENOTDIR) = removed {
                is_dir = !is_dir;
                removed = unlinkat(dir, name.as_c_str(), flag(is_dir));
            }
            match removed {
                Ok(()) => {}
                // EACCES: a file system that looks into the directory first.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EACCES) if is_dir => {
                    self.levels.last_mut().into_iter().for_each(|it| it.left.push(name.clone()));
                }
                Err(why) => self.skip(&name, Why::Errno(why)),
            }
        }
    }

    /// Goes back to the directory above, by the descriptor that is kept of it.
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

    /// Opens the last level again, by the names from the first one on. A
    /// directory that is no longer where it was is not looked for: the last
    /// level is then the one in which it was.
    ///
    /// Returns whether all were found.
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

    /// Closes a directory above the one that was opened last, of which there
    /// are `index`, when as many are open as may be.
    fn spare(&mut self, index: usize) {
        if index > self.most {
            self.levels[index - self.most].dir = None;
        }
    }

    /// Makes do with fewer descriptors, if it can.
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

    /// Leaves `name` in the current directory. What is gone needs no removing.
    fn skip(&mut self, name: &CStr, why: Why) {
        if matches!(why, Why::Errno(Errno::ENOENT)) {
            return;
        }
        if self.skipped.first.is_some() {
            self.skipped.more += 1;
        } else {
            self.skipped.first = Some((self.path(name), self.looked_into(name, why)));
        }
        self.levels.last_mut().into_iter().for_each(|level| level.stays = true);
    }

    /// Whether a refusal is because of another user.
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
        // A line for people has no use for thousands of them.
        let (start, end) = (names.clone().take(SHOWN), names.skip(SHOWN));
        path.extend(start.map(|name| OsStr::from_bytes(name.to_bytes())));
        if end.count() > 0 {
            path.push("...");
        }
        path.push(OsStr::from_bytes(name.to_bytes()));
        path
    }

    /// Names what stays, if anything does.
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
        bail!("{line}: {why}; {remedy}")
    }
}

/// How many directories of a deep path a message shows.
const SHOWN: usize = 40;

#[cfg(test)]
#[path = "remove/tests.rs"]
mod tests;
