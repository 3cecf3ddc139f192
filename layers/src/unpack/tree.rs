//! The unpacked tree. No path leads out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Take};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::open;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, fchownat, linkat, mkfifoat, symlinkat, unlinkat};
use tar::{EntryType, Header};

use super::headers::Extension;
use super::layer::{Notes, Whiteout, directory_instead, is_whiteout};
use super::{CUT_OFF, Limits, TOO_LARGE, damaged, short};

/// The maximum depth of a directory. Each level needs a descriptor.
const DEEPEST: usize = 200;

const NO_ROOT: &str = "find the root";
const NO_TARGET: &str = "no earlier entry has that name";

/// The components of a name. It must stay below the root. In a layer, `/` is the root.
fn components(name: &[u8], is_layer: bool) -> Result<Vec<&[u8]>> {
    ensure!(is_layer || !name.starts_with(b"/"), "it is an absolute path");
    ensure!(!name.contains(&0), "it has a zero byte in its name");
    let parts = name.split(|&byte| byte == b'/');
    let parts: Vec<_> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    ensure!(!parts.contains(&&b".."[..]), "it has .. in its path");
    ensure!(parts.len() <= DEEPEST, "it is more than {DEEPEST} directories deep");
    Ok(parts)
}

/// The description of an entry.
pub(super) struct About {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    time: TimeSpec,
}

/// An open directory in the tree.
pub(super) struct Open {
    name: Vec<u8>,
    pub(super) dir: File,
    /// The time that the directory gets when it is closed: new entries in it change
    /// the time. Nothing is stored about closed directories.
    modified: Option<TimeSpec>,
}

impl Open {
    /// Stores the time before an entry is made here.
    fn keep_time(&mut self) -> Result<()> {
        if self.modified.is_none() {
            let found = fstat(&self.dir)?;
            self.modified = Some(TimeSpec::new(found.st_mtime, found.st_mtime_nsec));
        }
        Ok(())
    }
}

pub(super) struct Unpacker {
    /// The root, and the directories down to the last used directory. The entries
    /// of an archive are in the order of directories, so most entries find their
    /// directory open.
    open: Vec<Open>,
    pub(super) is_layer: bool,
    notes: Notes,
    /// The number of bytes that are left, and the greatest number of entries.
    limits: Limits,
    entries: u64,
}

impl Unpacker {
    pub(super) fn new(root: &File, limits: Limits, is_layer: bool) -> Result<Unpacker> {
        let dir = root.try_clone().context("open the new root")?;
        fchmod(&dir, directory_mode(0o755))?;
        Ok(Unpacker {
            open: vec![Open { name: Vec::new(), dir, modified: None }],
            is_layer,
            notes: Notes::default(),
            limits,
            entries: 0,
        })
    }

    /// Counts an entry, or a directory that is made without an entry.
    pub(super) fn count(&mut self) -> Result<()> {
        self.entries += 1;
        let most = self.limits.entries;
        ensure!(self.entries <= most, "it has more than {most} entries and directories");
        Ok(())
    }

    /// Unpacks one entry.
    pub(super) fn entry(
        &mut self,
        header: &Header,
        name: &[u8],
        mut extension: Extension,
        data: &mut Take<impl Read>,
    ) -> Result<()> {
        let path = components(name, self.is_layer)?;
        if self.is_layer
            && let Some(whiteout) = Whiteout::of(&path)?
        {
            return self.whiteout(&path, &whiteout);
        }
        let kind = header.entry_type();
        let about = About {
            name: name.into(),
            mode: header.mode().map_err(damaged)?,
            uid: extension.uid.map_or_else(|| header.uid(), Ok).map_err(damaged)?,
            gid: extension.gid.map_or_else(|| header.gid(), Ok).map_err(damaged)?,
            attributes: std::mem::take(&mut extension.attributes),
            time: match extension.modified {
                Some(time) => time,
                // A number in base 256 has 64 bits with a sign.
                None => TimeSpec::new(header.mtime().map_err(damaged)?.cast_signed(), 0),
            },
        };
        let link = extension.link.take().or_else(|| header.link_name_bytes().map(Into::into));
        match kind {
            EntryType::Directory => self.directory(&path, &about),
            // Old archives had no type for directories.
            EntryType::Regular if name.ends_with(b"/") => self.directory(&path, &about),
            EntryType::Regular | EntryType::Continuous if !extension.is_sparse => {
                self.file(&path, data, &about)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                bail!("it is a sparse file; make the archive again without tar's option --sparse")
            }
            EntryType::Symlink => {
                let target = link.filter(|link| !link.is_empty() && !link.contains(&0));
                let target = target.context("it is a symbolic link without a target")?;
                self.link_or_pipe(&path, Some(&target), &about)
            }
            EntryType::Link => {
                let target = link.context("it is a hard link without a target")?;
                let linked = self.hard_link(&path, &target);
                linked.with_context(|| format!("hard link to {}", short(&target)))
            }
            EntryType::Fifo if self.is_layer => self.link_or_pipe(&path, None, &about),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.notes.devices.add(|| short(name));
                Ok(())
            }
            other => {
                bail!("a root cannot have this kind of entry: {}", other.as_byte().escape_ascii())
            }
        }
    }

    fn directory(&mut self, path: &[&[u8]], about: &About) -> Result<()> {
        let is_layer = self.is_layer;
        if let Some((name, above)) = path.split_last() {
            let above = self.descend(above, true)?;
            match mkdirat(&above.dir, *name, Mode::S_IRWXU) {
                Err(Errno::EEXIST) => match open::directory(&above.dir, *name) {
                    Err(Errno::ENOTDIR | Errno::ELOOP) if is_layer => {
                        directory_instead(&above.dir, name)?;
                    }
                    Err(Errno::ENOTDIR | Errno::ELOOP) => {
                        bail!("it is a directory, but an earlier entry of that name is not");
                    }
                    there => drop(there?),
                },
                made => made?,
            }
        }
        self.descend(path, false)?;
        let there = self.open.last_mut().context(NO_ROOT)?;
        if is_layer {
            self.notes.dress(&there.dir, about)?;
        } else {
            fchmod(&there.dir, directory_mode(about.mode))?;
        }
        there.modified = Some(about.time);
        Ok(())
    }

    fn file(&mut self, path: &[&[u8]], data: &mut Take<impl Read>, about: &About) -> Result<()> {
        let size = data.limit();
        self.limits.bytes = self.limits.bytes.checked_sub(size).context(TOO_LARGE)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let owner = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = self.make(path, |above, name| openat(above, name, flags, owner))?;
        let mut file = File::from(made);
        ensure!(io::copy(data, &mut file)? == size, CUT_OFF);
        if self.is_layer {
            self.notes.dress(&file, about)?;
        } else {
            // Without set-user-ID and set-group-ID: if root unpacks the archive, they
            // would let every user of this machine become root. In a container whose
            // only user is root, they have no effect.
            fchmod(&file, Mode::from_bits_truncate(about.mode & 0o777))?;
        }
        futimens(&file, &TimeSpec::UTIME_OMIT, &about.time)?;
        Ok(())
    }

    /// Makes a symbolic link to `target`, or a pipe.
    fn link_or_pipe(&mut self, path: &[&[u8]], target: Option<&[u8]>, about: &About) -> Result<()> {
        self.make(path, |above, name| match target {
            Some(target) => symlinkat(target, above, name),
            None => mkfifoat(above, name, Mode::S_IRUSR),
        })?;
        let above = &self.open.last().context(NO_ROOT)?.dir;
        let name = *path.last().context(NO_ROOT)?;
        if self.is_layer {
            let flag = AtFlags::AT_SYMLINK_NOFOLLOW;
            let mode = self.notes.own(about, |uid, gid| fchownat(above, name, uid, gid, flag))?;
            self.notes.leave_out_attributes(about);
            if target.is_none() {
                fchmodat(above, name, mode, FchmodatFlags::FollowSymlink)?;
            }
        }
        let flag = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(above, name, &TimeSpec::UTIME_OMIT, &about.time, flag)?)
    }

    fn hard_link(&mut self, path: &[&[u8]], target: &[u8]) -> Result<()> {
        let target = components(target, self.is_layer)?;
        ensure!(path != target, "it is a link to itself");
        let (name, above) = target.split_last().context("it is the root itself")?;
        let above = self.descend(above, false)?.dir.try_clone()?;
        ensure!(!is_whiteout(&above, name), NO_TARGET);
        // Without AT_SYMLINK_FOLLOW: a hard link to a symbolic link does not follow
        // it.
        let linked =
            self.make(path, |here, new| linkat(&above, *name, here, new, AtFlags::empty()));
        linked.map_err(|error| match error.downcast_ref() {
            Some(Errno::ENOENT) => anyhow!(NO_TARGET),
            Some(Errno::EPERM) => anyhow!("it is a directory"),
            _ => error,
        })
    }

    /// Makes an entry that is not a directory. It replaces an earlier entry with the
    /// same name. Only in a layer, it replaces a directory.
    fn make<T>(
        &mut self,
        path: &[&[u8]],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T> {
        let (name, above) = path.split_last().context("it is the root, but not a directory")?;
        let is_layer = self.is_layer;
        let above = self.descend(above, true)?.dir.as_fd();
        let mut made = make(above, name);
        if let Err(Errno::EEXIST) = made {
            match unlinkat(above, *name, UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR) if is_layer => {
                    common::remove_tree_in(above, Path::new(OsStr::from_bytes(name)))?;
                }
                Err(Errno::EISDIR | Errno::EPERM) => bail!("it would replace a directory"),
                removed => removed?,
            }
            made = make(above, name);
        }
        Ok(made?)
    }

    /// Opens the directory `path`. If `make` is set, makes missing directories, and
    /// stores the time before an entry is made here. It follows no symbolic link.
    pub(super) fn descend(&mut self, path: &[&[u8]], make: bool) -> Result<&mut Open> {
        let below_root = self.open.iter().skip(1);
        let same = below_root.zip(path).take_while(|(open, part)| open.name == **part).count();
        self.leave(1 + same)?;
        for (depth, &name) in path.iter().enumerate().skip(same) {
            let above = &self.deepest()?.dir;
            let mut opened = open::directory(above, name);
            let is_missing = match opened {
                Err(Errno::ENOENT) => true,
                Err(Errno::ENOTDIR) => is_whiteout(above, name),
                _ => false,
            };
            if make && is_missing {
                self.count()?;
                let above = self.deepest()?;
                above.keep_time()?;
                let made = match opened {
                    Err(Errno::ENOENT) => new_directory(&above.dir, name)?,
                    _ => directory_instead(&above.dir, name)?,
                };
                fchmod(&made, directory_mode(0o755))?;
                opened = Ok(made);
            }
            let dir = match opened {
                Err(Errno::ENOTDIR | Errno::ELOOP) => bail!(
                    "its path leads through {}, which is a symbolic link or a file",
                    short(&path[..=depth].join(&b'/'))
                ),
                opened => opened?,
            };
            self.open.push(Open { name: name.to_vec(), dir, modified: None });
        }
        let there = self.deepest()?;
        if make {
            there.keep_time()?;
        }
        Ok(there)
    }

    /// The last open directory.
    fn deepest(&mut self) -> Result<&mut Open> {
        self.open.last_mut().context(NO_ROOT)
    }

    /// Closes all open directories except the first `kept`, and sets their times.
    fn leave(&mut self, kept: usize) -> Result<()> {
        for Open { dir, modified, .. } in self.open.drain(kept.min(self.open.len())..) {
            if let Some(modified) = modified {
                futimens(&dir, &TimeSpec::UTIME_OMIT, &modified)?;
            }
        }
        Ok(())
    }

    /// Closes all directories.
    pub(super) fn finish(mut self) -> Result<Notes> {
        self.leave(0)?;
        Ok(self.notes)
    }
}

/// Makes a directory.
pub(super) fn new_directory(above: &File, name: &[u8]) -> Result<File> {
    mkdirat(above, name, Mode::S_IRWXU)?;
    Ok(open::directory(above, name)?)
}

/// The mode of a directory: the owner always has all rights, and the sticky bit
/// stays.
fn directory_mode(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o1777 | 0o700)
}
