//! No archive writes outside of the root.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;

/// The place of the name of a generated entry. Long names are not in the header.
#[derive(Clone, Copy, Debug)]
enum Naming {
    Header,
    Gnu,
    Pax,
}

/// A generated archive, and the changes to its bytes.
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
    // For a hard link, the target must be in the archive. For a symbolic link, any
    // target is allowed.
    let link = prop_oneof![
        1 => name(),
        1 => select(vec![OUTSIDE, "../outside", "OUTSIDE/canary"]).prop_map(|it| it.into()),
    ];
    let all = (kind, name(), link, data, mode, any::<u32>(), declared, naming);
    all.prop_map(|(kind, name, link, data, mode, modified, declared, naming)| {
        let data = if b"07LKx".contains(&kind) { data } else { Vec::new() };
        let modified = modified.into();
        let entry = Entry::new(kind, "");
        (Entry { name, link, data, mode, modified, declared, ..entry }, naming)
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

/// Lists everything in a tree: names, kinds, modes, times, links, contents.
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

/// Checks that a tree has nothing forbidden in it.
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

/// For any archive, unpacking ends, and makes, changes or links nothing outside of
/// the root. `PROPTEST_CASES` sets the number of archives.
#[test]
fn nothing_lands_outside() {
    let dir = testkit::tempdir();
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
    // Not through `eprintln!`, whose output the test captures.
    let _ = writeln!(
        stderr(),
        "{cases} archives tried: {whole} unpacked, {} refused, {through} for going through a link, {climbing} for climbing up",
        cases - whole
    );
    // Otherwise the generator makes only archives that prove nothing.
    assert!(cases < 200 || whole > 0 && through > 0 && climbing > 0);
}
