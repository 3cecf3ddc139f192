//! The end of a script: by itself, with a program that hangs, and after an
//! interrupt.

use std::fs;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use testkit::procs::{Proc, every, line, wait_until};
use testkit::{bin, containers_work, scratch_place, stderr, stdout, tempdir};

use crate::{must_fail, on, script, verify};

#[test]
fn a_program_that_hangs_is_given_up() {
    let dir = tempdir();
    // No process writes to it.
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("make a fifo");
    let program = script(dir.path(), &format!("exec cat {}", fifo.display()));
    let on = |step| {
        let mut command = verify();
        command.env("VERIFY_LIMIT", "2").arg(step).arg("--bin").arg(&program);
        command.output().expect("start xtask")
    };
    let output = on("step01-run");
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("did not end in time"), "{}", stdout(&output));
    if containers_work() {
        let said = stdout(&on("step05-pid"));
        assert!(said.contains("no container: the program did not answer within"), "{said}");
    }
}

/// It does not become the command, and passes no signal on. So the command lives on
/// when SIGTERM ends the program.
const DEAF: &str = r#""$@""#;

#[test]
fn a_command_that_outlives_the_program_is_given_up_too() {
    if !containers_work() {
        return;
    }
    for step in ["step01-run", "step06-chroot"] {
        let (dir, left) = (tempdir(), scratch_place());
        let left = left.path().canonicalize().expect("name it");
        let mut running = verify();
        running.arg(step).arg("--bin").arg(script(dir.path(), DEAF)).env("TMPDIR", &left);
        let output = running.env("VERIFY_LIMIT", "3").output().expect("start xtask");
        must_fail(
            &output,
            &["a SIGTERM to the program reaches the command", "no process is left behind"],
        );
        let last = stdout(&output).lines().last().unwrap_or_default().to_owned();
        assert!(last.contains(" passed, ") && last.contains(" failed"), "{last}");
        assert_eq!(left_in(&left), [""; 0], "{step}");
    }
}

#[test]
fn a_command_that_spins_ends_with_an_interrupt() {
    let (dir, left) = (tempdir(), scratch_place());
    let left = left.path().canonicalize().expect("name it");
    let mut running = verify();
    running.arg("1").arg("--bin").arg(script(dir.path(), DEAF)).env("TMPDIR", &left);
    running.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = running.spawn().expect("start xtask");
    let mut said = BufReader::new(running.stdout.take().expect("a pipe"));
    while !line(&mut said).ends_with("the option does not exist") {}
    // After this check the command spins. Wait for a tenth of a second of its time.
    wait_until("a command that spins", || {
        holders(&left).into_iter().any(|(process, _)| process.ticks() > 10)
    });
    let group = Pid::from_raw(i32::try_from(running.id()).expect("a process ID"));
    killpg(group, Signal::SIGINT).expect("it runs");
    running.wait().expect("wait for xtask");
    wait_until("the end of the command", || left_in(&left).is_empty());
}

#[test]
fn why_there_is_no_container_is_said_once() {
    let dir = tempdir();
    let output = on("step01-run", &script(dir.path(), "echo out of order >&2; exit 3"));
    let said = stdout(&output);
    let start = "\
FAIL it has no namespace of its own
       expected: nothing
       got:      no container: the program ended with status 3
                 out of order
       see:      step01-run/README.md, \"What the kernel did\"
FAIL its mounts are the host's (no container)
FAIL process tree: runner -> command (no container)
FAIL status 0: the command succeeded
";
    assert!(said.contains(start), "{said}");
    assert_eq!(said.matches("no container: ").count(), 1, "{said}");
    must_fail(
        &output,
        &[
            "a SIGTERM to the program reaches the command",
            "the command ends when the program is killed",
        ],
    );
    assert_eq!(stderr(&output), "");
    let lines: Vec<_> = said.lines().map(str::trim_start).collect();
    for pair in lines.windows(2) {
        if let (Some(expected), Some(got)) =
            (pair[0].strip_prefix("expected:"), pair[1].strip_prefix("got:"))
        {
            assert_ne!(expected.trim(), got.trim(), "{said}");
        }
    }
}

#[test]
fn nothing_is_left_behind() {
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    let dir = dir.path().canonicalize().expect("name it");
    let mut failing = verify();
    failing
        .env("VERIFY_LIMIT", "2")
        .arg("5")
        .arg("--bin")
        .arg(bin("step04-uidmap"))
        .env("TMPDIR", &dir);
    assert_eq!(failing.output().expect("start xtask").status.code(), Some(1));
    assert_eq!(left_in(&dir), [""; 0]);

    // Ctrl-C goes to every process of the job.
    for milliseconds in [5, 20, 50, 100, 200, 400] {
        let mut running = verify();
        running.args(["1", "3", "5"]).env("TMPDIR", &dir).process_group(0);
        running.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = running.spawn().expect("start xtask");
        thread::sleep(Duration::from_millis(milliseconds));
        let group = Pid::from_raw(i32::try_from(running.id()).expect("a process ID"));
        // It may have ended by itself.
        let _ = killpg(group, Signal::SIGINT);
        running.wait().expect("wait for xtask");
        let what = format!("the end of the script that was interrupted after {milliseconds} ms");
        wait_until(&what, || left_in(&dir).is_empty());
    }
}

/// The entries of a directory, and the processes that have files in it open.
fn left_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("list a directory").flatten();
    let mut left: Vec<_> = entries.map(|entry| entry.path()).collect();
    left.extend(holders(dir).into_iter().map(|(_, file)| file));
    left.iter().map(|path| path.display().to_string()).collect()
}

/// The processes that have files in a directory open, and the files.
fn holders(dir: &Path) -> Vec<(Proc, PathBuf)> {
    let files = |process: Proc| process.descriptors().into_iter().map(move |(_, it)| (process, it));
    every().into_iter().flat_map(files).filter(|(_, file)| file.starts_with(dir)).collect()
}
