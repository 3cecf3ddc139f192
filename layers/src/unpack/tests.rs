//! Entries that are unpacked, and entries that are refused.

use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write, stderr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::path::PathBuf;

use nix::unistd::getuid;
use testkit::Scratches;
use testkit::archives::{Entry, gz, tar};

use super::*;

mod formats;
mod generated;
mod layers;
pub(crate) mod limits;

/// Unpacks an archive.
fn unpack_bytes(archive: &[u8], root: &Path, limits: Limits) -> Result<LeftOut> {
    unpack_from(Cursor::new(archive), &File::open(root).expect("open"), limits)
}

const SMALL: Limits = Limits { bytes: 64 << 10, entries: 30 };

/// Unpacks the entries into a new directory, and returns the result.
fn unpacked(entries: &[Entry]) -> (Scratches, Result<LeftOut>) {
    let dir = testkit::tempdir();
    let result = unpack_bytes(&tar(entries), dir.path(), SMALL);
    (dir, result)
}

fn refused(entries: &[Entry]) -> String {
    common::one_line(&unpacked(entries).1.expect_err("it must be refused"))
}

#[test]
fn modes_times_links_and_owners_are_right() {
    let (dir, result) = unpacked(&[
        Entry { mode: 0o2555, ..Entry::new(b'5', "./a/") },
        Entry { mode: 0o6751, ..Entry::file("./a/file", "text") },
        Entry { modified: 2_000_000_000, ..Entry::symlink("a/sym", "/etc/passwd") },
        Entry::hard_link("a/hard", "./a/file"),
        Entry::hard_link("a/hardsym", "a/sym"),
        Entry { mode: 0o1777, ..Entry::new(b'5', "tmp") },
        Entry { mode: 0o710, ..Entry::new(b'5', ".") },
        Entry::file("deep/er/file", ""),
        // A directory from a time without a type for directories, and another kind
        // of file.
        Entry { mode: 0o700, ..Entry::file("old/", "") },
        Entry { data: b"7".into(), ..Entry::new(b'7', "seven") },
    ]);
    assert_eq!(result.expect("a good archive").count, 0);
    let look = |name: &str| fs::symlink_metadata(dir.path().join(name)).expect(name);
    for (name, mode, modified) in [
        ("a", 0o40755, 1_000_000_000),
        // Without set-user-ID and set-group-ID.
        ("a/file", 0o100751, 1_000_000_000),
        ("a/sym", 0o120777, 2_000_000_000),
        ("tmp", 0o41777, 1_000_000_000),
        ("", 0o40710, 1_000_000_000),
        ("old", 0o40700, 1_000_000_000),
    ] {
        assert_eq!(
            (format!("{:o}", look(name).mode()), look(name).mtime()),
            (format!("{mode:o}"), modified),
            "{name}"
        );
    }
    assert_eq!(look("deep/er").mode(), 0o40755);
    assert_eq!(look("a/hard").ino(), look("a/file").ino());
    assert_eq!(look("a/hardsym").ino(), look("a/sym").ino());
    assert_eq!(fs::read(dir.path().join("a/file")).expect("read"), b"text");
    assert_eq!(fs::read(dir.path().join("seven")).expect("read"), b"7");
    assert_eq!(
        fs::read_link(dir.path().join("a/sym")).expect("read"),
        PathBuf::from("/etc/passwd")
    );
    assert_eq!(look("a/file").uid(), getuid().as_raw());
}

#[test]
fn the_last_of_several_entries_counts() {
    let (dir, result) = unpacked(&[
        Entry::file("a", "first"),
        Entry::hard_link("kept", "a"),
        Entry::symlink("a", "nowhere"),
        Entry::file("a", "last"),
        Entry { mode: 0o700, ..Entry::new(b'5', "d") },
        Entry::file("d/x", ""),
        Entry { mode: 0o750, ..Entry::new(b'5', "d") },
    ]);
    result.expect("a good archive");
    assert_eq!(fs::read(dir.path().join("a")).expect("read"), b"last");
    assert_eq!(fs::read(dir.path().join("kept")).expect("read"), b"first");
    assert_eq!(fs::metadata(dir.path().join("d")).expect("look").mode() & 0o777, 0o750);
    assert!(dir.path().join("d/x").exists());
}

#[test]
fn long_and_odd_names_are_taken_as_they_are() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let odd = b"a\n\xff\x1b".to_vec();
    let (dir, result) = unpacked(&[
        Entry { data: format!("{long}\0").into(), ..Entry::new(b'L', "././@LongLink") },
        Entry::file("short", "gnu"),
        Entry::pax(&[("path", b"new\nline"), ("linkpath", long.as_bytes()), ("mtime", b"1.5")]),
        Entry::hard_link("short", "short"),
        Entry { data: long.clone().into(), ..Entry::new(b'K', "././@LongLink") },
        Entry::symlink("sym", "short"),
        Entry { name: odd.clone(), ..Entry::file("", "odd") },
        // A record for all entries that follow. It does not matter here.
        Entry { kind: b'g', ..Entry::pax(&[("path", b"all")]) },
        Entry::file("after", ""),
    ]);
    result.expect("a good archive");
    let read = |name: &[u8]| fs::read(dir.path().join(OsStr::from_bytes(name))).expect("read");
    assert_eq!(read(long.as_bytes()), b"gnu");
    assert_eq!(read(b"new\nline"), b"gnu");
    assert_eq!(read(&odd), b"odd");
    assert_eq!(fs::read_link(dir.path().join("sym")).expect("read"), PathBuf::from(&long));
    assert!(dir.path().join("after").exists() && !dir.path().join("short").exists());
}

#[test]
fn device_nodes_and_pipes_are_left_out() {
    let nodes = [b'3', b'4', b'6'].map(|kind| Entry::new(kind, &format!("dev/{kind}")));
    let (dir, result) = unpacked(&[&nodes[..], &[Entry::file("x", "")]].concat());
    let left_out = result.expect("a good archive");
    assert_eq!((left_out.count, &*left_out.first), (3, "dev/51"));
    let names: Vec<_> = fs::read_dir(dir.path()).expect("list").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn limits_hold() {
    let many: Vec<_> = (0..31).map(|n| Entry::file(&n.to_string(), "")).collect();
    assert_eq!(refused(&many), "it has more than 30 entries and directories");
    assert!(unpacked(&many[..30]).1.is_ok());
    let too_large = "its files are larger than a root may be";
    let half = "x".repeat(33 << 10);
    let halves = [Entry::file("a", &half), Entry::file("b", &half)];
    assert_eq!(refused(&halves), format!("entry b: {too_large}"));
    let huge = Entry { declared: Some(u64::MAX >> 1), ..Entry::file("a", "") };
    assert_eq!(refused(&[huge]), format!("entry a: {too_large}"));
    let deep = Entry::file(&"d/".repeat(201), "");
    let deep = [Entry { kind: b'L', data: deep.name.clone(), ..deep.clone() }, deep];
    assert!(refused(&deep).ends_with("it is more than 200 directories deep"));
    let long = Entry { declared: Some(2 << 20), ..Entry::new(b'L', "x") };
    assert_eq!(refused(&[long]), "an entry has extended headers of 2097152 bytes");
    // The limit also counts data after the end of the archive.
    let mut endless = tar(&[Entry::file("a", "")]);
    endless.resize(1 << 20, 0);
    let dir = testkit::tempdir();
    let endless = unpack_bytes(&endless, dir.path(), SMALL).expect_err("too long");
    assert_eq!(common::one_line(&endless), too_large);
}

#[test]
fn an_archive_that_is_cut_off_is_refused_wherever_that_is() {
    let whole = gz(&tar(&[Entry::file("a", &"text ".repeat(200)), Entry::file("b", "x")]));
    for length in 0..whole.len() {
        let dir = testkit::tempdir();
        let file = dir.path().join("archive");
        fs::write(&file, &whole[..length]).expect("write");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("make");
        let result =
            unpack(&File::open(&file).expect("open"), &File::open(&root).expect("open"), SMALL);
        assert!(result.is_err(), "{length} of {} bytes", whole.len());
    }
}
