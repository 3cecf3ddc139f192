//! Lesson 7: a /proc that shows only the container.

use std::fs;

use testkit::{containers_work, rootfs, sh, stdout};

const STEP: &str = "step07-proc";

#[test]
fn proc_shows_the_container_alone() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "echo /proc/[0-9]*")), "/proc/1 /proc/2");
    assert_eq!(stdout(&sh(STEP, "cat /proc/1/comm")), STEP);
}

#[test]
fn proc_is_the_one_mount() {
    if !containers_work() {
        return;
    }
    let mounts = stdout(&sh(STEP, "cat /proc/mounts"));
    assert_eq!(mounts, "proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0");
}

#[test]
fn the_host_has_no_mount_of_it() {
    if !containers_work() {
        return;
    }
    assert!(sh(STEP, "exit 0").status.success());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    assert!(!mounts.contains(&rootfs().display().to_string()), "{mounts}");
}
