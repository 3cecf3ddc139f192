//! The formats of archives that other programs write.
//!
//! The directory `seeds` has archives of a small tree, made by GNU tar 1.34: `gnu.tar.gz`
//! with `--format=gnu --label=seeds`, the others with `--format=pax`. The file `old` has
//! the time 1960-01-01 00:00:00.5.

use std::os::unix::fs::MetadataExt;

use super::*;

pub(super) fn seed(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(name);
    fs::read(file).expect(name)
}

/// Decompresses an archive.
pub(super) fn plain(archive: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader = decompress(Cursor::new(archive)).expect("a compressed archive");
    reader.read_to_end(&mut plain).expect("a whole archive");
    plain
}

fn refused_bytes(archive: &[u8]) -> String {
    let dir = testkit::tempdir();
    let refused = unpack_bytes(archive, dir.path(), Limits::GENEROUS);
    common::one_line(&refused.expect_err("it must be refused"))
}

/// Checks that an archive contains the small tree.
fn check_tree(what: &str, archive: &[u8], has_fractions: bool) {
    let dir = testkit::tempdir();
    let unpacked = unpack_bytes(archive, dir.path(), Limits::GENEROUS);
    unpacked.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let at = |name: &str| dir.path().join(name);
    let look = |name: &str| fs::symlink_metadata(at(name)).expect(name);
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).expect("list").map(|it| it.expect("list").file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "mark", "old"], "{what}");
    assert_eq!(fs::read(at("mark")).expect("read"), b"seed\n", "{what}");
    assert_eq!(fs::read(at("bin/sh")).expect("read"), b"#!\n", "{what}");
    assert_eq!(look("bin/busybox").ino(), look("bin/linked").ino(), "{what}");
    assert_eq!(look("").mode(), 0o41777, "{what}");
    for name in ["", "bin", "bin/sh"] {
        assert_eq!((look(name).mtime(), look(name).mtime_nsec()), (1_000_000_000, 0), "{what}");
    }
    let nanoseconds = if has_fractions { 500_000_000 } else { 0 };
    assert_eq!((look("old").mtime(), look("old").mtime_nsec()), (-315_619_200, nanoseconds));
}

#[test]
fn every_common_form_is_read() {
    let (gnu, xz, zstd) = (seed("gnu.tar.gz"), seed("pax.tar.xz"), seed("pax.tar.zst"));
    check_tree("gzip", &gnu, false);
    check_tree("xz", &xz, true);
    check_tree("zstd", &zstd, true);
    check_tree("plain, of GNU", &plain(&gnu), false);
    check_tree("plain, of pax", &plain(&xz), true);
    check_tree("gzip, of pax", &gz(&plain(&xz)), true);
    let (start, end) = plain(&gnu).split_at_checked(700).map(|(a, b)| (gz(a), gz(b))).expect("two");
    check_tree("gzip, two members", &[start, end].concat(), false);
    let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, b'a', b'b', b'c'];
    check_tree("zstd, frames to skip", &[&skippable[..], &zstd, &skippable].concat(), true);
    // Data after the end of the archive does not matter.
    check_tree("plain, padded", &[&plain(&gnu)[..], &[0; 100_000]].concat(), false);
}

#[test]
fn nothing_but_an_archive_follows_the_compressed_data() {
    for name in ["gnu.tar.gz", "pax.tar.xz", "pax.tar.zst"] {
        let whole = seed(name);
        for end in [&b"x"[..], b"\0\0\0garbage", b"\x1f"] {
            let line = refused_bytes(&[&whole, end].concat());
            let is_said = line.starts_with("it is damaged") || line == "it is cut off";
            assert!(is_said, "{name} {end:?}: {line}");
        }
        // Data that begins like a member must be a complete member.
        let half = &whole[..whole.len() / 2];
        assert_eq!(refused_bytes(&[&whole, half].concat()), "it is cut off", "{name}");
    }
}

#[test]
fn an_archive_of_each_form_that_is_cut_off_is_refused() {
    for name in ["gnu.tar.gz", "pax.tar.xz", "pax.tar.zst"] {
        let whole = seed(name);
        for length in 8..whole.len() {
            let line = refused_bytes(&whole[..length]);
            assert!(line.contains("it is "), "{name}, {length} bytes: {line}");
        }
        let line = refused_bytes(&whole[..whole.len() / 2]);
        assert!(line.ends_with("it is cut off"), "{name}: {line}");
    }
    // Only the zeros at the end show that a plain archive is complete.
    let whole = tar(&[Entry::file("a", "x"), Entry::file("b", "x")]);
    for length in (512..whole.len() - 1024).step_by(512) {
        let line = refused_bytes(&whole[..length]);
        assert!(line.ends_with("it is cut off"), "{length} bytes: {line}");
    }
}

#[test]
fn a_wrong_sum_is_noticed() {
    for name in ["gnu.tar.gz", "pax.tar.xz", "pax.tar.zst"] {
        let mut spoilt = seed(name);
        let (sum, why) = match name {
            // Before the length of the data.
            "gnu.tar.gz" => (spoilt.len() - 6, "it is damaged, or not a tar archive: "),
            // The last four bytes.
            "pax.tar.zst" => {
                (spoilt.len() - 2, "it is damaged, or not a tar archive: its checksum")
            }
            // In the block. Its checksum is before the index and the end.
            _ => (spoilt.len() / 2, "it is damaged, or not a tar archive: "),
        };
        spoilt[sum] ^= 1;
        let line = refused_bytes(&spoilt);
        assert!(line.starts_with(why), "{name}: {line}");
    }
}

#[test]
fn what_is_no_archive_for_a_root_is_named() {
    for (bytes, name) in [
        (&b"BZh91AY&SY"[..], "compressed with bzip2"),
        (b"PK\x03\x04", "a zip file"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip file"),
        (b"!<arch>\ndebian-binary", "a Debian package"),
        (b"070701", "a cpio archive"),
        (b"hsqs", "a squashfs image"),
    ] {
        let line = refused_bytes(bytes);
        let remedy = "name a tar archive, plain or compressed with gzip, xz or zstd";
        assert!(line.contains(name) && line.ends_with(remedy), "{line}");
    }
    assert_eq!(refused_bytes(b""), "it is empty");
    let sparse = [Entry::pax(&[("GNU.sparse.major", b"1")]), Entry::file("a", "x")];
    for entries in [&sparse[..], &[Entry::new(b'S', "a")]] {
        assert!(refused(entries).starts_with("entry a: it is a sparse file; "));
    }
    let line = refused(&[Entry::new(b'M', "a")]);
    assert_eq!(line, "entry a: a root cannot have this kind of entry: M");
}

/// The field of a size has room for 8 GiB.
#[test]
fn a_size_is_in_the_field_or_in_a_record_or_in_base_256() {
    let pax = |size: &str| Entry::pax(&[("size", size.as_bytes())]);
    let file = |size| Entry { declared: Some(size), ..Entry::file("a", "text") };
    for size in [0, 8 << 30] {
        let (dir, result) = unpacked(&[pax("4"), file(size), Entry::file("b", "")]);
        result.expect("a good archive");
        assert_eq!(fs::read(dir.path().join("a")).expect("read"), b"text");
        assert!(dir.path().join("b").exists());
    }
    let too_large = format!("entry a: {TOO_LARGE}");
    assert_eq!(refused(&[file(9 << 30)]), too_large);
    assert_eq!(refused(&[pax("9663676416"), file(0)]), too_large);
    let mut base_256 = tar(&[file(4)]);
    base_256[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x04");
    limits::sum(&mut base_256);
    let dir = testkit::tempdir();
    unpack_bytes(&base_256, dir.path(), SMALL).expect("a good archive");
    assert_eq!(fs::read(dir.path().join("a")).expect("read"), b"text");
}

#[test]
fn times_are_what_they_were() {
    let pax = |time: &str| Entry::pax(&[("mtime", time.as_bytes())]);
    for (time, seconds, nanoseconds) in [
        ("1.5", 1, 500_000_000),
        ("-1.5", -2, 500_000_000),
        ("-0.25", -1, 750_000_000),
        ("-3", -3, 0),
        ("-3.0", -3, 0),
        ("0", 0, 0),
        ("1700000000.1234567899", 1_700_000_000, 123_456_789),
    ] {
        let (dir, result) = unpacked(&[
            pax(time),
            Entry::file("a", ""),
            pax(time),
            Entry::new(b'5', "d"),
            pax(time),
            Entry::symlink("s", "x"),
        ]);
        result.expect(time);
        for name in ["a", "d", "s"] {
            let found = fs::symlink_metadata(dir.path().join(name)).expect(name);
            assert_eq!((found.mtime(), found.mtime_nsec()), (seconds, nanoseconds), "{time}");
        }
    }
    let before = Entry { modified: (-5_i64).cast_unsigned(), ..Entry::file("a", "") };
    let (dir, result) = unpacked(&[before]);
    result.expect("a good archive");
    assert_eq!(fs::metadata(dir.path().join("a")).expect("look").mtime(), -5);
    for time in ["x", "1.x", "1.-5", "--1", "9223372036854775808", "."] {
        let line = refused(&[pax(time), Entry::file("a", "")]);
        assert_eq!(line, "it has a damaged pax header", "{time}");
    }
    // A record without a value cancels the earlier record.
    let (dir, result) = unpacked(&[
        Entry::pax(&[("mtime", b"5"), ("path", b"b"), ("mtime", b""), ("path", b"")]),
        Entry::file("a", ""),
    ]);
    result.expect("a good archive");
    assert_eq!(fs::metadata(dir.path().join("a")).expect("look").mtime(), 1_000_000_000);
}

/// The entries change between directories.
#[test]
fn a_directory_keeps_its_time_when_more_is_made_in_it() {
    let (dir, result) = unpacked(&[
        Entry { modified: 1000, ..Entry::new(b'5', ".") },
        Entry { modified: 2000, ..Entry::new(b'5', "d") },
        Entry { modified: 3000, ..Entry::new(b'5', "d/e") },
        Entry::file("x", ""),
        Entry::file("d/e/f/y", ""),
        Entry::file("z", ""),
        Entry::hard_link("d/e/x", "x"),
        Entry { modified: 4000, ..Entry::new(b'5', "d/e/f") },
        Entry::symlink("d/z", "x"),
    ]);
    result.expect("a good archive");
    for (name, modified) in [("", 1000), ("d", 2000), ("d/e", 3000), ("d/e/f", 4000)] {
        let found = fs::metadata(dir.path().join(name)).expect(name);
        assert_eq!(found.mtime(), modified, "{name:?}");
    }
}
