//! The directories that an overlay writes to.

mod dir;
mod home;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::FsFlags;

use crate::doing::Doing;
use crate::open::text;
use crate::{note, remove_tree};
use dir::Dir;
use home::{Home, home};

/// A directory with `upper`, `work` and `merged` in it, held by a lock: two
/// overlays must not share an upper directory, and the kernel does not see to
/// that.
///
/// One that was made for the run is removed when this is dropped; one that the
/// caller named stays. A runner that is killed leaves its directory behind
/// without the lock, and the next one removes it.
#[derive(Debug)]
pub struct Scratch {
    /// What it was made in, when it was made for the run.
    home: Option<Home>,
    /// Holds the lock.
    dir: Dir,
}

impl Scratch {
    /// The directory `named`, made where it is missing, or a new one below
    /// `$TMPDIR`, else below `/dev/shm`, `/tmp` or `/var/tmp`.
    ///
    /// # Errors
    ///
    /// When it cannot be made, belongs to somebody else, or another container
    /// is using it.
    pub fn new(named: Option<&Path>) -> Result<Scratch> {
        // Under a caller's umask of 777 nobody could use what is made here.
        // The command gets a umask of its own.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let scratch = match named {
            Some(dir) => Scratch::named(dir)?,
            None => Scratch::made()?,
        };
        // The first and only value: a step has one scratch directory.
        let _ = RUN.set(Run::of(&scratch)?);
        Ok(scratch)
    }

    fn named(name: &Path) -> Result<Scratch> {
        let Some(dir) = Dir::named(name)? else {
            bail!(
                "use the scratch directory {}: another container is using it; wait until that container ends, or name another directory",
                name.display()
            );
        };
        for entry in ENTRIES {
            dir.make_or_check(entry, DIRECTORY)?;
        }
        // The container sees the attributes of `upper`, and not those of `work`.
        if dir.open("work").is_ok_and(|work| !dir::has_user_attributes(&work)) {
            note(&format!("{} is on a file system {NO_ATTRIBUTES}", name.display()));
        }
        Ok(Scratch { home: None, dir })
    }

    /// Makes a scratch directory that is not there yet. Its name begins with
    /// the ID of this process, so that [`Home::sweep`] can tell at a glance.
    fn made() -> Result<Scratch> {
        let mut attempt = 0;
        loop {
            let home = home()?;
            let entry = format!("{}.{attempt}", process::id());
            match home.dir.make(&entry, Mode::S_IRWXU) {
                Ok(()) => {}
                // Left behind by a process with this ID, or in use by one in
                // another PID namespace.
                Err(Errno::EEXIST) => {
                    attempt += 1;
                    continue;
                }
                // The last runner to end has just removed the home.
                Err(Errno::ENOENT) => continue,
                Err(errno) => {
                    let name = home.dir.name.join(&entry);
                    return Err(errno).with_context(|| Doing::MakeScratch(name));
                }
            }
            let name = home.dir.name.join(&entry);
            let file = match home.dir.open(&*entry) {
                Err(Errno::ENOENT) => continue,
                opened => opened.with_context(|| Doing::LockScratch(name.clone()))?,
            };
            // Another runner took it for an abandoned one.
            let Some(dir) = Dir::locked(name, file)?.filter(|dir| dir.found.nlink() > 0) else {
                continue;
            };
            for entry in ENTRIES {
                let name = dir.name.join(entry);
                dir.make(entry, DIRECTORY).with_context(|| Doing::MakeScratch(name))?;
            }
            return Ok(Scratch { home: Some(home), dir });
        }
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.dir.name.join("upper")
    }

    /// Where the overlay prepares what it then moves into the upper layer.
    pub fn work(&self) -> PathBuf {
        self.dir.name.join("work")
    }

    /// Where the overlay is mounted.
    pub fn merged(&self) -> PathBuf {
        self.dir.name.join("merged")
    }

    /// Looks at the overlay once it is mounted.
    ///
    /// # Errors
    ///
    /// When it is read-only.
    pub fn can_be_written_to(&self) -> Result<()> {
        writable(&self.merged(), &self.merged())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (Some(home), Some(entry)) = (&self.home, self.dir.name.file_name()) else {
            return;
        };
        let dir = home.path.join(entry);
        // All there is after a container that wrote nothing. What is not empty
        // is left to the thorough way.
        for entry in ["merged", "upper", "work/work", "work"] {
            let _ = fs::remove_dir(dir.join(entry));
        }
        match remove_tree(&dir) {
            // Fails while other runners have theirs beside it.
            Ok(()) => drop(fs::remove_dir(&home.dir.name)),
            Err(error) => note(&crate::one_line(&error)),
        }
    }
}

/// What a scratch directory holds.
const ENTRIES: [&str; 3] = ["upper", "work", "merged"];

/// The mode of those. The root of the container shows that of `upper`.
const DIRECTORY: Mode = Mode::from_bits_truncate(0o755);

/// What a file system without user attributes does not do.
const NO_ATTRIBUTES: &str = "without user attributes, as a tmpfs before Linux 6.6: you cannot delete a directory of a lower layer (\"I/O error\"); name a directory on a disk with --scratch or TMPDIR";

/// What the child, which mounts by names, must find again.
struct Run {
    merged: PathBuf,
    /// `upper` and `work` as they were looked at, by device and inode; nothing
    /// where nobody else can give their names to other directories.
    looked_at: Vec<(PathBuf, (u64, u64))>,
}

static RUN: OnceLock<Run> = OnceLock::new();

impl Run {
    fn of(scratch: &Scratch) -> Result<Run> {
        let mut looked_at = Vec::new();
        // In its home nobody else can change a name.
        let holds = match &scratch.home {
            Some(home) => home.path == home.dir.name,
            None => scratch.dir.name_holds(),
        };
        if !holds {
            for entry in ["upper", "work"] {
                let name = scratch.dir.name.join(entry);
                let found = scratch.dir.look_at(entry);
                let found = found.with_context(|| format!("look at {}", name.display()))?;
                looked_at.push((name, (found.dev(), found.ino())));
            }
        }
        Ok(Run { merged: scratch.merged(), looked_at })
    }
}

/// Where this run's overlay is mounted, beside its upper directory.
pub(crate) fn merged() -> Option<&'static Path> {
    RUN.get().map(|run| &*run.merged)
}

/// Whether an overlay may be told the name of `layer`, which is open as `dir`.
/// Where others can give that name to another directory, it may not.
///
/// # Errors
///
/// When they have.
pub(crate) fn name_holds(layer: &Path, dir: &File) -> Result<bool> {
    let looked_at = RUN.get().map_or(&[][..], |run| &run.looked_at);
    let Some((_, before)) = looked_at.iter().find(|(name, _)| name == layer) else {
        return Ok(true);
    };
    let doing = || Doing::OpenLayer(layer.to_owned());
    let found = dir.metadata().with_context(doing)?;
    ensure!(*before == (found.dev(), found.ino()), "{}: {REPLACED}", doing());
    Ok(false)
}

const REPLACED: &str = "another user has replaced this directory; name a scratch directory in a place where no other user can write";

/// Fails where this run has a scratch directory and the root of this process is
/// not an overlay on it that can be written to.
pub(crate) fn check_root() -> Result<()> {
    let Some(run) = RUN.get() else {
        return Ok(());
    };
    writable(Path::new("/"), &run.merged)?;
    // The overlay that goes by descriptors is ours.
    let ours = |line: &str| {
        line.split(' ').nth(4) == Some("/") && line.contains("upperdir=/proc/self/fd/")
    };
    let found = |mounts: std::io::Result<String>| mounts.is_ok_and(|text| text.lines().any(ours));
    ensure!(
        run.looked_at.is_empty() || found(text("/proc/self/mountinfo")),
        "use the overlay on {}: {REPLACED}",
        run.merged.display()
    );
    Ok(())
}

/// Fails where `at` is an overlay that is read-only. The kernel mounts one
/// without a word when it cannot make `work/work`.
fn writable(at: &Path, merged: &Path) -> Result<()> {
    let doing = || format!("use the overlay on {}", merged.display());
    let found = statfs(at).with_context(doing)?;
    let read_only = found.flags().contains(FsFlags::ST_RDONLY);
    ensure!(
        !read_only || found.filesystem_type() != OVERLAYFS_SUPER_MAGIC,
        "{}: it is read-only, because the kernel could not make work/work in the scratch directory; the file system is likely full: free some space, or name a directory on another file system with --scratch or TMPDIR",
        doing()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The only one to make a scratch directory in this process.
    #[test]
    fn what_a_neighbour_puts_in_its_place_is_not_used() {
        let open = std::env::temp_dir().join(format!("scratch-{}", process::id()));
        fs::create_dir(&open).expect("make a directory");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("set the mode");
        let scratch = Scratch::new(Some(&open.join("box"))).expect("a scratch directory");
        let name = crate::option(&scratch.upper()).expect("it is there");
        assert!(name.starts_with("/proc/self/fd/"), "{name}");
        // This root is no overlay of ours.
        let refused = check_root().expect_err("a root").to_string();
        assert!(refused.ends_with(REPLACED), "{refused}");

        fs::rename(open.join("box"), open.join("aside")).expect("move it away");
        fs::create_dir_all(scratch.upper()).expect("make another");
        let refused = crate::option(&scratch.upper()).expect_err("another").to_string();
        assert!(refused.ends_with(REPLACED), "{refused}");
        fs::remove_dir_all(open).expect("remove it");
    }
}
