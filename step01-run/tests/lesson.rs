//! Lesson 1: the command runs, nothing is isolated, and the step exits with the
//! command's status.

use std::fs;

use testkit::{sh, stdout, step};

const STEP: &str = "step01-run";

#[test]
fn echo_says_hello() {
    let output = step(STEP).args(["echo", "hello-world"]).output().expect("start the step");
    assert_eq!(output.stdout, b"hello-world\n");
    assert!(output.status.success());
}

#[test]
fn nothing_is_isolated() {
    for name in ["ipc", "mnt", "net", "pid", "user", "uts"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).expect("read a namespace");
        let inside = stdout(&sh(STEP, &format!("readlink /proc/self/ns/{name}")));
        assert_eq!(inside, host.to_string_lossy());
    }
}

#[test]
fn the_command_is_a_child_of_the_step() {
    let mut command = step(STEP);
    command.args(["/bin/sh", "-c", "echo $PPID"]).stdout(std::process::Stdio::piped());
    let child = command.spawn().expect("start the step");
    let step = child.id();
    let output = child.wait_with_output().expect("wait for the step");
    assert_eq!(stdout(&output), step.to_string());
}

#[test]
fn it_exits_as_the_command_did() {
    for (script, status) in [("exit 0", 0), ("exit 42", 42), ("kill -TERM $$", 143)] {
        assert_eq!(sh(STEP, script).status.code(), Some(status), "{script}");
    }
}
