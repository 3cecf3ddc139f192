//! Lesson 15: its command line. `testkit/tests/e2e/network.rs` makes hosts, and connects
//! containers there.

use testkit::{is_one_line, is_root, stderr, stdout, step};

const STEP: &str = "step15-bridge";

#[test]
fn a_command_line_without_sense_is_refused() {
    for (options, part) in [
        (&["--network", "host"][..], "--network host: give none, bridge or pasta"),
        (&["--network", "pasta", "--subnet", "10.0.0.0/8"], "--subnet needs --network bridge"),
        (&["--subnet", "10.0.0.1/8"], "--subnet 10.0.0.1/8: give the first address"),
        (&["--subnet", "10.0.0.0/31"], "a number of bits from 8 to 30"),
        (&["--network", "none", "--publish", "80:80"], "--publish needs a network"),
    ] {
        let output = step(STEP).args(options).arg("true").output().expect("start the step");
        let said = stderr(&output);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(is_one_line(STEP, first) && first.contains(part), "{options:?}: {said}");
    }
}

#[test]
fn the_help_has_each_option_once() {
    let output = step(STEP).arg("--help").output().expect("start the step");
    let said = stdout(&output);
    for option in ["--network", "--subnet", "--publish"] {
        assert_eq!(said.matches(&format!("\n  {option} ")).count(), 1, "{said}");
    }
    assert!(said.contains("bridge (for root)"), "{said}");
}

#[test]
fn an_ordinary_user_is_told_of_pasta() {
    if is_root() {
        return;
    }
    let output = step(STEP).args(["--network", "bridge", "true"]).output().expect("start the step");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("use --network pasta"));
}
