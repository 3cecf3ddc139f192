//! What is unpacked, what is refused, and that nothing ever lands outside.

use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write, stderr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::unistd::getuid;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tempfile::TempDir;

use super::*;

mod formats;
mod limits;

#[path = "../../../tests/archives/mod.rs"]
mod archives;
use archives::{Entry, gz, tar};

/// Unpacks what an archive holds.
fn unpack_bytes(archive: &[u8], root: &Path, limits: Limits) -> Result<LeftOut> {
    unpack(Cursor::new(archive), &File::open(root).expect("open"), limits)
}

const SMALL: Limits = Limits { bytes: 64 << 10, entries: 30 };

/// What unpacking the entries into a new directory gives.
fn unpacked(entries: &[Entry]) -> (TempDir, Result<LeftOut>) {
    let dir = tempfile::tempdir().expect("make a directory");
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
        // A directory before there was a type for it, and another kind of file.
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
        // For all entries to come, and of no concern here.
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
    assert_eq!(refused(&[long]), "it has an extended header of 2097152 bytes");
    // What comes after the end of the archive counts, too.
    let mut endless = tar(&[Entry::file("a", "")]);
    endless.resize(1 << 20, 0);
    let dir = tempfile::tempdir().expect("make a directory");
    let endless = unpack_bytes(&endless, dir.path(), SMALL).expect_err("too long");
    assert_eq!(common::one_line(&endless), too_large);
}

#[test]
fn an_archive_that_is_cut_off_is_refused_wherever_that_is() {
    let whole = gz(&tar(&[Entry::file("a", &"text ".repeat(200)), Entry::file("b", "x")]));
    for length in 0..whole.len() {
        let dir = tempfile::tempdir().expect("make a directory");
        let file = dir.path().join("archive");
        fs::write(&file, &whole[..length]).expect("write");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("make");
        let result = unpack_file(
            &File::open(&file).expect("open"),
            &File::open(&root).expect("open"),
            SMALL,
        );
        assert!(result.is_err(), "{length} of {} bytes", whole.len());
    }
}

/// How a generated entry gives its name: long names are not in the header.
#[derive(Clone, Copy, Debug)]
enum Naming {
    Header,
    Gnu,
    Pax,
}

/// An archive in the making, and what is done to its bytes afterwards.
#[derive(Clone, Debug)]
struct Generated {
    entries: Vec<(Entry, Naming)>,
    changes: Vec<(usize, u8)>,
    length: Option<usize>,
}

/// Stands for the absolute path of a directory outside.
const OUTSIDE: &str = "OUTSIDE";

fn name() -> impl Strategy<Value = Vec<u8>> {
    let part = select(vec!["a", "b", "c", "..", ".", "", "canary", "outside", "\n\x1b", "link"]);
    let part = prop_oneof![
        20 => part.prop_map(|part| part.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..300),
    ];
    let plain = vec(part, 1..5).prop_map(|parts| parts.join(&b'/'));
    let places = vec![
        "../outside/canary", "../outside", "a/../../outside/canary", OUTSIDE, "OUTSIDE/canary",
        "OUTSIDE/new", "a/canary", "a/new", "b/canary", "/", ".",
    ];
    prop_oneof![
        1 => plain,
        16 => select(vec!["a", "b", "c", "d/", "./a/b", "a/c", "b/a", "d/b/c"]).prop_map(|it| it.into()),
        1 => select(places).prop_map(|it| it.into()),
    ]
}

fn entry() -> impl Strategy<Value = (Entry, Naming)> {
    let kind = prop_oneof![
        50 => select(b"0000122225555".to_vec()),
        2 => select(b"3467LKxgS".to_vec()),
        1 => any::<u8>(),
    ];
    let naming = select(vec![Naming::Header, Naming::Header, Naming::Gnu, Naming::Pax]);
    let declared = proptest::option::weighted(0.01, prop_oneof![0..2000u64, any::<u64>()]);
    let mode = prop_oneof![Just(0o755), 0..0o10000u32];
    let data = vec(any::<u8>(), 0..1500);
    // Where links lead is no matter for the one kind, and all for the other.
    let link = prop_oneof![
        1 => name(),
        1 => select(vec![OUTSIDE, "../outside", "OUTSIDE/canary"]).prop_map(|it| it.into()),
    ];
    let all = (kind, name(), link, data, mode, any::<u32>(), declared, naming);
    all.prop_map(|(kind, name, link, data, mode, modified, declared, naming)| {
        let data = if b"07LKx".contains(&kind) { data } else { Vec::new() };
        (Entry { kind, name, link, data, mode, modified: modified.into(), declared }, naming)
    })
}

fn generated() -> impl Strategy<Value = Generated> {
    let change = (any::<usize>(), any::<u8>());
    let changes = prop_oneof![5 => Just(Vec::new()), 1 => vec(change, 1..4)];
    let length = proptest::option::weighted(0.05, any::<usize>());
    (vec(entry(), 1..10), changes, length).prop_map(|(entries, changes, length)| Generated {
        entries,
        changes,
        length,
    })
}

impl Generated {
    fn bytes(&self, outside: &Path) -> Vec<u8> {
        let resolve = |name: &[u8]| match name.strip_prefix(OUTSIDE.as_bytes()) {
            Some(rest) => [outside.as_os_str().as_bytes(), rest].concat(),
            None => name.to_vec(),
        };
        let mut entries = Vec::new();
        for (entry, naming) in &self.entries {
            let entry =
                Entry { name: resolve(&entry.name), link: resolve(&entry.link), ..entry.clone() };
            match naming {
                Naming::Header => {}
                Naming::Gnu => {
                    let long =
                        |kind, data: &[u8]| Entry { data: data.into(), ..Entry::new(kind, "") };
                    entries.extend([long(b'L', &entry.name), long(b'K', &entry.link)]);
                }
                Naming::Pax => {
                    entries.push(Entry::pax(&[("path", &entry.name), ("linkpath", &entry.link)]));
                }
            }
            entries.push(entry);
        }
        let mut bytes = tar(&entries);
        for (at, byte) in &self.changes {
            let at = at % bytes.len();
            bytes[at] = *byte;
        }
        bytes.truncate(self.length.map_or(usize::MAX, |length| length % bytes.len()));
        bytes
    }
}

/// All there is to see of a tree: names, kinds, modes, times, links, contents.
fn look(dir: &Path, seen: &mut Vec<String>) {
    let found = fs::symlink_metadata(dir).expect("look");
    let content = if found.is_file() { fs::read(dir).expect("read") } else { Vec::new() };
    let (inode, links, changed) = (found.ino(), found.nlink(), (found.ctime(), found.ctime_nsec()));
    let mode = found.mode();
    seen.push(format!("{dir:?} {mode:o} {inode} {links} {changed:?} {content:?}"));
    if found.is_dir() {
        for entry in fs::read_dir(dir).expect("list") {
            look(&entry.expect("list").path(), seen);
        }
    }
}

/// Checks that a tree has nothing in it that must not be there.
fn check(dir: &Path, whole: bool) -> Result<(), TestCaseError> {
    let found = fs::symlink_metadata(dir).expect("look");
    let kind = found.file_type();
    prop_assert!(kind.is_dir() || kind.is_file() || kind.is_symlink(), "{dir:?} {kind:?}");
    prop_assert!(!kind.is_char_device() && !kind.is_block_device() && !kind.is_fifo());
    prop_assert_eq!(found.uid(), getuid().as_raw());
    prop_assert_eq!(found.mode() & 0o6000, 0, "{:?}", dir);
    if kind.is_dir() {
        prop_assert!(!whole || found.mode() & 0o700 == 0o700, "{dir:?}");
        for entry in fs::read_dir(dir).expect("list") {
            check(&entry.expect("list").path(), whole)?;
        }
    }
    Ok(())
}

/// Whatever an archive says, unpacking it ends, and nothing outside the root is
/// made, changed or linked to. `PROPTEST_CASES` sets how many are tried.
#[test]
fn nothing_lands_outside() {
    let dir = tempfile::tempdir().expect("make a directory");
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).expect("make");
    fs::write(outside.join("canary"), "alive").expect("write");
    symlink("canary", outside.join("link")).expect("link");
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = config.cases;
    let (mut whole, mut through, mut climbing) = (0, 0, 0);
    let mut runner = TestRunner::new(config);
    let counted = std::cell::RefCell::new((&mut whole, &mut through, &mut climbing));
    let result = runner.run(&generated(), |generated| {
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("make");
        let mut before = Vec::new();
        look(&outside, &mut before);
        let bytes = generated.bytes(&outside);
        let (sender, done) = channel();
        let at = root.clone();
        thread::spawn(move || sender.send(unpack_bytes(&bytes, &at, SMALL)));
        let result = done.recv_timeout(Duration::from_secs(60));
        let result = result.map_err(|_| TestCaseError::fail("it does not end, or panics"))?;
        let mut after = Vec::new();
        look(&outside, &mut after);
        prop_assert_eq!(before, after);
        check(&root, result.is_ok())?;
        common::remove_tree(&root).expect("remove");
        let names: Vec<_> = fs::read_dir(dir.path()).expect("list").flatten().collect();
        prop_assert_eq!(names.len(), 1, "{:?}", names);
        let mut counted = counted.borrow_mut();
        match result {
            Ok(_) => *counted.0 += 1,
            Err(error) => {
                let line = common::one_line(&error);
                *counted.1 += u32::from(line.contains("its path leads through"));
                *counted.2 += u32::from(line.contains("it has .. in its path"));
            }
        }
        Ok(())
    });
    result.expect("nothing lands outside");
    // Past the capture of the test's output.
    let _ = writeln!(
        stderr(),
        "{cases} archives tried: {whole} unpacked, {} refused, {through} for going through a link, {climbing} for climbing up",
        cases - whole
    );
    // A generator that never gets that far would prove nothing.
    assert!(cases < 200 || whole > 0 && through > 0 && climbing > 0);
}
