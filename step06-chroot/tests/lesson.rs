//! Lesson 6: a root of its own. The runner starts the child, and the child starts
//! the command.

use std::fs;

use testkit::{containers_work, rootfs, sh, stderr, stdout, step};

const STEP: &str = "step06-chroot";

#[test]
fn the_root_is_the_one_named() {
    if !containers_work() {
        return;
    }
    let inside = stdout(&sh(STEP, "pwd; ls -A /"));
    let mut inside: Vec<_> = inside.lines().collect();
    assert_eq!(inside.remove(0), "/");
    let entries = fs::read_dir(rootfs()).expect("read the root").flatten();
    let mut outside: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    inside.sort_unstable();
    outside.sort_unstable();
    assert_eq!(inside, outside);
}

#[test]
fn the_command_is_process_2() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "echo $$ $PPID")), "2 1");
}

#[test]
fn proc_is_empty() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "ls -A /proc && echo empty")), "empty");
}

#[test]
fn the_status_comes_up_the_tree() {
    if !containers_work() {
        return;
    }
    for (script, status) in [("exit 42", 42), ("kill -TERM $$", 143), ("no-such-command", 127)] {
        assert_eq!(sh(STEP, script).status.code(), Some(status), "{script}");
    }
}

#[test]
fn without_a_root_it_says_how_to_get_one() {
    if !containers_work() {
        return;
    }
    let output = step(STEP).args(["--rootfs", "/no/such/root", "sh"]).output();
    let output = output.expect("start the step");
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("cargo xtask fetch-rootfs"), "{}", stderr(&output));
}
