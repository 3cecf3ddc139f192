//! Finds the owner of a file, and the other users who can change it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::unistd::geteuid;

use crate::places::bind::MOST_LINKS;
use crate::places::open::place;

/// The first place, of `path` and the directories above it, that a user other than
/// the caller and root can change. The result is the reason in words.
///
/// `path` is absolute. A symbolic link counts as such a place: its target has other directories
/// above it. A sticky directory such as `/tmp` may be writable for all: a user cannot rename
/// another user's files there. But the first `strict` places, from `path` upwards, may not,
/// because a new file in them would do harm. Fails when stat(2) fails for a place.
pub fn changeable(path: &Path, strict: usize) -> io::Result<Option<String>> {
    for (above, dir) in path.ancestors().enumerate() {
        let found = fs::symlink_metadata(dir)?;
        let will_do = above >= strict && found.is_dir() && !others_can_rename_in(&found);
        if !will_do && !is_private(&found) {
            return Ok(Some(format!("{} {}", dir.display(), belongs(&found))));
        }
    }
    Ok(None)
}

/// Makes the directory `path` and those above it, where they are missing, and returns its path
/// without symbolic links. It follows only links that no other user can have put there, so that
/// this path leads to the same directory from now on; symlink(7). Fails when a user other than the
/// caller and root can change a place on the way, in words that begin with the place.
pub fn trusted_directory(path: &Path) -> Result<PathBuf> {
    walk(path, true)
}

/// Opens the directory of a file, and returns it with a path to the file through it. The path
/// leads to the same directory as long as that is open; proc_pid_fd(5). Follows links on the way
/// only as [`trusted_directory`]. If another user can change a place on the way, it follows no
/// link; openat2(2). Fails when the file has no name, or there is no such directory.
pub fn directory_of(file: &Path) -> Result<(OwnedFd, PathBuf)> {
    let name = file.file_name().context("it has no name")?;
    let above = file.parent().filter(|it| !it.as_os_str().is_empty());
    let above = above.unwrap_or(Path::new("."));
    let dir = walk(above, false).and_then(|real| Ok(place(&real)?)).or_else(|error| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let opened = openat2(AT_FDCWD, above, how);
        opened.map_err(|errno| if errno == Errno::ELOOP { error } else { errno.into() })
    })?;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    Ok((dir, Path::new(&path).join(name)))
}

/// Goes along the path of a directory, and makes what is missing if it may.
fn walk(path: &Path, makes: bool) -> Result<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        path.iter().rev().filter(|name| *name != "/").map(OsStr::to_owned).collect()
    };
    let (mut here, mut left) = (PathBuf::from("/"), names(&path::absolute(path)?));
    let mut links = 0..MOST_LINKS;
    while let Some(name) = left.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Err(error) if makes && error.kind() == ErrorKind::NotFound => {
                match DirBuilder::new().mode(0o755).create(&next) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                        return Err(error.into());
                    }
                    // It may be made by another user.
                    _ => left.push(name),
                }
                continue;
            }
            found => found?,
        };
        let is_link = found.is_symlink();
        // In a sticky directory, another user can make a link, but not rename ours.
        let will_do = is_trusted(found.uid()) && (is_link || !others_can_rename_in(&found));
        ensure!(
            will_do,
            "{} {}, so another user can change what is below it; name another place",
            next.display(),
            belongs(&found)
        );
        if is_link {
            links.next().ok_or(Errno::ELOOP)?;
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                here = "/".into();
            }
            left.extend(names(&target));
        } else {
            here = next;
        }
    }
    Ok(here)
}

/// Whether only the caller and root can change a file.
fn is_private(found: &Metadata) -> bool {
    !found.is_symlink() && is_trusted(found.uid()) && !others_can_write(found)
}

/// Whether users other than the caller and root can rename the caller's files in a directory.
pub fn others_can_rename_in(dir: &Metadata) -> bool {
    let sticky = dir.mode() & libc::S_ISVTX != 0;
    !is_trusted(dir.uid()) || !sticky && others_can_write(dir)
}

/// Whether users other than the owner may write to a file. The owner's private group, which has
/// the owner's number, does not count ("USERGROUPS_ENAB" in login.defs(5)).
pub(crate) fn others_can_write(found: &Metadata) -> bool {
    let others = if found.gid() == found.uid() { 0o002 } else { 0o022 };
    found.mode() & others != 0
}

/// Whether a user is the caller, root, or the user that called sudo(8). In a user
/// namespace root may have no ID, but root owns `/`.
pub fn is_trusted(uid: u32) -> bool {
    let sudo = || geteuid().is_root() && env::var("SUDO_UID").is_ok_and(|id| id.parse() == Ok(uid));
    let root = || fs::metadata("/").is_ok_and(|found| found.uid() == uid);
    uid == geteuid().as_raw() || uid == 0 || root() || sudo()
}

/// ` belongs to user 0 and group 5 and has mode 775`, without the blank.
pub(crate) fn belongs(found: &Metadata) -> String {
    let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    format!("belongs to user {uid} and group {gid} and has mode {mode:o}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::place::Place;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_others_can_change_is_told_from_what_they_cannot() {
        let place = Place::new();
        let dir = place.path("dir");
        let inner = dir.join("inner");
        fs::create_dir_all(&inner).expect("make a directory");
        symlink("inner", dir.join("link")).expect("make a link");
        let modes = |outer, of_inner| {
            for (path, mode) in [(&dir, outer), (&inner, of_inner)] {
                fs::set_permissions(path, Permissions::from_mode(mode)).expect("set the mode");
            }
            changeable(&inner, 1).expect("look").is_none()
        };
        // Other users may be able to change the directory of the test itself.
        if changeable(&dir, 0).expect("look").is_none() {
            assert!(modes(0o755, 0o700));
            assert!(modes(0o1777, 0o755));
            assert!(!modes(0o777, 0o755));
            assert!(!modes(0o755, 0o1777));
            assert!(!modes(0o755, 0o757));
            modes(0o755, 0o755);
            assert!(changeable(&dir.join("link"), 0).expect("look").is_some());
        }
        assert!(changeable(&dir.join("missing"), 0).is_err());
    }
}
