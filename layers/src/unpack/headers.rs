//! The parts of a tar archive before the data of an entry.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Take};
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use nix::sys::time::TimeSpec;
use tar::Header;

use super::CUT_OFF;

/// The size of headers and data is padded to a multiple of this.
pub(super) const BLOCK: u64 = 512;

/// The most bytes of the extended headers of an entry. A name in one has at most 4096 bytes.
const LONGEST_EXTENSION: u64 = 1 << 20;

const DAMAGED_PAX: &str = "it has a damaged pax header";

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

/// Reads the data of an extended header. `sum` is the size of those before it for the same entry:
/// their attributes stay in memory until the entry comes.
pub(super) fn extended(data: &mut Take<impl Read>, sum: &mut u64) -> Result<Vec<u8>> {
    let size = data.limit();
    *sum = sum.saturating_add(size);
    ensure!(*sum <= LONGEST_EXTENSION, "an entry has extended headers of {sum} bytes");
    exactly(size, data)
}

/// The bytes up to the first zero.
pub(super) fn c_string(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().take_while(|&byte| byte != 0).collect()
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
    /// Whether records describe a file with holes.
    pub(super) is_sparse: bool,
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
                _ => {}
            }
        }
        Ok(())
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
    let text = str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain([b'0'; 9]).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    if is_negative && nanoseconds > 0 {
        return Some(TimeSpec::new(seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some(TimeSpec::new(seconds, nanoseconds))
}
