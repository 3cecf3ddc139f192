//! Signals reach the command, and the end of the runner ends the container.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::unistd::getuid;
use testkit::procs::{
    IDLE, Proc, end_of, gone, having, ignored, in_state, line, running, scripted, token, wait_until,
};
use testkit::pty::Terminal;
use testkit::{
    STEPS, bin, containers_work, has_init, has_pid_namespace, scratch_place, sh, skip, stderr,
    stdout, step, steps, tempdir,
};

/// A command that waits: its standard input stays open.
fn waiting(name: &str, token: &str) -> Child {
    let mut command = step(name);
    // In its own process group, which is not orphaned: the kernel does not stop an
    // orphaned group.
    command.args(["cat", "-", token]).process_group(0).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("start a step")
}

/// Sends a signal by its number: nix has no names for real-time signals.
fn send(to: Proc, number: i32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{number} {}", to.0)]).status();
    assert!(status.expect("start a shell").success(), "send {number}");
}

#[test]
fn every_signal_to_the_runner_reaches_the_command() {
    if !containers_work() {
        return;
    }
    // HUP, INT, QUIT, USR1, USR2, ALRM, TERM, WINCH, and two of the real-time
    // signals.
    for number in [1, 2, 3, 10, 12, 14, 15, 28, 40, 64].into_iter().filter(|n| !ignored(*n)) {
        for name in steps() {
            let token = token();
            let script = format!("trap 'echo got; exit 9' {number}; echo ready; {IDLE}");
            let (mut child, mut output) = scripted(step(name), &script, &token);
            assert_eq!(line(&mut output), "ready", "{name}");
            send(Proc::of(&child), number);
            assert_eq!(line(&mut output), "got", "{name}: signal {number}");
            assert_eq!(end_of(&mut child).code(), Some(9), "{name}: signal {number}");
        }
    }
}

#[test]
fn a_command_that_a_signal_ends_ends_the_runner() {
    if !containers_work() {
        return;
    }
    for number in [1, 2, 3, 10, 12, 14, 15, 40].into_iter().filter(|n| !ignored(*n)) {
        // Process 1 ignores signals without a handler.
        for name in steps().filter(|name| *name != "step05-pid") {
            let token = token();
            let mut child = waiting(name, &token);
            running("cat", &token);
            send(Proc::of(&child), number);
            assert_eq!(end_of(&mut child).code(), Some(128 + number), "{name}: {number}");
            gone(&token);
        }
    }
}

#[test]
fn a_command_that_is_process_1_ignores_what_it_does_not_handle() {
    if !containers_work() {
        return;
    }
    let token = token();
    let mut child = waiting("step05-pid", &token);
    let command = running("cat", &token);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        assert!(Proc::of(&child).kill(signal));
    }
    // The command still runs and reads.
    drop(child.stdin.take());
    assert_eq!(end_of(&mut child).code(), Some(1));

    let mut child = waiting("step05-pid", &token);
    assert_ne!(running("cat", &token), command);
    assert!(running("cat", &token).kill(Signal::SIGKILL));
    assert_eq!(end_of(&mut child).code(), Some(137));
}

#[test]
fn no_signal_is_lost_while_a_container_starts() {
    if !containers_work() {
        return;
    }
    for name in steps().filter(|name| *name != "step05-pid") {
        for delay in 0..40 {
            let token = token();
            let mut child = waiting(name, &token);
            let until = Instant::now() + Duration::from_micros(delay * 150);
            while Instant::now() < until {}
            assert!(Proc::of(&child).kill(Signal::SIGTERM));
            let status = end_of(&mut child);
            // Before the runner blocks the signal, the signal itself ends it.
            let ended = status.code() == Some(143) || status.code().is_none();
            assert!(ended, "{name} after {delay}: {status}");
            gone(&token);
        }
    }
}

#[test]
fn stopped_and_continued_it_goes_on() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let token = token();
        let mut child = waiting(name, &token);
        let command = running("cat", &token);
        let runner = Proc::of(&child);

        runner.kill(Signal::SIGSTOP);
        in_state(runner, "T");
        runner.kill(Signal::SIGCONT);
        in_state(runner, "S");

        // A signal from outside stops the command. It stays stopped until SIGCONT.
        command.kill(Signal::SIGSTOP);
        in_state(command, "T");
        runner.kill(Signal::SIGCONT);
        in_state(command, "S");

        // The runner can pass on this signal.
        runner.kill(Signal::SIGTSTP);
        in_state(runner, "T");
        if name != "step05-pid" {
            in_state(command, "T");
        }
        runner.kill(Signal::SIGCONT);
        in_state(command, "S");
        in_state(runner, "S");

        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(1), "{name}");
    }
}

#[test]
fn a_command_that_ignores_everything_can_be_killed() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let token = token();
        let script = "trap '' HUP INT QUIT TERM USR1; echo ready; cat - \"$0\"";
        let scratches = scratch_place();
        let mut command = step(name);
        command.env("TMPDIR", scratches.path()).env("XDG_RUNTIME_DIR", scratches.path());
        let (mut child, mut output) = scripted(command, script, &token);
        assert_eq!(line(&mut output), "ready", "{name}");
        let cat = running("cat", &token);
        let runner = Proc::of(&child);
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
            runner.kill(signal);
        }
        assert!(child.try_wait().expect("wait").is_none(), "{name}");
        runner.kill(Signal::SIGKILL);
        assert_eq!(end_of(&mut child).code(), None, "{name}");
        if !has_pid_namespace(name) {
            // Without a PID namespace, the kernel does not end grandchildren.
            wait_until("the shell's end", || having(&token) == [cat]);
            drop(child.stdin.take());
        }
        gone(&token);
    }
}

#[test]
fn whoever_kills_the_runner_at_any_moment_kills_the_container() {
    if !containers_work() {
        return;
    }
    // What lesson 17 knows of the last container stays until its next start.
    let (scratch, states) = (tempdir(), tempdir());
    for name in steps() {
        let several = r#"exec 3<&0; : | cat - "$0" <&3 & : | cat - "$0" <&3 & exec cat - "$0""#;
        for delay in 0..60 {
            let token = token();
            let mut command = step(name);
            if has_pid_namespace(name) {
                command.args(["/bin/sh", "-c", several, &token]);
            } else {
                command.args(["cat", "-", &token]);
            }
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            command.env("TMPDIR", scratch.path()).env("XDG_RUNTIME_DIR", states.path());
            let mut child = command.spawn().expect("start a step");
            let until = Instant::now() + Duration::from_micros(delay * 150);
            while Instant::now() < until {}
            child.kill().expect("kill the runner");
            end_of(&mut child);
            // Its standard input is still open, so it does not end by itself.
            gone(&token);
        }
    }
    // A process loses its command line first, and then its open files and the lock.
    for dir in scratch.path().join(format!("containers-{}", getuid())).read_dir().expect("a home") {
        let dir = dir.expect("an entry").path();
        wait_until("the end of a lock", || {
            let file = File::open(&dir).expect("a scratch directory");
            Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
        });
    }
    // The next start removes the scratch directories.
    let output = step("step08-overlay").arg("true").env("TMPDIR", scratch.path()).output();
    assert_eq!(stderr(&output.expect("start a step")), "");
    assert_eq!(scratch.path().read_dir().expect("a directory").count(), 0);
}

#[test]
fn process_1_reaps_a_thousand_orphans() {
    if !containers_work() {
        return;
    }
    for name in steps().filter(|name| has_init(name)) {
        let token = token();
        let script = "i=0; while [ $i -lt 1000 ]; do (: | true &); i=$((i+1)); done; \
            (: | sh -c 'kill -40 $$' &); echo done; read line";
        let (mut child, mut output) = scripted(step(name), script, &token);
        assert_eq!(line(&mut output), "done", "{name}");
        // Do not look for the parent of /bin/sh: the last orphans may also run
        // /bin/sh.
        let init = Proc::of(&child).children()[0];
        wait_until("the end of all zombies", || init.children().len() == 1);
        assert_eq!(init.children(), [running("/bin/sh", &token)], "{name}");
        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(1), "{name}");
    }
}

#[test]
fn what_the_command_leaves_in_the_background_ends_with_it() {
    if !containers_work() {
        return;
    }
    for name in steps().filter(|name| has_pid_namespace(name)) {
        let token = token();
        // The process holds the pipes that `output` reads to the end, and ignores
        // every signal that it can ignore.
        let script = "trap '' HUP INT TERM; exec 3<&0; \
            : | sh -c 'while :; do sleep 1000; done' \"$0\" <&3 & exit 3";
        let output = step(name).args(["/bin/sh", "-c", script, &token]).output();
        let output = output.expect("start a step");
        assert_eq!(output.status.code(), Some(3), "{name}: {}", stderr(&output));
        assert_eq!(having(&token), [], "{name}");
    }
    // Without a PID namespace the process stays, and the runner does not wait for
    // it.
    for name in steps().filter(|name| !has_pid_namespace(name)) {
        let token = token();
        let script = "exec 3<&0; : | cat - \"$0\" <&3 & exit 3";
        let (mut child, _output) = scripted(step(name), script, &token);
        assert_eq!(end_of(&mut child).code(), Some(3), "{name}");
        running("cat", &token);
        drop(child.stdin.take());
        gone(&token);
    }
}

#[test]
fn a_command_with_a_session_of_its_own_is_told_as_well() {
    if !containers_work() {
        return;
    }
    // INT, QUIT, TERM. A terminal sends the first two.
    for number in [2, 3, 15].into_iter().filter(|number| !ignored(*number)) {
        for name in steps().filter(|name| has_init(name)) {
            let token = token();
            let mut command = step(name);
            command.args(["setsid", "cat", "-", &token]).stdin(Stdio::piped());
            let mut child = command.stdout(Stdio::null()).spawn().expect("start a step");
            running("cat", &token);
            send(Proc::of(&child), number);
            assert_eq!(end_of(&mut child).code(), Some(128 + number), "{name}: {number}");
            gone(&token);
        }
    }
}

#[test]
fn an_interrupt_to_the_whole_group_reaches_the_command_once() {
    if !containers_work() {
        return;
    }
    if ignored(Signal::SIGINT as i32) {
        skip("the caller of the tests ignores SIGINT");
        return;
    }
    let dir = tempdir();
    for name in steps() {
        let token = token();
        let script = "trap 'n=$((n+1)); echo got $n' INT; trap 'echo end $n; exit 4' TERM; \
            echo ready; "
            .to_owned()
            + IDLE;
        let mut leader = Command::new("sh");
        // The terminal exists, but standard input is a FIFO that does not end.
        leader.args(["-c", r#"mkfifo "$0" && exec "$@" <>"$0""#]).arg(dir.path().join(name));
        leader.arg(bin(name)).args(["/bin/sh", "-c", &script, &token]);
        leader.env("CONTAINER_ROOTFS", testkit::rootfs());
        let mut terminal = Terminal::start(leader);
        terminal.see("ready");
        terminal.keys("\x03");
        terminal.see("got 1");
        Proc::of(&terminal.leader).kill(Signal::SIGTERM);
        assert!(!terminal.see("end 1").contains("got"), "{name}");
        assert_eq!(terminal.end().0.code(), Some(4), "{name}");
    }
}

#[test]
fn what_the_command_sends_to_its_group_comes_once_and_stays_inside() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        // The caller counts its signals, too. The new session keeps the signal away
        // from this test.
        let script = r#"trap 'm=$((m+1))' USR1; "$@"; echo caller $m"#;
        // The command itself sends it, and then a child of the command.
        for kill in ["kill -USR1 0", "sh -c \"trap '' USR1; kill -USR1 0\""] {
            let inside =
                format!("trap 'n=$((n+1))' USR1; {kill}; sleep 0.1; sleep 0.1; echo in $n");
            let mut session = Command::new("setsid");
            session.args(["-w", "sh", "-c", script, "sh"]).arg(bin(name));
            session.args(["/bin/sh", "-c", &inside]).env("CONTAINER_ROOTFS", testkit::rootfs());
            let output = session.stdin(Stdio::null()).output().expect("start setsid");
            assert_eq!(stdout(&output), "in 1\ncaller", "{name} {kill}: {}", stderr(&output));
        }
    }
}

#[test]
fn what_is_sent_to_the_callers_group_reaches_the_command_once() {
    if !containers_work() {
        return;
    }
    // HUP, INT, QUIT, USR1, USR2.
    for number in [1, 2, 3, 10, 12].into_iter().filter(|number| !ignored(*number)) {
        for name in steps() {
            let token = token();
            let script = format!(
                "trap 'n=$((n+1)); echo got $n' {number}; trap 'echo end $n; exit 4' TERM; \
                echo ready; {IDLE}"
            );
            let mut command = step(name);
            command.process_group(0);
            let (mut child, mut output) = scripted(command, &script, &token);
            assert_eq!(line(&mut output), "ready", "{name}");
            let runner = Proc::of(&child);
            send(Proc(-runner.0), number);
            assert_eq!(line(&mut output), "got 1", "{name}: signal {number}");
            // The runner takes the signal with the lower number first.
            runner.kill(Signal::SIGTERM);
            assert_eq!(line(&mut output), "end 1", "{name}: signal {number}");
            assert_eq!(end_of(&mut child).code(), Some(4), "{name}: signal {number}");
        }
    }
}

#[test]
fn the_command_ignores_and_blocks_what_the_caller_does() {
    if !containers_work() {
        return;
    }
    let can_block = Command::new("env").args(["--block-signal=USR1", "true"]).output();
    let block = can_block.is_ok_and(|tried| tried.status.success());
    if !block {
        skip("env on this host cannot block signals; a part is not tried");
    }
    let state = |trap: &str, program: &[&str]| {
        let token = token();
        let mut caller = Command::new("sh");
        caller.args(["-c", &format!(r#"{trap}; exec "$@""#), "sh"]);
        caller.args(if block { &["env", "--block-signal=USR1,INT"][..] } else { &[] });
        caller.args(program).args(["cat", "-", &token]).env("CONTAINER_ROOTFS", testkit::rootfs());
        caller.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = caller.spawn().expect("start a shell");
        let command = running("cat", &token);
        let state = ["SigIgn", "SigBlk"].map(|key| command.status(key));
        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(1), "{program:?}");
        state
    };
    for trap in [":", "trap '' PIPE", "trap '' PIPE USR2 TERM"] {
        let without = state(trap, &["env"]);
        for name in steps() {
            let step = bin(name).display().to_string();
            assert_eq!(state(trap, &[&step]), without, "{name}, {trap}");
        }
    }
}

#[test]
fn a_runner_that_is_process_1_reaps_orphans() {
    if !containers_work() {
        return;
    }
    for name in STEPS.iter().copied().filter(|name| !has_pid_namespace(name)) {
        let token = token();
        let script = "i=0; while [ $i -lt 20 ]; do (: | true &); i=$((i+1)); done; \
            echo done; read line";
        let mut outer = step("step05-pid");
        outer.args(["/bin/sh", "-c", r#"exec "$@""#, "sh"]).arg(bin(name));
        let (mut child, mut output) = scripted(outer, script, &token);
        assert_eq!(line(&mut output), "done", "{name}");
        let runner = Proc::of(&child).children()[0];
        wait_until("the end of all zombies", || runner.children().len() == 1);
        assert_eq!(runner.children(), [running("/bin/sh", &token)], "{name}");
        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(1), "{name}");
    }
}

#[test]
fn the_command_cannot_trace_process_1() {
    if !containers_work() {
        return;
    }
    // The kernel opens this file only for a process that may trace; ptrace(2).
    let script = "(exec 3<>/proc/$$/mem) && echo itself; (exec 3<>/proc/1/mem) || echo not 1; \
        cat /proc/1/environ; ls -l /proc/1/exe";
    // Lesson 6 has no /proc of its own.
    for name in steps().filter(|name| *name >= "step07") {
        let output = sh(name, script);
        assert_eq!(stdout(&output).lines().take(2).collect::<Vec<_>>(), ["itself", "not 1"]);
        assert_eq!(stderr(&output).matches("ermission denied").count(), 3, "{name}");
    }
}

#[test]
fn a_runner_that_has_handed_on_thousands_of_signals_has_not_grown() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let token = token();
        let script = &format!("trap 'echo got' USR1; trap 'exit 6' TERM; echo ready; {IDLE}");
        let (mut child, mut output) = scripted(step(name), script, &token);
        assert_eq!(line(&mut output), "ready", "{name}");
        let runner = Proc::of(&child);
        let size = || (runner.descriptors().len(), runner.memory());
        // After the first signal, the runner has all memory that it needs.
        runner.kill(Signal::SIGUSR1);
        assert_eq!(line(&mut output), "got", "{name}");
        let (descriptors, memory) = size();
        for _ in 0..2000 {
            runner.kill(Signal::SIGUSR1);
        }
        let (descriptors_then, memory_then) = size();
        assert_eq!(descriptors, descriptors_then, "{name}");
        // The kernel counts pages, and is not exact to the last page.
        assert!(memory_then <= memory + 64, "{name}: {memory} kB, then {memory_then} kB");
        runner.kill(Signal::SIGTERM);
        assert_eq!(end_of(&mut child).code(), Some(6), "{name}");
    }
}

#[test]
fn an_idle_container_uses_no_processor() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let token = token();
        let mut child = waiting(name, &token);
        running("cat", &token);
        wait_until("a runner at rest", || {
            let all = having(&token);
            let ticks = || all.iter().map(|proc| proc.ticks()).sum::<i64>();
            let before = ticks();
            std::thread::sleep(Duration::from_millis(50));
            all.iter().all(|proc| proc.state() == Some('S')) && ticks() == before
        });
        drop(child.stdin.take());
        end_of(&mut child);
    }
}
