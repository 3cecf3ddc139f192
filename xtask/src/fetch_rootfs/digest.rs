//! SHA-2 digests of archives.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

use sha2::{Digest as Sha2, Sha256, Sha512};

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

    /// The digest of a whole open file.
    pub(crate) fn of_file(file: &File, algorithm: Algorithm) -> io::Result<Digest> {
        let bytes = match algorithm {
            Algorithm::Sha256 => hash::<Sha256>(file)?,
            Algorithm::Sha512 => hash::<Sha512>(file)?,
        };
        Ok(Digest { algorithm, hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

fn hash<D: Sha2>(mut file: &File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut hasher = D::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_vec()),
            n => hasher.update(&buffer[..n]),
        }
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
