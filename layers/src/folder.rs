//! A directory by its descriptor. Its name may lead to another place later.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use common::open;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, getuid, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};

/// The maximum number of bytes that [`Folder::read`] reads.
const SHORT: u64 = 64 << 10;

/// The end of the name of an unfinished file.
pub(crate) const PART: &str = ".part";

/// An open directory.
pub struct Folder {
    /// Its path when it was opened, for messages.
    path: PathBuf,
    dir: File,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Folder {
    /// The open directory `dir`, which has the path `path`.
    pub fn new(path: PathBuf, dir: impl Into<File>) -> Folder {
        Folder { path, dir: dir.into() }
    }

    /// Opens the directory `name` in this directory.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or is something else. A symbolic link is not followed.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> nix::Result<Folder> {
        let dir = open::directory(&self.dir, name.as_ref())?;
        Ok(Folder { path: self.join(name), dir })
    }

    /// The open directory.
    pub fn as_file(&self) -> &File {
        &self.dir
    }

    /// The path when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry.
    pub fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The names of the entries.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let doing = || format!("look into {}", self.path.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.dir, ".", flags, Mode::empty()).with_context(doing)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let name = entry.with_context(doing)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Whether it has no entries.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.names()?.is_empty())
    }

    pub(crate) fn has(&self, name: impl AsRef<OsStr>) -> bool {
        fstatat(&self.dir, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn metadata(&self) -> Result<Metadata> {
        self.dir.metadata().with_context(|| format!("look at {}", self.path.display()))
    }

    /// Whether it belongs to this user.
    pub(crate) fn is_ours(&self) -> Result<bool> {
        Ok(self.metadata()?.uid() == getuid().as_raw())
    }

    /// Whether `other` is the same directory.
    pub(crate) fn is(&self, other: &Folder) -> Result<bool> {
        let (this, other) = (self.metadata()?, other.metadata()?);
        Ok((this.dev(), this.ino()) == (other.dev(), other.ino()))
    }

    /// A word that identifies the directory, also after a move. A copy has another
    /// word. If the file system stores no time of birth, a later directory can have
    /// the same word.
    pub(crate) fn birth(&self) -> Result<String> {
        let found = self.metadata()?;
        let birth = found.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
        Ok(match birth {
            // Directories that are made together have the same time of birth.
            Some(birth) => format!("{}-{}", birth.as_nanos(), found.ino()),
            None => format!("inode-{}", found.ino()),
        })
    }

    /// The regular file `name`, if there is one.
    pub fn file(&self, name: &str) -> Option<File> {
        open::regular_in(&self.dir, name).ok()
    }

    /// The first bytes of the file `name`, if there is one.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.take(SHORT).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Makes the file `name`, or replaces it in one step.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let fill = |file: &mut File, path: &Path| {
            file.write_all(bytes).with_context(|| format!("write {}", path.display()))
        };
        self.save(name, fill).map(drop)
    }

    /// Makes the file `name`, or replaces it, when `fill` has filled an empty file. It
    /// gets the file and its path.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or `fill` fails.
    pub fn save(
        &self,
        name: &str,
        fill: impl FnOnce(&mut File, &Path) -> Result<()>,
    ) -> Result<File> {
        let part = format!("{name}{PART}");
        let path = self.join(&part);
        self.remove(&part)?;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, &*part, flags, Mode::from_bits_truncate(0o644));
        let mut file = File::from(file.with_context(|| format!("write {}", path.display()))?);
        let saved = fill(&mut file, &path).and_then(|()| {
            let doing = || format!("keep {}", self.join(name).display());
            self.rename(&part, name).with_context(doing)
        });
        if saved.is_err() {
            // If this fails, the next run removes the file.
            let _ = self.remove(&part);
        }
        saved.map(|()| file)
    }

    pub(crate) fn rename(&self, old: impl AsRef<OsStr>, new: impl AsRef<OsStr>) -> nix::Result<()> {
        renameat(&self.dir, old.as_ref(), &self.dir, new.as_ref())
    }

    /// Moves an entry to another directory, without replacing anything. If the file
    /// system cannot guarantee this, the entry can replace an empty directory;
    /// rename(2).
    pub(crate) fn move_to(
        &self,
        old: impl AsRef<OsStr>,
        to: &Folder,
        new: impl AsRef<OsStr>,
    ) -> nix::Result<()> {
        let (old, new) = (old.as_ref(), new.as_ref());
        match renameat_with(self, old, to, new, RenameFlags::NOREPLACE).map_err(errno) {
            Err(Errno::EINVAL | Errno::ENOSYS) => renameat(self, old, to, new),
            renamed => renamed,
        }
    }

    /// Exchanges an entry with an entry of another directory.
    pub(crate) fn exchange(
        &self,
        name: impl AsRef<OsStr>,
        other: &Folder,
        others: impl AsRef<OsStr>,
    ) -> nix::Result<()> {
        let (name, others) = (name.as_ref(), others.as_ref());
        renameat_with(self, name, other, others, RenameFlags::EXCHANGE).map_err(errno)
    }

    /// Removes an entry: a file, or a tree.
    ///
    /// # Errors
    ///
    /// When a part of it stays.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let path = self.join(name);
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => common::remove_tree_in(&self.dir, &path),
            removed => removed.with_context(|| format!("remove {}", path.display())),
        }
    }
}

/// renameat2(2) is from rustix: of nix, only the version for glibc has it. Nix has no
/// call for extended attributes.
pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}
