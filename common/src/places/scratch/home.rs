//! The home: the directory for a user's scratch directories.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::sys::statfs::fstatfs;
use nix::unistd::getuid;

use super::NO_ATTRIBUTES;
use super::dir::{Dir, MAKE, has_user_attributes};
use super::removal::Removal;
use crate::child::signals::is_ignored;
use crate::note;
use crate::places::open;
use crate::places::private::{Private, Purpose, make_or_open};

/// The places for the home, in this order, if `$TMPDIR` is not set. All are sticky
/// and belong to root, so that no other user can rename a directory there.
///
/// The first place is in memory, shm_overview(7). There it takes a tenth of the time
/// of a disk to make and remove directories; on a disk, that is half of a
/// container's start. `/tmp` may be in memory too; the last place is on a disk,
/// hier(7).
const PLACES: [&str; 3] = [MEMORY, "/tmp", "/var/tmp"];

const MEMORY: &str = "/dev/shm";

/// The free bytes that a place must have to come first. A Docker container has only
/// 64 MB in `/dev/shm`, and a compiler in Alpine takes 300 MB.
const ROOM: u64 = 1 << 30;

/// The directory for this user's scratch directories. No other user can write to
/// it.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) dir: Dir,
    /// A name that always means this directory: its own name, or the name of the open
    /// descriptor.
    pub(super) path: PathBuf,
}

/// Finds or makes the home, in a place with free space and user attributes, else in
/// the best place.
pub(super) fn home(removal: Removal) -> Result<Home> {
    let name = format!("containers-{}", getuid());
    if let Some(place) = env::var_os("TMPDIR").filter(|place| !place.is_empty()) {
        let mut home = Home::make(Path::new(&place).join(name), removal)?;
        if !home.dir.name_holds() {
            home.path = home.dir.by_descriptor();
        }
        tell_of(has_user_attributes(&home.dir.file), &home);
        return Ok(home);
    }
    let mut others = Vec::new();
    let mut refused = None;
    for place in PLACES {
        if place == MEMORY && outlives_session() {
            continue;
        }
        match Home::make(Path::new(place).join(&name), removal) {
            Ok(home) => {
                let worth = (has_user_attributes(&home.dir.file), home.room().min(ROOM));
                if worth == (true, ROOM) {
                    discard(others);
                    return Ok(home);
                }
                others.push((worth, home));
            }
            Err(error) => refused = Some(error),
        }
    }
    others.sort_by_key(|(worth, _home)| Reverse(*worth));
    if others.is_empty() {
        return Err(refused.context("find a place for scratch directories")?);
    }
    let ((attributes, _room), home) = others.remove(0);
    discard(others);
    tell_of(attributes, &home);
    Ok(home)
}

/// Removes homes that are not needed. A home that is not empty stays.
fn discard(homes: Vec<((bool, u64), Home)>) {
    for (_worth, home) in homes {
        let _ = fs::remove_dir(home.dir.name);
    }
}

fn tell_of(attributes: bool, home: &Home) {
    if !attributes {
        note(&format!("{} is on a file system {NO_ATTRIBUTES}", home.dir.name.display()));
    }
}

/// Whether this process should survive a logout: nohup(1) makes it ignore SIGHUP.
/// At a user's last logout, logind removes the user's files in `/dev/shm`, unless
/// it is a system user ("RemoveIPC=" in logind.conf(5)).
fn outlives_session() -> bool {
    const FIRST_USER: u32 = 1000;
    getuid().as_raw() >= FIRST_USER && is_ignored(Signal::SIGHUP)
}

impl Home {
    /// Makes the home, and refuses another user's file of that name. Sweeps a home
    /// that exists.
    fn make(name: PathBuf, removal: Removal) -> Result<Home> {
        let Private { dir, new, .. } = make_or_open(&name, PURPOSE, MAKE)?;
        let dir = Dir::new(name, dir)?;
        let home = Home { path: dir.name.clone(), dir };
        if !new {
            home.sweep(removal);
        }
        Ok(home)
    }

    /// The free bytes in the home.
    fn room(&self) -> u64 {
        // The types differ between C libraries.
        fn number(count: impl TryInto<u64>) -> u64 {
            count.try_into().unwrap_or_default()
        }
        fstatfs(&self.dir.file).map_or(0, |found| {
            number(found.blocks_available()).saturating_mul(number(found.block_size()))
        })
    }

    /// The number of directories in the home, or 0 if the file system does not count
    /// them, as Btrfs.
    fn directories(&self) -> usize {
        // The links of a directory: its name, its `.`, and the `..` of each
        // directory in it.
        self.dir.found.nlink().saturating_sub(2) as usize
    }

    /// Removes the scratch directories of killed runners: those without a lock.
    ///
    /// A start beside a thousand containers must stay cheap. So with many directories, it
    /// tries only some locks, by chance.
    fn sweep(&self, removal: Removal) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let chance = now.subsec_micros() as usize;
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for (index, entry) in entries.flatten().enumerate() {
            if !(index + chance).is_multiple_of(self.directories() / LOOKS + 1) {
                continue;
            }
            let entry = entry.file_name();
            let Ok(file) = open::directory(&self.dir.file, &*entry) else {
                continue;
            };
            let path = self.path.join(entry);
            if let Ok(Some(_locked)) = Dir::locked(path.clone(), file) {
                // Two runners may remove it at the same time.
                let _ = removal.remove(&path);
            }
        }
    }
}

/// About the most locks that a start tries.
const LOOKS: usize = 32;

const PURPOSE: Purpose =
    Purpose { doing: "make scratch directories", remedy: "set TMPDIR to another directory" };
