//! Finds the compression of an archive by its first bytes, and decompresses it.

use std::io::{self, BufRead, ErrorKind, Read, Seek};

use anyhow::{bail, ensure};
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{CUT_OFF, damaged};

/// The largest window of a decompressor: the part of the output that it keeps. `xz
/// -9` needs this size, `zstd -19` needs 8 MiB.
const MEMORY: u32 = 64 << 20;
const TOO_MUCH_MEMORY: &str = "it needs more than 64 MiB of memory to decompress; compress it again without --long or --ultra";

/// The source of an archive. The first bytes are read twice.
pub(super) trait Input: BufRead + Seek {}
impl<S: BufRead + Seek> Input for S {}

/// A complete part of a compressed file. gzip(1), xz(1) and zstd(1) read several
/// parts in a row as a single file.
enum Member<S: Input> {
    Gzip(Box<GzDecoder<S>>),
    Xz(Box<XzReader<S>>),
    Zstd(Box<StreamingDecoder<S, FrameDecoder>>),
    /// A frame of zstd without data. It contains its length.
    Skippable(S),
}

/// Other kinds of archives and compression: the first bytes and the name.
const OTHERS: [(&[u8], &str); 6] = [
    (b"BZh", "compressed with bzip2"),
    (b"PK\x03\x04", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"07070", "a cpio archive"),
    (b"hsqs", "a squashfs image"),
];

/// Reads an archive with a known compression, or without compression.
///
/// # Errors
///
/// When it is empty, or begins like another kind of file.
pub(super) fn decompress<'a>(mut source: impl Input + 'a) -> anyhow::Result<Box<dyn Read + 'a>> {
    let head = peek(&mut source)?;
    ensure!(!head.is_empty(), "it is empty");
    for (magic, what) in OTHERS {
        if head.starts_with(magic) {
            bail!("it is {what}; name a tar archive, plain or compressed with gzip, xz or zstd");
        }
    }
    Ok(match Member::that_begins(&head) {
        Some(begin) => Box::new(Members { member: Some(begin(source)?) }),
        None => Box::new(source),
    })
}

/// The next bytes, enough to recognize a file. They are then read again.
fn peek(source: &mut impl Input) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    source.by_ref().take(8).read_to_end(&mut head)?;
    source.seek_relative(-(head.len() as i64))?;
    Ok(head)
}

/// Reads all members of a compressed file, in order.
struct Members<S: Input> {
    /// The present member. None at the end of the file.
    member: Option<Member<S>>,
}

impl<S: Input> Read for Members<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let Some(mut source) = self.member.take().map(Member::end).transpose()? else { break };
            skip_zeros(&mut source)?;
            let head = peek(&mut source)?;
            if !head.is_empty() {
                let why = "other data follows the compressed data; download the archive again";
                let begin = Member::that_begins(&head).ok_or(io::Error::other(why))?;
                self.member = Some(begin(source)?);
            }
        }
        Ok(0)
    }
}

/// Skips the padding of tapes and block devices, as gzip(1) does.
fn skip_zeros(source: &mut impl Input) -> io::Result<()> {
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

fn skip_frame<S: Input>(mut source: S) -> io::Result<S> {
    let mut head = [0; 8];
    source.read_exact(&mut head).map_err(damaged)?;
    let [.., a, b, c, d] = head;
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let skipped = io::copy(&mut source.by_ref().take(length), &mut io::sink())?;
    if skipped < length {
        return Err(io::Error::other(CUT_OFF));
    }
    Ok(source)
}

/// Begins a member.
type Begin<S> = fn(S) -> io::Result<Member<S>>;

impl<S: Input> Member<S> {
    /// The function that begins a member with the first bytes `head`.
    fn that_begins(head: &[u8]) -> Option<Begin<S>> {
        Some(match head {
            [0x1f, 0x8b, ..] => |source| Ok(Member::Gzip(Box::new(GzDecoder::new(source)))),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => |source| {
                // In KiB, and a little more than the window.
                let limit = MEMORY / 1024 + 1024;
                Ok(Member::Xz(Box::new(XzReader::new_mem_limit(source, false, limit))))
            },
            [0x28, 0xb5, 0x2f, 0xfd, ..] => |source| {
                let begun = StreamingDecoder::new_with_max_window_size(source, MEMORY.into());
                Ok(Member::Zstd(Box::new(begun.map_err(|error| match error {
                    FrameDecoderError::WindowSizeTooBig { .. } => io::Error::other(TOO_MUCH_MEMORY),
                    error => damaged(io::Error::other(error)),
                })?)))
            },
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => |source| Ok(Member::Skippable(source)),
            _ => return None,
        })
    }

    /// Checks the checksum if the decoder does not check it. Returns the source
    /// after the member.
    fn end(self) -> io::Result<S> {
        match self {
            Member::Skippable(source) => skip_frame(source),
            Member::Gzip(decoder) => Ok(decoder.into_inner()),
            Member::Xz(decoder) => Ok(decoder.into_inner()),
            Member::Zstd(decoder) => {
                let (source, decoder) = decoder.into_parts();
                match decoder.get_checksum_from_data() {
                    Some(sum) if decoder.get_calculated_checksum() != Some(sum) => {
                        Err(io::Error::other("it is damaged: its checksum is wrong"))
                    }
                    _ => Ok(source),
                }
            }
        }
    }
}

impl<S: Input> Read for Member<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Member::Gzip(decoder) => decoder.read(buffer),
            Member::Xz(decoder) => decoder.read(buffer),
            Member::Zstd(decoder) => decoder.read(buffer),
            Member::Skippable(_) => Ok(0),
        };
        read.map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => io::Error::other(TOO_MUCH_MEMORY),
            _ => damaged(error),
        })
    }
}
