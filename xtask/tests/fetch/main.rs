//! `cargo xtask fetch-rootfs` against a mirror on loopback.

mod archive;
mod dest;
mod download;
mod from_host;
mod hostile;
mod killed;
mod mirror;
mod others;
mod place;

use sha2::{Digest, Sha256, Sha512};

use testkit::archives::{Entry, gz, tar};

/// A release without a pinned digest.
const RELEASE: &str = "3.99.1";
const NAME: &str = "alpine-minirootfs-3.99.1-x86_64.tar.gz";
const PLACE: &str = "/alpine/v3.99/releases/x86_64/alpine-minirootfs-3.99.1-x86_64.tar.gz";
/// The path of a release with a pinned digest.
const PINNED: &str = "/alpine/v3.15/releases/x86_64/alpine-minirootfs-3.15.4-x86_64.tar.gz";
const PINNED_SHA256: &str = "6abd0409ccd6b27cb5311e0d475af5a284515eb219626334b29b1c3141d47653";

/// An address on loopback where no server listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A small root, with files of a user that does not exist here.
fn small(mark: &str) -> Vec<u8> {
    gz(&tar(&[
        Entry::new(b'5', "./"),
        Entry::new(b'5', "./bin/"),
        Entry { mode: 0o4755, ..Entry::file("./bin/busybox", "#!") },
        Entry::symlink("./bin/sh", "/bin/busybox"),
        Entry::file("./mark", mark),
    ]))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A part of a compressed archive: a mebibyte of zeros.
fn mebibyte() -> Vec<u8> {
    gz(&vec![0; 1 << 20])
}

/// An archive of few bytes, with a file of many mebibytes.
fn large(mebibytes: u64) -> Vec<u8> {
    let entry = Entry { declared: Some(mebibytes << 20), ..Entry::file("zeros", "") };
    let header = tar(&[entry])[..512].to_vec();
    let mut archive = gz(&header);
    let zeros = mebibyte();
    for _ in 0..mebibytes {
        archive.extend(&zeros);
    }
    archive.extend(gz(&[0; 1024]));
    archive
}
