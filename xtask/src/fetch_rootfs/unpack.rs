//! Unpacking an archive as the calling user, and trusting it with nothing.
//!
//! Every name is walked down from the new root through directory descriptors,
//! one component at a time, and a symbolic link is never followed: so nothing
//! can land outside, whatever the archive says. What the crate `tar` reads is
//! headers; names, links and extended headers are taken apart here, with limits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, UtimensatFlags, fchmod, futimens, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use tar::EntryType;

/// What an archive may amount to. Alpine's has 6 MiB in 511 entries.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes, headers included.
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

impl Limits {
    pub(crate) const GENEROUS: Limits = Limits { bytes: 1 << 30, entries: 200_000 };
}

/// The longest extended header; names in it are 4096 bytes at most.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// The deepest directory, of which each level takes a descriptor.
const DEEPEST: usize = 200;

/// Device nodes, pipes and the like, which are left out: an ordinary user
/// cannot make a device node, and a container gets those it needs by mounts.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) count: u64,
    /// The first one's name.
    pub(crate) first: String,
}

/// Unpacks a compressed archive into the directory `root`, which is empty.
///
/// # Errors
///
/// When it is cut off or corrupt, too large, or has an entry that does not
/// belong in a root. What was unpacked until then stays.
pub(crate) fn unpack_gz(archive: &File, root: &Path, limits: Limits) -> Result<LeftOut> {
    let compressed = BufReader::with_capacity(128 << 10, archive);
    unpack(MultiGzDecoder::new(compressed), root, limits)
}

/// Unpacks an archive that is not compressed.
pub(crate) fn unpack(archive: impl Read, root: &Path, limits: Limits) -> Result<LeftOut> {
    let archive = Limited { inner: archive, left: limits.bytes };
    let mut archive = tar::Archive::new(BufReader::with_capacity(64 << 10, archive));
    let mut unpacker = Unpacker::new(root, limits)?;
    let mut extension = Extension::default();
    let mut entries = 0;
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        entries += 1;
        ensure!(entries <= limits.entries, "it has more than {} entries", limits.entries);
        match entry.header().entry_type() {
            EntryType::GNULongName => extension.name = Some(c_string(extended(&mut entry)?)),
            EntryType::GNULongLink => extension.link = Some(c_string(extended(&mut entry)?)),
            EntryType::XHeader => extension.read_pax(&extended(&mut entry)?)?,
            // Records for all entries to come; none of them matters here.
            EntryType::XGlobalHeader => drop(extended(&mut entry)?),
            _ => unpacker.entry(&mut entry, std::mem::take(&mut extension))?,
        }
    }
    ensure!(extension.is_empty(), "its last header announces an entry that does not come");
    // To the end, where the sum of the compressed data is checked.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
    unpacker.finish()
}

/// A reader that fails where an archive becomes larger than it may be.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let left = self.left.checked_sub(n as u64);
        self.left = left.ok_or_else(|| io::Error::other(TooLarge))?;
        Ok(n)
    }
}

#[derive(Debug)]
struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it is larger than a root may be once unpacked")
    }
}

impl std::error::Error for TooLarge {}

/// Why an archive cannot be read on.
fn unreadable(error: io::Error) -> anyhow::Error {
    if error.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) {
        return anyhow!("{TooLarge}");
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => anyhow!("it is cut off"),
        // A failed read(2).
        _ if error.raw_os_error().is_some() => anyhow::Error::new(error).context("read it"),
        // What the crates say may quote the archive at length.
        _ => anyhow!("it is damaged, or no tar archive: {}", short(error.to_string().as_bytes())),
    }
}

/// What extended headers say about the entry after them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Extension {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.link.is_none() && self.size.is_none() && !self.sparse
    }

    /// Reads the records of an extended header: `LENGTH KEY=VALUE\n`, where the
    /// length is that of the whole record; pax(1).
    fn read_pax(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = pax_record(records).context("it has a damaged pax header")?;
            records = rest;
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.context("it has a damaged pax header")?);
                }
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first record's key and value, and the records after it.
fn pax_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().position(|&byte| byte == b' ')?;
    let length: usize = str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
    let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}

/// The data of an extended header.
fn extended(entry: &mut tar::Entry<impl Read>) -> Result<Vec<u8>> {
    let size = entry.size();
    ensure!(size <= LONGEST_EXTENSION, "it has an extended header of {size} bytes");
    let mut data = Vec::new();
    entry.read_to_end(&mut data).map_err(unreadable)?;
    ensure!(data.len() as u64 == size, "it is cut off");
    Ok(data)
}

/// The bytes up to the first zero.
fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

/// A name for an error line.
fn short(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// The components of a name that stays below the root.
fn components(name: &[u8]) -> Result<Vec<&[u8]>> {
    ensure!(!name.starts_with(b"/"), "it is an absolute path");
    ensure!(!name.contains(&0), "there is a zero byte in it");
    let parts = name.split(|&byte| byte == b'/');
    let parts: Vec<_> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    ensure!(!parts.contains(&&b".."[..]), "it climbs up with ..");
    ensure!(parts.len() <= DEEPEST, "it is more than {DEEPEST} directories deep");
    Ok(parts)
}

/// Mode and time of a directory, set when all entries are there: making one in
/// it changes the time.
struct Directory {
    mode: Mode,
    modified: Option<TimeSpec>,
}

struct Unpacker {
    root: OwnedFd,
    /// The directory that was last worked in and those above it, below the
    /// root. Archives go through their directories in order, so that most
    /// entries find theirs open.
    open: Vec<(Vec<u8>, OwnedFd)>,
    directories: BTreeMap<Vec<u8>, Directory>,
    left_out: LeftOut,
    bytes_left: u64,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn new(root: &Path, limits: Limits) -> Result<Unpacker> {
        let opened = open_directory(AT_FDCWD, root);
        let root = opened.with_context(|| format!("open {}", root.display()))?;
        let mut directories = BTreeMap::new();
        directories.insert(Vec::new(), Directory { mode: directory_mode(0o755), modified: None });
        Ok(Unpacker {
            root,
            open: Vec::new(),
            directories,
            left_out: LeftOut::default(),
            bytes_left: limits.bytes,
            buffer: vec![0; 128 << 10],
        })
    }

    /// Unpacks one entry.
    fn entry(&mut self, entry: &mut tar::Entry<impl Read>, extension: Extension) -> Result<()> {
        let name = extension.name.clone();
        let name = name.unwrap_or_else(|| entry.path_bytes().into_owned());
        let unpacked = self.place(entry, &name, extension);
        unpacked.with_context(|| format!("entry {}", short(&name)))
    }

    fn place(
        &mut self,
        entry: &mut tar::Entry<impl Read>,
        name: &[u8],
        extension: Extension,
    ) -> Result<()> {
        let path = components(name)?;
        let header = entry.header();
        let kind = header.entry_type();
        let mode = header.mode().map_err(unreadable)?;
        // The kernel takes what a file system can hold of a time.
        let modified = i64::try_from(header.mtime().map_err(unreadable)?).unwrap_or(i64::MAX);
        let modified = TimeSpec::new(modified, 0);
        let size = entry.size();
        ensure!(!extension.sparse && kind != EntryType::GNUSparse, "it is a sparse file");
        ensure!(extension.size.is_none_or(|it| it == size), "it has two different sizes");
        ensure!(size <= self.bytes_left, "{TooLarge}");
        self.bytes_left -= size;
        let link = extension.link.or_else(|| entry.link_name_bytes().map(Into::into));
        match kind {
            EntryType::Directory => self.directory(&path, mode, modified),
            // As archives had it before there was a type for directories.
            EntryType::Regular if name.ends_with(b"/") => self.directory(&path, mode, modified),
            EntryType::Regular | EntryType::Continuous => {
                self.file(&path, entry, size, mode, modified)
            }
            EntryType::Symlink => {
                let target = link.filter(|link| !link.is_empty() && !link.contains(&0));
                let target = target.context("it is a symbolic link to nothing")?;
                self.symlink(&path, &target, modified)
            }
            EntryType::Link => {
                let target = link.context("it is a hard link to nothing")?;
                let linked = self.hard_link(&path, &target);
                linked.with_context(|| format!("hard link to {}", short(&target)))
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                if self.left_out.count == 0 {
                    self.left_out.first = short(name);
                }
                self.left_out.count += 1;
                Ok(())
            }
            other => bail!("it is of a kind that has no place in a root: {}", other.as_byte()),
        }
    }

    fn directory(&mut self, path: &[&[u8]], mode: u32, modified: TimeSpec) -> Result<()> {
        if let Some((name, above)) = path.split_last() {
            let above = self.descend(above, true)?;
            match mkdirat(above, *name, Mode::S_IRWXU) {
                Err(Errno::EEXIST) => match open_directory(above, *name) {
                    Err(Errno::ENOTDIR | Errno::ELOOP) => {
                        bail!("it is a directory, and would replace what is none");
                    }
                    there => drop(there?),
                },
                made => made?,
            }
        }
        let directory = Directory { mode: directory_mode(mode), modified: Some(modified) };
        self.directories.insert(path.join(&b'/'), directory);
        Ok(())
    }

    fn file(
        &mut self,
        path: &[&[u8]],
        data: &mut impl Read,
        size: u64,
        mode: u32,
        modified: TimeSpec,
    ) -> Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let owner = Mode::S_IRUSR | Mode::S_IWUSR;
        let made = self.make(path, |above, name| openat(above, name, flags, owner))?;
        let mut file = File::from(made);
        let mut left = size;
        while left > 0 {
            let n = data.read(&mut self.buffer).map_err(unreadable)?;
            ensure!(n > 0, "it is cut off");
            file.write_all(&self.buffer[..n])?;
            left = left.saturating_sub(n as u64);
        }
        // Set-user-ID and set-group-ID are dropped: when root unpacks, they
        // would hand root to every user of this machine. In a container whose
        // only user is root they mean nothing.
        let mode = Mode::from_bits_truncate(mode & 0o777);
        fchmod(&file, mode)?;
        futimens(&file, &TimeSpec::UTIME_OMIT, &modified)?;
        Ok(())
    }

    fn symlink(&mut self, path: &[&[u8]], target: &[u8], modified: TimeSpec) -> Result<()> {
        self.make(path, |above, name| {
            symlinkat(target, above, name)?;
            let flag = UtimensatFlags::NoFollowSymlink;
            utimensat(above, name, &TimeSpec::UTIME_OMIT, &modified, flag)
        })
    }

    fn hard_link(&mut self, path: &[&[u8]], target: &[u8]) -> Result<()> {
        let target = components(target)?;
        ensure!(path != target, "it is a link to itself");
        let (name, above) = target.split_last().context("it is the root itself")?;
        let above = self.descend(above, false)?.try_clone_to_owned()?;
        // Without AT_SYMLINK_FOLLOW: a symbolic link is linked to as such.
        let linked =
            self.make(path, |here, new| linkat(&above, *name, here, new, AtFlags::empty()));
        linked.map_err(|error| match error.downcast_ref() {
            Some(Errno::ENOENT) => anyhow!("no such file comes before it"),
            Some(Errno::EPERM) => anyhow!("it is a directory"),
            _ => error,
        })
    }

    /// Makes something that is no directory, in the place of what an earlier
    /// entry has put there, unless that is a directory.
    fn make<T>(
        &mut self,
        path: &[&[u8]],
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T> {
        let (name, above) = path.split_last().context("it is the root, and no directory")?;
        let above = self.descend(above, true)?;
        let mut made = make(above, name);
        if let Err(Errno::EEXIST) = made {
            match unlinkat(above, *name, UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR | Errno::EPERM) => bail!("it would replace a directory"),
                removed => removed?,
            }
            made = make(above, name);
        }
        Ok(made?)
    }

    /// The directory `path`, which is made where it is missing when `make`
    /// says so. No symbolic link is followed.
    fn descend(&mut self, path: &[&[u8]], make: bool) -> Result<BorrowedFd<'_>> {
        let same = self.open.iter().zip(path).take_while(|((name, _), part)| name == *part);
        let same = same.count();
        self.open.truncate(same);
        for (depth, &name) in path.iter().enumerate().skip(same) {
            let above = self.open.last().map_or(self.root.as_fd(), |(_, dir)| dir.as_fd());
            let opened = match open_directory(above, name) {
                Err(Errno::ENOENT) if make => {
                    mkdirat(above, name, Mode::S_IRWXU)?;
                    let made = Directory { mode: directory_mode(0o755), modified: None };
                    self.directories.insert(path[..=depth].join(&b'/'), made);
                    open_directory(above, name)
                }
                opened => opened,
            };
            let opened = match opened {
                Err(Errno::ENOTDIR | Errno::ELOOP) => bail!(
                    "it would go through {}, which is a symbolic link or a file",
                    short(&path[..=depth].join(&b'/'))
                ),
                opened => opened?,
            };
            self.open.push((name.to_vec(), opened));
        }
        Ok(self.open.last().map_or(self.root.as_fd(), |(_, dir)| dir.as_fd()))
    }

    /// Gives the directories their modes and times.
    fn finish(mut self) -> Result<LeftOut> {
        for (path, Directory { mode, modified }) in std::mem::take(&mut self.directories) {
            let parts: Vec<_> =
                path.split(|&byte| byte == b'/').filter(|it| !it.is_empty()).collect();
            let dir = self.descend(&parts, false)?;
            fchmod(dir, mode)?;
            if let Some(modified) = modified {
                futimens(dir, &TimeSpec::UTIME_OMIT, &modified)?;
            }
        }
        Ok(self.left_out)
    }
}

fn open_directory<P: nix::NixPath + ?Sized>(at: impl AsFd, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// A directory's mode: the owner may always work in it, and the sticky bit
/// stays.
fn directory_mode(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o1777 | 0o700)
}

#[cfg(test)]
mod tests;
