//! Lesson 12: what root inside can no longer do, and what process 1 does without it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use common::{Capabilities, set_capabilities};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::pty::Terminal;
use testkit::{containers_work, inside, stderr, stdout, step};

const STEP: &str = "step12-capabilities";

/// Every name in the message about a wrong name.
fn names() -> Vec<String> {
    let output = step(STEP).args(["--cap-add", "x", "true"]).output().expect("start the step");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let line = said.lines().next().expect("a line");
    let (_, names) = line.rsplit_once(": ").expect("a list of names");
    names.split(' ').map(str::to_owned).collect()
}

/// A capability set of the command, in hexadecimal.
fn set_of(set: &str, options: &[&str]) -> u64 {
    let script = format!("grep ^{set}: /proc/self/status");
    let output = step(STEP).args(options).args(["sh", "-c", &script]).output();
    let output = output.expect("start the step");
    let said = stdout(&output);
    let hex = said.split_whitespace().nth(1).unwrap_or_default();
    u64::from_str_radix(hex, 16).unwrap_or_else(|_| panic!("{said}{}", stderr(&output)))
}

/// The kernel's own number of the last capability, capabilities(7).
#[test]
fn the_names_are_those_of_the_kernel() {
    if !containers_work() {
        return;
    }
    let names = names();
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("read the last number");
    let last: usize = last.trim().parse().expect("a number");
    assert!(names.len() <= last + 1, "this kernel has {last}, and not all of {names:?}");
    let all = u64::MAX >> (63 - last);
    assert_eq!(set_of("CapBnd", &["--cap-add", "ALL"]), all);
    // Header files and tools number them the same way.
    for (name, number) in [("CHOWN", 0), ("SYS_ADMIN", 21), ("SETFCAP", 31), ("BPF", 39)] {
        assert_eq!(names[number], name);
        let only = ["--cap-drop", "ALL", "--cap-add", name];
        assert_eq!(set_of("CapEff", &only), 1 << number, "{name}");
        let without = ["--cap-add", "ALL", "--cap-drop", name];
        assert_eq!(set_of("CapBnd", &without), all & !(1 << number), "{name}");
    }
}

#[test]
fn process_1_stays_out_of_reach_with_every_capability() {
    if !containers_work() {
        return;
    }
    // Both are guarded like ptrace(2); proc(5).
    let script = "cat /proc/1/environ || readlink /proc/1/exe || echo out of reach";
    for options in [&[][..], &["--cap-add", "ALL"], &["--cap-drop", "ALL"]] {
        let output = step(STEP).args(options).args(["sh", "-c", script]).output();
        assert_eq!(stdout(&output.expect("start the step")), "out of reach", "{options:?}");
    }
}

/// Process 1 passes signals on, and reaps an orphan.
#[test]
fn process_1_needs_no_capability() {
    if !containers_work() {
        return;
    }
    let script = "(sleep 0 &); trap 'exit 7' TERM; echo ready; while :; do sleep 1; done";
    let mut command = step(STEP);
    command.args(["--cap-drop", "ALL", "sh", "-c", script]).stdout(Stdio::piped());
    let mut runner = command.spawn().expect("start the step");
    let mut line = String::new();
    let out = runner.stdout.take().expect("a pipe");
    BufReader::new(out).read_line(&mut line).expect("read a line");
    assert_eq!(line, "ready\n");
    kill(Pid::from_raw(runner.id() as i32), Signal::SIGTERM).expect("send a signal");
    assert_eq!(runner.wait().expect("wait for the step").code(), Some(7));
}

#[test]
fn a_terminal_needs_no_capability() {
    if !containers_work() {
        return;
    }
    let mut terminal = Terminal::shell("/bin/sh");
    terminal.line(&format!("{STEP} --cap-drop ALL /bin/sh"));
    terminal.line(r#"PS1="in""> ""#);
    terminal.see("in> ");
    terminal.line("readlink /proc/self/fd/0; sleep 0 & fg; echo end''ed");
    let said = terminal.see("ended");
    assert!(said.contains("/dev/console"), "{said}");
    terminal.line("exit");
    terminal.see("host> ");
}

/// With no_new_privs, execve(2) gives a process nothing that it does not have. This test
/// is also the program inside: it gives up all capabilities, and executes another.
#[test]
fn a_program_gives_nothing_back() {
    const NAME: &str = "a_program_gives_nothing_back";
    if std::env::var_os("INSIDE").is_some() {
        let none = Capabilities::default();
        set_capabilities(none, none, none).expect("give up all capabilities");
        let error = Command::new("grep").args(["^CapEff:", "/proc/self/status"]).exec();
        panic!("{error}");
    }
    if !containers_work() {
        return;
    }
    for (name, nothing) in [("step11-cgroups", false), (STEP, true)] {
        let output = inside(name, NAME).output().expect("start the step");
        let said = stdout(&output);
        let set = said.lines().find_map(|line| line.strip_prefix("CapEff:\t"));
        let set = set.unwrap_or_else(|| panic!("{said}{}", stderr(&output)));
        assert_eq!(set.bytes().all(|digit| digit == b'0'), nothing, "{name}: {set}");
    }
}

/// Its owner is root inside, and the file system is not mounted nosuid.
#[test]
fn a_set_user_id_program_gains_nothing() {
    if !containers_work() {
        return;
    }
    // For `command -v`, some shells name no file.
    let script = "IFS=:; for dir in $PATH; do [ ! -x $dir/grep ] || file=$dir/grep; done; \
                  cp $file /root/grep && chmod 6755 /root/grep && \
                  /root/grep -E '^(Uid|CapEff):' /proc/self/status";
    let output = step(STEP).args(["--cap-drop", "ALL", "sh", "-c", script]).output();
    let output = output.expect("start the step");
    let said = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(said, "Uid: 0 0 0 0 CapEff: 0000000000000000", "{}", stderr(&output));
}
