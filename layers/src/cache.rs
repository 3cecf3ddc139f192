//! A directory of a store: its contents, and whether it is ours.

use std::ffi::OsStr;
use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{fchown, getgid};

use crate::folder::PART;
use crate::place::make_directory;
use crate::{Client, Digest, Folder};

/// An unfinished root, and then the old root until it is removed.
pub(crate) const NEW: &str = "new";
/// A tree that could not be removed.
const LEFT: &str = "left-";
/// The record of the root. The rest of its name is the birth of the root. So it
/// becomes valid at the moment when the root is in its place, and is not valid for
/// another directory there.
pub(crate) const RECORD: &str = "root-";

/// The time between two tries to lock a directory.
const PAUSE: Duration = Duration::from_millis(20);

/// A directory that belongs to this user, and in which only the programs of a client
/// work.
pub(crate) struct Cache {
    pub(crate) folder: Folder,
    pub(crate) client: Client,
}

impl Cache {
    /// As [`Cache::open`], and locks the directory, after the end of another run that works on
    /// `what`.
    pub(crate) fn open_locked(
        above: &Folder,
        name: &OsStr,
        client: Client,
        what: &Path,
        check: impl Fn(&Folder) -> Result<()>,
    ) -> Result<Cache> {
        loop {
            let cache = Cache::open(above, name, client, &check)?;
            cache.lock(what)?;
            // The lock of a directory that was removed does not count.
            if cache.folder.metadata()?.nlink() > 0 {
                return Ok(cache);
            }
        }
    }

    /// Opens the directory `name`. Makes it if it is missing. `check` looks at the directory
    /// before its mode is changed.
    pub(crate) fn open(
        above: &Folder,
        name: &OsStr,
        client: Client,
        check: impl Fn(&Folder) -> Result<()>,
    ) -> Result<Cache> {
        let path = above.join(name);
        let doing = || format!("open {}", path.display());
        loop {
            make_directory(above, name, Mode::S_IRWXU, client)?;
            let folder = match above.folder(name) {
                // Another program removed it.
                Err(Errno::ENOENT) => continue,
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => None,
                opened => Some(opened.with_context(doing)?).filter(is_private),
            };
            let folder = folder.with_context(|| {
                format!(
                    "use {}: it must be a directory that only this user can write to; remove it, or {}",
                    path.display(),
                    client.another()
                )
            })?;
            check(&folder).with_context(|| format!("use {}", path.display()))?;
            // A user that can open the directory can lock it for ever.
            if folder.metadata()?.mode() & 0o7777 != 0o700 {
                fchmod(&folder, Mode::S_IRWXU).with_context(doing)?;
            }
            return Ok(Cache { folder, client });
        }
    }

    /// Locks the directory, after the end of another run that works on `what`. The lock
    /// ends with the directory's descriptor.
    pub(crate) fn lock(&self, what: &Path) -> Result<()> {
        let doing = || format!("lock {}", self.folder.path().display());
        let mut is_told = false;
        // A container blocks signals, and flock(2) would wait on after one.
        while !self.try_lock().with_context(doing)? {
            if !is_told {
                let (name, what) = (self.client.name, what.display());
                (self.client.tell)(&format!("waiting for another {name}, which works on {what}"));
                is_told = true;
            }
            common::stop_if_asked()?;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Locks the directory, unless another run has locked it. Returns whether it did.
    pub(crate) fn try_lock(&self) -> std::io::Result<bool> {
        match self.folder.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    /// Whether the directory has our marker. The last line of the marker is the birth of
    /// the directory: a copy of the directory has another birth.
    pub(crate) fn is_claimed(&self) -> Result<bool> {
        let birth = self.folder.birth()?;
        let text = self.folder.read(&self.client.marker()).unwrap_or_default();
        Ok(text.split(|&byte| byte == b'\n').any(|it| it == birth.as_bytes()))
    }

    /// Checks that the directory is ours: it has our marker, or is empty. For a copy,
    /// calls `of_copy` before it claims the copy.
    pub(crate) fn claim(&self, of_copy: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.is_claimed()? {
            return Ok(());
        }
        let (name, marker) = (self.client.name, self.client.marker());
        if self.folder.has(&marker) {
            of_copy()?;
        } else {
            ensure!(
                // A killed run may have left the unfinished marker.
                self.folder.names()?.iter().all(|name| *name == *format!("{marker}{PART}")),
                "use {}: {name} did not make it; move or remove it, or {}",
                self.folder.path().display(),
                self.client.another()
            );
        }
        let birth = self.folder.birth()?;
        let text =
            format!("Made by {name}, which removes here what it no longer needs.\n{birth}\n");
        self.folder.write(&marker, text.as_bytes())
    }

    /// Removes unfinished files, and the records and archives of roots, except those that
    /// `stays` names. Files with other names stay. No other run is active.
    pub(crate) fn sweep(&self, stays: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.folder.names()? {
            let Some(text) = name.to_str() else { continue };
            let digest = text.strip_suffix(".tar.gz").and_then(Digest::parse);
            let is_of_root = digest.is_some() || text.starts_with(RECORD);
            if text.starts_with(LEFT) {
                // The client was told of it.
                let _ = self.folder.remove(&name);
            } else if text == NEW || text.ends_with(PART) || is_of_root && !stays(text) {
                self.discard(&name);
            }
        }
        Ok(())
    }

    /// Does work in the empty directory [`NEW`], and then removes what has this name.
    pub(crate) fn in_new<T>(&self, work: impl FnOnce(&Folder) -> Result<T>) -> Result<T> {
        let done = self.new_directory().and_then(|new| work(&new));
        self.discard(NEW.as_ref());
        done
    }

    fn new_directory(&self) -> Result<Folder> {
        let doing = || format!("make a directory in {}", self.folder.path().display());
        mkdirat(&self.folder, NEW, Mode::S_IRWXU).with_context(doing)?;
        let dir = self.folder.folder(NEW).with_context(doing)?;
        // In a set-group-ID directory, the new root would have another group, and
        // all its files as well. A container can only change files of the caller's
        // group.
        fchown(&dir, None, Some(getgid())).with_context(doing)?;
        fchmod(&dir, Mode::S_IRWXU).with_context(doing)?;
        Ok(dir)
    }

    /// Removes an entry. If a part of it cannot be removed, tells the client its name,
    /// and renames it so that it blocks no later run.
    pub(crate) fn discard(&self, name: &OsStr) {
        if self.folder.remove(name).is_ok() {
            return;
        }
        let left = self.free_name(LEFT);
        let renamed = self.folder.rename(name, &left);
        let name = renamed.map_or(name, |()| OsStr::new(&left));
        if let Err(error) = self.folder.remove(name) {
            (self.client.tell)(&common::one_line(&error));
        }
    }

    /// The first name with this beginning that the directory does not have.
    pub(crate) fn free_name(&self, beginning: &str) -> String {
        let mut names = (0..).map(|number: u64| format!("{beginning}{number}"));
        names.find(|name| !self.folder.has(name)).unwrap_or_default()
    }
}

/// Whether a directory belongs to this user, and no other user may write to it.
fn is_private(dir: &Folder) -> bool {
    let closed = dir.metadata().is_ok_and(|found| found.mode() & 0o022 == 0);
    closed && dir.is_ours().unwrap_or(false)
}

/// The name of the record of a root.
pub(crate) fn record_name(root: &Folder) -> Result<String> {
    Ok(format!("{RECORD}{}", root.birth()?))
}
