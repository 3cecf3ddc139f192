//! The place of a root: reads the present root, and replaces it in one step.
//!
//! Beside a root `rootfs` is a directory `.rootfs-cache`. It has archives, the record
//! of the root, and unfinished files. A marker says which program made it. A process
//! that holds its lock is the only process that changes the root and the cache.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::renameat;
use rustix::fs::{RenameFlags, renameat_with};

use crate::cache::{Cache, NEW, RECORD, record_name};
use crate::folder::errno;
use crate::{Folder, place};

/// The beginning of the name of a directory that is not ours. An error named it.
const FOUND: &str = "found-";

/// The program that uses a store.
#[derive(Clone, Copy)]
pub struct Client {
    /// Its name, in messages.
    pub name: &'static str,
    /// What it puts in the place, in messages: `a root`.
    pub puts: &'static str,
    /// Its option for another place, in messages.
    pub option: &'static str,
    /// Takes a note for the user.
    pub tell: fn(&str),
}

impl Client {
    /// The name of the file that marks the directory beside a root. In a copy of the
    /// directory, the contents of the file do not matter.
    pub fn marker(&self) -> String {
        format!("made-by-{}", self.name)
    }

    pub(crate) fn another(&self) -> String {
        format!("name another directory with {}", self.option)
    }

    pub(crate) fn refusal(&self, dest: &Path, why: impl Display) -> anyhow::Error {
        anyhow!("put {} in {}: {why}; {}", self.puts, dest.display(), self.another())
    }
}

/// The contents of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, or an empty directory.
    Nothing,
    /// A root of this store, with this record.
    Root(String),
    /// A directory with files that the store did not make, or of another user.
    Other,
}

/// The directory that was found at the place. Only this may be replaced.
pub struct Found {
    /// Its contents.
    pub contents: Contents,
    dir: Option<Folder>,
}

/// Opens the directory `dest`, and locks it, after the end of another run there. Makes it
/// if it is missing. Only this user can enter it. `check` looks at it before.
///
/// # Errors
///
/// When `check` fails, no directory may be there, or another user can write to it.
pub fn lock(dest: &Path, client: Client, check: impl Fn(&Folder) -> Result<()>) -> Result<Folder> {
    let (above, name) = place::find(dest, client)?;
    Ok(Cache::open_locked(&above, &name, client, &above.join(&name), check)?.folder)
}

/// The place of a root, which this process has locked.
pub struct Store {
    /// The absolute path of the root, without symbolic links.
    dest: PathBuf,
    /// The directory above the root, and the root's name in it.
    above: Folder,
    name: OsString,
    /// The locked directory beside the root.
    cache: Cache,
}

impl Store {
    /// Locks the place `dest`, after the end of another run there. Removes the
    /// files that a killed run has left.
    ///
    /// # Errors
    ///
    /// When no root may be there, this user cannot write there, or the directory
    /// beside it is not ours.
    pub fn open(dest: &Path, client: Client) -> Result<Store> {
        let (above, name) = place::find(dest, client)?;
        let dest = above.join(&name);
        let beside: OsString = [OsStr::new("."), &name, OsStr::new("-cache")].into_iter().collect();
        let cache = Cache::open_locked(&above, &beside, client, &dest, |_| Ok(()))?;
        let store = Store { above, name, dest, cache };
        store.cache.claim(|| store.adopt())?;
        store.sweep()?;
        Ok(store)
    }

    /// The absolute path of the root, without symbolic links.
    pub fn dest(&self) -> &Path {
        &self.dest
    }

    /// The directory beside the root. A file `DIGEST.tar.gz` stays there while the record of
    /// the root ends with the digest. A file of the client stays unless its name ends with
    /// [`PART`](crate::PART).
    pub fn cache(&self) -> &Folder {
        &self.cache.folder
    }

    /// After a copy of both, renames the record for the copied root.
    fn adopt(&self) -> Result<()> {
        let names = self.cache().names()?;
        let mut records =
            names.iter().filter_map(|name| name.to_str()?.starts_with(RECORD).then_some(name));
        let (Some(record), None) = (records.next(), records.next()) else {
            return Ok(());
        };
        if let Ok(root) = self.above.folder(&self.name)
            && root.is_ours()?
        {
            let renamed = self.cache().rename(record, record_name(&root)?);
            renamed.with_context(|| format!("rename {}", self.cache().join(record).display()))?;
        }
        Ok(())
    }

    /// Removes entries that are no longer needed. No other run is active.
    fn sweep(&self) -> Result<()> {
        let found = self.look()?;
        let record = found.dir.as_ref().map(record_name).transpose()?;
        let archive = match &found.contents {
            Contents::Root(text) => {
                text.rsplit(' ').next().map(|digest| format!("{digest}.tar.gz"))
            }
            _ => None,
        };
        self.cache.sweep(|name| [&record, &archive].iter().any(|it| it.as_deref() == Some(name)))
    }

    /// Looks at the place.
    ///
    /// # Errors
    ///
    /// When this user cannot look into the directory there, or it is something else.
    pub fn look(&self) -> Result<Found> {
        let dir = match self.above.folder(&self.name) {
            Err(Errno::ENOENT) => return Ok(Found { contents: Contents::Nothing, dir: None }),
            Err(errno @ Errno::EACCES) => {
                bail!("put a root in {}: {}", self.dest.display(), self.theirs(errno))
            }
            dir => dir.with_context(|| format!("look at {}", self.dest.display()))?,
        };
        let contents = if dir.names()?.is_empty() {
            Contents::Nothing
        } else if !dir.is_ours()? {
            // Its programs are not from this store, whatever the record says.
            Contents::Other
        } else {
            let record = self.cache().read(&record_name(&dir)?);
            let text = |record: Vec<u8>| String::from_utf8_lossy(&record).trim_end().to_owned();
            record.map_or(Contents::Other, |record| Contents::Root(text(record)))
        };
        Ok(Found { contents, dir: Some(dir) })
    }

    /// Checks that a directory may be replaced: it belongs to this user, and may be a root.
    fn may_replace(&self, found: &Found) -> Result<()> {
        if let Some(dir) = &found.dir
            && !dir.is_ours()?
        {
            bail!("put a root in {}: {}", self.dest.display(), self.theirs(Errno::EACCES));
        }
        if found.contents == Contents::Other
            && let Some(why) = place::reason_to_keep(&self.dest, &self.above)?
        {
            bail!(
                "replace {}: {} did not make it, and {why}; remove it first, or {}",
                self.dest.display(),
                self.cache.client.name,
                self.cache.client.another()
            );
        }
        Ok(())
    }

    fn theirs(&self, errno: Errno) -> anyhow::Error {
        anyhow!(
            "{}; it belongs to another user: remove it as that user or as root (sudo rm -r {}), or {}",
            errno.desc(),
            self.dest.display(),
            self.cache.client.another()
        )
    }

    /// Replaces the directory that was found at the place with a new root in one step, and
    /// removes the old directory. `make` makes the root in an empty directory, and returns
    /// its record and more.
    ///
    /// # Errors
    ///
    /// When the old directory belongs to another user or is never a root, `make` fails,
    /// another program has changed the place, or this user cannot change it.
    pub fn replace<R: Display, T>(
        &self,
        found: &Found,
        make: impl FnOnce(&Folder) -> Result<(R, T)>,
    ) -> Result<(R, T)> {
        self.may_replace(found)?;
        self.cache.in_new(|new| {
            let made = make(new)?;
            new.sync()?;
            // The record names this directory, so it says nothing about the place yet.
            self.cache().write(&record_name(new)?, format!("{}\n", made.0).as_bytes())?;
            let put = self.put(found);
            put.with_context(|| {
                format!("put {} in the place of {}", new.path().display(), self.dest.display())
            })?;
            if let Some(old) = &found.dir {
                self.cache.discard(record_name(old)?.as_ref());
            }
            Ok(made)
        })
    }

    /// Puts the new root in the place. The old root then has the name [`NEW`].
    fn put(&self, found: &Found) -> Result<()> {
        let (Some(old), Contents::Root(_) | Contents::Other) = (&found.dir, &found.contents) else {
            // It replaces an empty directory, but no other file; rename(2).
            return renameat(self.cache(), NEW, &self.above, &*self.name).map_err(refused);
        };
        let there = self.above.folder(&self.name).map_err(refused)?;
        ensure!(there.is(old)?, changed());
        let exchange = RenameFlags::EXCHANGE;
        match renameat_with(self.cache(), NEW, &self.above, &*self.name, exchange).map_err(errno) {
            // The file system or the kernel cannot exchange two directories.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                bail!("the file system cannot replace a directory in one step; remove it first")
            }
            exchanged => exchanged.map_err(refused)?,
        }
        self.keep_others(old)
    }

    /// Keeps a directory that was exchanged, unless it is the directory that was found: no
    /// run may remove it.
    fn keep_others(&self, old: &Folder) -> Result<()> {
        if self.cache().folder(NEW).is_ok_and(|moved| moved.is(old).unwrap_or(false)) {
            return Ok(());
        }
        let kept = self.cache.free_name(FOUND);
        let renamed = self.cache().rename(NEW, &kept);
        let path = self.cache().join(renamed.map_or(NEW, |()| &kept));
        Err(changed().context(format!("the directory that was there is now {}", path.display())))
    }
}

/// The reason why the place cannot be changed.
fn refused(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR | Errno::ENOENT => changed(),
        _ => errno.into(),
    }
}

fn changed() -> anyhow::Error {
    anyhow!("another program changed it; end that program, and try again")
}

#[cfg(test)]
pub(crate) mod tests;
