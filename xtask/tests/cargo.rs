//! The tasks ask cargo for the paths of the programs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use testkit::{bin, stderr, stdout};

/// A program that is a shell script.
fn program(at: &Path, script: &str) {
    fs::create_dir_all(at.parent().expect("above")).expect("make a directory");
    fs::write(at, format!("#!/bin/sh\n{script}\n")).expect("write a program");
    fs::set_permissions(at, Permissions::from_mode(0o755)).expect("set the mode");
}

#[test]
fn the_step_that_cargo_names_is_run() {
    let dir = testkit::tempdir();
    let dir = dir.path().canonicalize().expect("name it");
    // As with `build.build-dir`, `build.target` and similar settings.
    let step = dir.join("a b/some-target/debug/step01-run");
    program(&step, "echo this one: \"$@\"");
    let cargo = dir.join("cargo");
    // The message of cargo is in a file, so that no shell quotes the name of the
    // step.
    let message = json!({ "reason": "compiler-artifact", "executable": step });
    let end = json!({ "reason": "build-finished" });
    fs::write(dir.join("said"), format!("{}\n{message}\n{end}\n", json!({ "executable": null })))
        .expect("write the messages");
    let script =
        "printf '%s\\n' \"$CARGO_TARGET_DIR $CARGO_BUILD_BUILD_DIR $PWD\" >\"${0%/*}/asked\"
        cat \"${0%/*}/said\"";
    program(&cargo, script);
    let mut command = Command::new(bin("xtask"));
    command.args(["run", "1", "--", "a", "b"]).env("CARGO", &cargo).current_dir(&dir);
    command.env("CARGO_TARGET_DIR", "out").env("CARGO_BUILD_BUILD_DIR", "../made");
    let output = command.output().expect("start xtask");
    assert_eq!(stdout(&output), "this one: a b", "{}", stderr(&output));
    let asked = fs::read_to_string(dir.join("asked")).expect("cargo was asked");
    let workspace = testkit::workspace().canonicalize().expect("a workspace");
    let (out, made) = (dir.join("out"), dir.join("../made"));
    let expected = format!("{} {} {}", out.display(), made.display(), workspace.display());
    assert_eq!(asked.trim(), expected);

    program(&cargo, "echo it is broken >&2; exit 101");
    let output = command.output().expect("start xtask");
    let said = "it is broken\nxtask: build with cargo: it failed; read its messages above";
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(1), said));
}
