//! The directory that a user's scratch directories are made in.

use std::cmp::Reverse;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, ptr};

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::signal::kill;
use nix::sys::statfs::fstatfs;
use nix::unistd::{Pid, getuid};

use super::NO_ATTRIBUTES;
use super::dir::{Dir, has_user_attributes, is_own};
use crate::doing::Doing;
use crate::trust::belongs;
use crate::{note, open, remove_tree};

/// Where to make it, in this order, unless `$TMPDIR` says. All are sticky and
/// root's, so that nobody else can rename what is made there.
///
/// The first is in memory, shm_overview(7): directories come and go there in a
/// tenth of the time that a disk takes, which is half of a container's start.
/// `/tmp` may be in memory as well; the last is on a disk, hier(7).
const PLACES: [&str; 3] = [MEMORY, "/tmp", "/var/tmp"];

const MEMORY: &str = "/dev/shm";

/// How many bytes a place must have free to be taken before the others. A
/// container gets 64 MB of `/dev/shm` from Docker, and a compiler in Alpine
/// takes 300.
const ROOM: u64 = 1 << 30;

/// The directory that this user's scratch directories are made in, and that
/// nobody else can write to.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) dir: Dir,
    /// A name that nobody else can give to another directory: its own, or that
    /// of the open descriptor.
    pub(super) path: PathBuf,
}

/// Finds or makes the home, where there is room and files can have user
/// attributes, or else in the best place that there is.
pub(super) fn home() -> Result<Home> {
    let name = format!("containers-{}", getuid());
    if let Some(place) = env::var_os("TMPDIR").filter(|place| !place.is_empty()) {
        let mut home = Home::make(Path::new(&place).join(name))?;
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
        match Home::make(Path::new(place).join(&name)) {
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

/// Removes homes that were made for nothing; one with something in it stays.
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

/// Whether a logout may be meant to pass this process by: nohup(1) has it
/// ignore SIGHUP. At the last one, logind removes what a user has in
/// `/dev/shm`, unless that is a user of the system ("RemoveIPC=" in
/// logind.conf(5)).
fn outlives_session() -> bool {
    const FIRST_USER: u32 = 1000;
    if getuid().as_raw() < FIRST_USER {
        return false;
    }
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    #[allow(unsafe_code, reason = "nix can only ask by setting another action")]
    // SAFETY: nothing is set, and the kernel fills in `action`, for which zeros
    // are valid as well.
    unsafe {
        libc::sigaction(libc::SIGHUP, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

impl Home {
    /// Makes it, and refuses what somebody else has laid there. One that was
    /// there is swept.
    fn make(name: PathBuf) -> Result<Home> {
        loop {
            let new = match DirBuilder::new().mode(0o700).create(&name) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
                made => made.map(|()| true).with_context(|| Doing::MakeScratch(name.clone()))?,
            };
            let file = match open::directory(&AT_FDCWD, &name) {
                Ok(file) => file,
                // The last runner to end has just removed it.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(refusal(&name, errno)),
            };
            let dir = Dir::new(name, file)?;
            if !is_own(&dir.found) || dir.found.mode() & 0o022 != 0 {
                return Err(refusal(&dir.name, Errno::EPERM));
            }
            let home = Home { path: dir.name.clone(), dir };
            if !new {
                home.sweep();
            }
            return Ok(home);
        }
    }

    /// How many bytes can be written there.
    fn room(&self) -> u64 {
        // Their types differ between C libraries.
        fn number(count: impl TryInto<u64>) -> u64 {
            count.try_into().unwrap_or_default()
        }
        fstatfs(&self.dir.file).map_or(0, |found| {
            number(found.blocks_available()).saturating_mul(number(found.block_size()))
        })
    }

    /// How many directories it holds; 0 also where the file system does not
    /// tell, as Btrfs.
    fn directories(&self) -> usize {
        // A directory is linked to by its name, by itself and by those in it.
        self.dir.found.nlink().saturating_sub(2) as usize
    }

    /// Removes the scratch directories of runners that were killed.
    ///
    /// The lock decides. A process with the ID in the name is likely the
    /// runner, but the ID may also have gone to another one since, or mean
    /// another one in our PID namespace: of those, a few are tried.
    ///
    /// A start next to a thousand containers must stay cheap. So chance picks
    /// the starts that look through many directories, and the few that are
    /// tried.
    fn sweep(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let chance = now.subsec_micros() as usize;
        let one_in = |share: usize| self.directories() / share + 1;
        if !chance.is_multiple_of(one_in(MANY)) {
            return;
        }
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        for (index, entry) in entries.flatten().enumerate() {
            let entry = entry.file_name();
            let pid = entry.to_str().and_then(|name| name.split('.').next()?.parse().ok());
            let Some(pid) = pid else {
                continue;
            };
            let gone = kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
            if !gone && !(index + chance).is_multiple_of(one_in(LOOKS)) {
                continue;
            }
            let Ok(file) = open::directory(&self.dir.file, &*entry) else {
                continue;
            };
            let path = self.path.join(entry);
            if let Ok(Some(_locked)) = Dir::locked(path.clone(), file) {
                // Two runners that end up here remove it together.
                let _ = remove_tree(&path);
            }
        }
    }
}

/// With more directories than this, only some starts look through them.
const MANY: usize = 128;

/// How many directories a start looks into whose runner seems to be alive.
const LOOKS: usize = 8;

/// Why a home that is there is not used.
fn refusal(name: &Path, errno: Errno) -> Error {
    let doing = format!("make scratch directories in {}", name.display());
    match fs::symlink_metadata(name) {
        Ok(found) if found.is_dir() => anyhow!(
            "{doing}: it {}, but must belong to user {}, and no other user may write to it; set TMPDIR to another directory",
            belongs(&found),
            getuid()
        ),
        Ok(_other) => anyhow!("{doing}: it is not a directory; set TMPDIR to another directory"),
        Err(_gone) => Error::from(errno).context(doing),
    }
}
