//! The place of a root: reads the present root, and replaces it in one step.
//!
//! Beside a root `rootfs` is a directory `.rootfs-cache`. It has the archives that
//! were downloaded or named, the record of the root, and unfinished files. A marker
//! says that fetch-rootfs made it. A process that holds its lock is the only
//! process that changes the root and the cache.

mod cache;
pub(super) mod place;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::others_can_rename_in;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{fchown, getgid};

use super::folder::Folder;
use super::root::Root;
use cache::{ASIDE, NEW, discard, is_ours, lock, record_name, rescue};

/// The contents of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing, or an empty directory.
    Nothing,
    Root(Root),
    /// A directory with files that fetch-rootfs did not make, or of another user.
    Other,
}

/// The directory that was found at the place. Only this may be replaced.
pub(crate) struct Seen {
    pub(crate) there: There,
    dir: Option<Folder>,
}

/// The place of a root, which this process has locked.
pub(crate) struct Store {
    /// The absolute path of the root, without symbolic links.
    dest: PathBuf,
    /// The directory above the root, and the root's name in it.
    above: Folder,
    name: OsString,
    /// The locked directory beside the root.
    cache: Folder,
}

impl Store {
    /// Locks the place `dest`, after the end of another run there. Removes the
    /// files that a killed run has left.
    ///
    /// # Errors
    ///
    /// When no root may be there, this user cannot write there, or the directory
    /// beside it is not ours.
    pub(crate) fn open(dest: &Path) -> Result<Store> {
        let (above, name) = place::find(dest)?;
        let dest = above.join(&name);
        let beside: OsString = [OsStr::new("."), &name, OsStr::new("-cache")].into_iter().collect();
        let cache = lock(&above, &beside, &dest)?;
        let store = Store { above, name, dest, cache };
        store.claim()?;
        store.sweep()?;
        Ok(store)
    }

    pub(crate) fn dest(&self) -> &Path {
        &self.dest
    }

    /// The directory beside the root.
    pub(crate) fn cache(&self) -> &Folder {
        &self.cache
    }

    /// The present contents of the place.
    pub(crate) fn look(&self) -> Result<Seen> {
        let dir = match self.above.folder(&self.name) {
            Err(Errno::ENOENT) => return Ok(Seen { there: There::Nothing, dir: None }),
            Err(errno @ Errno::EACCES) => {
                bail!("put a root in {}: {}", self.dest.display(), self.theirs(errno))
            }
            dir => dir.with_context(|| format!("look at {}", self.dest.display()))?,
        };
        let there = if dir.is_empty()? {
            There::Nothing
        } else if !is_ours(&dir)? {
            // Its programs are not from fetch-rootfs, whatever the record says.
            There::Other
        } else {
            let record = self.cache.read(&record_name(&dir)?).unwrap_or_default();
            let root = Root::of_record(String::from_utf8_lossy(&record).trim_end());
            root.map_or(There::Other, There::Root)
        };
        Ok(Seen { there, dir: Some(dir) })
    }

    /// Refuses to replace another user's directory, or a directory that is never a
    /// root.
    pub(crate) fn may_replace(&self, seen: &Seen) -> Result<()> {
        if let Some(dir) = &seen.dir
            && !is_ours(dir)?
        {
            bail!("put a root in {}: {}", self.dest.display(), self.theirs(Errno::EACCES));
        }
        if seen.there == There::Other {
            place::refuse_to_replace(&self.dest)?;
            // Another user can give this name to any directory of this user.
            ensure!(
                !others_can_rename_in(&self.above.metadata()?),
                "replace {}: fetch-rootfs did not make it, and other users can rename files in {}; remove it first, or name another directory with --dest",
                self.dest.display(),
                self.above.path().display()
            );
        }
        Ok(())
    }

    fn theirs(&self, errno: Errno) -> anyhow::Error {
        anyhow!(
            "{}; it belongs to another user: remove it as that user or as root (sudo rm -r {}), or name another directory with --dest",
            errno.desc(),
            self.dest.display()
        )
    }

    /// An empty directory to make a root in.
    pub(crate) fn new_root(&self) -> Result<NewRoot<'_>> {
        let doing = || format!("make a directory in {}", self.cache.path().display());
        mkdirat(&self.cache, NEW, Mode::S_IRWXU).with_context(doing)?;
        let dir = self.cache.folder(NEW).with_context(doing)?;
        // In a set-group-ID directory, the new root would have another group, and
        // all its files as well. A container can only change files of the caller's
        // group.
        fchown(&dir, None, Some(getgid())).with_context(doing)?;
        fchmod(&dir, Mode::S_IRWXU).with_context(doing)?;
        Ok(NewRoot { store: self, dir })
    }

    /// Exchanges the new root and the directory that was seen at the place.
    fn replace(&self, new: &Folder, seen: &Seen) -> Result<()> {
        let refused = |errno| self.refused(errno, seen);
        let Some(old) = &seen.dir else {
            return self.cache.move_to(NEW, &self.above, &self.name).map_err(refused);
        };
        let there = self.above.folder(&self.name).map_err(refused)?;
        ensure!(there.is(old)?, changed());
        match self.cache.exchange(NEW, &self.above, &self.name) {
            // The file system or the kernel cannot exchange two directories.
            Err(Errno::EINVAL | Errno::ENOSYS) => return self.replace_in_two_steps(seen),
            exchanged => exchanged.map_err(refused)?,
        }
        // Now the old root has the name NEW.
        if self.is_what_was_seen(NEW, seen) { Ok(()) } else { Err(self.take_back(new)) }
    }

    /// Exchanges the new root and a directory that is not the seen directory again.
    /// Only the new root is removed later.
    fn take_back(&self, new: &Folder) -> anyhow::Error {
        let exchanged = self.cache.exchange(NEW, &self.above, &self.name);
        let back = exchanged.and_then(|()| self.cache.folder(NEW));
        if back.is_ok_and(|back| back.is(new).unwrap_or(false)) {
            return changed();
        }
        rescue(&self.cache, NEW, changed())
    }

    /// If this process is killed between the steps, the next run finds the old root
    /// aside and puts it back.
    fn replace_in_two_steps(&self, seen: &Seen) -> Result<()> {
        let refused = |errno| self.refused(errno, seen);
        self.above.move_to(&self.name, &self.cache, ASIDE).map_err(refused)?;
        let put = if self.is_what_was_seen(ASIDE, seen) {
            self.cache.move_to(NEW, &self.above, &self.name).map_err(refused)
        } else {
            Err(changed())
        };
        if let Err(error) = put {
            return Err(match self.cache.move_to(ASIDE, &self.above, &self.name) {
                Ok(()) => error,
                Err(_) => rescue(&self.cache, ASIDE, error),
            });
        }
        // From now on, no run puts it back.
        self.cache.rename(ASIDE, NEW).map_err(refused)
    }

    /// The reason why the place cannot be changed.
    fn refused(&self, errno: Errno, seen: &Seen) -> anyhow::Error {
        match (errno, &seen.dir) {
            (Errno::EACCES | Errno::EPERM, Some(dir)) if !is_ours(dir).unwrap_or(true) => {
                self.theirs(errno)
            }
            (Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR | Errno::ENOENT, _) => changed(),
            _ => errno.into(),
        }
    }

    fn is_what_was_seen(&self, name: &str, seen: &Seen) -> bool {
        let (Ok(moved), Some(old)) = (self.cache.folder(name), &seen.dir) else {
            return false;
        };
        // Another program can have filled the empty directory.
        let is_filled = seen.there == There::Nothing && !moved.is_empty().unwrap_or(false);
        !is_filled && moved.is(old).unwrap_or(false)
    }
}

fn changed() -> anyhow::Error {
    anyhow!("another program changed it; end that program, and try again")
}

/// An unfinished root. It is removed unless it is put in its place.
pub(crate) struct NewRoot<'a> {
    store: &'a Store,
    dir: Folder,
}

impl NewRoot<'_> {
    /// The directory for the new root.
    pub(crate) fn dir(&self) -> &Folder {
        &self.dir
    }

    /// Replaces the directory that was seen at the place with the new root in one
    /// step, and removes the old directory.
    pub(crate) fn put(self, root: &Root, seen: &Seen) -> Result<()> {
        let store = self.store;
        // The record names this directory, so it says nothing about the place yet.
        store.cache.write(&record_name(&self.dir)?, format!("{root}\n").as_bytes())?;
        let new = self.dir.path().display();
        let doing = || format!("put {new} in the place of {}", store.dest.display());
        store.replace(&self.dir, seen).with_context(doing)?;
        if let Some(old) = &seen.dir {
            discard(&store.cache, record_name(old)?.as_ref());
        }
        Ok(())
    }
}

impl Drop for NewRoot<'_> {
    /// Removes an unfinished root, or the old root.
    fn drop(&mut self) {
        discard(&self.store.cache, NEW.as_ref());
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
