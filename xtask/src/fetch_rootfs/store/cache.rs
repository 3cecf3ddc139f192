//! The directory beside a root, the cache: its contents, and whether it is ours.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::getuid;

use super::place::not_ours;
use super::{Store, There};
use crate::fetch_rootfs::folder::Folder;
use crate::fetch_rootfs::releases::Release;
use crate::say::note;

/// The file that shows that fetch-rootfs made the cache. Its last line is the birth
/// of the directory: a copy of the cache has another birth.
pub(super) const MARKER: &str = "made-by-fetch-rootfs";

/// An unfinished root, and then the old root until it is removed.
pub(super) const NEW: &str = "new";
/// The old root, on file systems that cannot exchange two directories.
pub(super) const ASIDE: &str = "aside";
/// A tree that could not be removed. Its name was printed.
pub(super) const LEFT: &str = "left-";
/// A directory that is not ours. An error named it.
const FOUND: &str = "found-";
/// The record of the root. The rest of its name is the birth of the root. So it
/// becomes valid at the moment when the root is in its place, and is not valid for
/// another directory there.
pub(super) const RECORD: &str = "root-";

/// Opens and locks the directory `name` beside the root `dest`. Makes it if it is
/// missing.
pub(super) fn lock(above: &Folder, name: &OsStr, dest: &Path) -> Result<Folder> {
    let path = above.join(name);
    let doing = || format!("lock {}", path.display());
    loop {
        match mkdirat(above, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {}
            made => {
                made.map_err(not_ours).with_context(|| format!("make {}", path.display()))?;
            }
        }
        let private = match above.folder(name) {
            // Another program removed it.
            Err(Errno::ENOENT) => continue,
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => None,
            opened => Some(opened.with_context(doing)?),
        };
        let private = private.filter(|it| is_private(it.as_file()));
        let cache = private.with_context(|| {
            format!("use {}: it must be a directory that only this user can write to; remove it, or name another directory with --dest", path.display())
        })?;
        // A user that can open the directory can lock it for ever.
        fchmod(&cache, Mode::S_IRWXU).with_context(doing)?;
        match cache.as_file().try_lock() {
            Err(TryLockError::WouldBlock) => {
                note(&format!(
                    "waiting for another fetch-rootfs, which works on {}",
                    dest.display()
                ));
                cache.as_file().lock().with_context(doing)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
            Ok(()) => {}
        }
        // The lock of a removed directory does not count.
        if cache.as_file().metadata().with_context(doing)?.nlink() > 0 {
            return Ok(cache);
        }
    }
}

/// Whether a directory belongs to this user, and no other user may write to it.
fn is_private(dir: &File) -> bool {
    let found = dir.metadata();
    found.is_ok_and(|it| it.uid() == getuid().as_raw() && it.mode() & 0o022 == 0)
}

impl Store {
    /// Checks that the cache is ours: it has our marker, or is from a former
    /// version, which had no marker, or is empty.
    pub(super) fn claim(&self) -> Result<()> {
        let birth = self.cache.birth()?;
        match self.cache.read(MARKER) {
            Some(text) if text.split(|&byte| byte == b'\n').any(|it| it == birth.as_bytes()) => {
                return Ok(());
            }
            Some(_) => self.adopt()?,
            None => ensure!(
                are_ours(&self.cache.names()?),
                "use {}: fetch-rootfs did not make it; move or remove it, or name another directory with --dest",
                self.cache.path().display()
            ),
        }
        let text = format!(
            "Made by `cargo xtask fetch-rootfs`, which removes here what it no longer needs.\n{birth}\n"
        );
        self.cache.write(MARKER, text.as_bytes())
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
            && is_ours(&root)?
        {
            let renamed = self.cache.rename(record, &record_name(&root)?);
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
        let seen = self.look()?;
        // If the new root is in its place, the old root is removed below.
        if let (Err(errno), There::Nothing | There::Other) = (back, &seen.there) {
            let error = self.refused(errno, &seen);
            return Err(rescue(&self.cache, ASIDE, error))
                .with_context(|| format!("put the old root back in {}", self.dest.display()));
        }
        let record = seen.dir.as_ref().map(record_name).transpose()?;
        // Other roots can use the archives of releases, too.
        let archive = match seen.there {
            There::Root(root) => root.archive(),
            _ => None,
        };
        for name in self.cache.names()? {
            let of_root = [&record, &archive].iter().any(|it| it.as_deref() == name.to_str());
            match kind(&name) {
                Some(Kind::Left) => drop(self.cache.remove(&name)),
                Some(Kind::Record | Kind::Archive) if of_root => {}
                Some(Kind::Record | Kind::Archive | Kind::Passing) => discard(&self.cache, &name),
                Some(Kind::Release | Kind::Marker) | None => {}
            }
        }
        Ok(())
    }
}

/// The files and directories that fetch-rootfs makes in a cache.
pub(super) enum Kind {
    Marker,
    /// The archive of a release, or its digest.
    Release,
    /// Another archive, known by its digest.
    Archive,
    Record,
    /// Only a killed run leaves such a file.
    Passing,
    Left,
}

/// The kind of an entry, if it has a name that fetch-rootfs gives.
pub(super) fn kind(name: &OsStr) -> Option<Kind> {
    let name = name.to_str()?;
    let is = |text: &str, c: fn(char) -> bool| !text.is_empty() && text.chars().all(c);
    let archive = name.strip_suffix(".sha512").or_else(|| name.strip_suffix(".sha256"));
    if Release::of_archive(archive.unwrap_or(name)).is_some() {
        Some(Kind::Release)
    } else if let Some(digest) = name.strip_suffix(".tar.gz") {
        is(digest, |c| c.is_ascii_hexdigit()).then_some(Kind::Archive)
    } else if let Some(birth) = name.strip_prefix(RECORD) {
        // A former version gave only the time of birth.
        let (birth, inode) = birth.split_once('-').unwrap_or((birth, birth));
        let is_number = |text| is(text, |c| c.is_ascii_digit());
        ((birth == "inode" || is_number(birth)) && is_number(inode)).then_some(Kind::Record)
    } else if name == MARKER {
        Some(Kind::Marker)
    } else if let Some(number) = name.strip_prefix(LEFT) {
        is(number, |c| c.is_ascii_digit()).then_some(Kind::Left)
    } else if let Some(whole) = name.strip_suffix(".part") {
        kind(OsStr::new(whole)).map(|_| Kind::Passing)
    } else {
        // A former version gave the new root a random name.
        let random = name.strip_prefix("new-").is_some_and(|it| is(it, |c| c.is_alphanumeric()));
        (random || name == NEW || name == ASIDE).then_some(Kind::Passing)
    }
}

/// Whether a directory without a marker has only entries that fetch-rootfs makes.
pub(super) fn are_ours(names: &[OsString]) -> bool {
    let kinds: Vec<_> = names.iter().map(|name| kind(name)).collect();
    let lasts =
        |kind: &Option<Kind>| matches!(kind, Some(Kind::Release | Kind::Archive | Kind::Record));
    let marked = names
        .iter()
        .any(|name| name.to_str().and_then(|it| it.strip_suffix(".part")) == Some(MARKER));
    // Other programs have files with names such as `new-1`, too.
    kinds.is_empty() || (kinds.iter().all(Option::is_some) && (marked || kinds.iter().any(lasts)))
}

/// Removes an entry of the cache. If a part of it cannot be removed, prints its
/// name, and renames it so that it blocks no later run.
pub(super) fn discard(cache: &Folder, name: &OsStr) {
    if cache.remove(name).is_ok() {
        return;
    }
    let left = free_name(cache, LEFT);
    let renamed = cache.rename(name, &left);
    let name = renamed.map_or(name, |()| OsStr::new(&left));
    if let Err(error) = cache.remove(name) {
        note(&common::one_line(&error));
    }
}

/// The first name with this beginning that the cache does not have.
fn free_name(cache: &Folder, beginning: &str) -> String {
    let mut names = (0..).map(|number: u64| format!("{beginning}{number}"));
    names.find(|name| !cache.has(name)).unwrap_or_default()
}

/// Renames a directory that is not ours and cannot be put back: no run may remove
/// it.
pub(super) fn rescue(cache: &Folder, name: &str, error: anyhow::Error) -> anyhow::Error {
    let found = free_name(cache, FOUND);
    let renamed = cache.rename(name, &found);
    let path = cache.join(renamed.map_or(name, |()| &found));
    error.context(format!("the directory that was there is now {}", path.display()))
}

pub(super) fn record_name(root: &Folder) -> Result<String> {
    Ok(format!("{RECORD}{}", root.birth()?))
}

pub(super) fn is_ours(folder: &Folder) -> Result<bool> {
    Ok(folder.owner()? == getuid().as_raw())
}
