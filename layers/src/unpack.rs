//! Unpacks an archive as the calling user. It does not trust the archive.
//!
//! It opens each component of a name by a descriptor of the directory above, and
//! follows no symbolic link. So no entry can write outside of the new root. The
//! crate `tar` reads the fields of a header. Its own loop over an archive stores
//! names and extended headers without a limit, and refuses volume labels, so this
//! module has its own loop.
//!
//! `compressed` reads bytes, `headers` reads the description of an entry, and
//! `tree` makes the entry. `layer` has what differs for a layer.

mod compressed;
mod headers;
mod layer;
mod tree;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::iter::successors;

use anyhow::{Context, Result, ensure};
use tar::EntryType;

use crate::Digest;
use crate::digest::Hashed;
use compressed::decompress;
use headers::{BLOCK, Extension, c_string, extended};
pub use layer::Notes;
use tree::Unpacker;

/// The limits of an archive. Alpine's archive has 6 MiB in 511 entries.
///
/// There are more limits: on the extended headers of an entry, and on the window of a
/// decompressor. Together they keep the memory below 100 MB for any archive: the program
/// stores nothing about unpacked entries.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Bytes, with the headers.
    pub bytes: u64,
    /// Entries, and directories above them that have no entry.
    pub entries: u64,
}

impl Limits {
    /// Enough for a large root.
    pub const GENEROUS: Limits = Limits { bytes: 1 << 30, entries: 200_000 };

    /// Enough for a layer of the largest images.
    pub const LAYER: Limits = Limits { bytes: 10 << 30, entries: 1_000_000 };
}

/// Device nodes, pipes and similar entries that are left out. An ordinary user
/// cannot make a device node, and a container gets its devices by mounts.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Their number.
    pub count: u64,
    /// The name of the first such entry.
    pub first: String,
}

impl LeftOut {
    fn add(&mut self, name: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = name();
        }
        self.count += 1;
    }

    /// Such as `1 file, a`, or `2 files, the first is a`. Nothing if there are none.
    pub fn text(&self, one: &str, many: &str) -> Option<String> {
        match self.count {
            0 => None,
            1 => Some(format!("1 {one}, {}", self.first)),
            count => Some(format!("{count} {many}, the first is {}", self.first)),
        }
    }
}

/// Unpacks an archive, plain or compressed with gzip, xz or zstd, into the empty
/// directory `root`. Another program may rename this directory at the same time.
///
/// # Errors
///
/// When the archive is cut off, corrupt or too large, or has an entry that must not
/// be in a root. The files that are already unpacked stay.
pub fn unpack(archive: &File, root: &File, limits: Limits) -> Result<LeftOut> {
    unpack_from(BufReader::with_capacity(128 << 10, archive), root, limits)
}

fn unpack_from(archive: impl BufRead, root: &File, limits: Limits) -> Result<LeftOut> {
    let unpacker = Unpacker::new(root, limits, false)?;
    Ok(entries(decompress(archive)?, unpacker, limits)?.devices)
}

/// Unpacks a layer of an image into the empty directory `root`, as a lower directory of
/// an overlay that is mounted with `userxattr`. The caller is root in a user namespace.
///
/// `digest` is the digest of the blob, and `diff_id` that of the archive in it. Both are
/// computed while the bytes come.
///
/// Owners, modes, times, extended attributes, links and pipes are as in the layer. A
/// whiteout becomes a character device 0:0, and an opaque directory gets the attribute
/// `user.overlay.opaque`: "whiteouts and opaque directories" in the kernel's overlayfs
/// documentation. They hide only entries of lower layers, at any place in the archive.
/// A directory without an entry gets the mode 755, as podman does.
///
/// # Errors
///
/// As [`unpack`], when a digest is wrong, and when the file system has no whiteouts or
/// attributes. The files that are already unpacked stay.
pub fn unpack_layer(
    mut blob: &File,
    digest: &Digest,
    diff_id: &Digest,
    root: &File,
    limits: Limits,
) -> Result<Notes> {
    blob.rewind()?;
    let mut blob = Hashed::new(blob, digest.algorithm());
    let unpacked = unpack_tar(&mut blob, diff_id, root, limits);
    // A wrong digest is the reason for whatever is wrong in the archive.
    let found = blob.finish()?;
    ensure!(found == *digest, "its digest is {}, and not {}", found.oci(), digest.oci());
    unpacked
}

fn unpack_tar(blob: impl Read, diff_id: &Digest, root: &File, limits: Limits) -> Result<Notes> {
    let archive = decompress(BufReader::with_capacity(128 << 10, blob))?;
    let mut archive = Hashed::new(archive, diff_id.algorithm());
    let notes = entries(&mut archive, Unpacker::new(root, limits, true)?, limits)?;
    let found = archive.finish()?;
    ensure!(
        found == *diff_id,
        "the digest of its archive is {}, and not the diff_id {}",
        found.oci(),
        diff_id.oci()
    );
    Ok(notes)
}

/// Unpacks all entries of an archive.
fn entries(archive: impl Read, mut unpacker: Unpacker, limits: Limits) -> Result<Notes> {
    let archive = Limited { inner: archive, left: limits.bytes };
    let mut archive = BufReader::with_capacity(64 << 10, archive);
    let (mut extension, mut extended_bytes) = (Extension::default(), 0);
    while let Some(header) = headers::header(&mut archive, unpacker.is_layer)? {
        unpacker.count()?;
        let kind = header.entry_type();
        let is_extended = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        // A size of 8 GiB does not fit into the field, so a pax record or base 256 has it.
        let size = extension.size.filter(|_| !is_extended);
        let size = size.map_or_else(|| header.entry_size().map_err(damaged), Ok)?;
        let mut data = archive.by_ref().take(size);
        let mut extended = || extended(&mut data, &mut extended_bytes);
        match kind {
            EntryType::GNULongName => extension.name = Some(c_string(extended()?)),
            EntryType::GNULongLink => extension.link = Some(c_string(extended()?)),
            EntryType::XHeader => extension.read_pax(&extended()?)?,
            // Records for all entries that follow. No such record matters here.
            EntryType::XGlobalHeader => drop(extended()?),
            _ if kind.as_byte() == VOLUME_LABEL => {}
            _ => {
                let mut extension = std::mem::take(&mut extension);
                extended_bytes = 0;
                let name = extension.name.take();
                let name = name.unwrap_or_else(|| header.path_bytes().into_owned());
                let placed = unpacker.entry(&header, &name, extension, &mut data);
                placed.with_context(|| format!("entry {}", short(&name)))?;
            }
        }
        let (left, padding) = (data.limit(), size.wrapping_neg() % BLOCK);
        let mut skip = |bytes| io::copy(&mut archive.by_ref().take(bytes), &mut io::sink());
        ensure!(skip(left)? == left, CUT_OFF);
        // umoci(1) ends a layer with the last byte of the data.
        ensure!(skip(padding)? == padding || unpacker.is_layer, CUT_OFF);
    }
    ensure!(extension == Extension::default(), "the entry of its last header is missing");
    // Read to the end: there the decompressor checks the checksum.
    io::copy(&mut archive, &mut io::sink())?;
    unpacker.finish()
}

/// The type of the entry with the name that `tar --label` gives an archive.
const VOLUME_LABEL: u8 = b'V';

const CUT_OFF: &str = "it is cut off";
const TOO_LARGE: &str = "its files are larger than a root may be";

/// A reader that fails when the archive becomes too large.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or(io::Error::other(TOO_LARGE))?;
        Ok(n)
    }
}

/// The error of a crate that reads an archive, as text for an error line.
fn damaged(error: io::Error) -> io::Error {
    let inner = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    // A decompressor may wrap the error of the file.
    let first = successors(inner, |cause| (*cause).source()).find_map(|it| it.downcast_ref());
    let of_file: &io::Error = first.unwrap_or(&error);
    match (of_file.kind(), of_file.raw_os_error()) {
        (ErrorKind::UnexpectedEof, _) => io::Error::other(CUT_OFF),
        (_, Some(errno)) => io::Error::from_raw_os_error(errno),
        // The messages of the crates may quote a long part of the archive.
        _ => io::Error::other(format!(
            "it is damaged, or not a tar archive: {}",
            short(error.to_string().as_bytes())
        )),
    }
}

/// The start of a name, for an error line.
pub(crate) fn short(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
