//! Archives that the user names, and archives in the cache.

use std::fs;
use std::process::{Command, Stdio};

use testkit::archives::{Entry, gz, tar};
use testkit::{stderr, stdout};

use crate::mirror::Mirror;
use crate::place::{Place, sole_refusal, text, wait_for};
use crate::{PINNED_SHA256, PLACE, sha256, sha512, small};

#[test]
fn an_archive_is_checked_when_something_is_known_about_it() {
    let place = Place::new();
    let archive = small("one");
    let unknown = place.path("root.tar.gz");
    fs::write(&unknown, &archive).expect("write");
    let output = place.fetch(&["--archive", text(&unknown)]);
    let line = stdout(&output);
    assert!(line.contains(&sha256(&archive)) && line.contains("is unknown"), "{output:?}");
    assert_eq!((stderr(&output), place.mark()), (String::new(), "one".to_owned()));
    // The same archive is already there; another archive needs --force.
    assert!(stdout(&place.fetch(&["--archive", text(&unknown)])).contains("already there"));
    fs::write(&unknown, small("two")).expect("write");
    sole_refusal(&place.fetch(&["--archive", text(&unknown)]), &["--force"]);
    assert!(place.fetch(&["--archive", text(&unknown), "--force"]).status.success());
    assert_eq!(place.mark(), "two");

    // The name or the option --release names a release, but the bytes are wrong.
    let known = place.path("alpine-minirootfs-3.15.4-x86_64.tar.gz");
    fs::write(&known, &archive).expect("write");
    let output = place.fetch(&["--archive", text(&known), "--force"]);
    sole_refusal(&output, &[&sha256(&archive), PINNED_SHA256, "Alpine 3.15.4 x86_64"]);
    let named = ["--archive", text(&unknown), "--release", "3.15.4", "--arch", "x86_64", "--force"];
    sole_refusal(&place.fetch(&named), &[PINNED_SHA256]);
    // For a release that is not pinned, the mirror has the digest.
    let mirror = Mirror::with(&archive);
    sole_refusal(
        &place.fetch_from(&mirror, &["--archive", text(&unknown), "--force"]),
        &[&sha512(&archive)],
    );
    assert_eq!(place.mark(), "two");
    fs::write(&unknown, &archive).expect("write");
    let output = place.fetch_from(&mirror, &["--archive", text(&unknown), "--force"]);
    assert!(stdout(&output).contains("Alpine 3.99.1 x86_64 in"), "{output:?}");
    assert_eq!((place.mark(), mirror.asked(PLACE)), ("one".to_owned(), 0));
}

#[test]
fn an_archive_that_was_named_is_kept_like_one_that_was_fetched() {
    let place = Place::new();
    let archive = place.path("root.tar.gz");
    let restored = |how: &str| {
        fs::remove_file(&archive).expect("remove");
        fs::write(place.root().join("mark"), "spoilt").expect("write");
        let output = place.without_network(&["--force"]);
        assert!(stdout(&output).ends_with(how), "{output:?}");
        assert_eq!((stderr(&output), place.mark()), (String::new(), "one".to_owned()));
    };
    fs::write(&archive, small("two")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive)]).status.success());
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive), "--force"]).status.success());
    for _ in 0..2 {
        fs::write(&archive, "").expect("write");
        restored("(as it was kept)");
    }
    // The cache keeps no archive of a root that was replaced.
    let kept = |bytes: &[u8]| place.cache(&format!("{}.tar.gz", sha256(bytes))).exists();
    assert!(kept(&small("one")) && !kept(&small("two")));

    // An archive of a release that is not pinned, with the mirror's digest.
    let mirror = Mirror::with(&small("one"));
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch_from(&mirror, &["--archive", text(&archive), "--force"]).status.success());
    drop(mirror);
    restored("(checked against the SHA-512 from the mirror)");
    assert!(place.fetch(&[]).status.success() && !kept(&small("one")));

    // The cached archive has changed, so the digest does not fit.
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive), "--force"]).status.success());
    fs::write(place.cache(&format!("{}.tar.gz", sha256(&small("one")))), "evil").expect("write");
    let output = place.without_network(&["--force"]);
    assert!(stderr(&output).contains("because its digest is wrong"), "{output:?}");
    assert_eq!((output.status.code(), place.mark()), (Some(1), "one".to_owned()));
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn a_file_that_is_no_archive_is_refused() {
    let place = Place::with_root("old");
    let whole = small("one");
    let stripped = &whole[..whole.len() - 8];
    let mut spoilt = whole.clone();
    let sum = spoilt.len() - 6;
    spoilt[sum] ^= 1;
    for (name, bytes) in [
        ("empty", &[][..]),
        ("text", b"not an archive"),
        ("half", &whole[..whole.len() / 2]),
        ("without its sum", stripped),
        ("with a wrong sum", &spoilt),
        ("compressed text", &gz(&[b'x'; 2000])),
    ] {
        let file = place.path(name);
        fs::write(&file, bytes).expect("write");
        sole_refusal(
            &place.fetch(&["--archive", text(&file), "--force"]),
            &["unpack ", name, "it is "],
        );
        assert_eq!(place.mark(), "old", "{name}");
        assert_eq!(place.leftovers(), [""; 0], "{name}");
    }
}

#[test]
fn device_nodes_are_left_out_and_named() {
    let place = Place::new();
    let archive = place.path("a.tar.gz");
    let nodes = [
        Entry::new(b'3', "dev/null"),
        Entry::new(b'6', "dev/\n"),
        Entry::file("bin/sh", "#!"),
        Entry::file("mark", "x"),
    ];
    fs::write(&archive, gz(&tar(&nodes))).expect("write");
    let output = place.fetch(&["--archive", text(&archive)]);
    assert!(output.status.success());
    let note = format!(
        "xtask: left out of {}: 2 device nodes or pipes, the first is dev/null",
        archive.display()
    );
    assert_eq!(stderr(&output), note);
    assert_eq!(place.mark(), "x");
}

#[test]
fn an_archive_without_programs_is_refused_and_the_old_root_stays() {
    let place = Place::with_root("old");
    let directory = |name| Entry::new(b'5', name);
    for (name, entries) in [
        ("nothing", vec![]),
        ("the root alone", vec![directory("./")]),
        ("other files", vec![Entry::file("etc/passwd", "root:x:0:0"), Entry::file("mark", "x")]),
        ("empty directories", vec![directory("bin"), directory("usr/bin"), directory("sbin")]),
        // The links lead to this machine's programs; the archive has none.
        ("a link out", vec![Entry::symlink("bin", "/bin"), Entry::symlink("usr", "/usr")]),
        ("a file", vec![Entry::file("bin", "x")]),
    ] {
        let file = place.path(name);
        fs::write(&file, gz(&tar(&entries))).expect("write");
        let output = place.fetch(&["--archive", text(&file), "--force"]);
        sole_refusal(&output, &["unpack ", name, "it has no program in any of ", "usr/bin"]);
        assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0), "{name}");
    }
    // The directory is a link to another directory, as on most systems today.
    let linked = [Entry::symlink("bin", "usr/bin"), Entry::file("usr/bin/sh", "#!")];
    let file = place.path("linked");
    fs::write(&file, gz(&tar(&linked))).expect("write");
    assert!(place.fetch(&["--archive", text(&file), "--force"]).status.success());
}

#[test]
fn what_only_waits_is_no_archive() {
    let place = Place::with_root("old");
    let pipe = place.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("start mkfifo");
    assert!(made.success());
    for (file, why) in [
        (text(&pipe), "it is not a file"),
        ("/dev/tty", ""),
        ("/dev/full", "it is not a file"),
        // A reader waits for a message of the kernel.
        ("/proc/kmsg", ""),
        ("/proc/self/status", "it is empty"),
        // Standard input is a pipe.
        ("/proc/self/fd/0", "it is not a file"),
    ] {
        let mut command = place.command(&["--archive", file, "--force"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start xtask");
        wait_for(|| child.try_wait().expect("wait").is_some());
        sole_refusal(&child.wait_with_output().expect("wait"), &[file, why]);
        assert_eq!(place.mark(), "old", "{file}");
    }
}

#[test]
fn a_copy_of_a_checkout_knows_what_its_root_is() {
    let mirror = Mirror::with(&small("one"));
    // The first root is from a release with the mirror's digest, the second from an
    // archive without a known digest.
    let (released, named) = (Place::new(), Place::with_root("one"));
    assert!(released.fetch_from(&mirror, &[]).status.success());
    drop(mirror);
    let tar = "tar -C \"$1\" -cf - . | tar -C \"$2\" -xf -";
    for (place, what) in [(&released, "Alpine 3.99.1 x86_64"), (&named, "the archive with")] {
        for script in ["cp -a \"$1/.\" \"$2\"", tar] {
            let copy = Place { dir: testkit::tempdir() };
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh"]).args([place.dir.path(), copy.dir.path()]);
            assert!(shell.status().expect("start a shell").success(), "{script}");
            let output = copy.fetch(&[]);
            assert!(stdout(&output).contains(what), "{script}: {output:?}");
            assert!(stdout(&output).ends_with("(already there)"), "{script}: {output:?}");
            fs::write(copy.root().join("mark"), "spoilt").expect("write");
            let output = copy.without_network(&["--force"]);
            assert!(stdout(&output).contains(what), "{script}: {output:?}");
            assert_eq!((stderr(&output), copy.mark()), (String::new(), "one".to_owned()));
            assert_eq!(copy.leftovers(), [""; 0]);
        }
        // The original place: a directory that fetch-rootfs did not make is not our
        // root.
        fs::rename(place.root(), place.path("moved")).expect("move");
        fs::create_dir(place.root()).expect("make");
        fs::write(place.root().join("mark"), "mine").expect("write");
        sole_refusal(&place.fetch(&[]), &["fetch-rootfs did not make the directory there"]);
        assert_eq!(place.mark(), "mine");
    }
}
