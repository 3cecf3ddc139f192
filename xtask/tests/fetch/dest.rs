//! The places where a root may be, and the options that go together.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use testkit::{bin, containers_work, skip, stderr, stdout, workspace};

use crate::place::{Place, refusal, sole_refusal, text, xtask};
use crate::{large, small};

#[test]
fn a_request_without_sense_is_refused_in_one_line() {
    let place = Place::with_root("old");
    for (args, words) in [
        (&["--release", "3.15"][..], &["3.15", "MAJOR.MINOR.PATCH"][..]),
        (&["--release", "newest"], &["newest", "MAJOR.MINOR.PATCH"]),
        (&["--release", "3.15.4/../.."], &["MAJOR.MINOR.PATCH"]),
        (&["--release", "\n\x1b[1m"], &["\\n\\u{1b}[1m", "MAJOR.MINOR.PATCH"]),
        (&["--arch", "vax"], &["vax", "x86_64", "aarch64", "riscv64"]),
        (&["--arch", ""], &["x86_64"]),
        (&["--mirror", "ftp://m/alpine"], &["ftp://m/alpine", "http://"]),
        (&["--mirror", "http://"], &["http://", "name of the host"]),
        (&["--mirror", "/srv/alpine"], &["/srv/alpine", "http://"]),
        (&["--timeout", "0"], &["0 seconds"]),
        (&["--timeout", "NaN"], &["NaN seconds"]),
        (&["--archive", "nowhere"], &["nowhere", "No such file"]),
        (&["--archive", "/"], &["it is not a file"]),
        (&["--archive", "/dev/zero"], &["/dev/zero", "it is not a file"]),
    ] {
        sole_refusal(&place.fetch(&[args, &["--force"]].concat()), words);
        assert_eq!(place.mark(), "old", "{args:?}");
    }
    for mirror in ["http://a b/", "http://[", "https://\n/"] {
        refusal(
            &place.fetch(&["--mirror", mirror, "--force", "--timeout=1"]),
            &["xtask: fetch http"],
        );
        assert_eq!(place.mark(), "old", "{mirror:?}");
    }
}

#[test]
fn a_place_that_is_not_for_a_root_stays_as_it_is() {
    let place = Place::new();
    let archive = place.path("a.tar.gz");
    fs::write(&archive, small("one")).expect("write");
    let home = place.path("home");
    let to = |dest: &str, force: &[&str]| {
        let args = [&["--archive", text(&archive), "--dest", dest], force].concat();
        xtask(&args)
            .current_dir(&home)
            .env("HOME", place.path("home"))
            .output()
            .expect("start xtask")
    };
    let file = place.path("file");
    fs::write(&file, "text").expect("write");
    symlink("nowhere", place.path("dangling")).expect("link");
    let above = workspace().parent().expect("a directory above");
    for (dest, why) in [
        ("/", "the root of this machine"),
        (".", "the current directory is there"),
        ("..", "the current directory is there"),
        (text(place.dir.path()), "the current directory is there"),
        (text(workspace()), "the workspace is there"),
        (
            text(above),
            "it is the root of this machine|the current directory is there|the workspace is there",
        ),
        (text(&file), "it is not a directory"),
        (text(&place.path("dangling")), "a symbolic link leads to "),
        (text(&place.path("file/below")), "Not a directory"),
        (text(&place.path("missing/..")), "the path does not end with a name"),
        ("/sys/rootfs", "name a directory that you can write to with --dest"),
        ("/proc/self/rootfs", "/proc/"),
    ] {
        for force in [&[][..], &["--force"]] {
            let output = to(dest, force);
            let line = refusal(&output, &[]);
            assert!(why.split('|').any(|why| line.contains(why)), "{dest}: {line}");
        }
    }
    // The home directory is the directory in $HOME.
    let args = ["--archive", text(&archive), "--force", "--dest", text(&home)];
    let output = xtask(&args).current_dir("/").env("HOME", &home).output().expect("start xtask");
    sole_refusal(&output, &["the home directory is there"]);
    assert_eq!(fs::read(&file).expect("read"), b"text");

    // fetch-rootfs replaces a directory with files only with --force. An empty
    // directory needs no --force.
    let other = place.path("other");
    fs::create_dir(&other).expect("make");
    fs::write(other.join("mine"), "").expect("write");
    sole_refusal(
        &to(text(&other), &[]),
        &["fetch-rootfs did not make the directory there", "--force"],
    );
    assert!(other.join("mine").exists());
    assert!(to(text(&other), &["--force"]).status.success());
    assert!(!other.join("mine").exists() && other.join("mark").exists());
    let empty = place.path("new/empty");
    fs::create_dir_all(&empty).expect("make");
    assert!(to(text(&empty), &[]).status.success() && empty.join("mark").exists());
    // A link to a directory stays a link.
    symlink("other", place.path("link")).expect("link");
    let output = to(text(&place.path("link")), &["--force"]);
    assert!(stdout(&output).contains("/other (") && place.path("link").is_symlink(), "{output:?}");
    // A cache that another user can change.
    let shared = place.path(".shared-cache");
    fs::create_dir(&shared).expect("make");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("chmod");
    sole_refusal(
        &to(text(&place.path("shared")), &[]),
        &[".shared-cache", "only this user can write to"],
    );
}

#[test]
fn a_directory_that_may_not_be_written_to_stays_as_it_is() {
    if testkit::is_root() {
        skip("root can write to every directory");
        return;
    }
    let place = Place::with_root("old");
    let parent = place.dir.path();
    fs::remove_dir_all(place.path(".rootfs-cache")).expect("remove");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o555)).expect("chmod");
    let output = place.fetch(&["--archive", text(&place.path("old.tar.gz")), "--force"]);
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("chmod");
    sole_refusal(
        &output,
        &["Permission denied", "name a directory that you can write to with --dest"],
    );
    assert_eq!(place.mark(), "old");
}

#[test]
fn a_full_file_system_is_told_and_the_old_root_stays() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let (small_one, large_one) = (place.path("small.tar.gz"), place.path("large.tar.gz"));
    fs::write(&small_one, small("old")).expect("write");
    fs::write(&large_one, large(4)).expect("write");
    fs::create_dir(place.path("full")).expect("make");
    let script = "mount -t tmpfs -o size=2m none full && \
        xtask=$1 small=$2 large=$3 && \
        \"$xtask\" fetch-rootfs --dest full/rootfs --archive \"$small\" >/dev/null && \
        if \"$xtask\" fetch-rootfs --dest full/rootfs --archive \"$large\" --force; then exit 7; else status=$?; fi && \
        cat full/rootfs/mark >&3 && ls full/.rootfs-cache | grep -v -e ^made-by-fetch-rootfs -e ^root- -e '^[0-9a-f]*\\.tar\\.gz' >&3; exit $status";
    let output = Command::new(bin("step04-uidmap"))
        .args(["/bin/sh", "-c", &format!("exec 3>said; {script}"), "sh"])
        .arg(bin("xtask"))
        .args([&small_one, &large_one])
        .current_dir(place.dir.path())
        .output()
        .expect("start a step");
    sole_refusal(
        &output,
        &["large.tar.gz: entry zeros: No space left on device; free some space", "--dest"],
    );
    assert!(!stderr(&output).contains("--scratch"));
    assert_eq!(fs::read_to_string(place.path("said")).expect("said"), "old");
}
