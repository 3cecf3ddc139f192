//! Lesson 2: its own namespaces, for root only.

use std::fs;

use testkit::{containers_work, is_root, sh, skip, stderr, stdout, step, tempdir};

const STEP: &str = "step02-namespaces";

/// Whether the lesson's containers can run here: they need root.
fn works() -> bool {
    containers_work() && (is_root() || skip("lesson 2 needs root"))
}

fn host(name: &str) -> String {
    let link = fs::read_link(format!("/proc/self/ns/{name}")).expect("read a namespace");
    link.to_string_lossy().into_owned()
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("read the hostname").trim().to_owned()
}

#[test]
fn four_namespaces_are_its_own() {
    if !works() {
        return;
    }
    let inside = |name| stdout(&sh(STEP, &format!("readlink /proc/self/ns/{name}")));
    for name in ["ipc", "mnt", "net", "uts"] {
        assert_ne!(inside(name), host(name));
    }
    for name in ["pid", "user"] {
        assert_eq!(inside(name), host(name));
    }
}

#[test]
fn the_hostname_changes_inside_alone() {
    if !works() {
        return;
    }
    let before = hostname();
    assert_eq!(stdout(&sh(STEP, "hostname box && uname -n")), "box");
    assert_eq!(hostname(), before);
}

#[test]
fn a_mount_stays_inside() {
    if !works() {
        return;
    }
    let dir = tempdir();
    let mut step = step(STEP);
    step.args(["/bin/sh", "-c", "mount -t tmpfs lesson02 . && grep -c '^lesson02 ' /proc/mounts"]);
    let output = step.current_dir(dir.path()).output().expect("start the step");
    assert_eq!(stdout(&output), "1");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    assert!(!mounts.contains("lesson02 "), "{mounts}");
}

#[test]
fn without_root_it_is_refused_and_says_so() {
    if is_root() {
        skip("root is not refused");
        return;
    }
    let output = sh(STEP, "echo ran");
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(stdout(&output), "");
    let said = stderr(&output);
    assert!(said.contains("Operation not permitted; "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
