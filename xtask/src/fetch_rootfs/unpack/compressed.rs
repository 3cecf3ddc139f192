//! Finds the compression of an archive by its first bytes, and decompresses it.

use std::io::{self, BufRead, ErrorKind, Read, Seek};

use anyhow::{Result, bail, ensure};
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::Refusal;

/// The largest window of a decompressor: the part of the output that it keeps. `xz
/// -9` needs this size, `zstd -19` needs 8 MiB.
const MEMORY: u32 = 64 << 20;
const TOO_MUCH_MEMORY: Refusal = Refusal(
    "it needs more than 64 MiB of memory to decompress; compress it again without --long or --ultra",
);

const SOMETHING_ELSE: Refusal =
    Refusal("other data follows the compressed data; download the archive again");
const WRONG_SUM: Refusal = Refusal("it is damaged: its checksum is wrong");

/// The source of an archive. The first bytes are read twice.
pub(super) trait Source: BufRead + Seek {}
impl<S: BufRead + Seek> Source for S {}

/// A complete part of a compressed file. gzip(1), xz(1) and zstd(1) read several
/// parts in a row as a single file.
enum Member<S: Source> {
    Gzip(Box<GzDecoder<S>>),
    Xz(Box<XzReader<S>>),
    Zstd(Box<StreamingDecoder<S, FrameDecoder>>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gzip,
    Xz,
    Zstd,
    /// A frame of zstd without data. It contains its length.
    Skippable,
}

impl Kind {
    fn of(head: &[u8]) -> Option<Kind> {
        match head {
            [0x1f, 0x8b, ..] => Some(Kind::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Kind::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Kind::Zstd),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Kind::Skippable),
            _ => None,
        }
    }
}

/// Other kinds of archives and compression: the first bytes and the name.
const OTHERS: [(&[u8], &str); 11] = [
    (b"BZh", "compressed with bzip2"),
    (b"PK\x03\x04", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
    (b"LZIP", "compressed with lzip"),
    (b"\x5d\0\0", "compressed with lzma"),
    (b"\x04\x22\x4d\x18", "compressed with lz4"),
    (b"\x1f\x9d", "compressed with compress"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"07070", "a cpio archive"),
    (b"hsqs", "a squashfs image"),
    (b"QFI\xfb", "a disk image"),
];

/// Reads an archive with a known compression, or without compression.
///
/// # Errors
///
/// When it is empty, or begins like another kind of file.
pub(super) fn decompress<'a>(mut source: impl Source + 'a) -> Result<Box<dyn Read + 'a>> {
    let head = peek(&mut source)?;
    ensure!(!head.is_empty(), "it is empty");
    for (magic, what) in OTHERS {
        if head.starts_with(magic) {
            bail!("it is {what}; name a tar archive, plain or compressed with gzip, xz or zstd");
        }
    }
    if Kind::of(&head).is_none() {
        return Ok(Box::new(source));
    }
    Ok(Box::new(Members { source: Some(source), member: None }))
}

/// The next bytes, enough to recognize a file. They are then read again.
fn peek(source: &mut impl Source) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.by_ref().take(8).read_to_end(&mut head)?;
    source.seek_relative(-(head.len() as i64))?;
    Ok(head)
}

/// Reads all members of a compressed file, in order.
struct Members<S: Source> {
    /// The source between two members, and after the last member.
    source: Option<S>,
    member: Option<Member<S>>,
}

impl<S: Source> Read for Members<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(member) = &mut self.member {
                let n = member.read(buffer)?;
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
            }
            if let Some(member) = self.member.take() {
                let mut source = member.end()?;
                skip_zeros(&mut source)?;
                self.source = Some(source);
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            let head = peek(&mut source)?;
            if head.is_empty() {
                return Ok(0);
            }
            match Kind::of(&head) {
                Some(Kind::Skippable) => {
                    self.source = Some(skip_frame(source)?);
                }
                Some(kind) => self.member = Some(Member::begin(kind, source)?),
                None => return Err(SOMETHING_ELSE.into()),
            }
        }
    }
}

/// Skips the padding of tapes and block devices, as gzip(1) does.
fn skip_zeros(source: &mut impl Source) -> io::Result<()> {
    loop {
        let buffer = source.fill_buf()?;
        let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
        let more = zeros > 0 && zeros == buffer.len();
        source.consume(zeros);
        if !more {
            return Ok(());
        }
    }
}

fn skip_frame<S: Source>(mut source: S) -> io::Result<S> {
    let mut head = [0; 8];
    source.read_exact(&mut head)?;
    let [.., a, b, c, d] = head;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let skipped = io::copy(&mut source.by_ref().take(length), &mut io::sink())?;
    if skipped < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(source)
}

impl<S: Source> Member<S> {
    fn begin(kind: Kind, source: S) -> io::Result<Member<S>> {
        Ok(match kind {
            Kind::Gzip => Member::Gzip(Box::new(GzDecoder::new(source))),
            Kind::Xz => {
                // In KiB, and a little more than the window.
                let limit = MEMORY / 1024 + 1024;
                Member::Xz(Box::new(XzReader::new_mem_limit(source, false, limit)))
            }
            Kind::Zstd | Kind::Skippable => {
                let begun = StreamingDecoder::new_with_max_window_size(source, MEMORY.into());
                Member::Zstd(Box::new(begun.map_err(|error| match error {
                    FrameDecoderError::WindowSizeTooBig { .. } => TOO_MUCH_MEMORY.into(),
                    error => io::Error::other(error),
                })?))
            }
        })
    }

    /// Checks the checksum if the decoder does not check it. Returns the source
    /// after the member.
    fn end(self) -> io::Result<S> {
        match self {
            Member::Gzip(decoder) => Ok(decoder.into_inner()),
            Member::Xz(decoder) => Ok(decoder.into_inner()),
            Member::Zstd(decoder) => {
                let (source, decoder) = decoder.into_parts();
                match decoder.get_checksum_from_data() {
                    Some(sum) if decoder.get_calculated_checksum() != Some(sum) => {
                        Err(WRONG_SUM.into())
                    }
                    _ => Ok(source),
                }
            }
        }
    }
}

impl<S: Source> Read for Member<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Member::Gzip(decoder) => decoder.read(buffer),
            Member::Xz(decoder) => decoder.read(buffer).map_err(|error| match error.kind() {
                ErrorKind::OutOfMemory => TOO_MUCH_MEMORY.into(),
                _ => error,
            }),
            Member::Zstd(decoder) => decoder.read(buffer),
        }
    }
}
