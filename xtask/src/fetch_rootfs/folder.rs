//! A directory by its descriptor: its name may lead elsewhere meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// An open directory.
pub(crate) struct Folder {
    /// Where it was when it was opened, for messages.
    path: PathBuf,
    dir: File,
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Folder {
    /// The directory `name` in another one, and no symbolic link to one.
    pub(crate) fn open(above: impl AsFd, path: PathBuf) -> rustix::io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let dir = openat(above, name, flags, Mode::empty())?.into();
        Ok(Folder { path, dir })
    }

    pub(crate) fn dir(&self) -> &File {
        &self.dir
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of what is in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The directory `name` in it.
    pub(crate) fn folder(&self, name: impl AsRef<Path>) -> rustix::io::Result<Folder> {
        Folder::open(&self.dir, self.join(name))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let doing = || format!("look into {}", self.path.display());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir).with_context(doing)? {
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

    pub(crate) fn has(&self, name: impl AsRef<Path>) -> bool {
        statat(&self.dir, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether `other` is the same directory.
    pub(crate) fn is(&self, other: &Folder) -> Result<bool> {
        let id = |folder: &Folder| -> Result<(u64, u64)> {
            let found = folder.dir.metadata();
            let found = found.with_context(|| format!("look at {}", folder.path.display()))?;
            Ok((found.dev(), found.ino()))
        };
        Ok(id(self)? == id(other)?)
    }

    /// What it is known by wherever it is moved, and a copy of it is not.
    pub(crate) fn birth(&self) -> Result<String> {
        let found = self.dir.metadata();
        let found = found.with_context(|| format!("look at {}", self.path.display()))?;
        let birth = found.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
        Ok(match birth {
            Some(birth) => birth.as_nanos().to_string(),
            // A file system that does not tell.
            None => format!("inode-{}", found.ino()),
        })
    }

    /// The file `name`, if there is one.
    pub(crate) fn file(&self, name: &str) -> Option<File> {
        let opened = openat(&self.dir, name, READ | OFlags::NOFOLLOW, Mode::empty()).ok()?;
        regular(opened.into()).ok().flatten()
    }

    /// The bytes of the file `name`, if there is one and it is short.
    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(name)?.take(SHORT).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Makes the file `name`, which is not there.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        Ok(openat(&self.dir, name, flags, Mode::from_raw_mode(0o644))?.into())
    }

    /// Makes the file `name` or replaces it, in one step.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let doing = || format!("write {}", self.join(name).display());
        let part = format!("{name}.part");
        self.remove(&part)?;
        self.create(&part).and_then(|mut file| file.write_all(bytes)).with_context(doing)?;
        self.rename(&part, name).with_context(doing)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.dir, from, &self.dir, to)?)
    }

    /// Removes what has this name: a file, or a tree.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let path = self.join(name);
        let found = match statat(&self.dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            found => found.with_context(|| format!("look at {}", path.display()))?,
        };
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return common::remove_tree_in(&self.dir, &path);
        }
        let removed = unlinkat(&self.dir, name.as_bytes(), AtFlags::empty());
        removed.with_context(|| format!("remove {}", path.display()))
    }
}

/// The longest file that [`Folder::read`] takes whole.
const SHORT: u64 = 64 << 10;

/// To read, without waiting for a writer as a FIFO would.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens the file at `path`, unless something else is there: a directory, a
/// device, a FIFO.
pub(crate) fn open_file(path: &Path) -> io::Result<Option<File>> {
    regular(openat(rustix::fs::CWD, path, READ, Mode::empty())?.into())
}

fn regular(file: File) -> io::Result<Option<File>> {
    Ok(file.metadata()?.is_file().then_some(file))
}
