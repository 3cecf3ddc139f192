//! Impossible scratch directories, and odd file systems.

use std::fs;

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use testkit::{containers_work, rootfs, skip, steps, within};

use super::*;

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
    let taken = "a file has that name; name another directory with --scratch or TMPDIR";
    let none = "it is not a directory; remove it, or name another scratch directory";
    let exists = &format!("File exists; {taken}");
    let cannot = "name a directory that this user can write to, with --scratch or TMPDIR";
    let no_directory = &format!("Not a directory; {cannot}");
    let missing = &format!("No such file or directory; {cannot}");
    let (long_name, long_path) = (&*"n".repeat(256), &*"p/".repeat(2048));
    let named: [(&str, &str, &str); 9] = [
        ("file", "make the scratch directory file", exists),
        ("dangling", "make the scratch directory dangling", exists),
        ("loop", "make the scratch directory loop", exists),
        ("file/x", "make the scratch directory file/x", no_directory),
        (long_name, &format!("make the scratch directory {long_name}"), TOO_LONG),
        (long_path, &format!("make the scratch directory {long_path}"), TOO_LONG),
        ("a", "use the scratch directory a/upper", none),
        ("b", "use the scratch directory b/work", none),
        ("c", "use the scratch directory c/merged", none),
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

/// The oddity, the step, the setup, the words of the command line, the exit status
/// and the message.
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
    let on_overlay = r#"mount -t tmpfs tmpfs m && mkdir m/upper m/work m/root && ln -s "$ROOT" m/low
        mount -t overlay -o lowerdir=m/low,upperdir=m/upper,workdir=m/work,userxattr overlay m/root"#;
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
        free some space, or name a directory on another file system with --scratch or TMPDIR";
    let no_exec =
        "execute /bin/true: its file system is mounted noexec; move it to another file system";
    let no_write = "Read-only file system; \
        name a directory that this user can write to, with --scratch or TMPDIR";
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
        // The overlay is a separate mount with its own flags.
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
        // The kernel mounts an overlay on an overlay, but not a third level. In a
        // container, the root may already be on an overlay.
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
