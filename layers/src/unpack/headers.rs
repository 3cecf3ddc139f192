//! The parts of a tar archive before the data of an entry.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Take};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use nix::sys::time::TimeSpec;
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::CUT_OFF;

/// The size of headers and data is padded to a multiple of this.
pub(super) const BLOCK: u64 = 512;

/// The longest extended header. A name in it has at most 4096 bytes.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// The maximum number of pieces of a sparse file.
const MOST_PIECES: u64 = 10_000;

/// The maximum length of a number in a list, with its newline.
const LONGEST_NUMBER: u64 = 21;

const DAMAGED_PAX: &str = "it has a damaged pax header";
const DAMAGED_SPARSE: &str = "it is a sparse file with a damaged list of its pieces";

/// Reads `size` bytes, or fails.
fn exactly(size: u64, archive: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.take(size).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == size, CUT_OFF);
    Ok(bytes)
}

/// The fields of the needed numbers: mode, user, group, size and time.
const NUMBERS: [Range<usize>; 5] = [100..108, 108..116, 116..124, 124..136, 136..148];

/// The beginning of the key of an extended attribute. The rest is its name.
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// Reads the next header. Returns nothing at a block of zeros, which ends the archive.
/// A digest shows whether a layer is complete, so the end of the file ends it, too.
pub(super) fn header(archive: &mut impl BufRead, is_layer: bool) -> Result<Option<Header>> {
    if is_layer && archive.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut block = exactly(BLOCK, archive)?;
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let mut summed = Header::from_byte_slice(&block).clone();
    let sum = summed.cksum().ok();
    summed.set_cksum();
    ensure!(
        sum == summed.cksum().ok(),
        "it is damaged, or not a tar archive: the checksum of a header is wrong"
    );
    // The header of a label has empty fields. They mean 0.
    for field in NUMBERS {
        let field = &mut block[field];
        if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
            field[0] = b'0';
        }
    }
    Ok(Some(Header::from_byte_slice(&block).clone()))
}

/// Reads the data of an extended header.
pub(super) fn extended(data: &mut Take<impl Read>) -> Result<Vec<u8>> {
    let size = data.limit();
    ensure!(size <= LONGEST_EXTENSION, "it has an extended header of {size} bytes");
    exactly(size, data)
}

/// The bytes up to the first zero.
pub(super) fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0);
    bytes.truncate(end.unwrap_or(bytes.len()));
    bytes
}

/// The contents of extended headers, for the entry after them.
#[derive(Default, PartialEq)]
pub(super) struct Extension {
    pub(super) name: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) modified: Option<TimeSpec>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    /// Extended attributes: name and value.
    pub(super) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The pieces of a sparse file in GNU's format.
    pub(super) pieces: Option<Pieces>,
    /// Whether pax records describe a sparse file.
    is_sparse: bool,
    sparse_name: Option<Vec<u8>>,
    /// From version 1 on, the data begins with the list of pieces.
    sparse_version: Option<u64>,
    sparse_size: Option<u64>,
}

impl Extension {
    /// Reads the records of an extended header: `LENGTH KEY=VALUE\n`. The length is
    /// the length of the whole record; pax(1). The crate `tar` ends a record at the
    /// first newline, but a name can contain a newline.
    pub(super) fn read_pax(&mut self, mut records: &[u8]) -> Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = pax_record(records).context(DAMAGED_PAX)?;
            records = rest;
            // A record without a value cancels an earlier record.
            let value = (!value.is_empty()).then_some(value);
            let number = || value.map(|it| number(it).context(DAMAGED_PAX)).transpose();
            self.is_sparse |= key.starts_with(b"GNU.sparse.");
            if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                match value {
                    Some(value) => self.attributes.insert(name.into(), value.into()),
                    None => self.attributes.remove(name),
                };
            }
            match key {
                b"path" => self.name = value.map(Into::into),
                b"linkpath" => self.link = value.map(Into::into),
                b"size" => self.size = number()?,
                b"uid" => self.uid = number()?,
                b"gid" => self.gid = number()?,
                b"mtime" => {
                    let time = value.map(|it| time(it).context(DAMAGED_PAX));
                    self.modified = time.transpose()?;
                }
                b"GNU.sparse.name" => self.sparse_name = value.map(Into::into),
                b"GNU.sparse.major" => self.sparse_version = number()?,
                b"GNU.sparse.realsize" => self.sparse_size = number()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the name of the entry.
    pub(super) fn take_name(&mut self, header: &Header) -> Vec<u8> {
        let name = self.sparse_name.take().or_else(|| self.name.take());
        name.unwrap_or_else(|| header.path_bytes().into_owned())
    }

    /// The pieces of the file. `data` is the data in the archive.
    pub(super) fn pieces(&mut self, data: &mut Take<impl BufRead>) -> Result<Pieces> {
        let pieces = match self.pieces.take() {
            Some(pieces) => pieces,
            None if self.is_sparse => {
                ensure!(
                    self.sparse_version == Some(1),
                    "it is a sparse file in an old format; make the archive again with tar --sparse-version=1.0"
                );
                Pieces::of_list(data, self.sparse_size.context(DAMAGED_SPARSE)?)?
            }
            None => Pieces { pieces: vec![(0, data.limit())], size: data.limit() },
        };
        ensure!(pieces.fit(data.limit()), DAMAGED_SPARSE);
        Ok(pieces)
    }
}

/// The key and value of the first record, and the records after it.
fn pax_record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = records.iter().position(|&byte| byte == b' ')?;
    let length: usize = number(&records[..blank])?.try_into().ok()?;
    let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &records[length..]))
}

fn number(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds since 1970. `-1.5` is half a second after -2.
fn time(text: &[u8]) -> Option<TimeSpec> {
    let (seconds, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b""[..]),
    };
    let is_negative = seconds.starts_with(b"-");
    let seconds: i64 = str::from_utf8(seconds).ok()?.parse().ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain([b'0'; 9]).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    if is_negative && nanoseconds > 0 {
        return Some(TimeSpec::new(seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some(TimeSpec::new(seconds, nanoseconds))
}

/// The pieces of a file that are not zeros, in the order of the archive, and the
/// size of the file.
#[derive(PartialEq)]
pub(super) struct Pieces {
    /// The offset and the length of each piece.
    pub(super) pieces: Vec<(u64, u64)>,
    pub(super) size: u64,
}

impl Pieces {
    /// The pieces from a header in GNU's format, and from the blocks after it.
    pub(super) fn of_gnu(header: &Header, archive: &mut impl Read) -> Result<Pieces> {
        let gnu = header.as_gnu().context(DAMAGED_SPARSE)?;
        let size = gnu.real_size().ok().context(DAMAGED_SPARSE)?;
        let mut pieces = Vec::new();
        let mut add = |list: &[GnuSparseHeader]| {
            for piece in list.iter().filter(|it| !it.is_empty()) {
                pieces.push((piece.offset().ok()?, piece.length().ok()?));
            }
            (pieces.len() as u64 <= MOST_PIECES).then_some(())
        };
        add(&gnu.sparse).context(DAMAGED_SPARSE)?;
        let mut more = gnu.is_extended();
        while more {
            let mut list = GnuExtSparseHeader::new();
            list.as_mut_bytes().copy_from_slice(&exactly(BLOCK, archive)?);
            add(list.sparse()).context(DAMAGED_SPARSE)?;
            more = list.is_extended();
        }
        Ok(Pieces { pieces, size })
    }

    /// The pieces from a list at the start of the data. It has one number on each
    /// line: the number of pieces, then the offset and length of each piece. Zeros
    /// fill the last block.
    fn of_list(data: &mut Take<impl BufRead>, size: u64) -> Result<Pieces> {
        let start = data.limit();
        let mut next_number = || {
            let mut line = Vec::new();
            data.by_ref().take(LONGEST_NUMBER).read_until(b'\n', &mut line)?;
            line.strip_suffix(b"\n").and_then(number).context(DAMAGED_SPARSE)
        };
        let count = next_number()?;
        ensure!(count <= MOST_PIECES, DAMAGED_SPARSE);
        let pieces =
            (0..count).map(|_| Ok((next_number()?, next_number()?))).collect::<Result<_>>()?;
        let zeros = (start - data.limit()).wrapping_neg() % BLOCK;
        ensure!(io::copy(&mut data.by_ref().take(zeros), &mut io::sink())? == zeros, CUT_OFF);
        Ok(Pieces { pieces, size })
    }

    /// Whether every piece is inside the file, and the pieces use all the data.
    fn fit(&self, stored: u64) -> bool {
        let sum = self.pieces.iter().try_fold(0_u64, |sum, (at, length)| {
            at.checked_add(*length).filter(|end| *end <= self.size)?;
            sum.checked_add(*length)
        });
        sum == Some(stored)
    }
}
