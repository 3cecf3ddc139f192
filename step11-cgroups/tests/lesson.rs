//! Lesson 11: a cgroup namespace. `testkit/tests/e2e/groups.rs` tries the limits.

use std::fs;

use testkit::{containers_work, sh, stdout};

const STEP: &str = "step11-cgroups";

#[test]
fn the_view_of_groups_is_its_own() {
    if !containers_work() {
        return;
    }
    let inside = stdout(&sh(STEP, "readlink /proc/self/ns/cgroup"));
    let host = fs::read_link("/proc/self/ns/cgroup").expect("read a namespace");
    assert!(inside.starts_with("cgroup:["), "{inside}");
    assert_ne!(inside, host.to_string_lossy());
}
