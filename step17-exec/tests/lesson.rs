//! Lesson 17: its command line. `testkit/tests/e2e/exec.rs` starts containers.

use testkit::{is_one_line, stderr, stdout, step};

const STEP: &str = "step17-exec";

#[test]
fn a_command_line_without_sense_is_refused() {
    for (words, part) in [
        (&["--stop", "a", "--kill", "b"][..], "--stop and --kill: give one of them"),
        (&["--list", "--detach"], "--detach does not go with --list"),
        (&["--list", "true"], "true: --list takes no command"),
        (&["--kill", "a", "no-such-signal"], "there is none of this name"),
        (&["--kill", "a", "TERM", "HUP"], "--kill takes no command"),
        (&["--stop", "a", "--time", "-1"], "--time -1: give seconds"),
        (&["--format", "json", "true"], "--format needs --list"),
        (&["--list", "--format", "xml"], "--format xml: give json"),
        (&["--follow", "true"], "--follow needs --logs"),
        (&["--rm", "true"], "--rm needs --detach"),
        (&["--detach=yes", "true"], "--detach takes no value"),
        (&["--name", "../a", "true"], "--name ../a: give at most 64 letters"),
        (&["--exec", "a"], "the command is missing"),
        (&["--exec", "a", "--rootfs", "/", "true"], "--rootfs does not go with --exec"),
    ] {
        let output = step(STEP).args(words).output().expect("start the step");
        let said = stderr(&output);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(is_one_line(STEP, first) && first.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn the_help_has_each_option_once() {
    let output = step(STEP).arg("--help").output().expect("start the step");
    let said = stdout(&output);
    for option in [
        "--name", "--detach", "--rm", "--exec", "--list", "--format", "--logs", "--follow",
        "--timestamps", "--stop", "--time", "--kill", "--remove", "--wait",
    ] {
        assert_eq!(said.matches(&format!("\n  {option} ")).count(), 1, "{option}: {said}");
    }
}
