//! The directories that an overlay writes to.

mod dir;
mod entry;
mod home;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::FsFlags;

use crate::places::open::{self, text};
use crate::places::overlay::{REPLACED, upper_or_work};
use crate::{Ids, note};
use dir::{Dir, locking, making};
pub use entry::Entry;
pub use home::InMap;
use home::{home, remove};

/// A locked directory with `upper`, `work` and `merged` in it. Two overlays must
/// not share an upper directory, and the kernel only warns.
///
/// A temporary directory is removed when this is dropped. A directory that the caller named stays.
/// If a runner is killed, its directory stays without a lock, and a later runner removes it.
#[derive(Debug)]
pub struct Scratch {
    /// The directory above a temporary directory.
    home: Option<Dir>,
    /// Holds the lock.
    dir: Dir,
    /// Whether no other user can replace this directory: the child mounts by path.
    name_holds: bool,
    in_map: Option<InMap>,
}

impl Scratch {
    /// The directory `named`, which is made if it is missing. Without a name: a new directory in
    /// `$TMPDIR` if that is set; else in `/dev/shm`, `/tmp` or `/var/tmp`. Fails when the
    /// directory cannot be made, belongs to another user, or another container uses it.
    pub fn new(named: Option<&Path>) -> Result<Scratch> {
        Scratch::removed_by(named, None)
    }

    /// As [`Scratch::new`]. If a container had the caller's subordinate IDs, only a process with
    /// these IDs can remove its files: `in_map` makes one.
    pub(crate) fn removed_by(named: Option<&Path>, in_map: Option<InMap>) -> Result<Scratch> {
        // The caller's umask may forbid everything. The command gets this umask, too.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let (home, dir) = match named {
            Some(dir) => (None, Scratch::named(dir)?),
            None => Scratch::made(in_map).map(|(home, dir)| (Some(home), dir))?,
        };
        Ok(Scratch { name_holds: dir.name_holds(), home, dir, in_map })
    }

    fn named(name: &Path) -> Result<Dir> {
        let Some(dir) = Dir::named(name)? else {
            bail!(
                "use the scratch directory {}: another container is using it; wait until that container ends, or name another directory",
                name.display()
            );
        };
        for entry in ENTRIES {
            dir.make_or_check(entry, DIRECTORY)?;
        }
        // Test on `work`: the container sees the attributes of `upper`.
        if dir.open("work").is_ok_and(|work| !dir::has_user_attributes(&work)) {
            note(&format!("{} is on a file system {NO_ATTRIBUTES}", name.display()));
        }
        Ok(dir)
    }

    /// Writes the container's subordinate IDs to a named directory: files in `upper` belong to
    /// them. Says if an earlier container had others. Fails when the file that says so cannot be
    /// read or written.
    pub(crate) fn remember(&self, ids: Option<&Ids>) -> Result<()> {
        if self.home.is_some() {
            return Ok(());
        }
        let (name, ids) = (self.dir.name.join(entry::IDS), ids.map(Ids::name));
        let doing = || format!("use {}", name.display());
        let mut before = String::new();
        match open::regular_in(&self.dir.file, entry::IDS) {
            Ok(file) => file.take(MOST_IDS).read_to_string(&mut before).with_context(doing)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(ids) = ids else { return Ok(()) };
                return self.dir.write(entry::IDS, &ids).with_context(doing);
            }
            Err(error) => return Err(error).with_context(doing),
        };
        if ids.as_ref() != Some(&before) {
            note(&format!(
                "a container with other subordinate IDs has used {}: its users' files are closed to this container; use the IDs of that time again, or name another directory",
                self.dir.name.display()
            ));
        }
        Ok(())
    }

    /// Makes a new scratch directory in a home.
    fn made(in_map: Option<InMap>) -> Result<(Dir, Dir)> {
        let mut attempt = 0;
        loop {
            let home = home(in_map)?;
            let entry = format!("{}.{attempt}", process::id());
            attempt += 1;
            let name = home.name.join(&entry);
            match home.make(&entry, Mode::S_IRWXU) {
                // An old process with this ID left it, or a process with this ID in another PID
                // namespace uses it. Or another runner has just removed the home.
                Err(Errno::EEXIST | Errno::ENOENT) => continue,
                made => made.with_context(|| making(&name))?,
            }
            let file = match home.open(&*entry) {
                Err(Errno::ENOENT) => continue,
                opened => opened.with_context(|| locking(&name))?,
            };
            // If not, another runner has swept it.
            let Some(dir) = Dir::locked(name, file)?.filter(|dir| dir.found.nlink() > 0) else {
                continue;
            };
            for entry in ENTRIES {
                let name = dir.name.join(entry);
                dir.make(entry, DIRECTORY).with_context(|| making(&name))?;
            }
            return Ok((home, dir));
        }
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.dir.name.join("upper")
    }

    /// The directory where the overlay prepares files for the upper layer.
    pub fn work(&self) -> PathBuf {
        self.dir.name.join("work")
    }

    /// The mount point of the overlay.
    pub fn merged(&self) -> PathBuf {
        self.dir.name.join("merged")
    }

    /// `upper` as the value of overlay's option `upperdir=`; see [`lowerdir`]. Fails when the
    /// directory is missing or cannot be opened, or another user has replaced it.
    ///
    /// [`lowerdir`]: crate::lowerdir
    pub fn upper_option(&self) -> Result<String> {
        self.option("upper")
    }

    /// `work` as the value of overlay's option `workdir=`. Fails as [`Scratch::upper_option`].
    pub fn work_option(&self) -> Result<String> {
        self.option("work")
    }

    fn option(&self, entry: &str) -> Result<String> {
        let name = self.dir.name.join(entry);
        let ours = (!self.name_holds).then(|| self.dir.look_at(entry)).transpose();
        let ours = ours.with_context(|| format!("look at {}", name.display()))?;
        upper_or_work(&name, ours.as_ref())
    }

    /// Checks that the root of this process is the overlay on this scratch directory, and that it
    /// can be written. It needs a proc on `/proc`. Fails when the overlay is read-only, or another
    /// user has replaced the scratch directory.
    pub fn check_root(&self) -> Result<()> {
        self.check(Path::new("/"))?;
        // Such an overlay names its upper directory by a descriptor.
        let ours = |line: &str| {
            line.split(' ').nth(4) == Some("/") && line.contains("upperdir=/proc/self/fd/")
        };
        let found = |mounts: io::Result<String>| mounts.is_ok_and(|it| it.lines().any(ours));
        ensure!(
            self.name_holds || found(text("/proc/self/mountinfo")),
            "use the overlay on {}: {REPLACED}",
            self.merged().display()
        );
        Ok(())
    }

    /// Checks the overlay that is mounted on `at`. If the kernel cannot make `work/work`, it
    /// mounts the overlay read-only without an error. Fails when the overlay is read-only.
    pub fn check(&self, at: &Path) -> Result<()> {
        let doing = || format!("use the overlay on {}", self.merged().display());
        let found = statfs(at).with_context(doing)?;
        let read_only = found.flags().contains(FsFlags::ST_RDONLY);
        ensure!(
            !read_only || found.filesystem_type() != OVERLAYFS_SUPER_MAGIC,
            "{}: it is read-only, because the kernel could not make work/work in the scratch directory; the file system is likely full: free some space, or name a directory on another file system with --scratch or TMPDIR",
            doing()
        );
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (Some(home), Some(entry)) = (&self.home, self.dir.name.file_name()) else {
            return;
        };
        match remove(home, entry.as_ref(), self.in_map) {
            // Fails while other runners have directories in the home.
            Ok(()) => drop(fs::remove_dir(&home.name)),
            Err(error) => note(&crate::one_line(&error)),
        }
    }
}

/// The most bytes of a name of IDs.
const MOST_IDS: u64 = 255;

/// The directories in a scratch directory.
const ENTRIES: [&str; 3] = ["upper", "work", "merged"];

/// Their mode. The root of the container shows the mode of `upper`.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

/// The warning about a file system without user attributes.
const NO_ATTRIBUTES: &str = "without user attributes, as a tmpfs before Linux 6.6: you cannot delete a directory with files of a lower layer (\"I/O error\"); name a directory on a disk with --scratch or TMPDIR";

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::places::place::Place;

    #[test]
    fn what_a_neighbour_puts_in_its_place_is_not_used() {
        let place = Place::new();
        let open = place.path("open");
        fs::create_dir(&open).expect("make a directory");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("set the mode");
        let scratch = Scratch::new(Some(&open.join("box"))).expect("a scratch directory");
        let name = scratch.upper_option().expect("it is there");
        assert!(name.starts_with("/proc/self/fd/"), "{name}");
        // The root of this test is not our overlay.
        let refused = scratch.check_root().expect_err("a root").to_string();
        assert!(refused.ends_with(REPLACED), "{refused}");

        fs::rename(open.join("box"), open.join("aside")).expect("move it away");
        fs::create_dir_all(scratch.upper()).expect("make another");
        let refused = crate::one_line(&scratch.upper_option().expect_err("another"));
        assert!(refused.ends_with(REPLACED), "{refused}");
    }
}
