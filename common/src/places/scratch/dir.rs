//! Uses a directory by its descriptor, so that it is the directory that was checked.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{fchownat, getgid, getuid};

use super::{ENTRIES, entry};
use crate::places::open;
use crate::places::private::is_own;
use crate::places::trust::{belongs, changeable, is_trusted};
use crate::said::doing::{Call, Doing};

/// An open directory, and its metadata.
#[derive(Debug)]
pub(super) struct Dir {
    /// Its name, for people.
    pub(super) name: PathBuf,
    pub(super) file: File,
    pub(super) found: Metadata,
}

impl Dir {
    /// Reads the metadata of an open directory.
    pub(super) fn new(name: PathBuf, file: File) -> Result<Dir> {
        let found = file.metadata().with_context(|| format!("look at {}", name.display()))?;
        Ok(Dir { name, file, found })
    }

    /// Locks a directory and then reads its metadata; flock(2). Returns nothing if
    /// another process has locked it. The kernel drops the lock when the process ends.
    pub(super) fn locked(name: PathBuf, file: File) -> Result<Option<Dir>> {
        match file.try_lock() {
            Ok(()) => Dir::new(name, file).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| locking(&name)),
        }
    }

    /// The directory that the caller named, locked as in [`Dir::locked`]. Makes a
    /// missing directory.
    pub(super) fn named(name: &Path) -> Result<Option<Dir>> {
        let doing = || format!("use the scratch directory {}", name.display());
        // The caller's own symbolic link is allowed.
        let absolute = path::absolute(name).with_context(|| making(name))?;
        let absolute: PathBuf = absolute.components().collect();
        for way in absolute.ancestors() {
            let link = fs::symlink_metadata(way).ok();
            let link = link.filter(|it| it.is_symlink() && !is_trusted(it.uid()));
            if let Some(link) = link {
                let (way, belongs) = (way.display(), belongs(&link));
                bail!(
                    "{}: {way} is a symbolic link that {belongs}; name another directory",
                    doing()
                );
            }
        }
        make_named(name).with_context(|| making(name))?;
        let flags = libc::O_DIRECTORY | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(name);
        let dir = Dir::locked(name.to_owned(), file.with_context(|| locking(name))?)?;
        let found = dir.as_ref().map(|dir| &dir.found);
        if let Some(found) = found.filter(|found| !is_own(found)) {
            bail!(
                "{}: it {}; name a directory that belongs to user {} and that no other user can write to",
                doing(),
                belongs(found),
                getuid()
            );
        }
        if let Some(dir) = &dir {
            dir.close_to_others().with_context(doing)?;
        }
        Ok(dir)
    }

    /// Lets only the owner enter: root inside can make a set-user-ID file in `upper`, and
    /// another user of the host would run it as the caller.
    fn close_to_others(&self) -> Result<()> {
        if self.found.mode() & 0o077 == 0 {
            return Ok(());
        }
        for entry in fs::read_dir(self.by_descriptor())? {
            let entry = entry?.file_name();
            // The caller may need the directory for other files.
            ensure!(
                ENTRIES.iter().chain(&entry::NAMES).any(|name| entry == *name),
                "other users can enter it, and it has files of its own, such as {}; name a new directory, or chmod 700 this one",
                entry.display()
            );
        }
        Ok(self.file.set_permissions(Permissions::from_mode(self.found.mode() & 0o7700))?)
    }

    /// Makes a directory in this one, with the caller's group: the kernel mounts no
    /// overlay on a directory with another group.
    pub(super) fn make(&self, entry: &str, mode: Mode) -> nix::Result<()> {
        mkdirat(&self.file, entry, mode)?;
        // A set-group-ID directory gives its own group to new files, inode(7).
        if self.found.mode() & libc::S_ISGID != 0 || self.found.gid() != getgid().as_raw() {
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(&self.file, entry, None, Some(getgid()), flags)?;
            // No other user can put a link there: this directory is ours.
            fchmodat(&self.file, entry, mode, FchmodatFlags::FollowSymlink)?;
        }
        Ok(())
    }

    /// Writes a new file in this directory.
    pub(super) fn write(&self, entry: &str, text: &str) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.file, entry, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        File::from(file).write_all(text.as_bytes())
    }

    /// As [`Dir::make`], unless a directory is already there that the container can use.
    pub(super) fn make_or_check(&self, entry: &str, mode: Mode) -> Result<()> {
        let name = self.name.join(entry);
        match self.make(entry, mode) {
            Err(Errno::EEXIST) => {}
            made => return made.with_context(|| making(&name)),
        }
        let doing = || format!("use the scratch directory {}", name.display());
        let found = self.look_at(entry).with_context(doing)?;
        ensure!(
            found.is_dir(),
            "{}: it is not a directory; remove it, or name another scratch directory",
            doing()
        );
        // Otherwise the kernel refuses the overlay, or makes it read-only.
        let (uid, gid) = (getuid(), getgid());
        ensure!(
            found.uid() == uid.as_raw() && found.gid() == gid.as_raw(),
            "{}: it {}, and the container has only user {uid} and group {gid}; name another directory",
            doing(),
            belongs(&found)
        );
        Ok(())
    }

    /// The metadata of an entry in this directory.
    pub(super) fn look_at(&self, entry: &str) -> io::Result<Metadata> {
        fs::symlink_metadata(self.by_descriptor().join(entry))
    }

    /// Whether no other user can replace this directory.
    pub(super) fn name_holds(&self) -> bool {
        let holds = |name: PathBuf| {
            let above = name.parent().map_or(Ok(None), |above| changeable(above, 0))?;
            Ok::<_, io::Error>(above.is_none() && !name.is_symlink())
        };
        path::absolute(&self.name).and_then(holds).unwrap_or(false)
    }

    /// The name of the open descriptor; proc_pid_fd(5).
    pub(super) fn by_descriptor(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// Opens a directory in this one.
    pub(super) fn open<P: NixPath + ?Sized>(&self, entry: &P) -> nix::Result<File> {
        open::directory(&self.file, entry)
    }
}

pub(super) fn making(dir: &Path) -> Doing {
    Doing::new(Call::MakeScratch, "make the scratch directory ", dir.display())
}

pub(super) fn locking(dir: &Path) -> Doing {
    Doing::new(Call::LockScratch, "lock the scratch directory ", dir.display())
}

/// Makes a directory that only the caller can enter, and the directories above it,
/// unless it exists.
fn make_named(name: &Path) -> io::Result<()> {
    let make = || DirBuilder::new().mode(0o700).create(name);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(name.parent().unwrap_or(name))?;
            make()
        }
        Err(_exists) if name.is_dir() => Ok(()),
        made => made,
    }
}

/// Whether files here can have user extended attributes. An overlay uses them to
/// mark a replaced directory. tmpfs has them since Linux 6.6, xattr(7).
pub(super) fn has_user_attributes(dir: &File) -> bool {
    const NAME: &CStr = c"user.containers";
    #[allow(unsafe_code, reason = "nix has no fsetxattr(2)")]
    // SAFETY: the name ends with a zero, and no byte of the value is read.
    let set = unsafe { libc::fsetxattr(dir.as_raw_fd(), NAME.as_ptr(), std::ptr::null(), 0, 0) };
    // Another call reports a full file system.
    Errno::result(set) != Err(Errno::EOPNOTSUPP)
}
