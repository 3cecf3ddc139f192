//! What a step is given by mistake or by malice: what it was, how the step
//! ends, and what it says.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::{
    STEPS, Scratches, bin, containers_work, has_init, is_one_line, is_root, rootfs, scratch_place,
    skip, stderr, stdout, step, steps, tempdir, within,
};

const OVERLAY: &str = "step08-overlay";

/// A directory that steps are started in: the tables below name what is in it.
struct Place(Scratches);

impl Place {
    fn new() -> Place {
        let place = Place(scratch_place());
        for (link, target) in [("root", rootfs()), ("dangling", "gone".as_ref())] {
            symlink(target, place.path().join(link)).expect("make a link");
        }
        symlink("loop", place.path().join("loop")).expect("make a link");
        fs::write(place.path().join("file"), "").expect("write a file");
        for dir in ["empty", "m"] {
            fs::create_dir(place.path().join(dir)).expect("make a directory");
        }
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn step(&self, name: &str) -> Command {
        let mut command = step(name);
        command.current_dir(self.path());
        command
    }
}

/// Fails unless a step has ended so and has said `said` and no more.
fn ends(output: &Output, name: &str, what: &str, status: i32, said: &str) {
    assert_eq!(output.status.code(), Some(status), "{name}, {what}: {}", stderr(output));
    let said = if said.is_empty() { String::new() } else { format!("{name}: {said}") };
    assert_eq!(stderr(output), said, "{name}, {what}");
    assert!(said.is_empty() || is_one_line(name, &stderr(output)), "{name}, {what}: {said}");
}

/// The steps that change their root.
fn with_root() -> impl Iterator<Item = &'static str> {
    STEPS.into_iter().filter(|name| has_init(name))
}

/// What a step was doing when it found `dir` to be no root.
fn standing_in(name: &str, dir: &str) -> String {
    if name == OVERLAY { format!("open the layer {dir}") } else { format!("chroot to {dir}") }
}

const MISSING: &str = "No such file or directory; fetch one with `cargo xtask fetch-rootfs`, \
    or name a directory that is there";
const NO_DIRECTORY: &str = "Not a directory; name a directory";
const LOOP: &str =
    "Too many symbolic links encountered; a symbolic link on the way leads back to itself";
const TOO_LONG: &str = "File name too long; a name can have 255 bytes, a path 4095";

const NO_LAYER: &str = "Invalid argument; likely a layer has mounts below it, as / has, \
    is no place for files, as /proc, or lies on an overlay on an overlay; name another";

#[test]
fn what_is_no_root_is_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let (long_name, long_path) = ("n".repeat(256), "p/".repeat(2048));
    let rows: [(&[u8], &str); 14] = [
        (b"missing", MISSING),
        (b"dangling", MISSING),
        (b"missing/..", MISSING),
        (b"root/missing", MISSING),
        (b" ", MISSING),
        (b"two\nlines\x1b[31m", MISSING),
        (b"bytes \xff\xfe", MISSING),
        (b"a:b,c\\d\"e'f", MISSING),
        (b"file", NO_DIRECTORY),
        (b"file/", NO_DIRECTORY),
        (b"file/..", NO_DIRECTORY),
        (b"loop", LOOP),
        (long_name.as_bytes(), TOO_LONG),
        (long_path.as_bytes(), TOO_LONG),
    ];
    for (dir, why) in rows {
        let dir = OsStr::from_bytes(dir);
        let shown = common::printable(&dir.to_string_lossy());
        for name in with_root() {
            let said = format!("{}: {why}", standing_in(name, &shown));
            let by_option = place.step(name).arg("--rootfs").arg(dir).arg("true").output();
            ends(&by_option.expect("start a step"), name, &shown, 125, &said);
            let by_variable = place.step(name).env("CONTAINER_ROOTFS", dir).arg("true").output();
            ends(&by_variable.expect("start a step"), name, &shown, 125, &said);
        }
        let mut command = place.step(OVERLAY);
        command.args(["--lower", "root", "--lower"]).arg(dir).arg("true");
        let said = format!("{}: {why}", standing_in(OVERLAY, &shown));
        ends(&command.output().expect("start a step"), OVERLAY, &shown, 125, &said);
    }
}

#[test]
fn a_root_that_may_not_be_reached_is_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    if is_root() {
        skip("root can reach every directory");
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.path().join("locked/root")).expect("make a directory");
    let lock = |mode| {
        let locked = place.path().join("locked");
        fs::set_permissions(locked, Permissions::from_mode(mode)).expect("set the mode");
    };
    lock(0o000);
    let why = "Permission denied; the directories down to it must let this user through";
    for name in with_root() {
        // Root of a user namespace is root in the caller's own directories.
        let rows: [(&str, i32, String); 2] = [
            ("locked/root/../../root", 0, String::new()),
            ("/proc/1/root/x", 125, format!("{}: {why}", standing_in(name, "/proc/1/root/x"))),
        ];
        for (root, status, said) in rows {
            let output = place.step(name).args(["--rootfs", root, "true"]).output();
            ends(&output.expect("start a step"), name, root, status, &said);
        }
    }
    let why = "Permission denied; name a directory in which this user can make others, \
        with --scratch or TMPDIR";
    for (scratch, doing) in [("locked/x", "make"), ("locked", "lock")] {
        let output = place.step(OVERLAY).args(["--scratch", scratch, "true"]).output();
        let said = format!("{doing} the scratch directory {scratch}: {why}");
        ends(&output.expect("start a step"), OVERLAY, scratch, 125, &said);
    }
    lock(0o700);
}

#[test]
fn a_root_that_lacks_something_says_what() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let nowhere = "mount proc on /proc: No such file or directory; \
        the root has no directory /proc; make one in it";
    let no_root = "the root has neither /bin nor /usr/bin, so it is likely no root at all; \
        fetch one with `cargo xtask fetch-rootfs --force`, or name another directory";
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (dir, command, why) in [
        ("empty", "sh", format!("not found in PATH, which is {path}; {no_root}")),
        ("empty", "/bin/sh", format!("No such file or directory; {no_root}")),
        ("root", "no-such", format!("not found in PATH, which is {path}")),
        ("root", "/no-such", "No such file or directory".to_owned()),
    ] {
        for name in with_root() {
            let output = place.step(name).args(["--rootfs", dir, command]).output();
            let (status, said) = if dir == "empty" && name != "step06-chroot" {
                (125, format!("mount proc on /proc: No such file or directory; {no_root}"))
            } else {
                (127, format!("execute {command}: {why}"))
            };
            ends(&output.expect("start a step"), name, dir, status, &said);
        }
    }

    // Its own, since /proc in it will change.
    let copied = Command::new("cp").arg("-a").arg(rootfs()).arg(place.path().join("own")).status();
    assert!(copied.expect("start cp").success());
    let outside = place.path().join("outside");
    fs::create_dir(&outside).expect("make a directory");
    fs::create_dir(place.path().join("own/inside")).expect("make a directory");
    let absolute = outside.to_str().expect("UTF-8");
    // As many steps up as it takes to be at the host's root.
    let relative = format!("{}{absolute}", "../".repeat(40));
    let proc = place.path().join("own/proc");
    let is_a_file = "mount proc on /proc: Not a directory; \
        /proc in the root is no directory; make it one";
    let is_a_loop = format!("mount proc on /proc: {LOOP}");
    let rows: [(&str, &str, i32, &str); 8] = [
        ("missing", "", 125, nowhere),
        ("a file", "", 125, is_a_file),
        ("a link", "gone", 125, nowhere),
        ("a link", "proc", 125, &is_a_loop),
        // What a link means, it means inside.
        ("a link", absolute, 125, nowhere),
        ("a link", &relative, 125, nowhere),
        ("a link", "/inside", 0, ""),
        ("a link", "../../inside", 0, ""),
    ];
    for (kind, target, status, said) in rows {
        match fs::symlink_metadata(&proc) {
            Ok(found) if found.is_dir() => fs::remove_dir(&proc).expect("remove it"),
            Ok(_) => fs::remove_file(&proc).expect("remove it"),
            Err(_gone) => {}
        }
        match kind {
            "a file" => fs::write(&proc, "").expect("write a file"),
            "a link" => symlink(target, &proc).expect("make a link"),
            _ => {}
        }
        let what = format!("/proc is {kind} {target}");
        // With a process there, it is a mounted proc.
        let look = "if test -e /inside/1/stat; then echo proc; fi";
        for name in ["step07-proc", OVERLAY] {
            let mut command = place.step(name);
            let output = command.args(["--rootfs", "own", "/bin/sh", "-c", look]).output();
            let output = output.expect("start a step");
            ends(&output, name, &what, status, said);
            assert_eq!(stdout(&output) == "proc", status == 0, "{name}, {what}");
        }
        let output = place.step("step06-chroot").args(["--rootfs", "own", "true"]).output();
        ends(&output.expect("start a step"), "step06-chroot", &what, 0, "");
    }
    assert_eq!(outside.read_dir().expect("a directory").count(), 0);
}

/// The head of a program for `machine`, with its loader's name; elf(5).
fn elf(machine: [u8; 2], loader: &str) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 2; // a program
    elf[18..20].copy_from_slice(&machine);
    elf[20] = 1; // the version
    elf[32] = 64; // where the segments are listed
    elf[52] = 64; // the size of this header
    elf[54] = 56; // the size of a segment's
    elf[56] = 1; // how many there are
    elf[64] = 3; // it names the loader
    elf[72] = 120; // where that is
    elf[96] = u8::try_from(loader.len() + 1).expect("a short name");
    elf.extend(loader.bytes());
    elf.push(0);
    elf
}

#[test]
fn a_command_that_cannot_be_executed_says_why() {
    if !containers_work() {
        return;
    }
    let layer = tempdir();
    let this = fs::read(std::env::current_exe().expect("a test has a path")).expect("read it");
    let machine = [this[18], this[19]];
    // Not this one, whichever it is.
    let other = [machine[0] ^ 0x55, machine[1]];
    let found = layer.path().to_str().expect("UTF-8");
    let through = |link: &str| format!("#!LAYER/{link}\n").into_bytes();

    let foreign = "it is neither a program for this machine nor a script that begins with #!";
    let no_interpreter = "its interpreter /no/such/sh cannot be executed here; \
        install that, or run another program";
    let no_loader = "its loader /no/such/ld.so is not in this root; \
        use a program that was built for this root, or a static one";
    let rows: [(&str, Vec<u8>, &str); 14] = [
        ("script", b"#!/no/such/sh -e\necho hi\n".into(), no_interpreter),
        ("blank", b"#! \t/no/such/sh\n".into(), no_interpreter),
        (
            "directory-as-interpreter",
            b"#!/etc\n".into(),
            "its interpreter /etc cannot be executed here; install that, or run another program",
        ),
        ("nameless", b"#!".into(), "its #! line names no interpreter"),
        (
            "windows",
            b"#!/bin/sh\r\necho hi\r\n".into(),
            "its #! line ends as on Windows, with a carriage return; save it without",
        ),
        (
            "itself",
            through("itself"),
            "its #! line leads from one script to the next without an end",
        ),
        ("program", elf(machine, "/no/such/ld.so"), no_loader),
        ("foreign", elf(other, "/no/such/ld.so"), foreign),
        ("cut-off", elf(machine, "/no/such/ld.so")[..20].into(), foreign),
        ("empty", Vec::new(), foreign),
        ("text", b"echo hi\n".into(), foreign),
        ("bytes", vec![0xff; 5000], foreign),
        ("newline", b"\n#!/bin/sh\n".into(), foreign),
        (
            "unmarked",
            b"#!/bin/sh\n".into(),
            "Permission denied; it is not executable for this user (chmod +x makes it so)",
        ),
    ];
    for name in steps().filter(|name| !has_init(name) || *name == OVERLAY) {
        let dir = if name == OVERLAY { "" } else { found };
        for (file, content, why) in &rows {
            let at = layer.path().join(file);
            // What it names, it names as its step sees it.
            let content = match str::from_utf8(content) {
                Ok(text) => text.replace("LAYER", dir).into_bytes(),
                Err(_binary) => content.clone(),
            };
            fs::write(&at, content).expect("write a file");
            let mode = if *file == "unmarked" { 0o644 } else { 0o755 };
            fs::set_permissions(&at, Permissions::from_mode(mode)).expect("set its mode");
            let mut command = step(name);
            if name == OVERLAY {
                command.arg("--lower").arg(layer.path()).arg("--lower").arg(rootfs());
            }
            let output = command.arg(format!("{dir}/{file}")).output().expect("start a step");
            ends(&output, name, file, 126, &format!("execute {dir}/{file}: {why}"));
        }
    }
}

#[test]
fn a_scratch_directory_that_cannot_be_is_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for (dir, file) in [("a", "upper"), ("b", "work"), ("c", "merged")] {
        fs::create_dir(place.path().join(dir)).expect("make a directory");
        fs::write(place.path().join(dir).join(file), "").expect("write a file");
    }
    let taken = "something else has that name; name another directory with --scratch or TMPDIR";
    let exists = &format!("File exists; {taken}");
    let cannot = "name a directory in which this user can make others, with --scratch or TMPDIR";
    let no_directory = &format!("Not a directory; {cannot}");
    let missing = &format!("No such file or directory; {cannot}");
    let (long_name, long_path) = (&*"n".repeat(256), &*"p/".repeat(2048));
    let named: [(&str, &str, &str); 10] = [
        ("file", "make the scratch directory file", exists),
        ("dangling", "make the scratch directory dangling", exists),
        ("loop", "make the scratch directory loop", exists),
        ("file/x", "make the scratch directory file/x", no_directory),
        ("/proc", "make the scratch directory /proc/upper", missing),
        (long_name, &format!("make the scratch directory {long_name}"), TOO_LONG),
        (long_path, &format!("make the scratch directory {long_path}"), TOO_LONG),
        ("a", "open the layer a/upper", NO_DIRECTORY),
        ("b", "open the layer b/work", NO_DIRECTORY),
        ("c", "mount the overlay on c/merged", &format!("Not a directory; {taken}")),
    ];
    for (dir, doing, why) in named {
        let output = place.step(OVERLAY).args(["--scratch", dir, "true"]).output();
        ends(&output.expect("start a step"), OVERLAY, dir, 125, &format!("{doing}: {why}"));
    }
    let by_variable: [(&str, &str); 6] = [
        ("missing", missing),
        ("/no/such/directory", missing),
        ("dangling", missing),
        ("file", no_directory),
        ("loop", LOOP),
        (long_name, TOO_LONG),
    ];
    let home = format!("containers-{}", nix::unistd::getuid());
    for (dir, why) in by_variable {
        let output = place.step(OVERLAY).env("TMPDIR", dir).arg("true").output();
        let said = format!("make the scratch directory {dir}/{home}: {why}");
        ends(&output.expect("start a step"), OVERLAY, dir, 125, &said);
    }
}

#[test]
fn where_the_environment_says_nothing_or_little_a_container_runs() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for name in steps() {
        for tmpdir in [None, Some(""), Some("."), Some("empty"), Some("./empty/../empty/")] {
            let mut command = place.step(name);
            command.env_clear().env("CONTAINER_ROOTFS", "root");
            command.envs(tmpdir.map(|dir| ("TMPDIR", dir)));
            let output = command.args(["/bin/sh", "-c", "exit 7"]).output();
            ends(&output.expect("start a step"), name, &format!("{tmpdir:?}"), 7, "");
        }
    }
    assert_eq!(place.path().join("empty").read_dir().expect("a directory").count(), 0);
}

#[test]
fn what_a_removed_current_directory_makes_meaningless_is_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let gone = "No such file or directory; \
        the current directory was removed; go to one that is there";
    for name in with_root() {
        let make = "make the scratch directory";
        let rows: [(&str, &[&str], String); 3] = [
            ("--rootfs", &["--rootfs", "x", "true"], standing_in(name, "x")),
            ("--lower", &["--lower", "x", "true"], standing_in(name, "x")),
            ("--scratch", &["--scratch", "x", "true"], format!("{make} x")),
        ];
        let rows = rows.into_iter().filter(|row| name == OVERLAY || row.0 == "--rootfs");
        for (what, words, doing) in rows {
            let place = Place::new();
            let script = r#"cd empty && rmdir ../empty && exec "$@""#;
            let mut shell = Command::new("sh");
            shell.args(["-c", script, "sh"]).arg(bin(name)).args(words).current_dir(place.path());
            let output = shell.env("CONTAINER_ROOTFS", rootfs()).output().expect("start a shell");
            ends(&output, name, what, 125, &format!("{doing}: {gone}"));
        }
    }
}

/// What is odd, which step, what is set up before it, its words, its exit
/// status and what it says.
type OddRow<'a> = (&'a str, &'a str, &'a str, &'a [&'a str], i32, String);

#[test]
fn a_file_system_that_is_odd_does_no_harm_or_is_named() {
    if !containers_work() {
        return;
    }
    let on_overlay_itself =
        statfs(rootfs()).expect("look at the root").filesystem_type() == OVERLAYFS_SUPER_MAGIC;
    let place = Place::new();
    let on_tmpfs = r#"mount -t tmpfs tmpfs m && cp -a "$ROOT/." m"#;
    let on_overlay = r#"mount -t tmpfs tmpfs m && mkdir m/upper m/work m/root
        mount -t overlay -o "lowerdir=$ROOT,upperdir=m/upper,workdir=m/work,userxattr" overlay m/root"#;
    let on_two = &format!(
        "{on_overlay}\nmkdir m/empty m/top
        mount -t overlay -o lowerdir=m/empty:m/root,userxattr overlay m/top"
    );
    let bound =
        |flag: &str| format!(r#"mount --bind "$ROOT" m && mount -o remount,bind,{flag} "$ROOT" m"#);
    let read_only = &(bound("ro") + "; if touch m/x 2>/dev/null; then exit 99; fi");
    let noexec = &bound("noexec");
    let top = &["--rootfs", "m/top", "true"][..];
    let twice = &["--rootfs", "m/top", "--scratch", "m/s", "true"][..];
    let full = "mount -t tmpfs -o nr_inodes=1 tmpfs m";
    let full_then = "mount -t tmpfs -o nr_inodes=3 tmpfs m";
    let sealed = "mount -t tmpfs -o ro tmpfs m";

    let root = &["--rootfs", "m", "/bin/true"][..];
    let write = &["--rootfs", "m", "/bin/sh", "-c", "echo x >/x"][..];
    let nested = &["--rootfs", "m/root", "/bin/sh", "-c", "echo x >/x"][..];
    let scratch = &["--scratch", "m/s", "true"][..];
    let plain = &["true"][..];
    let no_room = "No space left on device; the file system is full; \
        free some room, or name a directory elsewhere with --scratch or TMPDIR";
    let no_exec = "execute /bin/true: its file system is mounted noexec; move it to another";
    let no_write = "Read-only file system; \
        name a directory in which this user can make others, with --scratch or TMPDIR";
    let making = "make the scratch directory m";
    let by_variable = |setup: &str| format!("{setup}; export TMPDIR=m");
    let (full_by_variable, sealed_by_variable) = (&by_variable(full), &by_variable(sealed));
    let (six, seven, eight) = ("step06-chroot", "step07-proc", OVERLAY);
    let rows: [OddRow<'_>; 20] = [
        ("tmpfs", six, on_tmpfs, write, 0, String::new()),
        ("tmpfs", seven, on_tmpfs, write, 0, String::new()),
        ("tmpfs", eight, on_tmpfs, write, 0, String::new()),
        ("overlay", six, on_overlay, nested, 0, String::new()),
        ("overlay", seven, on_overlay, nested, 0, String::new()),
        ("overlay", eight, on_overlay, nested, 0, String::new()),
        ("two overlays", six, on_two, top, 0, String::new()),
        ("two overlays", seven, on_two, top, 0, String::new()),
        (
            "two overlays",
            eight,
            on_two,
            twice,
            125,
            format!("mount the overlay on m/s/merged: {NO_LAYER}"),
        ),
        ("read-only", six, read_only, root, 0, String::new()),
        ("read-only", seven, read_only, root, 0, String::new()),
        ("read-only", eight, read_only, write, 0, String::new()),
        ("noexec", six, noexec, root, 126, no_exec.into()),
        ("noexec", seven, noexec, root, 126, no_exec.into()),
        // The overlay is a mount of its own, with its own flags.
        ("noexec", eight, noexec, root, 0, String::new()),
        ("full", eight, full, scratch, 125, format!("{making}/s: {no_room}")),
        ("full", eight, full_then, scratch, 125, format!("{making}/s/work: {no_room}")),
        ("full", eight, full_by_variable, plain, 125, format!("{making}/containers-0: {no_room}")),
        ("sealed", eight, sealed, scratch, 125, format!("{making}/s: {no_write}")),
        (
            "sealed",
            eight,
            sealed_by_variable,
            plain,
            125,
            format!("{making}/containers-0: {no_write}"),
        ),
    ];
    for (what, name, setup, words, status, said) in rows {
        // As in a container: the kernel lays one overlay on another, and no
        // third.
        if what.contains("overlay") && on_overlay_itself {
            skip("the root is on an overlay already");
            continue;
        }
        let mut command = within(setup, name);
        let output = command.args(words).current_dir(place.path()).output();
        let output = output.expect("start a step");
        ends(&output, name, what, status, &said);
    }
    assert_eq!(place.path().join("m").read_dir().expect("a directory").count(), 0);
}

#[test]
fn layers_that_cannot_lie_on_each_other_are_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path().join("empty/below")).expect("make a directory");
    let twice = "Too many symbolic links encountered; a layer is named twice, or one lies inside \
        another; name each once, and the scratch directory outside of them all";
    let mounts = NO_LAYER;
    let rows: [(&[&str], &str); 5] = [
        (&["empty", "empty"], twice),
        (&["empty", "m/../empty/"], twice),
        (&["empty/below", "empty"], twice),
        (&["/"], mounts),
        (&["/proc"], mounts),
    ];
    for (layers, why) in rows {
        let mut command = place.step(OVERLAY);
        command.args(layers.iter().flat_map(|layer| ["--lower", layer]));
        command.args(["--lower", "root", "--scratch", "s", "true"]);
        let output = command.output().expect("start a step");
        let said = format!("mount the overlay on s/merged: {why}");
        let told = output.status.code() == Some(125) && stderr(&output).ends_with(&said);
        assert!(told, "{layers:?}: {}", stderr(&output));
        // The root of the host and its /proc are another user's, which is said
        // beforehand.
        let lines = if layers[0].starts_with('/') && !is_root() { 2 } else { 1 };
        assert_eq!(stderr(&output).lines().count(), lines, "{layers:?}: {}", stderr(&output));
        assert!(stderr(&output).lines().all(|line| is_one_line(OVERLAY, line)), "{layers:?}");
        let _ = common::remove_tree(&place.path().join("s"));
    }
}

#[test]
fn sixty_layers_are_read_whatever_their_names_are() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let names: [(&str, usize); 3] = [("n", 60), (&"n".repeat(240), 60), ("odd, \\:name", 60)];
    for (name, count) in names {
        let dir = |number: usize| format!("{name}-{number}");
        let mut command = place.step(OVERLAY);
        for number in 1..=count {
            let layer = place.path().join(dir(number));
            fs::create_dir(&layer).expect("make a directory");
            fs::write(layer.join(format!("layer-{number}")), "").expect("write a file");
            fs::write(layer.join("top"), dir(number)).expect("write a file");
            command.arg("--lower").arg(dir(number));
        }
        command.args(["--lower", "root", "/bin/sh", "-c", "cat /top; ls / | grep -c layer"]);
        let output = command.output().expect("start a step");
        ends(&output, OVERLAY, name, 0, "");
        assert_eq!(stdout(&output), format!("{}{count}", dir(1)));
    }
    // More than mount(2) can be told of.
    let mut command = place.step(OVERLAY);
    command.args((0..500).flat_map(|_| ["--lower", "root"])).arg("true");
    let said = "mount an overlay: the names of 500 layers are too long for mount(2); name fewer";
    ends(&command.output().expect("start a step"), OVERLAY, "500 layers", 125, said);
}

/// Names a root, a layer and a scratch directory `name` and fails unless each
/// is what the step uses.
fn arrives(place: &Path, name: &OsStr) -> Result<(), TestCaseError> {
    let [roots, layers, scratches] = ["roots", "layers", "scratches"].map(|dir| {
        fs::create_dir_all(place.join(dir)).expect("make a directory");
        Path::new(dir).join(name)
    });
    symlink(rootfs(), place.join(&roots)).expect("make a link");
    fs::create_dir(place.join(&layers)).expect("make a directory");
    fs::write(place.join(&layers).join("marker"), name.as_bytes()).expect("write a file");

    for step_name in with_root() {
        let mut command = step(step_name);
        command.current_dir(place).arg("--rootfs").arg(&roots);
        let output = command.args(["ls", "-di", "/"]).output().expect("start a step");
        prop_assert_eq!(stderr(&output), "", "{}", step_name);
        // An overlay is a file system of its own.
        let root = fs::metadata(rootfs()).expect("a root").ino().to_string();
        let same = stdout(&output).split_whitespace().next() == Some(&*root);
        prop_assert!(same || step_name == OVERLAY, "{}: {}", step_name, stdout(&output));
    }
    let mut command = step(OVERLAY);
    command.current_dir(place).arg("--lower").arg(&layers).arg("--lower").arg(&roots);
    command.arg("--scratch").arg(&scratches);
    let output = command.args(["/bin/sh", "-c", "cat /marker && echo x >/x"]).output();
    let output = output.expect("start a step");
    prop_assert_eq!(stderr(&output), "");
    prop_assert_eq!(&output.stdout, name.as_bytes());
    prop_assert!(place.join(&scratches).join("upper/x").exists());
    Ok(())
}

#[test]
fn every_name_that_a_directory_can_have_will_do() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    let names: [&[u8]; 16] = [
        b" ",
        b"a b",
        b":",
        b"a:b",
        b",",
        b"a,upperdir=b",
        b"\\",
        b"\\:",
        b"end\\",
        b"\"'",
        b"$(id)",
        b"two\nlines",
        b"\x1b[31m",
        b"\xff\xfe",
        b"--rootfs",
        "na\u{ef}ve \u{2603}".as_bytes(),
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        arrives(place.path(), name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

#[test]
fn whatever_bytes_a_name_is_made_of_it_arrives() {
    if !containers_work() {
        return;
    }
    let any = prop::collection::vec(any::<u8>(), 1..200);
    // What means something somewhere, and often: a name that is not UTF-8
    // never comes near the options of the mount.
    let text = prop::collection::vec(prop::sample::select(&b"ab:,\\ =\n\"'$."[..]), 1..200);
    let name = prop_oneof![any, text].prop_map(|mut name| {
        name.retain(|byte| !matches!(byte, 0 | b'/'));
        OsString::from_vec(name)
    });
    let name = name.prop_filter("no name", |name| !matches!(name.as_bytes(), b"" | b"." | b".."));
    let mut runner = TestRunner::new(Config { cases: 32, ..Config::default() });
    let arrived = runner.run(&name, |name| arrives(scratch_place().path(), &name));
    arrived.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_way_to_a_directory_will_do() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let at = |dir: &str| place.path().join(dir);
    fs::create_dir_all(at("a/b")).expect("make a directory");
    fs::write(at("a/marker"), "found").expect("write a file");
    symlink("a", at("link")).expect("make a link");
    symlink("link", at("link-to-link")).expect("make a link");
    symlink(at("a"), at("absolute-link")).expect("make a link");
    let absolute = at("a").into_os_string().into_string().expect("UTF-8");
    // Just short of what a path can be, with /merged below it.
    let mut deep = absolute.clone();
    while deep.len() < 4000 {
        let part = (4080 - deep.len()).min(201) - 1;
        deep = format!("{deep}/{}", "d".repeat(part));
    }
    fs::create_dir_all(&deep).expect("make a directory");
    fs::write(format!("{deep}/marker"), "found").expect("write a file");
    let ways = [
        &*absolute,
        &format!("{absolute}///"),
        "a",
        "a/",
        "./a//.",
        "a/b/..",
        "empty/../a",
        "link",
        "link/",
        "link/b/..",
        "link-to-link",
        "absolute-link",
        "absolute-link/b/../",
        &deep,
    ];
    for way in ways {
        let mut command = place.step(OVERLAY);
        command.args(["--lower", way, "--lower", "root", "cat", "/marker"]);
        let output = command.output().expect("start a step");
        ends(&output, OVERLAY, way, 0, "");
        assert_eq!(stdout(&output), "found", "{way}");

        // As a scratch directory, it has the file in its upper.
        let mut command = place.step(OVERLAY);
        command.args(["--scratch", way, "/bin/sh", "-c", "echo x >/x"]);
        ends(&command.output().expect("start a step"), OVERLAY, way, 0, "");
        for dir in ["upper", "work", "merged"] {
            let made = at(way).join(dir);
            assert!(dir != "upper" || made.join("x").exists(), "{way}");
            common::remove_tree(&made).expect("remove it");
        }
    }
    symlink(rootfs(), format!("{deep}/root")).expect("make a link");
    let deep = format!("{deep}/root");
    for way in ["root", "root/", "./root/.", "empty/../root", "root/etc/..", &deep] {
        for name in with_root() {
            let output = place.step(name).args(["--rootfs", way, "true"]).output();
            ends(&output.expect("start a step"), name, way, 0, "");
        }
    }
}

#[test]
fn a_layer_of_another_user_is_told_beforehand() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let layer = place.path().join("theirs");
    if is_root() {
        fs::create_dir(&layer).expect("make a directory");
        fs::write(layer.join("theirs"), "").expect("write a file");
        for file in [layer.join("theirs"), layer.clone()] {
            std::os::unix::fs::chown(file, Some(65534), Some(65534)).expect("give it away");
        }
    } else {
        // Root's, on every host.
        symlink("/usr/share", &layer).expect("make a link");
    }
    let said = "theirs belongs to another user: its files can be read, but changing one fails \
        with \"Permission denied\" or \"Value too large\"; unpack it as the user who runs the \
        container";
    let run = |script: &str| {
        let mut command = place.step(OVERLAY);
        command.args(["--lower", "theirs", "--lower", "root", "/bin/sh", "-c", script]);
        command.output().expect("start a step")
    };
    ends(&run(":"), OVERLAY, "theirs", 0, said);
    if is_root() {
        for (mode, why) in [(0o644, "Permission denied"), (0o666, "Value too large")] {
            let mode = Permissions::from_mode(mode);
            fs::set_permissions(layer.join("theirs"), mode).expect("set the mode");
            let output = run("cat /theirs && echo x >>/theirs");
            let error = stderr(&output);
            assert!(!output.status.success(), "{error}");
            let (first, second) = error.split_once('\n').expect("two lines");
            assert_eq!(first, format!("{OVERLAY}: {said}"));
            assert!(second.contains(why), "{second}");
        }
    }
}
