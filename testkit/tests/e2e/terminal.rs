//! A container on a terminal: keys, jobs, the window, and the state of the terminal
//! afterwards.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices};
use testkit::procs::{
    IDLE, Proc, end_of, gone, having, in_state, naptime, running, token, wait_until,
};
use testkit::pty::{END, INTERRUPT, QUIT, SUSPEND, Terminal, keys_work, ordinary, shells};
use testkit::{bin, has_init, lesson, skip, steps, tempdir};

#[test]
fn a_shell_inside_has_job_control() {
    if !keys_work() {
        return;
    }
    for name in steps() {
        let inside = if has_init(name) { &["/bin/sh"][..] } else { &["/bin/sh", "/bin/bash"] };
        for shell in inside.iter().filter(|shell| Path::new(shell).exists()) {
            let mut terminal = Terminal::shell("/bin/sh");
            let norc = if shell.ends_with("bash") { "--norc" } else { "" };
            terminal.line(&format!("{name} {shell} {norc}"));
            terminal.line(r#"PS1="in""> ""#);
            let said = terminal.see("in> ");
            assert!(!said.contains("tty") && !said.contains("job control"), "{name}: {said}");

            let time = naptime();
            for (key, status) in [(INTERRUPT, "130"), (QUIT, "131")] {
                terminal.line(&format!("ulimit -c 0; sleep {time}"));
                terminal.is_lent_to(running("sleep", &time));
                terminal.keys(key);
                terminal.see("in> ");
                terminal.line("echo =$?");
                terminal.see(&format!("\n={status}"));
                terminal.see("in> ");
            }
            terminal.line(&format!("sleep {time}"));
            let asleep = running("sleep", &time);
            terminal.is_lent_to(asleep);
            terminal.keys(SUSPEND);
            in_state(asleep, "T");
            terminal.see("in> ");
            terminal.line("jobs");
            terminal.see("Stopped");
            terminal.line("fg");
            in_state(asleep, "S");
            terminal.is_lent_to(asleep);
            terminal.keys(INTERRUPT);
            terminal.see("in> ");
            terminal.line("exit 5");
            terminal.see("host> ");
            assert_eq!(terminal.run("echo =$?"), "=5\n", "{name} {shell}");
        }
    }
}

/// The runner has the terminal until the command runs.
#[test]
fn ctrl_c_ends_a_start_while_a_tool_hangs() {
    if !keys_work() {
        return;
    }
    let dir = tempdir();
    let (tool, time) = (dir.path().join("ip"), naptime());
    fs::write(&tool, format!("#!/bin/sh\nexec sleep {time}\n")).expect("write");
    fs::set_permissions(&tool, Permissions::from_mode(0o755)).expect("change the mode");
    let mut terminal = Terminal::shell("/bin/sh");
    let step = "mount -t tmpfs none /run && exec step15-bridge --network bridge true";
    let host = format!("unshare --map-root-user --net --mount sh -c '{step}'");
    terminal.line(&format!("PATH={}:$PATH {host}", dir.path().display()));
    running("sleep", &time);
    terminal.keys(INTERRUPT);
    let said = terminal.see("host> ");
    assert!(said.contains("step15-bridge: ip -o link show: SIGINT has ended the wait"), "{said}");
    assert_eq!(terminal.run("echo =$?"), "=130\n");
    gone(&time);
}

#[test]
fn a_command_with_a_network_has_the_terminal() {
    if !keys_work() {
        return;
    }
    if !["ip", "nft", "nsenter"].into_iter().all(common::has_tool) {
        skip("there is no ip, nft or nsenter");
        return;
    }
    let mut terminal = Terminal::shell("/bin/sh");
    let time = naptime();
    let step = format!("exec step15-bridge --network bridge sleep {time}");
    let host = "unshare --map-root-user --net --mount sh -c";
    terminal.line(&format!("{host} 'mount -t tmpfs none /run && {step}'"));
    terminal.is_lent_to(running("sleep", &time));
    terminal.keys(INTERRUPT);
    terminal.see("host> ");
    assert_eq!(terminal.run("echo =$?"), "=130\n");
    gone(&time);
}

/// A neighbour could read what the user types, after the container has ended.
#[test]
fn the_mode_of_the_terminal_stays() {
    if !keys_work() {
        return;
    }
    let chmod = "'chmod 666 /dev/console /proc/self/fd/[012]; echo done'";
    for name in steps().filter(|name| lesson(name).number >= 10) {
        let mut terminal = Terminal::shell("/bin/sh");
        terminal.run("tty=$(tty); look() { ls -lL $tty | cut -c1-10; }");
        let before = terminal.run("look");
        assert!(before.starts_with('c'), "{before}");
        // The terminal is on all of them, or on one.
        for streams in ["", "</dev/null 2>/dev/null", "</dev/null >/dev/null", ">/dev/null 2>&1"] {
            terminal.run(&format!("{name} sh -c {chmod} {streams}"));
            assert_eq!(terminal.run("look"), before, "{name} {streams}");
        }
        // Another terminal, and the name that means another one in each session.
        let mut other = Terminal::shell("/bin/sh");
        other.run("look() { ls -lL $(tty) | cut -c1-10; }");
        let (before, tty) = (other.run("look"), other.run("tty"));
        terminal.run(&format!("{name} sh -c {chmod} >{}", tty.trim()));
        other.see("done");
        assert!(other.run("look").contains(&before), "{name}");
        let said = terminal.run(&format!("{name} true </dev/tty >/dev/null"));
        assert!(said.contains("standard input is /dev/tty"), "{name}: {said}");
    }
}

#[test]
fn ctrl_z_stops_it_at_any_moment_of_its_start() {
    if !keys_work() {
        return;
    }
    for name in ordinary() {
        let mut terminal = Terminal::shell("/bin/sh");
        for delay in 0..30 {
            let time = naptime();
            terminal.line(&format!("{name} sleep {time}"));
            let runner = running(name, &time);
            sleep(Duration::from_micros(delay * 150));
            terminal.keys(SUSPEND);
            terminal.see("host> ");
            runner.kill(Signal::SIGKILL);
            gone(&time);
        }
    }
}

#[test]
fn the_runner_is_a_job_of_the_callers_shell() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        let caller = Proc::of(&terminal.leader);
        let time = naptime();
        terminal.line(&format!("{name} sleep {time}"));
        let (sleep, runner) = terminal.asleep(name, &time);

        for _ in 0..3 {
            terminal.keys(SUSPEND);
            terminal.see("host> ");
            in_state(sleep, "T");
            in_state(runner, "T");
            terminal.is_lent_to(caller);
            assert!(terminal.run("jobs").contains("Stopped"), "{name} {shell}");
            terminal.line("fg");
            in_state(sleep, "S");
            terminal.is_lent_to(sleep);
        }

        terminal.keys(SUSPEND);
        terminal.see("host> ");
        terminal.run("bg");
        in_state(sleep, "S");
        in_state(runner, "S");
        terminal.is_lent_to(caller);
        assert!(terminal.run("jobs").contains("Running"), "{name} {shell}");

        // bash sends no SIGCONT here: it only gives the terminal to the runner.
        terminal.line("fg");
        wait_until("fg", || terminal.foreground() != caller.group().unwrap_or_default());
        terminal.keys(INTERRUPT);
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=130\n", "{name} {shell}");
        gone(&time);
    }
}

#[test]
fn a_job_in_the_background_waits_for_the_terminal() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        let token = token();
        // `read` does not work here: in busybox it waits for a key before it reads.
        terminal.run(&format!("{name} sh -c 'echo =$(head -n 1); exit 6' {token} &"));
        let reader = running("sh", &token);
        let runner = running(name, &token);
        in_state(reader, "T");
        in_state(runner, "T");
        terminal.line("fg");
        in_state(reader, "S");
        terminal.is_lent_to(reader);
        terminal.line("words");
        terminal.see("=words");
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=6\n", "{name} {shell}");
    }
}

#[test]
fn a_runner_that_is_stopped_itself_goes_on() {
    if !keys_work() {
        return;
    }
    for (name, shell) in ordinary().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        let time = naptime();
        terminal.line(&format!("{name} sleep {time}"));
        let (sleep, runner) = terminal.asleep(name, &time);
        for signal in [Signal::SIGTSTP, Signal::SIGSTOP] {
            runner.kill(signal);
            in_state(runner, "T");
            terminal.see("host> ");
            terminal.line("fg");
            in_state(runner, "S");
            in_state(sleep, "S");
            terminal.is_lent_to(sleep);
        }
        // The same when another process stops the command.
        sleep.kill(Signal::SIGSTOP);
        in_state(runner, "T");
        terminal.see("host> ");
        terminal.line("fg");
        in_state(sleep, "S");
        terminal.is_lent_to(sleep);
        terminal.keys(INTERRUPT);
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=130\n", "{name} {shell}");
    }
}

#[test]
fn without_a_shell_outside_nothing_is_stopped_for_good() {
    if !keys_work() {
        return;
    }
    for name in ordinary() {
        let mut command = Command::new(bin(name));
        let time = naptime();
        command.args(["sleep", &time]).env("CONTAINER_ROOTFS", testkit::rootfs());
        let terminal = &mut Terminal::start(command);
        let runner = Proc::of(&terminal.leader);
        let sleep = running("sleep", &time);
        terminal.is_lent_to(sleep);

        // No shell could type `fg`.
        terminal.keys(SUSPEND);
        terminal.see("^Z");
        in_state(sleep, "S");
        in_state(runner, "S");
        terminal.is_lent_to(sleep);

        // Another process stopped the command and will continue it.
        sleep.kill(Signal::SIGSTOP);
        in_state(sleep, "T");
        in_state(runner, "S");
        sleep.kill(Signal::SIGCONT);
        in_state(sleep, "S");

        runner.kill(Signal::SIGINT);
        assert_eq!(end_of(&mut terminal.leader).code(), Some(130), "{name}");
    }
}

/// Starts a step as a background job that begins after the end of its shell: no process can
/// move it to the foreground. Its command runs a script, which has begun.
fn orphan(name: &str, script: &str, token: &str) -> Terminal {
    let orphaned = r#"(while [ -d /proc/$$ ]; do :; done; exec "$@") <&3 3<&- &"#;
    let leads = format!(r#"set -m; sh -c '{orphaned}' sh "$@" 3<&0 & sleep 1000"#);
    let mut leader = Command::new("sh");
    leader.args(["-c", &leads, "sh"]).arg(bin(name));
    leader.args(["sh", "-c", &format!("echo begun; {script}"), token]);
    leader.env("CONTAINER_ROOTFS", testkit::rootfs());
    let mut terminal = Terminal::start(leader);
    terminal.see("begun");
    terminal
}

/// Waits until only the leader has `token` on its command line, and ends it.
fn only_the_leader_is_left(mut terminal: Terminal, token: &str) {
    let leader = Proc::of(&terminal.leader);
    wait_until("the runner's end", || having(token) == [leader]);
    leader.kill(Signal::SIGKILL);
    end_of(&mut terminal.leader);
}

#[test]
fn a_reader_that_will_never_have_the_terminal_ends() {
    if !keys_work() {
        return;
    }
    for name in ordinary() {
        let token = token();
        for readers in ["cat; cat", "trap '' HUP; cat", "trap '' HUP; exec cat"] {
            only_the_leader_is_left(orphan(name, readers, &token), &token);
        }
    }
}

/// The kernel sends SIGCONT to a group process after process: a reader can stop the group
/// again before the command gets it. Here the test sends the SIGCONT to the command.
#[test]
fn a_reader_that_stops_without_its_shell_ends() {
    if !keys_work() {
        return;
    }
    for name in steps().filter(|name| has_init(name)) {
        let token = token();
        let script = "trap 'echo hung up' HUP; trap go=1 USR1; cat; \
            until [ $go ]; do sleep 0.01; done; cat";
        let mut terminal = orphan(name, script, &token);
        terminal.see("hung up");
        let init = running(&bin(name).display().to_string(), &token).children()[0];
        let command = init.children()[0];
        init.kill(Signal::SIGSTOP);
        in_state(init, "T");
        command.kill(Signal::SIGUSR1);
        // The runner may already end all.
        let in_state = |states: &str| {
            wait_until(states, || command.state().is_none_or(|state| states.contains(state)));
        };
        in_state("TZ");
        command.kill(Signal::SIGCONT);
        in_state("SRDZ");
        init.kill(Signal::SIGCONT);
        only_the_leader_is_left(terminal, &token);
    }
}

#[test]
fn a_shell_that_stops_itself_goes_on_with_the_terminal() {
    if !keys_work() {
        return;
    }
    let inits = steps().filter(|name| has_init(name));
    for (name, shell) in inits.flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        terminal.line(&format!("{name} /bin/sh"));
        terminal.line(r#"PS1="in""> ""#);
        terminal.see("in> ");
        for _ in 0..2 {
            terminal.line("kill -STOP $$");
            terminal.see("host> ");
            terminal.line("fg");
            terminal.line(r#"echo he""re"#);
            terminal.see("here");
            terminal.see("in> ");
        }
        terminal.line("exit 5");
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=5\n", "{name} {shell}");
    }
}

/// A shell outside can give the terminal to the runner although the runner has lent it: bash does
/// so when it is late at the start of a job. A shell inside leads a group of its own, which the
/// runner has not seen in the foreground.
#[test]
fn a_shell_goes_on_with_the_terminal_after_its_runner_was_stopped() {
    if !keys_work() {
        return;
    }
    let inits = steps().filter(|name| has_init(name));
    for (name, shell) in inits.flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        let caller = Proc::of(&terminal.leader);
        let token = token();
        terminal.line(&format!("{name} /bin/sh -s {token}"));
        terminal.line(r#"PS1="in""> ""#);
        terminal.see("in> ");
        // It does not read until then.
        terminal.line(r#"trap go=1 USR1; echo loo""ps; until [ $go ]; do :; done"#);
        terminal.see("loops");
        let (runner, inside) = (running(name, &token), running("/bin/sh", &token));
        runner.kill(Signal::SIGSTOP);
        terminal.see("host> ");
        terminal.line("fg");
        // Before that, the shell outside would read the next line.
        let outside = [caller, runner].map(Proc::group);
        wait_until("fg", || !outside.contains(&Some(terminal.foreground())));
        inside.kill(Signal::SIGUSR1);
        terminal.line(r#"echo he""re"#);
        terminal.see("here");
        terminal.see("in> ");
        terminal.line("exit 5");
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=5\n", "{name} {shell}");
    }
}

#[test]
fn the_terminal_is_as_it_was() {
    if !keys_work() {
        return;
    }
    // The kernel does not fill the rest of the C library's structure.
    let modes = |terminal: &Terminal| {
        let modes = terminal.modes();
        let characters = modes.control_chars[..=SpecialCharacterIndices::VEOL2 as usize].to_vec();
        let flags = (modes.input_flags, modes.output_flags, modes.control_flags, modes.local_flags);
        (flags, characters)
    };
    for name in steps() {
        let mut terminal = Terminal::shell("/bin/sh");
        let (before, caller) = (modes(&terminal), terminal.foreground());
        let token = token();
        let script = "stty raw -echo; echo rea\"\"dy; read a";
        terminal.line(&format!("{name} /bin/sh -c '{script}' {token}"));
        terminal.see("ready");
        assert_ne!(modes(&terminal), before, "{name}");
        running("/bin/sh", &token).kill(Signal::SIGKILL);
        terminal.see("host> ");
        assert_eq!(modes(&terminal), before, "{name}");
        assert_eq!(terminal.foreground(), caller, "{name}");
        assert_eq!(terminal.run("echo =$?"), "=137\n", "{name}");

        // The same before the command starts.
        terminal.run(&format!("{name} /no/such/command"));
        assert_eq!(terminal.foreground(), caller, "{name}");
        assert_eq!(terminal.run("echo =$?"), "=127\n", "{name}");
    }
}

#[test]
fn what_the_command_changes_of_the_terminal_stays() {
    if !keys_work() {
        return;
    }
    for name in steps() {
        let mut leader = Command::new("sh");
        let script =
            r#"read a; "$0" stty -echo tostop; echo =$?; read a; "$0" stty echo; echo =$?; read a"#;
        leader.args(["-c", script]).arg(bin(name)).env("CONTAINER_ROOTFS", testkit::rootfs());
        let mut terminal = Terminal::start(leader);
        let before = terminal.modes().local_flags;
        terminal.line("");
        terminal.see("=0");
        let tostop = LocalFlags::TOSTOP;
        assert_eq!(terminal.modes().local_flags, (before - LocalFlags::ECHO) | tostop, "{name}");
        terminal.line("");
        terminal.see("=0");
        assert_eq!(terminal.modes().local_flags, before | tostop, "{name}");
        terminal.line("");
        assert_eq!(terminal.end().0.code(), Some(0), "{name}");
    }
}

#[test]
fn the_command_learns_of_the_windows_size() {
    if !keys_work() {
        return;
    }
    for name in steps() {
        let mut terminal = Terminal::shell("/bin/sh");
        let script = format!(r#"trap "stty size; exit 3" WINCH; stty size; echo rea""dy; {IDLE}"#);
        terminal.line(&format!("{name} /bin/sh -c '{script}'"));
        assert!(terminal.see("ready").contains("24 80"), "{name}");
        terminal.resize(50, 132);
        terminal.see("50 132");
        terminal.see("host> ");
        assert_eq!(terminal.run("echo =$?"), "=3\n", "{name}");
    }
}

#[test]
fn a_pipeline_shares_the_terminal() {
    if !keys_work() {
        return;
    }
    for (name, shell) in steps().flat_map(|name| shells().map(move |shell| (name, shell))) {
        let mut terminal = Terminal::shell(shell);
        assert_eq!(
            terminal.run(&format!("{name} echo one 2>/dev/null | cat")),
            "one\n",
            "{name} {shell}"
        );
        assert_eq!(
            terminal.run(&format!("echo two | {name} cat 2>/dev/null")),
            "two\n",
            "{name} {shell}"
        );
        assert_eq!(
            terminal.run(&format!("echo three | {name} cat 2>/dev/null | cat")),
            "three\n",
            "{name}"
        );

        // Like less(1), which reads the keys while the step still writes.
        let time = naptime();
        let pager = "cat <&0 >/dev/null & read a </dev/tty; echo =$a; read a </dev/tty";
        terminal.line(&format!("{name} sh -c 'echo; sleep {time}; :' | sh -c '{pager}'"));
        running("sleep", &time);
        terminal.line("words");
        terminal.see("=words");
        terminal.keys(INTERRUPT);
        terminal.see("host> ");
        gone(&time);

        if name != "step05-pid" {
            let time = naptime();
            terminal.line(&format!("{name} sleep {time} | cat"));
            let asleep = running("sleep", &time);
            // Before that, the child of the shell would ignore the key.
            let shell = Proc::of(&terminal.leader);
            wait_until("cat", || shell.children().iter().any(|child| child.words() == ["cat"]));
            terminal.keys(SUSPEND);
            terminal.see("host> ");
            in_state(asleep, "T");
            terminal.line("fg");
            in_state(asleep, "S");
            terminal.keys(INTERRUPT);
            terminal.see("host> ");
            gone(&time);
        }
        assert_eq!(terminal.run("echo =$?"), "=130\n", "{name} {shell}");
    }
}

#[test]
fn at_the_end_of_the_input_a_shell_ends() {
    if !keys_work() {
        return;
    }
    for name in steps() {
        let mut command = Command::new(bin(name));
        command.arg("/bin/sh").env("CONTAINER_ROOTFS", testkit::rootfs());
        let mut terminal = Terminal::start(command);
        terminal.line(r#"PS1="in""> ""#);
        terminal.see("in> ");
        terminal.keys(END);
        assert_eq!(terminal.end().0.code(), Some(0), "{name}");
    }
}

#[test]
fn a_command_in_the_background_uses_no_processor_to_wait_for_the_terminal() {
    if !keys_work() {
        return;
    }
    for name in steps() {
        let mut terminal = Terminal::shell("/bin/sh");
        let token = token();
        terminal.line(&format!("{name} sh -c 'echo beg\"\"un; exec cat - {token}' &"));
        terminal.see("begun");
        // The command is stopped, or as process 1 has failed. It must not try again
        // and again.
        wait_until("rest", || {
            let all = having(&token);
            let ticks = || all.iter().map(|proc| proc.ticks()).sum::<i64>();
            let before = ticks();
            sleep(Duration::from_millis(100));
            ticks() == before
        });
    }
}
