//! The directory beside a root: what is in it, and whether it is ours.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::getuid;
use rustix::fs::{Mode, mkdirat, renameat};
use rustix::io::Errno;

use super::folder::Folder;
use super::place::not_ours;
use super::releases::Release;
use crate::say::note;

/// What tells that we made the cache. Its last line is the directory's birth:
/// in a copy of the cache it is another one's.
pub(crate) const MARKER: &str = "made-by-fetch-rootfs";

/// A root in the making, and the old one on its way out.
pub(crate) const NEW: &str = "new";
/// The old root on its way out, on file systems that cannot exchange.
pub(crate) const ASIDE: &str = "aside";
/// What could not be removed, and was named.
pub(crate) const LEFT: &str = "left-";
/// The record of what the root is. The rest of its name is the root's birth, so
/// that it is right from the moment at which the root is in its place, and says
/// nothing about another directory there.
pub(crate) const RECORD: &str = "root-";

/// What we put into a cache.
pub(crate) enum Kind {
    Marker,
    /// The archive of a release, or its digest.
    Release,
    /// Another archive, known by its digest.
    Archive,
    Record,
    /// What only a killed run leaves.
    Passing,
    Left,
}

/// What has a name that we give.
pub(crate) fn kind(name: &OsStr) -> Option<Kind> {
    let name = name.to_str()?;
    let is = |text: &str, c: fn(char) -> bool| !text.is_empty() && text.chars().all(c);
    let archive = name.strip_suffix(".sha512").or_else(|| name.strip_suffix(".sha256"));
    if Release::of_archive(archive.unwrap_or(name)).is_some() {
        Some(Kind::Release)
    } else if let Some(digest) = name.strip_suffix(".tar.gz") {
        is(digest, |c| c.is_ascii_hexdigit()).then_some(Kind::Archive)
    } else if let Some(birth) = name.strip_prefix(RECORD) {
        is(birth.trim_start_matches("inode-"), |c| c.is_ascii_digit()).then_some(Kind::Record)
    } else if name == MARKER {
        Some(Kind::Marker)
    } else if let Some(number) = name.strip_prefix(LEFT) {
        is(number, |c| c.is_ascii_digit()).then_some(Kind::Left)
    } else if let Some(whole) = name.strip_suffix(".part") {
        kind(OsStr::new(whole)).map(|_| Kind::Passing)
    } else {
        // A former version gave the new root a name by chance.
        let random = name.strip_prefix("new-").is_some_and(|it| is(it, |c| c.is_alphanumeric()));
        (random || name == NEW || name == ASIDE).then_some(Kind::Passing)
    }
}

/// Whether a directory that has no marker holds what we put into a cache, and
/// nothing else.
pub(crate) fn are_ours(names: &[OsString]) -> bool {
    let kinds: Vec<_> = names.iter().map(|name| kind(name)).collect();
    let lasts =
        |kind: &Option<Kind>| matches!(kind, Some(Kind::Release | Kind::Archive | Kind::Record));
    let marked = names
        .iter()
        .any(|name| name.to_str().and_then(|it| it.strip_suffix(".part")) == Some(MARKER));
    kinds.is_empty() || kinds.iter().all(Option::is_some) && (marked || kinds.iter().any(lasts))
}

/// Removes what is in the cache. What cannot be removed is named now, and
/// is in nobody's way from then on.
pub(crate) fn discard(cache: &Folder, name: &OsStr) {
    if cache.remove(name).is_ok() {
        return;
    }
    let left = (0..).map(|number| format!("{LEFT}{number}")).find(|left| !cache.has(left));
    let left = left.unwrap_or_default();
    let renamed = renameat(cache, name, cache, &left);
    let name = renamed.map_or(name, |()| OsStr::new(&left));
    if let Err(error) = cache.remove(name) {
        note(&common::one_line(&error));
    }
}

/// Saves what is not ours and cannot be put back from the next sweep.
pub(crate) fn keep(cache: &Folder, name: &str, error: anyhow::Error) -> anyhow::Error {
    let kept = format!("found-{}", std::process::id());
    let renamed = cache.rename(name, &kept);
    let path = cache.join(renamed.map_or(name, |()| &kept));
    error.context(format!("the directory that was there is now {}", path.display()))
}

pub(crate) fn record_name(root: &Folder) -> Result<String> {
    Ok(format!("{RECORD}{}", root.birth()?))
}

pub(crate) fn is_ours(folder: &Folder) -> Result<bool> {
    let found = folder.dir().metadata();
    let found = found.with_context(|| format!("look at {}", folder.path().display()))?;
    Ok(found.uid() == getuid().as_raw())
}

/// The directory beside the root, made where it is missing and locked.
pub(crate) fn lock(above: &OwnedFd, path: PathBuf, dest: &Path) -> Result<Folder> {
    let doing = || format!("lock {}", path.display());
    let name = path.file_name().unwrap_or_default();
    loop {
        match mkdirat(above, name, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => {
                let made = made.map_err(|errno| not_ours(errno.into()));
                made.with_context(|| format!("make {}", path.display()))?;
            }
        }
        let private = match Folder::open(above, path.clone()) {
            // Removed meanwhile.
            Err(Errno::NOENT) => continue,
            Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => None,
            opened => Some(opened.with_context(doing)?),
        };
        let private = private.filter(|it| is_private(it.dir()));
        let cache = private.with_context(|| {
            format!("use {}: it must be a directory that only this user can write to; remove it, or name another directory with --dest", path.display())
        })?;
        match cache.dir().try_lock() {
            Err(TryLockError::WouldBlock) => {
                note(&format!(
                    "waiting for another fetch-rootfs, which works on {}",
                    dest.display()
                ));
                cache.dir().lock().with_context(doing)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
            Ok(()) => {}
        }
        // A directory that was removed meanwhile locks nothing.
        if cache.dir().metadata().with_context(doing)?.nlink() > 0 {
            return Ok(cache);
        }
    }
}

/// Whether a directory is this user's, and nobody else may write to it.
fn is_private(dir: &File) -> bool {
    let found = dir.metadata();
    found.is_ok_and(|it| it.uid() == getuid().as_raw() && it.mode() & 0o022 == 0)
}
