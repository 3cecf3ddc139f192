//! A directory of this user, which no other user can change.

use std::env;
use std::fmt::Display;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, umask};
use nix::unistd::getuid;

use crate::causes;
use crate::places::open;
use crate::places::trust::{belongs, others_can_write};

/// What a private directory is for, in the words of its errors.
#[derive(Clone, Copy, Debug)]
pub struct Purpose {
    /// The action, such as `make scratch directories`.
    pub doing: &'static str,
    /// The remedy if the directory cannot be used.
    pub remedy: &'static str,
}

/// A private directory that is open, and whether it is new.
#[derive(Debug)]
pub struct Private {
    /// Its name, for people: another user may rename it.
    pub name: PathBuf,
    /// The open directory.
    pub dir: File,
    /// Whether this call made it.
    pub new: bool,
}

impl Private {
    /// Removes the directory if it is empty.
    pub fn leave(&self) {
        // Fails if it is not empty.
        let _ = fs::remove_dir(&self.name);
    }

    /// A path to a file in this directory, which always means this directory. No other user
    /// can change the names in it. It needs a proc on `/proc`.
    pub fn at(&self, file: impl AsRef<Path>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.dir.as_raw_fd())).join(file)
    }
}

/// Opens or makes the private directory `name`-UID in the place for files that a reboot removes:
/// in `$XDG_RUNTIME_DIR` if that belongs to this user, else in `/run` for root and in
/// `/run/user/UID` for another user. If that is missing, in `/tmp`. Fails as
/// [`private_directory`].
pub fn runtime_directory(name: &str, purpose: Purpose) -> Result<Private> {
    let user = getuid();
    // With `sudo -E`, the variable names a directory of another user.
    let is_own = |dir: &PathBuf| fs::metadata(dir).is_ok_and(|it| it.uid() == user.as_raw());
    let usual = if user.is_root() { "/run".into() } else { format!("/run/user/{user}").into() };
    let named = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let named = named.filter(|dir| dir.is_absolute());
    let place = named.into_iter().chain([usual]).find(is_own).unwrap_or_else(|| "/tmp".into());
    // The caller's umask may forbid everything. The command gets this umask, too.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    private_directory(&place.join(format!("{name}-{user}")), purpose)
}

/// Opens the directory `name`, or makes it with the mode 700. Its parent must exist. Fails when
/// the directory belongs to another user, or other users can write to it. Fails when it is a
/// symbolic link or a file. Fails when it cannot be made.
pub fn private_directory(name: &Path, purpose: Purpose) -> Result<Private> {
    let doing = || format!("make the directory {}", name.display());
    let made = make_or_open(name, purpose, doing);
    made.map_err(|error| match error.is::<io::Error>() {
        true => anyhow!("{}; {}", causes(&error), purpose.remedy),
        false => error,
    })
}

/// As [`private_directory`], with the context of an error of mkdir(2).
pub(crate) fn make_or_open<C: Display + Send + Sync + 'static>(
    name: &Path,
    purpose: Purpose,
    doing: impl Fn() -> C,
) -> Result<Private> {
    loop {
        let new = match DirBuilder::new().mode(0o700).create(name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            made => made.map(|()| true).with_context(&doing)?,
        };
        let dir = match open::directory(&AT_FDCWD, name) {
            Ok(dir) => dir,
            // Another runner has just removed it.
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(refusal(name, errno, purpose)),
        };
        let found = dir.metadata().with_context(|| format!("look at {}", name.display()))?;
        if !is_own(&found) || found.mode() & 0o022 != 0 {
            return Err(refusal(name, Errno::EPERM, purpose));
        }
        return Ok(Private { name: name.to_owned(), dir, new });
    }
}

/// Whether a directory belongs to the caller, and no other user can write to it.
pub(crate) fn is_own(found: &Metadata) -> bool {
    found.is_dir() && found.uid() == getuid().as_raw() && !others_can_write(found)
}

/// The reason why an existing directory is not used.
fn refusal(name: &Path, errno: Errno, purpose: Purpose) -> Error {
    let Purpose { doing, remedy } = purpose;
    let doing = format!("{doing} in {}", name.display());
    match fs::symlink_metadata(name) {
        Ok(found) if found.is_dir() => anyhow!(
            "{doing}: it {}, but must belong to user {}, and no other user may write to it; {remedy}",
            belongs(&found),
            getuid()
        ),
        Ok(_other) => anyhow!("{doing}: it is not a directory; {remedy}"),
        Err(_gone) => Error::from(errno).context(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::place::Place;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const PURPOSE: Purpose = Purpose { doing: "try", remedy: "name another" };

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let place = Place::new();
        let name = place.path("private");
        assert!(private_directory(&name, PURPOSE).expect("a new one").new);
        assert!(!private_directory(&name, PURPOSE).expect("the same").new);
        assert_eq!(fs::metadata(&name).expect("look").mode() & 0o777, 0o700);
        fs::set_permissions(&name, Permissions::from_mode(0o720)).expect("set the mode");
        let refused = private_directory(&name, PURPOSE).expect_err("an open one").to_string();
        assert!(refused.ends_with("no other user may write to it; name another"), "{refused}");
        symlink(&name, place.path("link")).expect("make a link");
        assert!(private_directory(&place.path("link"), PURPOSE).is_err());
    }
}
