//! The scripts change nothing in the root that they get.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use testkit::{bin, containers_work, rootfs, stdout, tempdir, workspace};

use crate::{must_pass, verify};

/// The scripts of these two lessons write to a copy of the root.
const WRITERS: [&str; 2] = ["step06-chroot", "step08-overlay"];

/// A lesson's script, called without xtask.
fn script(step: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(workspace().join(step).join("verify.sh")).arg(bin(step));
    command
}

/// Copies a root to `to`.
fn copy(to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(rootfs().join(".")).arg(to).output();
    assert!(copied.expect("start cp").status.success());
}

#[test]
fn a_link_of_the_root_leads_no_script_out() {
    if !containers_work() {
        return;
    }
    let (root, outside) = (tempdir(), tempdir());
    copy(root.path());
    // The scripts write to these names.
    fs::write(outside.path().join("change"), "mine").expect("write a file");
    for name in ["plain", "made"] {
        symlink(outside.path().join("change"), root.path().join(name)).expect("make a link");
    }
    symlink(outside.path(), root.path().join("play")).expect("make a link");
    for step in WRITERS {
        must_pass(&verify().arg(step).arg("--rootfs").arg(root.path()).output().expect("start"));
    }
    let entries = fs::read_dir(outside.path()).expect("list a directory");
    assert_eq!(entries.count(), 1);
    assert_eq!(fs::read(outside.path().join("change")).expect("read it"), b"mine");
}

#[test]
fn the_root_itself_is_never_written_to() {
    let place = tempdir();
    let root = place.path().join("root");
    fs::create_dir(&root).expect("make a directory");
    let link = place.path().join("link");
    symlink(&root, &link).expect("make a link");
    // An empty root, given by its name and by a link, on a host that runs
    // containers and on a host that does not.
    for step in WRITERS {
        for (named, refused) in [(&root, ""), (&link, ""), (&root, "nothing runs here")] {
            let mut script = script(step);
            script.env("CONTAINER_ROOTFS", named).env("VERIFY_REFUSED", refused);
            script.env_remove("CONTAINERS_MUST_WORK").output().expect("start a shell");
            let left = fs::read_dir(&root).expect("list a directory").count();
            assert_eq!(left, 0, "{step} {refused}");
        }
    }
}

#[test]
fn what_a_root_lacks_is_a_reason_to_skip() {
    if !containers_work() {
        return;
    }
    // The smallest root of a system: NixOS has only these two programs.
    let root = tempdir();
    copy(root.path());
    let only = r#"
        cd "$1" || exit
        for name in bin usr/bin sbin usr/sbin usr/local; do
            [ -h "$name" ] || [ ! -d "$name" ] || for file in "$name"/*; do
                case ${file##*/} in
                sh | env | busybox | dash) ;;
                *) rm -rf "$file" ;;
                esac
            done
        done"#;
    let made = Command::new("sh").args(["-c", only, "sh"]).arg(root.path()).output();
    assert!(made.expect("start a shell").status.success());
    for step in &WRITERS {
        let output = verify().arg(step).arg("--rootfs").arg(root.path()).output().expect("start");
        must_pass(&output);
        // A busybox has all programs.
        let lacks = stdout(&output).contains("(the root has no cat)");
        let busybox = root.path().join("bin/busybox").exists();
        assert!(lacks || busybox, "{}", stdout(&output));
    }
}
