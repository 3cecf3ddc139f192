//! Lesson 14: its command line. `testkit/tests/e2e/user_network.rs` makes hosts, and connects
//! containers there.

use nix::unistd::gethostname;
use testkit::{containers_work, is_one_line, sh, stderr, stdout, step};

const STEP: &str = "step14-network";

#[test]
fn a_command_line_without_sense_is_refused() {
    for (options, part) in [
        (&["--network", "host"][..], "--network host: give none or pasta"),
        (&["--network", "bridge"], "--network bridge: lesson 15 adds it; give none or pasta"),
        (&["--publish", "80:80"], "--publish needs a network"),
        (&["--network", "none", "--publish", "80:80"], "--publish needs a network"),
        (&["--network", "pasta", "--publish", "0:80"], "ports from 1 to 65535"),
        (&["--network", "pasta", "--publish", "80:65536"], "ports from 1 to 65535"),
        (&["--network", "pasta", "--publish", "host:80:80"], "an IPv4 address of the host"),
        (&["--subnet", "10.0.0.0/8"], "unknown option --subnet"),
    ] {
        let output = step(STEP).args(options).arg("true").output().expect("start the step");
        let said = stderr(&output);
        let first = said.lines().next().unwrap_or_default();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
        assert!(is_one_line(STEP, first) && first.contains(part), "{options:?}: {said}");
    }
}

#[test]
fn without_a_network_only_the_own_name_has_an_address() {
    if !containers_work() {
        return;
    }
    let output =
        sh(STEP, "cd /etc; cat hosts; [ \"$(cat hostname)\" = \"$(uname -n)\" ] || cat hostname");
    let name = gethostname().expect("a name").to_string_lossy().into_owned();
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{name}");
    assert_eq!((stdout(&output), stderr(&output)), (hosts, String::new()));
    let script = "[ ! -e /etc/resolv.conf ] || cat /etc/resolv.conf";
    assert_eq!(stdout(&sh(STEP, script)), stdout(&sh("step13-seccomp", script)));
}
