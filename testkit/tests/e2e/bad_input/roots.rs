//! Directories that are not roots, and roots that lack something.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use testkit::{bin, containers_work, is_root, lesson, rootfs, skip, stdout};

use super::*;

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
    let why = "Permission denied; let this user enter it and each directory above it (chmod +x)";
    for name in with_root() {
        // Inside, root of the user namespace may enter the caller's directories.
        let rows: [(&str, i32, String); 2] = [
            ("locked/root/../../root", 0, String::new()),
            ("/proc/1/root/x", 125, format!("{}: {why}", standing_in(name, "/proc/1/root/x"))),
        ];
        for (root, status, said) in rows {
            let output = place.step(name).args(["--rootfs", root, "true"]).output();
            ends(&output.expect("start a step"), name, root, status, &said);
        }
    }
    let why = "Permission denied; name a directory that this user can write to, \
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
        the root has no directory /proc; make that directory";
    let no_root = "the root has neither /bin nor /usr/bin, so it is likely not a root; \
        fetch a root with `cargo xtask fetch-rootfs --force`, or name another directory";
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

    // A separate copy, because the test changes its /proc.
    let copied = Command::new("cp").arg("-a").arg(rootfs()).arg(place.path().join("own")).status();
    assert!(copied.expect("start cp").success());
    let outside = place.path().join("outside");
    fs::create_dir(&outside).expect("make a directory");
    fs::create_dir(place.path().join("own/inside")).expect("make a directory");
    let absolute = outside.to_str().expect("UTF-8");
    // More steps up than the root is deep.
    let relative = format!("{}{absolute}", "../".repeat(40));
    let proc = place.path().join("own/proc");
    let is_a_file = "mount proc on /proc: Not a directory; \
        /proc in the root is not a directory; replace it with a directory";
    let is_a_loop = format!("mount proc on /proc: {LOOP}");
    let rows: [(&str, &str, i32, &str); 8] = [
        ("missing", "", 125, nowhere),
        ("a file", "", 125, is_a_file),
        ("a link", "gone", 125, nowhere),
        ("a link", "proc", 125, &is_a_loop),
        // The kernel follows a link inside the root.
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
        // A mounted proc has a process 1.
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

#[test]
fn what_a_removed_current_directory_makes_meaningless_is_refused_in_one_line() {
    if !containers_work() {
        return;
    }
    let gone = "No such file or directory; \
        the current directory no longer exists; cd to an existing directory";
    for name in with_root() {
        let make = "make the scratch directory";
        let rows: [(&str, &[&str], String); 3] = [
            ("--rootfs", &["--rootfs", "x", "true"], standing_in(name, "x")),
            ("--lower", &["--lower", "x", "true"], standing_in(name, "x")),
            ("--scratch", &["--scratch", "x", "true"], format!("{make} x")),
        ];
        let rows = rows.into_iter().filter(|row| lesson(name).has_layers || row.0 == "--rootfs");
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
