//! The home: the directory for a user's scratch directories, and their end.

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
use super::dir::{Dir, has_user_attributes, making};
use super::entry::LINK;
use crate::child::signals::is_ignored;
use crate::places::private::{Private, Purpose, make_or_open};
use crate::{Ids, note, remove_tree_in};

/// The places for the home, in this order, if `$TMPDIR` is not set. All are sticky
/// and belong to root, so that no other user can rename a directory there.
///
/// The first place is in memory, shm_overview(7). There it takes a tenth of the time of a disk to
/// make and remove directories; on a disk, that is half of a container's start. `/tmp` may be in
/// memory too; the last place is on a disk, hier(7).
const PLACES: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];

/// The free bytes that a place must have to come first. A Docker container has only
/// 64 MB in `/dev/shm`, and a compiler in Alpine takes 300 MB.
const ROOM: u64 = 1 << 30;

/// Finds or makes the home: the directory for this user's scratch directories, to which no other
/// user can write. It is in a place with free space and user attributes, else in the best place.
pub(super) fn home(in_map: Option<InMap>) -> Result<Dir> {
    let name = format!("containers-{}", getuid());
    if let Some(place) = env::var_os("TMPDIR").filter(|place| !place.is_empty()) {
        let home = make(Path::new(&place).join(name), in_map)?;
        tell_of(has_user_attributes(&home.file), &home);
        return Ok(home);
    }
    let mut found = Vec::new();
    let mut refused = None;
    for place in PLACES.into_iter().skip(usize::from(outlives_session())) {
        match make(Path::new(place).join(&name), in_map) {
            Ok(home) => {
                let worth = (has_user_attributes(&home.file), room(&home).min(ROOM));
                found.push((worth, home));
                if worth == (true, ROOM) {
                    break;
                }
            }
            Err(error) => refused = Some(error),
        }
    }
    found.sort_by_key(|(worth, _home)| Reverse(*worth));
    let mut found = found.into_iter();
    let Some(((attributes, _room), home)) = found.next() else {
        return Err(refused.context("find a place for scratch directories")?);
    };
    for (_worth, other) in found {
        // Fails if other runners have directories in it.
        let _ = fs::remove_dir(other.name);
    }
    tell_of(attributes, &home);
    Ok(home)
}

fn tell_of(attributes: bool, home: &Dir) {
    if !attributes {
        note(&format!("{} is on a file system {NO_ATTRIBUTES}", home.name.display()));
    }
}

/// Whether this process should survive a logout: nohup(1) makes it ignore SIGHUP. At a user's last
/// logout, logind removes the user's files in `/dev/shm`, unless it is a system user ("RemoveIPC="
/// in logind.conf(5)).
fn outlives_session() -> bool {
    const FIRST_USER: u32 = 1000;
    getuid().as_raw() >= FIRST_USER && is_ignored(Signal::SIGHUP)
}

/// Makes the home, and refuses another user's file of that name. Sweeps a home that exists.
fn make(name: PathBuf, in_map: Option<InMap>) -> Result<Dir> {
    let Private { dir, new, .. } = make_or_open(&name, PURPOSE, || making(&name))?;
    let home = Dir::new(name, dir)?;
    if !new {
        sweep(&home, in_map);
    }
    Ok(home)
}

/// The free bytes in the home.
fn room(home: &Dir) -> u64 {
    // The types differ between C libraries.
    fn number(count: impl TryInto<u64>) -> u64 {
        count.try_into().unwrap_or_default()
    }
    fstatfs(&home.file).map_or(0, |found| {
        number(found.blocks_available()).saturating_mul(number(found.block_size()))
    })
}

/// Removes the scratch directories of killed runners: those without a lock.
///
/// A start beside a thousand containers must stay cheap. So with many directories, it tries only
/// some locks, by chance.
fn sweep(home: &Dir, in_map: Option<InMap>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chance = now.subsec_micros() as usize;
    // The links of a directory: its name, its `.`, and the `..` of each directory in it. Btrfs
    // does not count them.
    let directories = home.found.nlink().saturating_sub(2) as usize;
    let Ok(entries) = fs::read_dir(home.by_descriptor()) else { return };
    for (index, entry) in entries.flatten().enumerate() {
        if !(index + chance).is_multiple_of(directories / LOOKS + 1) {
            continue;
        }
        let entry = entry.file_name();
        let Ok(file) = home.open(&*entry) else { continue };
        if let Ok(Some(_locked)) = Dir::locked(home.name.join(&entry), file) {
            // Two runners may remove it at the same time.
            let _ = remove(home, entry.as_ref(), in_map);
        }
    }
}

/// Does work in a process that has these IDs: in a new user namespace with such maps.
pub type InMap = fn(&Ids, &dyn Fn() -> Result<()>) -> Result<()>;

/// Removes a directory in the home. With `in_map`, it tries that again in such a process.
pub(super) fn remove(home: &Dir, entry: &Path, in_map: Option<InMap>) -> Result<()> {
    let dir = home.by_descriptor().join(entry);
    // First: a pasta that looks later sees only the first of the removed names.
    let _ = fs::remove_file(dir.join(LINK));
    // All directories of a container that wrote nothing. This opens none of them.
    let gone = ["merged", "upper", "work/work", "work", ""].map(|it| fs::remove_dir(dir.join(it)));
    if gone.last().is_some_and(Result::is_ok) {
        return Ok(());
    }
    let remove = || remove_tree_in(&home.file, &home.name.join(entry));
    let removed = remove();
    let (Err(_), Some(in_map)) = (&removed, in_map) else { return removed };
    match Ids::of_caller() {
        Ok(ids) => in_map(&ids, &remove),
        Err(_no_ids) => removed,
    }
}

/// About the most locks that a start tries.
const LOOKS: usize = 32;

const PURPOSE: Purpose =
    Purpose { doing: "make scratch directories", remedy: "set TMPDIR to another directory" };
