//! SHA-2 digests of archives.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use serde::{Deserialize, Serialize};
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};

/// The algorithm of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, with 64 hexadecimal digits.
    Sha256,
    /// SHA-512, with 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// Both algorithms, the stronger first.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha512, Algorithm::Sha256];

    /// Its name in an OCI image, and after the last dot in the name of a digest file:
    /// `sha256`.
    pub fn oci(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512 => "SHA-512",
        })
    }
}

/// A digest: hexadecimal digits. Their number tells the algorithm.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Reads the digest `hex`.
    pub fn parse(hex: &str) -> Option<Digest> {
        let is_digest =
            matches!(hex.len(), 64 | 128) && hex.bytes().all(|it| it.is_ascii_hexdigit());
        is_digest.then(|| Digest(hex.to_ascii_lowercase()))
    }

    /// The digest of `name` in a digest file: a line with the digest, two
    /// blanks and the name, as sha256sum(1) writes it.
    pub fn of_name(file: &[u8], name: &str, algorithm: Algorithm) -> Option<Digest> {
        let text = str::from_utf8(file).ok()?;
        let found = text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let digest = Digest::parse(words.next()?)?;
            // An asterisk marks a file that was read as binary.
            (words.next()?.trim_start_matches('*') == name).then_some(digest)
        });
        found.filter(|digest| digest.algorithm() == algorithm)
    }

    /// The digest of a whole open file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn of_file(mut file: &File, algorithm: Algorithm) -> io::Result<Digest> {
        file.rewind()?;
        let mut hasher = Hasher::new(algorithm);
        hasher.add(file)?;
        Ok(hasher.finish())
    }

    /// The digest of bytes.
    pub fn of_bytes(bytes: &[u8], algorithm: Algorithm) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// As an OCI image names it, such as `sha256:e3b0…`.
    pub fn oci(&self) -> String {
        format!("{}:{self}", self.algorithm().oci())
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.len() == 64 { Algorithm::Sha256 } else { Algorithm::Sha512 }
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    /// Reads a digest of an OCI image, such as `sha256:e3b0…`.
    fn try_from(text: String) -> Result<Digest, String> {
        let digest = text.split_once(':').and_then(|(_, hex)| Digest::parse(hex));
        digest.filter(|digest| digest.oci() == text).ok_or_else(|| {
            format!("{:?} is not a digest", text.chars().take(80).collect::<String>())
        })
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.oci()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes the digest of bytes that come in pieces.
pub struct Hasher(Box<dyn DynDigest>);

impl Hasher {
    /// The state before the first byte.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => Box::<Sha256>::default(),
            Algorithm::Sha512 => Box::<Sha512>::default(),
        })
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds the bytes of a file from its position on, and returns their number.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn add(&mut self, file: &File) -> io::Result<u64> {
        io::copy(&mut BufReader::with_capacity(128 << 10, file), self)
    }

    /// Forgets all bytes.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The digest of all bytes, which it then forgets.
    pub fn finish(&mut self) -> Digest {
        let bytes = self.0.finalize_reset();
        Digest(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that computes the digest of its bytes. Fails when a signal asks this process to end.
pub(crate) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashed<R> {
    /// A reader at its first byte.
    pub(crate) fn new(inner: R, algorithm: Algorithm) -> Hashed<R> {
        Hashed { inner, hasher: Hasher::new(algorithm) }
    }

    /// Reads to the end. The digest of all bytes.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Of the blob, too: it may be compressed files without contents, one after the other.
        common::stop_if_asked().map_err(io::Error::other)?;
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of an empty file.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        let empty = File::open("/dev/null").expect("open");
        let digest = Digest::of_file(&empty, Algorithm::Sha256).expect("read");
        assert_eq!(digest.to_string(), EMPTY);
    }

    #[test]
    fn a_digest_file_has_the_digest_of_its_name() {
        let of = |text: &str| Digest::of_name(text.as_bytes(), "a.tar.gz", Algorithm::Sha256);
        let digest = Digest::parse(EMPTY);
        assert!(digest.is_some());
        assert_eq!(of(&format!("{EMPTY}  a.tar.gz\n")), digest);
        assert_eq!(of(&format!("{} *a.tar.gz", EMPTY.to_uppercase())), digest);
        assert_eq!(of(&format!("{EMPTY}  b.tar.gz\n{EMPTY}  a.tar.gz\n")), digest);
        for text in ["", "<html>", EMPTY, &format!("{EMPTY}  b.tar.gz"), "00  a.tar.gz"] {
            assert_eq!(of(text), None, "{text}");
        }
        let of_512 =
            Digest::of_name(format!("{EMPTY}  a.tar.gz").as_bytes(), "a.tar.gz", Algorithm::Sha512);
        assert_eq!(of_512, None, "a SHA-256 is no SHA-512");
    }
}
