//! SHA-2 digests of archives.

use std::fmt;
use std::fs::File;
use std::io::Read;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256, Sha512};

/// The digests that Alpine publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    /// Both algorithms, the stronger first.
    pub(crate) const ALL: [Algorithm; 2] = [Algorithm::Sha512, Algorithm::Sha256];

    /// The end of a digest file's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Algorithm::Sha256 => ".sha256",
            Algorithm::Sha512 => ".sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
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

/// A digest. It is printed in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Reads the digest `hex`. Its length gives the algorithm.
    pub(crate) fn parse(hex: &str) -> Option<Digest> {
        let hex = hex.to_ascii_lowercase();
        let algorithm = Algorithm::ALL.into_iter().find(|it| it.digits() == hex.len())?;
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then_some(Digest { algorithm, hex })
    }

    /// The digest of `name` in a digest file: a line with the digest, two
    /// blanks and the name, as sha256sum(1) writes it.
    pub(crate) fn of_name(file: &[u8], name: &str, algorithm: Algorithm) -> Option<Digest> {
        let text = str::from_utf8(file).ok()?;
        let found = text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let digest = Digest::parse(words.next()?)?;
            // An asterisk marks a file that was read as binary.
            (words.next()?.trim_start_matches('*') == name).then_some(digest)
        });
        found.filter(|digest| digest.algorithm == algorithm)
    }

    /// The digest of an open file from its beginning to its end.
    pub(crate) fn of_file(mut file: &File, algorithm: Algorithm) -> Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer).context("read it")? {
                0 => return Ok(hasher.digest()),
                n => hasher.add(&buffer[..n]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// A digest in the making.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn digest(self) -> Digest {
        let (algorithm, bytes) = match self {
            Hasher::Sha256(hasher) => (Algorithm::Sha256, hasher.finalize().to_vec()),
            Hasher::Sha512(hasher) => (Algorithm::Sha512, hasher.finalize().to_vec()),
        };
        Digest { algorithm, hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest of an empty file.
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        assert_eq!(Hasher::new(Algorithm::Sha256).digest().to_string(), EMPTY);
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
