//! Lesson 16: its command line. `testkit/tests/e2e/images.rs` makes images, and
//! `testkit/tests/e2e/users.rs` starts containers of several users.

use testkit::{is_one_line, stderr, stdout, step};

const STEP: &str = "step16-images";

#[test]
fn a_command_line_without_sense_is_refused() {
    for (options, part) in [
        (&["--image", "a", "--rootfs", "b"][..], "--image brings the root"),
        (&["--image", "a", "--lower", "b"], "--image brings the root"),
        (&["--store", "a"], "--store needs --image"),
        (&["--env", "=b"], "--env =b: give NAME=VALUE, or NAME"),
        (&["--workdir", "a"], "--workdir a: the path must begin with `/`"),
        (&["--workdir", "/a/../b"], "must have no `..`"),
        (&["--hostname", "a b"], "--hostname a b: give at most 64 letters"),
        (&["--read-only=yes"], "--read-only takes no value"),
        (&["--tmpfs", "/"], "--tmpfs /: the path must begin with `/`, must not be `/`"),
        (&["--tmpfs", "/a:size=1"], "--tmpfs /a:size=1: give size in bytes"),
        (&["--tmpfs", "/a:mode=9"], "--tmpfs /a:mode=9: give mode in octal digits"),
        (&["--tmpfs", "/a:exec"], "--tmpfs /a:exec: the options are size=SIZE and mode=MODE"),
    ] {
        let output = step(STEP).args(options).arg("true").output().expect("start the step");
        let said = stderr(&output);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(is_one_line(STEP, first) && first.contains(part), "{options:?}: {said}");
    }
}

#[test]
fn the_command_is_missing_without_an_image() {
    for options in [&[][..], &["--entrypoint", ""]] {
        let output = step(STEP).args(options).output().expect("start the step");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        let usage = format!("{STEP}: the command is missing\nusage: {STEP} ");
        assert!(said.starts_with(&usage), "{options:?}: {said}");
    }
}

#[test]
fn the_help_has_each_option_once() {
    let output = step(STEP).arg("--help").output().expect("start the step");
    let said = stdout(&output);
    for option in [
        "--image", "--store", "--entrypoint", "--env", "--workdir", "--hostname", "--read-only",
        "--tmpfs", "--user", "--ids",
    ] {
        assert_eq!(said.matches(&format!("\n  {option} ")).count(), 1, "{option}: {said}");
    }
    assert!(said.contains(" [--] [COMMAND [ARG...]]\n"), "{said}");
}

/// A place for the layers is needed only for an image.
#[test]
fn without_a_home_directory_the_error_names_the_store() {
    let layout = testkit::tempdir();
    let mut images = testkit::images::Images::new(layout.path().join("layout"));
    let image = images.image(&[], &Default::default());
    images.add("", image);
    let output = step(STEP)
        .env_remove("HOME")
        .env_remove("XDG_DATA_HOME")
        .args(["--ids", "one", "--image"])
        .arg(images.path())
        .arg("true")
        .output()
        .expect("start the step");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    let line =
        "find a place for the layers: HOME is not set; set it, or name a directory with --store";
    assert_eq!(said, format!("{STEP}: {line}"));
}
