//! Other users: beside the root, in it, and in its path.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use testkit::{bin, containers_work, skip, stderr, stdout};

use crate::place::{Place, sole_refusal, text, xtask};
use crate::small;

const NOBODY: u32 = 65534;

/// A place with a root that [`NOBODY`] can change, and a copy of the program: that
/// user may not be able to enter the workspace.
fn place_of_nobody() -> Place {
    let place = Place::with_root("old");
    testkit::copy_program(&bin("xtask"), &place.path("xtask"));
    chown(place.dir.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    place
}

/// Runs fetch-rootfs as [`NOBODY`].
fn as_nobody(place: &Place, dest: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(place.path("xtask"));
    command.arg("fetch-rootfs").args(args).arg("--dest").arg(dest).uid(NOBODY).gid(NOBODY);
    command.current_dir("/").env("HOME", place.path("home")).output().expect("start xtask")
}

/// Gives everything in a directory to [`NOBODY`].
fn give_to_nobody(dir: &Path) {
    let mut chown = Command::new("chown");
    let given = chown.args(["-hR", "65534:65534"]).arg(dir).status().expect("start chown");
    assert!(given.success());
}

#[test]
fn a_root_of_another_user_is_told_apart() {
    if !testkit::is_root() {
        skip("only root can act as another user");
        return;
    }
    // That user can change the place, but not the root.
    let place = place_of_nobody();
    fs::remove_dir_all(place.path(".rootfs-cache")).expect("remove");
    let archive = place.path("old.tar.gz");
    let args = ["--archive", text(&archive), "--force"];
    let output = as_nobody(&place, &place.root(), &args);
    let remedy = format!(
        "Permission denied; it belongs to another user: remove it as that user or as root \
         (sudo rm -r {}), or name another directory with --dest",
        place.root().canonicalize().expect("a root").display()
    );
    sole_refusal(&output, &["put ", &remedy]);
    assert_eq!(place.mark(), "old");
    // Root cannot replace the root of another user, either.
    let place = Place::with_root("old");
    give_to_nobody(&place.root());
    let archive = place.path("old.tar.gz");
    sole_refusal(
        &place.fetch(&["--archive", text(&archive), "--force"]),
        &["it belongs to another user"],
    );
    assert_eq!(place.mark(), "old");
}

#[test]
fn what_another_user_leaves_in_a_root_is_named_once_and_hinders_nobody() {
    if !testkit::is_root() {
        skip("only root can act as another user");
        return;
    }
    let place = place_of_nobody();
    let archive = place.path("new.tar.gz");
    fs::write(&archive, small("new")).expect("write");
    fs::create_dir_all(place.root().join("tmp")).expect("make");
    fs::set_permissions(place.root().join("tmp"), Permissions::from_mode(0o1777)).expect("chmod");
    give_to_nobody(place.dir.path());
    // Three files that this user cannot remove.
    let theirs = place.root().join("tmp/theirs");
    fs::create_dir(&theirs).expect("make");
    for name in ["a", "b", "c"] {
        fs::write(theirs.join(name), "").expect("write");
    }
    let args = ["--archive", text(&archive), "--force"];
    let output = as_nobody(&place, &place.root(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.mark(), "new");
    let line = stderr(&output);
    let left = place.cache("left-0").canonicalize().expect("it is left");
    let left = left.display();
    let start = format!("xtask: remove {left}: {left}/tmp/theirs/");
    assert!(line.starts_with(&start) && line.lines().count() == 1, "{line}");
    let end = format!(
        " stays, and 2 more: Permission denied; it belongs to another user: remove the rest as \
         root (sudo rm -r {left})"
    );
    assert!(line.ends_with(&end), "{line}");
    assert!(!place.cache("left-0/bin").exists(), "the rest is gone");
    // The next runs, and the remedy in the message, still work.
    for args in [&args[..], &[]] {
        let output = as_nobody(&place, &place.root(), args);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!((stderr(&output), place.mark()), (String::new(), "new".to_owned()));
    }
    fs::remove_dir_all(place.cache("left-0/tmp/theirs")).expect("remove");
    assert!(as_nobody(&place, &place.root(), &[]).status.success());
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn links_of_another_user_lead_nowhere() {
    if !testkit::is_root() {
        skip("only root can act as another user");
        return;
    }
    let place = place_of_nobody();
    let (link, archive) = (place.path("link"), place.path("old.tar.gz"));
    give_to_nobody(&place.root());
    symlink("rootfs", &link).expect("link");
    symlink("link", place.path("of-root")).expect("link");
    lchown(&link, Some(1), Some(1)).expect("chown");
    let args = ["--archive", text(&archive), "--force"];
    for name in ["link", "of-root"] {
        sole_refusal(
            &as_nobody(&place, &place.path(name), &args),
            &[name, "link is a symbolic link of another user"],
        );
        assert_eq!(place.mark(), "old");
    }
    // A link in the path counts, too: the task would make a directory behind it.
    symlink(".", place.path("way")).expect("link");
    lchown(place.path("way"), Some(1), Some(1)).expect("chown");
    sole_refusal(
        &as_nobody(&place, &place.path("way/made/rootfs"), &args),
        &["way is a symbolic link of another user"],
    );
    assert!(!place.path("made").exists());
    fs::remove_file(place.path("way")).expect("remove");
    // Links of the user itself and of root are allowed.
    lchown(&link, Some(NOBODY), Some(NOBODY)).expect("chown");
    fs::remove_dir_all(place.path(".rootfs-cache")).expect("remove");
    let output = as_nobody(&place, &place.path("of-root"), &args);
    assert!(stdout(&output).contains("/rootfs ("), "{output:?}");
}

#[test]
fn a_cache_of_something_else_is_left_alone() {
    let place = Place::with_root("one");
    let (theirs, archive) = (place.path(".npm-cache"), place.path("old.tar.gz"));
    let dest = place.path("npm");
    fs::create_dir_all(theirs.join("_cacache")).expect("make");
    for force in [&[][..], &["--force"]] {
        let args = [&["--archive", text(&archive), "--dest", text(&dest)], force];
        let output = xtask(&args.concat()).output().expect("start xtask");
        sole_refusal(&output, &[".npm-cache", "fetch-rootfs did not make it", "--dest"]);
        assert!(theirs.join("_cacache").exists() && !dest.exists());
    }
}

#[test]
fn what_is_mounted_in_a_root_is_not_emptied() {
    if !containers_work() {
        return;
    }
    let place = Place::with_root("old");
    for dir in ["other", "rootfs/tmp", "rootfs/mnt"] {
        fs::create_dir(place.path(dir)).expect("make");
    }
    fs::write(place.path("other/file"), "mine").expect("write");
    fs::set_permissions(place.path("other"), Permissions::from_mode(0o500)).expect("chmod");
    let script = "mount --bind other rootfs/tmp && mount -t tmpfs none rootfs/mnt && \
        : >rootfs/mnt/file && exec \"$@\"";
    let output = Command::new(bin("step04-uidmap"))
        .args(["/bin/sh", "-c", script, "sh"])
        .arg(bin("xtask"))
        .args(["fetch-rootfs", "--archive", "old.tar.gz", "--force", "--dest", "rootfs"])
        .current_dir(place.dir.path())
        .output()
        .expect("start a step");
    let mode = fs::metadata(place.path("other")).expect("look").permissions().mode();
    fs::set_permissions(place.path("other"), Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains(", and 1 more: a file system is mounted there"), "{output:?}");
    assert_eq!(fs::read(place.path("other/file")).expect("read"), b"mine");
    assert_eq!((mode & 0o7777, place.mark()), (0o500, "old".to_owned()));
}
