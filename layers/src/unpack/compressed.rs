//! Finds the compression of an archive by its first bytes, and decompresses it.

use std::io::{self, BufRead, ErrorKind, Read};

use anyhow::{bail, ensure};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::damaged;

/// The largest window of a decompressor: the part of the output that it keeps. `xz
/// -9` needs this size, `zstd -19` needs 8 MiB.
const MEMORY: u32 = 64 << 20;
const TOO_MUCH_MEMORY: &str = "it needs more than 64 MiB of memory to decompress; compress it again without --long or --ultra";

/// Other kinds of archives and compression: the first bytes and the name.
const OTHERS: [(&[u8], &str); 6] = [
    (b"BZh", "compressed with bzip2"),
    (b"PK\x03\x04", "a zip file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
    (b"!<arch>\n", "an ar archive or a Debian package"),
    (b"07070", "a cpio archive"),
    (b"hsqs", "a squashfs image"),
];

/// Reads an archive with a known compression, or without compression. As gzip(1), xz(1)
/// and zstd(1), it reads several compressed files in a row as a single file.
///
/// # Errors
///
/// When it is empty, or begins like another kind of file.
pub(super) fn decompress<'a>(mut source: impl BufRead + 'a) -> anyhow::Result<Box<dyn Read + 'a>> {
    let head = source.fill_buf()?;
    ensure!(!head.is_empty(), "it is empty");
    for (magic, what) in OTHERS {
        if head.starts_with(magic) {
            bail!("it is {what}; name a tar archive, plain or compressed with gzip, xz or zstd");
        }
    }
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(Explained(MultiGzDecoder::new(source))),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            // In KiB, and a little more than the window.
            let limit = MEMORY / 1024 + 1024;
            Box::new(Explained(XzReader::new_mem_limit(source, true, limit)))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(MEMORY.into());
            Box::new(Explained(Frames { source, decoder }))
        }
        _ => Box::new(source),
    })
}

/// A decompressor, with errors for an error line.
struct Explained<R>(R);

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => io::Error::other(TOO_MUCH_MEMORY),
            _ => damaged(error),
        })
    }
}

/// The frames of a file of zstd. Each has a window and a checksum of its own.
struct Frames<S> {
    source: S,
    decoder: FrameDecoder,
}

impl<S: BufRead> Frames<S> {
    /// Begins the next frame, or skips a frame without data.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.source) {
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => Err(ErrorKind::OutOfMemory.into()),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                if skipped == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
            }
            begun => begun.map_err(io::Error::other),
        }
    }
}

impl<S: BufRead> Read for Frames<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let n = self.decoder.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(io::Error::other)?;
                continue;
            }
            // The library does not compare them.
            let sum = self.decoder.get_checksum_from_data();
            if sum.is_some() && sum != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("its checksum is wrong"));
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.begin()?;
        }
    }
}
