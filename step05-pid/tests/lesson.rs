//! Lesson 5: process 1 of a PID namespace.

use std::fs;
use std::process;

use testkit::{containers_work, processes_show, sh, stdout};

const STEP: &str = "step05-pid";

#[test]
fn the_command_is_process_1() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "echo $$")), "1");
    let inside = stdout(&sh(STEP, "readlink /proc/self/ns/pid"));
    let host = fs::read_link("/proc/self/ns/pid").expect("read a namespace");
    assert!(inside.starts_with("pid:["), "{inside}");
    assert_ne!(inside, host.to_string_lossy());
}

#[test]
fn proc_still_shows_the_host() {
    if !containers_work() || !processes_show() {
        return;
    }
    let this = format!("/proc/{}", process::id());
    assert_eq!(stdout(&sh(STEP, &format!("ls -d {this}"))), this);
}

#[test]
fn process_1_ignores_what_it_does_not_handle() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "kill -TERM $$; echo still here")), "still here");
}
