//! The cost of unpacking for any archive. A separate process measures it. It does
//! nothing else, and has a small address space.

use std::env;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal, raise};
use proptest::test_runner::Config;

use super::formats::{plain, seed};
use super::*;
use crate::Algorithm;

/// The limit on memory, in KiB.
const MOST_MEMORY: u64 = 100_000_000 / 1024;

/// The variable that names the test in the separate process.
const ALONE: &str = "LAYERS_TEST_ALONE";

/// Runs `test` in a separate process, and checks its memory.
fn alone(name: &str, test: impl FnOnce()) {
    if env::var_os(ALONE).is_some_and(|it| it == *name) {
        test();
        let status = fs::read_to_string("/proc/self/status").expect("read");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok());
        let peak: u64 = peak.expect("the most memory that was in use");
        eprint(&format!("{name}: {peak} KiB of memory at most"));
        assert!(peak < MOST_MEMORY, "{peak} KiB");
        return;
    }
    // 512 MiB: the heaps of threads need addresses, but no memory.
    let script = "ulimit -v 524288 && exec \"$@\"";
    let full = format!("{}::{name}", module_path!().split_once("::").expect("a module").1);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(env::current_exe().expect("a path"));
    command.args([&full, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, name);
    let output = command.output().expect("start this test");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(" 1 passed"), "{said}");
    for line in said.lines().filter(|line| line.starts_with(name)) {
        eprint(line);
    }
}

/// Prints a line that the test does not capture.
fn eprint(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

/// Unpacks into a new directory, and removes it.
fn tried(archive: &[u8]) -> Result<LeftOut> {
    let dir = testkit::tempdir();
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("make");
    let result = unpack_bytes(archive, &root, Limits::GENEROUS);
    common::remove_tree(&root).expect("remove");
    let left = fs::read_dir(dir.path()).expect("list").count();
    assert_eq!(left, 0, "something lies beside the root");
    result
}

fn why(result: Result<LeftOut>) -> String {
    result.map_or_else(|error| common::one_line(&error), |_| String::new())
}

/// An entry whose name is too long for its header.
fn long(entry: Entry) -> [Entry; 2] {
    [Entry { data: entry.name.clone(), ..Entry::new(b'L', "") }, entry]
}

/// A start, and then 64 MiB of the same block, compressed to few bytes.
fn endless(start: &[u8], block: &[u8]) -> Vec<u8> {
    [gz(start), gz(&block.repeat(2048)).repeat(64)].concat()
}

#[test]
fn memory_is_bounded_whatever_the_archive_says() {
    alone("memory_is_bounded_whatever_the_archive_says", || {
        // Deep directories with long names and without entries.
        let deep = |n: u32| {
            let part = format!("{n:0250}/");
            long(Entry::file(&part.repeat(199), ""))
        };
        assert_eq!(why(tried(&tar(&(0..60).flat_map(deep).collect::<Vec<_>>()))), "");
        // The largest window, and larger windows.
        for (name, words) in [
            ("window-64M.tar.xz", ""),
            ("window-64M.tar.zst", ""),
            ("window-65M.tar.xz", "it needs more than 64 MiB of memory to decompress; "),
            ("window-128M.tar.zst", "it needs more than 64 MiB of memory to decompress; "),
        ] {
            let line = why(tried(&seed(name)));
            assert!(line.starts_with(words) && line.is_empty() == words.is_empty(), "{line}");
        }
        // Endless headers: names and records.
        let huge = |kind, size| {
            let header = tar(&[Entry { declared: Some(size), ..Entry::new(kind, "x") }]);
            endless(&header[..512], &[b'1'; BLOCK as usize])
        };
        for kind in *b"LKxg" {
            assert!(why(tried(&huge(kind, 1 << 30))).contains("extended headers of"));
            tried(&huge(kind, 1 << 20)).expect_err("it is no archive");
        }
        // Headers of one entry, each with an attribute of its own.
        let value = vec![b'1'; 1 << 19];
        let attribute = |n: u32| {
            let name = format!("SCHILY.xattr.user.{n}");
            let header = tar(&[Entry::pax(&[(&name, &value)])]);
            // Without the end of the archive.
            gz(&header[..header.len() - 1024])
        };
        let many: Vec<u8> = (0..256).flat_map(attribute).collect();
        assert!(why(tried(&many)).contains("extended headers of"));
    });
}

/// A blob that asks this process to end while it is read.
struct Asking {
    blob: Cursor<Vec<u8>>,
    reads: u32,
}

impl Read for Asking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        raise(Signal::SIGTERM)?;
        self.blob.read(buffer)
    }
}

#[test]
fn a_signal_ends_the_reading_of_files_without_contents() {
    alone("a_signal_ends_the_reading_of_files_without_contents", || {
        SigSet::from_iter([Signal::SIGTERM]).thread_block().expect("block a signal");
        // More than one read takes.
        let blob = Cursor::new(gz(b"").repeat(20_000));
        let (mut asking, dir) = (Asking { blob, reads: 0 }, testkit::tempdir());
        let root = File::open(dir.path()).expect("open");
        let digest = Digest::of_bytes(b"", Algorithm::Sha256);
        let hashed = Hashed::new(&mut asking, Algorithm::Sha256);
        unpack_tar(hashed, &digest, &root, SMALL).expect_err("a signal has come");
        assert_eq!(asking.reads, 1);
    });
}

#[test]
fn directories_without_an_entry_count() {
    // Each file needs three directories.
    let file = |n: u32| Entry::file(&format!("{n}/a/b/file"), "");
    let files = |count| (0..count).map(file).collect::<Vec<_>>();
    let (_dir, result) = unpacked(&files(7));
    result.expect("28 of 30");
    assert!(refused(&files(8)).ends_with("it has more than 30 entries and directories"));
}

/// Pseudo-random numbers, the same in every run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// A number below `below`; splitmix64.
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.below(4) {
            0 => *b"\0\x01\x7f\x80\xff/.\n =-".get(self.below(11)).unwrap_or(&0),
            1 => b'0' + self.below(10) as u8,
            2 => *b"0125LKxgSVM".get(self.below(11)).unwrap_or(&0),
            _ => self.below(256) as u8,
        }
    }
}

/// The offsets of the headers in a plain archive.
pub(super) fn headers(archive: &[u8]) -> Vec<usize> {
    let blocks = archive.chunks_exact(BLOCK as usize).enumerate();
    blocks.filter(|(_, it)| &it[257..262] == b"ustar").map(|(n, _)| n * BLOCK as usize).collect()
}

/// Changes some bytes of an archive, most of them in headers. Most changed headers
/// get a correct checksum again.
pub(super) fn mutate(archive: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut archive = archive.to_vec();
    let headers = headers(&archive);
    for _ in 0..=chance.below(6) {
        let at = match chance.below(4) {
            0 => chance.below(archive.len()),
            _ => headers[chance.below(headers.len())] + chance.below(BLOCK as usize),
        };
        archive[at] = chance.byte();
    }
    if chance.below(8) == 0 {
        // Copies a header and the bytes after it over another header.
        let (from, to) = (chance.below(headers.len()), chance.below(headers.len()));
        let length = 512 * (1 + chance.below(4));
        let end = archive.len().min(headers[from] + length);
        let piece = archive[headers[from]..end].to_vec();
        archive.splice(headers[to]..headers[to] + 512, piece);
    }
    if chance.below(8) > 0 {
        sum(&mut archive);
    }
    archive
}

/// Gives each header a correct checksum.
pub(super) fn sum(archive: &mut [u8]) {
    for at in headers(archive) {
        let header = &mut archive[at..at + BLOCK as usize];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// `PROPTEST_CASES` sets the number of archives.
#[test]
fn no_mutated_archive_does_harm() {
    alone("no_mutated_archive_does_harm", || {
        let packed = ["gnu.tar.gz", "pax.tar.xz", "pax.tar.zst"].map(seed);
        let archives = [plain(&packed[0]), plain(&packed[1])];
        let cases = Config::default().cases;
        let mut whole = 0;
        let mut reasons = std::collections::BTreeMap::<_, u32>::new();
        for case in 0..cases {
            let mut chance = Chance(case.into());
            let mut archive = match chance.below(4) {
                0 => {
                    let mut packed = packed[chance.below(3)].clone();
                    for _ in 0..=chance.below(3) {
                        let at = chance.below(packed.len());
                        packed[at] = chance.byte();
                    }
                    packed
                }
                1 => gz(&mutate(&archives[chance.below(2)], &mut chance)),
                _ => mutate(&archives[chance.below(2)], &mut chance),
            };
            if chance.below(16) == 0 {
                archive.truncate(chance.below(archive.len()));
            }
            match tried(&archive) {
                Ok(_) => whole += 1,
                Err(error) => {
                    let line = error.root_cause().to_string();
                    let end = line.rsplit(": ").next();
                    *reasons.entry(end.unwrap_or_default().to_owned()).or_default() += 1;
                }
            }
        }
        let refused = cases - whole;
        eprint(&format!(
            "no_mutated_archive_does_harm: {cases} tried, {whole} unpacked, {refused} refused, for {} reasons",
            reasons.len()
        ));
        // Otherwise the mutations make only archives that prove nothing.
        assert!(cases < 200 || whole > 20 && reasons.len() > 5, "{reasons:?}");
    });
}
