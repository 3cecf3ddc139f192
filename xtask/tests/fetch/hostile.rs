//! Hostile archives.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::archives::{Entry, gz, tar};
use testkit::workspace;

use crate::mebibyte;
use crate::place::{Place, sole_refusal, text};

/// The hostile archives: the name of the file, the reason of the refusal, and the
/// entries.
fn hostile() -> Vec<(&'static str, &'static str, Vec<Entry>)> {
    let file = Entry::file;
    let long = "x".repeat(300);
    vec![
        ("absolute", "it is an absolute path", vec![file("/tmp/xtask-was-here", "x")]),
        ("climbs", "it has .. in its path", vec![file("a/../../was-here", "x")]),
        (
            "through-absolute-link",
            "its path leads through a, which is a symbolic link or a file",
            vec![Entry::symlink("a", "/tmp"), file("a/xtask-was-here", "x")],
        ),
        (
            "through-relative-link",
            "its path leads through d/a, which is a symbolic link or a file",
            vec![Entry::symlink("d/a", "../.."), Entry::new(b'5', "d/a/was-here")],
        ),
        (
            "through-link-to-link",
            "its path leads through b, which is a symbolic link or a file",
            vec![Entry::symlink("a", ".."), Entry::symlink("b", "a"), file("b/was-here", "x")],
        ),
        (
            "hard-link-absolute",
            "hard link to /etc/passwd: it is an absolute path",
            vec![Entry::hard_link("a", "/etc/passwd"), file("a", "x")],
        ),
        (
            "hard-link-climbs",
            "hard link to ../mark: it has .. in its path",
            vec![Entry::hard_link("a", "../mark")],
        ),
        (
            "hard-link-through-link",
            "its path leads through a, which is a symbolic link or a file",
            vec![Entry::symlink("a", "/etc"), Entry::hard_link("b", "a/passwd")],
        ),
        (
            "hard-link-to-nothing",
            "no earlier entry has that name",
            vec![Entry::hard_link("a", "b")],
        ),
        (
            "hard-link-to-itself",
            "it is a link to itself",
            vec![file("a", "x"), Entry::hard_link("a", "./a")],
        ),
        (
            "hard-link-to-directory",
            "hard link to d: it is a directory",
            vec![Entry::new(b'5', "d"), Entry::hard_link("a", "d")],
        ),
        (
            "file-over-directory",
            "entry d: it would replace a directory",
            vec![file("d/x", "x"), file("d", "x")],
        ),
        (
            "link-over-directory",
            "entry d: it would replace a directory",
            vec![Entry::new(b'5', "d"), Entry::symlink("d", "/tmp")],
        ),
        (
            "directory-over-link",
            "it is a directory, but an earlier entry of that name is not",
            vec![Entry::symlink("d", "/tmp"), Entry::new(b'5', "d")],
        ),
        (
            "root-is-a-link",
            "it is the root, but not a directory",
            vec![Entry::symlink(".", "/tmp")],
        ),
        (
            "zero-byte",
            "entry a\\u{0}b: it has a zero byte in its name",
            vec![Entry::pax(&[("path", b"a\0b")]), file("a", "x")],
        ),
        (
            "forges-a-line",
            "entry /\\nrootfs: all is well\\u{1b}[2K: it is an absolute path",
            vec![file("/\nrootfs: all is well\x1b[2K", "x")],
        ),
        (
            "not-utf8",
            "entry \u{fffd}/..: it has .. in its path",
            vec![Entry { name: b"\xff/..".to_vec(), ..file("", "x") }],
        ),
        (
            "name-too-long",
            "xxx…: File name too long",
            vec![Entry { data: long.clone().into(), ..Entry::new(b'L', "") }, file("x", "x")],
        ),
        (
            "pax-climbs",
            "entry ../was-here: it has .. in its path",
            vec![Entry::pax(&[("path", b"../was-here")]), file("harmless", "x")],
        ),
        (
            "two-sizes",
            "the checksum of a header is wrong",
            vec![Entry::pax(&[("size", b"0")]), file("a", &"x".repeat(512))],
        ),
        (
            "damaged-pax",
            "it has a damaged pax header",
            vec![Entry { data: b"99 x".into(), ..Entry::pax(&[]) }],
        ),
        ("sparse", "entry a: it is a sparse file", vec![Entry { kind: b'S', ..file("a", "x") }]),
        (
            "sparse-pax",
            "entry a: it is a sparse file",
            vec![Entry::pax(&[("GNU.sparse.realsize", b"9")]), file("a", "x")],
        ),
        (
            "huge-size",
            "entry a: its files are larger than a root may be",
            vec![Entry { declared: Some(1 << 40), ..file("a", "x") }],
        ),
        (
            "huge-name",
            "an entry has extended headers of 1099511627776 bytes",
            vec![Entry { declared: Some(1 << 40), ..Entry::new(b'L', "") }],
        ),
        (
            "unknown-kind",
            "a root cannot have this kind of entry: M",
            vec![Entry::new(b'M', "volume")],
        ),
        (
            "link-to-nothing",
            "it is a symbolic link without a target",
            vec![Entry::symlink("a", "")],
        ),
        (
            "announces-nothing",
            "the entry of its last header is missing",
            vec![Entry { data: b"a".into(), ..Entry::new(b'L', "") }],
        ),
    ]
}

fn corpus() -> PathBuf {
    workspace().join("layers/tests/corpus")
}

/// Writes the corpus again, after a change to [`hostile`].
#[test]
#[ignore = "changes the sources"]
fn write_the_corpus() {
    for (name, _, entries) in hostile() {
        fs::write(corpus().join(format!("{name}.tar.gz")), gz(&tar(&entries))).expect("write");
    }
}

#[test]
fn hostile_archives_are_refused_and_nothing_changes() {
    let place = Place::with_root("old");
    let hostile = hostile();
    let files = fs::read_dir(corpus()).expect("a corpus").count();
    assert_eq!(files, hostile.len());
    for (name, why, _) in hostile {
        let archive = corpus().join(format!("{name}.tar.gz"));
        let output = place.fetch(&["--archive", text(&archive), "--force"]);
        sole_refusal(&output, &[&format!("{name}.tar.gz: "), why]);
        assert_eq!(place.mark(), "old", "{name}");
        assert_eq!(place.leftovers(), [""; 0], "{name}");
        let mut names: Vec<_> = fs::read_dir(place.dir.path())
            .expect("list")
            .map(|it| it.expect("list").file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".rootfs-cache", "home", "old.tar.gz", "rootfs"], "{name}");
    }
    assert!(!Path::new("/tmp/xtask-was-here").exists());
}

#[test]
fn an_archive_without_an_end_is_refused() {
    let place = Place::with_root("old");
    let mut archive = gz(&tar(&[Entry::file("a", "x")]));
    let zeros = mebibyte();
    for _ in 0..1025 {
        archive.extend(&zeros);
    }
    let bomb = place.path("bomb.tar.gz");
    fs::write(&bomb, archive).expect("write");
    let output = place.fetch(&["--archive", text(&bomb), "--force"]);
    sole_refusal(&output, &["its files are larger than a root may be"]);
    assert_eq!(place.mark(), "old");
}
