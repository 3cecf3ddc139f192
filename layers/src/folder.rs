//! A directory by its descriptor. Its name may lead to another place later.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use common::open;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, getuid, syncfs, unlinkat};

use crate::Digest;

/// The maximum number of bytes that [`Folder::read`] reads.
const SHORT: u64 = 64 << 10;

/// The end of the name of an unfinished file.
pub const PART: &str = ".part";

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

    /// Opens the directory `name` in this directory, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Folder::folder`], and when it cannot be made.
    pub fn make(&self, name: impl AsRef<OsStr>) -> Result<Folder> {
        let doing = || format!("make {}", self.join(&name).display());
        match mkdirat(&self.dir, name.as_ref(), Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => self.folder(&name).with_context(doing),
            Err(errno) => Err(errno).with_context(doing),
        }
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

    /// The bytes of the short file `name`, if there is one.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        open::whole(self.file(name)?, SHORT).ok()
    }

    /// The file `name`, if it is there and has this digest. Otherwise removes it, and
    /// `tell`s the user.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or removed.
    pub fn kept(
        &self,
        name: &str,
        digest: Option<&Digest>,
        tell: fn(&str),
    ) -> Result<Option<File>> {
        let Some(file) = self.file(name) else {
            return Ok(None);
        };
        let path = self.join(name);
        if let Some(digest) = digest {
            let found = Digest::of_file(&file, digest.algorithm());
            if found.with_context(|| format!("read {}", path.display()))? == *digest {
                return Ok(Some(file));
            }
        }
        tell(&format!("removed {}, because its digest is wrong", path.display()));
        self.remove(name)?;
        Ok(None)
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
        self.remove(&part)?;
        let (mut file, path) = self.part(name)?;
        let saved = fill(&mut file, &path).and_then(|()| self.keep(name));
        if saved.is_err() {
            // If this fails, the next run removes the file.
            let _ = self.remove(&part);
        }
        saved.map(|()| file)
    }

    /// The unfinished file `name` and its path: a new file, or the file that another run
    /// has left.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, or is something else.
    pub fn part(&self, name: &str) -> Result<(File, PathBuf)> {
        let part = format!("{name}{PART}");
        let path = self.join(&part);
        let doing = || format!("write {}", path.display());
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::from_bits_truncate(0o644);
        let file = openat(&self.dir, &*part, flags | OFlag::O_CLOEXEC, mode);
        let file = File::from(file.with_context(doing)?);
        ensure!(file.metadata().with_context(doing)?.is_file(), "{}: it is not a file", doing());
        Ok((file, path))
    }

    /// Gives the unfinished file `name` its name.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed.
    pub fn keep(&self, name: &str) -> Result<()> {
        let doing = || format!("keep {}", self.join(name).display());
        self.rename(format!("{name}{PART}"), name).with_context(doing)
    }

    pub(crate) fn rename(&self, old: impl AsRef<OsStr>, new: impl AsRef<OsStr>) -> nix::Result<()> {
        renameat(&self.dir, old.as_ref(), &self.dir, new.as_ref())
    }

    /// Writes the file system of the directory to its disk. Otherwise a power cut could leave
    /// empty files under the name that the directory gets next, and a later run would take
    /// them for whole; syncfs(2).
    pub(crate) fn sync(&self) -> Result<()> {
        syncfs(&self.dir).with_context(|| format!("write {} to the disk", self.path.display()))
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

/// The errno of a call from rustix: renameat2(2), which nix has only for glibc, and the calls
/// for extended attributes, which nix does not have.
pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}
