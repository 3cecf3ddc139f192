//! Lesson 3: a user namespace needs no root. Inside, the user is nobody.

use std::fs;

use testkit::{containers_work, sh, stdout};

const STEP: &str = "step03-userns";

#[test]
fn the_user_namespace_is_its_own() {
    if !containers_work() {
        return;
    }
    let inside = stdout(&sh(STEP, "readlink /proc/self/ns/user"));
    let host = fs::read_link("/proc/self/ns/user").expect("read a namespace");
    assert!(inside.starts_with("user:["), "{inside}");
    assert_ne!(inside, host.to_string_lossy());
}

#[test]
fn one_is_nobody() {
    if !containers_work() {
        return;
    }
    let nobody = fs::read_to_string("/proc/sys/kernel/overflowuid").expect("read the overflow ID");
    assert_eq!(stdout(&sh(STEP, "id -u")), nobody.trim());
    assert_eq!(stdout(&sh(STEP, "cat /proc/self/uid_map && echo empty")), "empty");
}

#[test]
fn the_exec_took_all_capabilities() {
    if !containers_work() {
        return;
    }
    let capabilities = stdout(&sh(STEP, "grep CapEff /proc/self/status"));
    assert_eq!(capabilities, "CapEff:\t0000000000000000");
}

#[test]
fn so_the_hostname_stays() {
    if !containers_work() {
        return;
    }
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("read the hostname");
    let output = sh(STEP, "hostname box; uname -n");
    assert_eq!(stdout(&output), host.trim());
}
