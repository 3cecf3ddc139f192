//! A directory by its descriptor. Its name may lead to another place later.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
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
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{RenameFlags, renameat_with};

/// The maximum number of bytes that [`Folder::read`] reads.
const SHORT: u64 = 64 << 10;

/// An open directory.
pub(crate) struct Folder {
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
    pub(crate) fn new(path: PathBuf, dir: impl Into<File>) -> Folder {
        Folder { path, dir: dir.into() }
    }

    /// Opens the directory `name` in this directory. A symbolic link is an error.
    pub(crate) fn folder(&self, name: impl AsRef<OsStr>) -> nix::Result<Folder> {
        let dir = open::directory(&self.dir, name.as_ref())?;
        Ok(Folder { path: self.join(name), dir })
    }

    pub(crate) fn as_file(&self) -> &File {
        &self.dir
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry.
    pub(crate) fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The names of the entries.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
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

    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.names()?.is_empty())
    }

    pub(crate) fn has(&self, name: impl AsRef<OsStr>) -> bool {
        fstatat(&self.dir, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    pub(crate) fn metadata(&self) -> Result<std::fs::Metadata> {
        self.dir.metadata().with_context(|| format!("look at {}", self.path.display()))
    }

    pub(crate) fn owner(&self) -> Result<u32> {
        Ok(self.metadata()?.uid())
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
            // The file system does not store the time of birth.
            None => format!("inode-{}", found.ino()),
        })
    }

    /// The regular file `name`, if there is one.
    pub(crate) fn file(&self, name: &str) -> Option<File> {
        open::regular_in(&self.dir, name).ok()
    }

    /// The first bytes of the file `name`, if there is one.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.take(SHORT).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Makes the file `name`. It must not exist.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        Ok(openat(&self.dir, name, flags, Mode::from_bits_truncate(0o644))?.into())
    }

    /// Makes the file `name` or replaces it, in one step.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let doing = || format!("write {}", self.join(name).display());
        let part = format!("{name}.part");
        self.remove(&part)?;
        self.create(&part).and_then(|mut file| file.write_all(bytes)).with_context(doing)?;
        self.rename(&part, name).with_context(doing)
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
        match self.renameat2(old, to, new, RenameFlags::NOREPLACE) {
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
        self.renameat2(name.as_ref(), other, others.as_ref(), RenameFlags::EXCHANGE)
    }

    fn renameat2(
        &self,
        old: &OsStr,
        to: &Folder,
        new: &OsStr,
        how: RenameFlags,
    ) -> nix::Result<()> {
        let renamed = renameat_with(self, old, to, new, how);
        renamed.map_err(|errno| Errno::from_raw(errno.raw_os_error()))
    }

    /// Removes an entry: a file, or a tree.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let path = self.join(name);
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => common::remove_tree_in(&self.dir, &path),
            removed => removed.with_context(|| format!("remove {}", path.display())),
        }
    }
}
