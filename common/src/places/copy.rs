//! Copies the files of a directory, with their owners and modes, into a new file system.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::{Context, Result, ensure};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, symlinkat};

use crate::places::bind::Place;
use crate::places::open;
use crate::said::doing::{Call, Doing};

/// The deepest directory that is copied.
const MOST_DEEP: u32 = 256;

/// Copies the files of a directory to a file system that has no place yet, with their owners and
/// modes. Does nothing if the place is a file. Fails when a file cannot be read or made, or
/// directories are more than 256 deep.
pub fn copy_files(from: &Place, to: impl AsFd) -> Result<()> {
    if !from.is_directory()? {
        return Ok(());
    }
    let from = open::directory(from, ".").context("open the files of the place")?;
    let to = open::directory(&to, ".").context("open the new file system")?;
    copy(&from, &to, 0)
}

fn copy(from: &File, to: &File, depth: u32) -> Result<()> {
    ensure!(depth < MOST_DEEP, "its directories are more than {MOST_DEEP} deep");
    let mut list = Dir::from_fd(from.try_clone()?.into())?;
    for entry in list.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let doing = || Doing::new(Call::CopyFile, "copy ", name.to_string_lossy());
        let found = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).with_context(doing)?;
        let mode = Mode::from_bits_truncate(found.st_mode);
        let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
        match kind {
            SFlag::S_IFDIR => {
                mkdirat(to, name, Mode::S_IRWXU).with_context(doing)?;
                let (from, to) = (open::directory(from, name)?, open::directory(to, name)?);
                copy(&from, &to, depth + 1)?;
            }
            SFlag::S_IFREG => {
                let mut source = open::regular_in(from, name).with_context(doing)?;
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                let file = openat(to, name, flags, Mode::S_IRUSR).with_context(doing)?;
                io::copy(&mut source, &mut File::from(file)).with_context(doing)?;
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(from, name).with_context(doing)?;
                symlinkat(&*target, to, name).with_context(doing)?;
            }
            kind => mknodat(to, name, kind, mode, found.st_rdev).with_context(doing)?,
        }
        let (uid, gid) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
        fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .with_context(doing)?;
        if kind != SFlag::S_IFLNK {
            // Nobody else can change the names in a file system without a place.
            let flags = FchmodatFlags::FollowSymlink;
            fchmodat(to, name, mode, flags).with_context(doing)?;
        }
    }
    let found = from.metadata()?;
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    if depth == 0 {
        fchown(to, Some(uid), Some(gid))?;
        to.set_permissions(Permissions::from_mode(found.mode() & 0o7777))?;
    }
    Ok(())
}
