//! A key or a hangup, as the shell or script that called a step sees it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use testkit::procs::{end_of, gone, in_state, naptime, running, token, wait_until};
use testkit::pty::{INTERRUPT, QUIT, SUSPEND, Terminal, keys_work, ordinary, shells};
use testkit::{bin, steps};

/// Runs the caller's script on a terminal, and types `key` when the command sleeps.
/// Returns the end of the script, and whether the script continued.
fn interrupted(shell: &str, script: &str, step: &Path, key: &str) -> (ExitStatus, bool) {
    let time = naptime();
    let mut leader = Command::new(shell);
    leader.args(["-c", &format!("ulimit -c 0; {}", script.replace("TIME", &time))]);
    leader.env("STEP", step).env("CONTAINER_ROOTFS", testkit::rootfs());
    let mut terminal = Terminal::start(leader);
    let sleep = running("sleep", &time);
    // The command gets the terminal only with the terminal's streams.
    if !script.contains("</dev/null") && !script.contains("$(") {
        terminal.is_lent_to(sleep);
    }
    terminal.keys(key);
    let (status, said) = terminal.end();
    gone(&time);
    (status, said.contains("went on"))
}

#[test]
fn ctrl_c_ends_the_command_and_the_runner_says_so() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        for (key, status) in [(INTERRUPT, 130), (QUIT, 131)] {
            let time = naptime();
            terminal.line(&format!("ulimit -c 0; {name} sleep {time}"));
            terminal.asleep(name, &time);
            terminal.keys(key);
            terminal.see("host> ");
            assert_eq!(terminal.run("echo =$?"), format!("={status}\n"), "{name} {shell}");
        }
    }
}

#[test]
fn a_key_ends_the_callers_script_as_without_a_container() {
    if !keys_work() {
        return;
    }
    for shell in shells() {
        for key in [INTERRUPT, QUIT] {
            for script in [
                "\"$STEP\" sleep TIME; echo went on; exit 3",
                "for i in 1 2; do \"$STEP\" sleep TIME || exit 5; done; echo went on",
                "\"$STEP\" sleep TIME </dev/null; echo went on; exit 3",
                "x=$(\"$STEP\" sleep TIME); echo went on; exit 3",
            ] {
                let without = interrupted(shell, script, Path::new("env"), key);
                for name in ordinary() {
                    let with = interrupted(shell, script, &bin(name), key);
                    assert_eq!(with, without, "{name} {shell} {key:?} {script}");
                }
            }
        }
    }
}

#[test]
fn a_key_that_ends_the_runner_leaves_nothing() {
    if !keys_work() {
        return;
    }
    for name in ordinary() {
        for (key, signal) in [(INTERRUPT, Signal::SIGINT), (QUIT, Signal::SIGQUIT)] {
            let (mut command, time) = (Command::new(bin(name)), naptime());
            command.args(["sleep", &time]).env("CONTAINER_ROOTFS", testkit::rootfs());
            let mut terminal = Terminal::start(command);
            terminal.is_lent_to(running("sleep", &time));
            terminal.keys(key);
            let status = end_of(&mut terminal.leader);
            assert_eq!(status.signal(), Some(signal as i32), "{name}");
            let left: Vec<_> = terminal.scratches().read_dir().expect("a directory").collect();
            assert!(left.is_empty(), "{name}: {left:?}");
        }
    }
}

#[test]
fn without_a_key_the_callers_script_goes_on() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        // First a process, not a key, sends the signal to the runner. Then the
        // command exits with the status of a command that a key ended.
        for command in ["sleep TIME", "sh -c 'exit 130'"] {
            let time = naptime();
            let mut leader = Command::new(shell);
            let command = command.replace("TIME", &time);
            leader.args(["-c", &format!(r#""$0" {command}; echo =$?"#)]).arg(bin(name));
            leader.env("CONTAINER_ROOTFS", testkit::rootfs());
            let mut terminal = Terminal::start(leader);
            if command.starts_with("sleep") {
                let sleep = running("sleep", &time);
                terminal.is_lent_to(sleep);
                running(&bin(name).display().to_string(), &time).kill(Signal::SIGINT);
            }
            terminal.see("=130");
            assert_eq!(terminal.end().0.code(), Some(0), "{name} {shell}");
        }
    }
}

#[test]
fn a_hangup_reaches_the_command_once() {
    if !keys_work() {
        return;
    }
    let dir = testkit::scratch_place();
    // A shell counts two signals that come close together as one signal. So the
    // command must be quick, and the test tries it several times.
    let busy = "i=0; while [ $i -lt 20000000 ]; do i=$((i+1)); done";
    for (round, name) in (0..3).flat_map(|round| steps().map(move |name| (round, name))) {
        let (mut terminal, token) = (Terminal::shell("/bin/sh"), token());
        let told = dir.path().join(format!("{name}-{round}"));
        let count = "trap \"n=\\$((n+1)); echo got \\$n >&2\" HUP; \
            trap \"echo end \\$n >&2; exit\" TERM; echo ready >&2";
        let script = format!("{name} /bin/sh -c '{count}; {busy}' {token}");
        terminal.line(&format!("{script} 2>{}", told.display()));
        let hears = |word: &str| {
            let told = || fs::read_to_string(&told).unwrap_or_default();
            wait_until(&format!("{name}: {word}"), || told().contains(word));
            assert!(!told().contains("got 2"), "{name}");
        };
        hears("ready");
        let runner = running(name, &token);
        terminal.is_lent_to(running("/bin/sh", &token));
        end_of(&mut terminal.hang_up());
        hears("got 1");
        // The runner takes the signal with the lower number first: SIGHUP before
        // SIGTERM.
        runner.kill(Signal::SIGTERM);
        hears("end 1");
        gone(&token);
    }
}

#[test]
fn when_the_terminal_hangs_up_everything_ends() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let token = token();
        let jobs: [&[&str]; 4] = [
            &["sleep TIME"],
            &["/bin/sh -c \"read a; sleep TIME\" TOKEN"],
            &["/bin/sh", "sleep TIME"],
            &["sleep TIME", SUSPEND],
        ];
        for job in jobs {
            let mut terminal = Terminal::shell(shell);
            let time = naptime();
            let said = |line: &str| line.replace("TIME", &time).replace("TOKEN", &token);
            terminal.line(&format!("{name} {}", said(job[0])));
            if job.len() == 1 || job[1] == SUSPEND {
                let what = if job[0].contains("TOKEN") { "/bin/sh" } else { "sleep" };
                let command = running(what, if what == "sleep" { &time } else { &token });
                terminal.is_lent_to(command);
                if job.len() == 2 {
                    terminal.keys(SUSPEND);
                    in_state(command, "T");
                    terminal.see("host> ");
                }
            } else {
                terminal.line(&said(job[1]));
                terminal.is_lent_to(running("sleep", &time));
            }
            let mut leader = terminal.hang_up();
            end_of(&mut leader);
            gone(&time);
            gone(&token);
        }
    }
}
