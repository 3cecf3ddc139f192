//! The directories that an overlay writes to.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, io, process};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getuid};

use crate::{note, remove_tree};

/// A directory with `upper`, `work` and `merged` in it, held by a lock: two
/// overlays must not share an upper directory, and the kernel does not see to
/// that.
///
/// One that was made for the run is removed when this is dropped; one that the
/// caller named stays. A runner that is killed leaves its directory behind
/// without the lock, and the next one removes it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    stays: bool,
    _lock: Flock<File>,
}

impl Scratch {
    /// The directory `named`, made where it is missing, or a new one below
    /// `$TMPDIR`, `/dev/shm` or `/tmp`.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or another container is using it.
    pub fn new(named: Option<&Path>) -> Result<Scratch> {
        // Under a caller's umask of 777 nobody could use what is made here.
        // The command gets a umask of its own.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let scratch = match named {
            Some(dir) => {
                make_all(dir)?;
                let Some(lock) = lock(dir)? else {
                    bail!(
                        "use the scratch directory {}: another container is using it; wait for its end, or name another one",
                        dir.display()
                    );
                };
                Scratch { dir: dir.to_owned(), stays: true, _lock: lock }
            }
            None => make_new()?,
        };
        for dir in [scratch.upper(), scratch.work(), scratch.merged()] {
            if !make(&dir)? {
                let found = fs::metadata(&dir);
                let found = found.with_context(|| format!("look at {}", dir.display()))?;
                // The overlay would be read-only without a word.
                ensure!(
                    found.uid() == getuid().as_raw(),
                    "use the scratch directory {}: it belongs to another user; name another one",
                    dir.display()
                );
            }
        }
        Ok(scratch)
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// Where the overlay prepares what it then moves into the upper layer.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Where the overlay is mounted.
    pub fn merged(&self) -> PathBuf {
        self.dir.join("merged")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        // All there is after a container that wrote nothing. What is not empty
        // is left to the thorough way.
        for dir in [self.merged(), self.upper(), self.work().join("work"), self.work()] {
            let _ = fs::remove_dir(dir);
        }
        match remove_tree(&self.dir) {
            // Fails while other runners have theirs beside it.
            Ok(()) => drop(self.dir.parent().map(fs::remove_dir)),
            Err(error) => note(&crate::one_line(&error)),
        }
    }
}

/// The directory that this user's scratch directories are made in, and that
/// nobody else can write to.
struct Home {
    dir: PathBuf,
    /// How many directories it holds; 0 also where the file system does not
    /// tell, as Btrfs.
    directories: usize,
    /// Whether it was missing, so that there is nothing in it to look at.
    new: bool,
}

/// Finds or makes the home: below `$TMPDIR`, else [`MEMORY`] or `/tmp`.
fn home() -> Result<Home> {
    let name = format!("containers-{}", getuid());
    if let Some(dir) = env::var_os("TMPDIR").filter(|dir| !dir.is_empty()) {
        return private(Path::new(&dir).join(name));
    }
    if let Ok(home) = private(Path::new(MEMORY).join(&name)) {
        if has_user_attributes(&home.dir) {
            return Ok(home);
        }
        // Made for nothing.
        let _ = fs::remove_dir(home.dir);
    }
    private(Path::new("/tmp").join(name))
}

/// A file system in memory, shm_overview(7): directories come and go there in
/// a tenth of the time that a disk takes, which is half of a container's start.
const MEMORY: &str = "/dev/shm";

/// Makes a directory for this user alone, and refuses one that somebody else
/// has laid there.
fn private(dir: PathBuf) -> Result<Home> {
    let found = loop {
        if make(&dir)? {
            return Ok(Home { dir, directories: 0, new: true });
        }
        match fs::symlink_metadata(&dir) {
            // The last runner to end has just removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => break found.with_context(|| format!("look at {}", dir.display()))?,
        }
    };
    let private = found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o022 == 0;
    ensure!(
        private,
        "make scratch directories in {}: it is not a directory of this user alone; remove it, or set TMPDIR",
        dir.display()
    );
    // A directory is linked to by its name, by itself and by those in it.
    let directories = found.nlink().saturating_sub(2) as usize;
    Ok(Home { dir, directories, new: false })
}

/// Whether files here can have extended attributes of the user's, in which an
/// overlay notes a replaced directory; tmpfs has them since Linux 6.6, xattr(7).
fn has_user_attributes(dir: &Path) -> bool {
    let Ok(dir) = CString::new(dir.as_os_str().as_bytes()) else {
        return false;
    };
    #[allow(unsafe_code, reason = "nix has no setxattr(2)")]
    // SAFETY: both strings end with a zero, and no byte of the value is read.
    let set = unsafe {
        let name = c"user.containers".as_ptr();
        libc::setxattr(dir.as_ptr(), name, std::ptr::null(), 0, 0)
    };
    set == 0
}

/// Makes a scratch directory that is not there yet. Its name begins with the
/// ID of this process, so that [`sweep`] can tell at a glance.
fn make_new() -> Result<Scratch> {
    let mut attempt = 0;
    loop {
        let home = home()?;
        if !home.new {
            sweep(&home);
        }
        let dir = home.dir.join(format!("{}.{attempt}", process::id()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            // Left behind by a process with this ID, or in use by one in
            // another PID namespace.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => attempt += 1,
            // The last runner to end has just removed the home.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => {
                made.with_context(|| making(&dir))?;
                match lock(&dir) {
                    Ok(Some(lock)) => return Ok(Scratch { dir, stays: false, _lock: lock }),
                    // Another runner took it for an abandoned one.
                    Ok(None) => {}
                    Err(_gone) if !dir.exists() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// With more directories than this, only some starts look through them.
const MANY: usize = 128;

/// How many directories a start looks into whose runner seems to be alive.
const LOOKS: usize = 8;

/// Removes the scratch directories of runners that were killed.
///
/// The lock decides. A process with the ID in the name is likely the runner,
/// but the ID may also have gone to another one since, or mean another one in
/// our PID namespace: of those, a few are tried.
///
/// A start next to a thousand containers must stay cheap. So chance picks the
/// starts that look through many directories, and the few that are tried.
fn sweep(home: &Home) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let chance = now.subsec_micros() as usize;
    let one_in = |share: usize| home.directories / share + 1;
    if !chance.is_multiple_of(one_in(MANY)) {
        return;
    }
    let Ok(entries) = fs::read_dir(&home.dir) else {
        return;
    };
    for (index, entry) in entries.flatten().enumerate() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.split('.').next()?.parse().ok()) else {
            continue;
        };
        let gone = kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        if !gone && !(index + chance).is_multiple_of(one_in(LOOKS)) {
            continue;
        }
        if let Ok(Some(_lock)) = lock(&entry.path()) {
            // Two runners that end up here remove it together.
            let _ = remove_tree(&entry.path());
        }
    }
}

/// Locks a directory, unless somebody else has; flock(2). The kernel drops the
/// lock with the process.
fn lock(dir: &Path) -> Result<Option<Flock<File>>> {
    let doing = || format!("lock the scratch directory {}", dir.display());
    let file = File::open(dir).with_context(doing)?;
    let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        held => held.map_err(|(_, errno)| errno).with_context(doing)?,
    };
    // Removed between the two calls: that lock holds nothing.
    let links = held.metadata().with_context(doing)?.nlink();
    ensure!(links > 0, "{}: it was removed meanwhile", doing());
    Ok(Some(held))
}

fn making(dir: &Path) -> String {
    format!("make the scratch directory {}", dir.display())
}

/// Makes a directory that this user alone may write to, unless it is there;
/// says whether it was missing.
fn make(dir: &Path) -> Result<bool> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| true).with_context(|| making(dir)),
    }
}

/// Makes a directory and those above it, unless they are there.
fn make_all(dir: &Path) -> Result<()> {
    let made: io::Result<()> = DirBuilder::new().recursive(true).create(dir);
    made.with_context(|| making(dir))
}
