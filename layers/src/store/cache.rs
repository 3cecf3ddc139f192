//! The directory beside a root, the cache: its contents, and whether it is ours.

use std::ffi::OsStr;
use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::stat::Mode;

use super::{Client, Contents, Store};
use crate::folder::PART;
use crate::place::make_directory;
use crate::{Digest, Folder};

/// An unfinished root, and then the old root until it is removed.
pub(super) const NEW: &str = "new";
/// The old root, on file systems that cannot exchange two directories.
pub(super) const ASIDE: &str = "aside";
/// A tree that could not be removed. The client was told its name.
const LEFT: &str = "left-";
/// A directory that is not ours. An error named it.
const FOUND: &str = "found-";
/// The record of the root. The rest of its name is the birth of the root. So it
/// becomes valid at the moment when the root is in its place, and is not valid for
/// another directory there.
const RECORD: &str = "root-";

/// Opens and locks the directory `name` beside the root `dest`. Makes it if it is
/// missing. Before it waits for the lock, `prepare` looks at the directory.
pub(super) fn lock(
    above: &Folder,
    name: &OsStr,
    dest: &Path,
    client: Client,
    prepare: impl Fn(&Folder) -> Result<()>,
) -> Result<Folder> {
    let path = above.join(name);
    let doing = || format!("lock {}", path.display());
    loop {
        make_directory(above, name, Mode::S_IRWXU, client)?;
        let cache = match above.folder(name) {
            // Another program removed it.
            Err(Errno::ENOENT) => continue,
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => None,
            opened => Some(opened.with_context(doing)?).filter(is_private),
        };
        let cache = cache.with_context(|| {
            format!(
                "use {}: it must be a directory that only this user can write to; remove it, or {}",
                path.display(),
                client.another()
            )
        })?;
        prepare(&cache).with_context(doing)?;
        match cache.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => {
                let (name, dest) = (client.name, dest.display());
                (client.tell)(&format!("waiting for another {name}, which works on {dest}"));
                cache.as_file().lock().with_context(doing)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
            Ok(()) => {}
        }
        // The lock of a removed directory does not count.
        if cache.metadata()?.nlink() > 0 {
            return Ok(cache);
        }
    }
}

/// Whether a directory belongs to this user, and no other user may write to it.
fn is_private(dir: &Folder) -> bool {
    let closed = dir.metadata().is_ok_and(|found| found.mode() & 0o022 == 0);
    closed && dir.is_ours().unwrap_or(false)
}

impl Store {
    /// Checks that the cache is ours: it has our marker, or is empty. The last line of
    /// the marker is the birth of the directory: a copy of the cache has another birth.
    pub(super) fn claim(&self) -> Result<()> {
        let (birth, marker) = (self.cache.birth()?, self.client.marker());
        match self.cache.read(&marker) {
            Some(text) if text.split(|&byte| byte == b'\n').any(|it| it == birth.as_bytes()) => {
                return Ok(());
            }
            Some(_) => self.adopt()?,
            None => ensure!(
                // A killed run may have left the unfinished marker.
                self.cache.names()?.iter().all(|name| *name == *format!("{marker}{PART}")),
                "use {}: {} did not make it; move or remove it, or {}",
                self.cache.path().display(),
                self.client.name,
                self.client.another()
            ),
        }
        let name = self.client.name;
        let text =
            format!("Made by {name}, which removes here what it no longer needs.\n{birth}\n");
        self.cache.write(&marker, text.as_bytes())
    }

    /// After a copy of both, renames the record for the copied root.
    fn adopt(&self) -> Result<()> {
        let names = self.cache.names()?;
        let names = names.iter().filter_map(|name| name.to_str());
        let mut records = names.filter(|name| name.starts_with(RECORD));
        let (Some(record), None) = (records.next(), records.next()) else {
            return Ok(());
        };
        if let Ok(root) = self.above.folder(&self.name)
            && root.is_ours()?
        {
            let renamed = self.cache.rename(record, record_name(&root)?);
            renamed.with_context(|| format!("rename {}", self.cache.join(record).display()))?;
        }
        Ok(())
    }

    /// Removes entries that are no longer needed. No other run is active.
    pub(super) fn sweep(&self) -> Result<()> {
        let back = match self.cache.has(ASIDE) {
            true => self.cache.move_to(ASIDE, &self.above, &self.name),
            false => Ok(()),
        };
        let found = self.look()?;
        // If the new root is in its place, the old root is removed below.
        if let (Err(errno), Contents::Nothing | Contents::Other) = (back, &found.contents) {
            let error = self.refused(errno, &found);
            return Err(self.rescue(ASIDE, error))
                .with_context(|| format!("put the old root back in {}", self.dest.display()));
        }
        let record = found.dir.as_ref().map(record_name).transpose()?;
        let archive = match &found.contents {
            Contents::Root(text) => {
                text.rsplit(' ').next().map(|digest| format!("{digest}.tar.gz"))
            }
            _ => None,
        };
        for name in self.cache.names()? {
            let of_root = [&record, &archive].iter().any(|it| it.as_deref() == name.to_str());
            match kind(&name, self.client) {
                Some(Kind::OfRoot) if of_root => {}
                Some(Kind::OfRoot | Kind::Passing) => self.discard(&name),
                Some(Kind::Left) => drop(self.cache.remove(&name)),
                Some(Kind::Kept) | None => {}
            }
        }
        Ok(())
    }

    /// Removes an entry of the cache. If a part of it cannot be removed, tells the
    /// client its name, and renames it so that it blocks no later run.
    pub(super) fn discard(&self, name: &OsStr) {
        if self.cache.remove(name).is_ok() {
            return;
        }
        let left = self.free_name(LEFT);
        let renamed = self.cache.rename(name, &left);
        let name = renamed.map_or(name, |()| OsStr::new(&left));
        if let Err(error) = self.cache.remove(name) {
            (self.client.tell)(&common::one_line(&error));
        }
    }

    /// The first name with this beginning that the cache does not have.
    fn free_name(&self, beginning: &str) -> String {
        let mut names = (0..).map(|number: u64| format!("{beginning}{number}"));
        names.find(|name| !self.cache.has(name)).unwrap_or_default()
    }

    /// Renames a directory that is not ours and cannot be put back: no run may remove
    /// it.
    pub(super) fn rescue(&self, name: &str, error: anyhow::Error) -> anyhow::Error {
        let found = self.free_name(FOUND);
        let renamed = self.cache.rename(name, &found);
        let path = self.cache.join(renamed.map_or(name, |()| &found));
        error.context(format!("the directory that was there is now {}", path.display()))
    }
}

/// The files and directories that a store and its client make in a cache.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// The marker, or a file that the client keeps.
    Kept,
    /// The record of a root, or its archive, of which only the digest is known.
    OfRoot,
    /// Only a killed run leaves such a file.
    Passing,
    Left,
}

/// The kind of an entry, if it has a name that a store or its client gives.
pub(super) fn kind(name: &OsStr, client: Client) -> Option<Kind> {
    let name = name.to_str()?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if name == client.marker() || (client.keeps)(name) {
        Some(Kind::Kept)
    } else if let Some(digest) = name.strip_suffix(".tar.gz") {
        Digest::parse(digest).map(|_| Kind::OfRoot)
    } else if let Some(birth) = name.strip_prefix(RECORD) {
        let (time, inode) = birth.split_once('-')?;
        let is_birth = (time == "inode" || is_number(time)) && is_number(inode);
        is_birth.then_some(Kind::OfRoot)
    } else if let Some(number) = name.strip_prefix(LEFT) {
        is_number(number).then_some(Kind::Left)
    } else if let Some(whole) = name.strip_suffix(PART) {
        kind(whole.as_ref(), client).map(|_| Kind::Passing)
    } else {
        (name == NEW || name == ASIDE).then_some(Kind::Passing)
    }
}

/// The name of the record of a root.
pub(super) fn record_name(root: &Folder) -> Result<String> {
    Ok(format!("{RECORD}{}", root.birth()?))
}
