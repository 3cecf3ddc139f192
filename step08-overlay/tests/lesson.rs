//! Lesson 8: a fresh root every time, over layers that never change.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Output;

use testkit::{Scratches, containers_work, rootfs, scratch_place, sh, stdout, step, tempdir};

const STEP: &str = "step08-overlay";

/// A layer with these files. Each file contains its own name.
fn layer(files: &[&str]) -> Scratches {
    let layer = tempdir();
    for file in files {
        fs::write(layer.path().join(file), file).expect("write a file");
    }
    layer
}

/// Runs a script with the layer `top` over the root.
fn over(top: &Path, script: &str) -> Output {
    let mut command = step(STEP);
    command.arg("--lower").arg(top).arg("--lower").arg(rootfs());
    command.args(["/bin/sh", "-c", script]).output().expect("start the step")
}

#[test]
fn a_change_is_seen_inside_and_gone_afterwards() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "echo made >/made && cat /made")), "made");
    assert_eq!(stdout(&sh(STEP, "test -e /made || echo gone")), "gone");
    assert!(!rootfs().join("made").exists());
}

#[test]
fn the_layer_below_stays_as_it_is() {
    if !containers_work() {
        return;
    }
    let top = layer(&["change", "delete"]);
    let script = "echo new >/change && rm /delete && cat /change; test -e /delete || echo gone";
    assert_eq!(stdout(&over(top.path(), script)), "new\ngone");
    for file in ["change", "delete"] {
        assert_eq!(fs::read(top.path().join(file)).expect("read it"), file.as_bytes());
    }
}

#[test]
fn the_topmost_layer_wins() {
    if !containers_work() {
        return;
    }
    let (top, middle) = (layer(&["both"]), layer(&["both", "one"]));
    fs::write(top.path().join("both"), "top").expect("write a file");
    let mut command = step(STEP);
    for lower in [top.path(), middle.path(), rootfs()] {
        command.arg("--lower").arg(lower);
    }
    let output = command.args(["cat", "/both", "/one"]).output().expect("start the step");
    assert_eq!(stdout(&output), "topone");
}

#[test]
fn a_scratch_directory_that_was_named_stays() {
    if !containers_work() {
        return;
    }
    let dir = scratch_place();
    let top = layer(&["delete"]);
    let run = |script: &str| {
        let mut command = step(STEP);
        command.arg("--scratch").arg(dir.path().join("kept"));
        command.arg("--lower").arg(top.path()).arg("--lower").arg(rootfs());
        command.args(["/bin/sh", "-c", script]).output().expect("start the step")
    };
    assert!(run("echo kept >/kept && rm /delete").status.success());
    let upper = dir.path().join("kept/upper");
    assert_eq!(fs::read(upper.join("kept")).expect("read it"), b"kept\n");
    let whiteout = fs::symlink_metadata(upper.join("delete")).expect("look at it");
    assert!(whiteout.file_type().is_char_device());
    assert_eq!(stdout(&run("cat /kept; test -e /delete || echo gone")), "kept\ngone");
}
