//! The lessons' scripts: each passes on its own step, and fails on the step before
//! and on programs with one fault.

mod ends;
mod others;
mod root;

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::{
    ALL, bin, containers_work, is_root, rootfs, skip, stderr, stdout, tempdir, workspace,
};

/// `xtask verify`, as it runs without cargo.
fn verify() -> Command {
    let mut command = Command::new(bin("xtask"));
    command.arg("verify").env_remove("CARGO").env("CONTAINER_ROOTFS", rootfs());
    command
}

/// Runs a lesson's script on a program that must fail. The limit is short, because
/// some events never happen.
fn on(step: &str, program: &Path) -> Output {
    let mut command = verify();
    command.env("VERIFY_LIMIT", "5").arg(step).arg("--bin").arg(program);
    command.output().expect("start xtask")
}

/// The checks with this verdict: `ok`, `FAIL` or `skip`.
fn checks(output: &Output, verdict: &str) -> Vec<String> {
    let of = |line: &str| {
        let (word, claim) = line.split_at_checked(5)?;
        let claim = claim.split(" (").next()?;
        (word.trim_end() == verdict).then(|| claim.to_owned())
    };
    stdout(output).lines().filter_map(of).collect()
}

/// Demands that every check in `wanted` fails, or is skipped because a tool is
/// missing, and that the exit status of the script is 1.
fn must_fail(output: &Output, wanted: &[&str]) {
    let (failed, skipped) = (checks(output, "FAIL"), checks(output, "skip"));
    let found = |claim: &&&str| failed.iter().chain(&skipped).any(|found| found == **claim);
    let missed: Vec<_> = wanted.iter().filter(|claim| !found(claim)).collect();
    let all = format!("{}\n{}", stdout(output), stderr(output));
    assert!(missed.is_empty(), "these should fail: {missed:#?}\n{all}");
    assert!(wanted.iter().any(|claim| failed.iter().any(|found| found == claim)), "{all}");
    assert_eq!(output.status.code(), Some(1), "{all}");
    says_what_to_read(&stdout(output));
}

/// Demands that every check that failed says once which section of which page
/// explains it. After the first check without a container, the others do not repeat
/// it.
fn says_what_to_read(said: &str) {
    for check in said.split("\nFAIL ").skip(1) {
        let (claim, details) = check.split_once('\n').unwrap_or((check, ""));
        let details = details.lines().take_while(|line| line.starts_with("       "));
        let pages: Vec<_> =
            details.filter_map(|line| line.strip_prefix("       see:      ")).collect();
        if claim.ends_with(" (no container)") {
            assert_eq!(pages, [""; 0], "{claim}");
            continue;
        }
        let [page] = pages[..] else { panic!("{claim} names these pages: {pages:?}") };
        let (file, heading) = page.split_once(", ").expect("a file and a heading");
        assert!(has_section(file, heading.trim_matches('"')), "{claim}: {page}");
    }
}

/// Whether a page has a section with this heading.
fn has_section(page: &str, heading: &str) -> bool {
    let text = fs::read_to_string(workspace().join(page)).expect("read a page");
    text.lines().any(|line| line.strip_prefix("## ") == Some(heading))
}

fn must_pass(output: &Output) {
    let all = format!("{}\n{}", stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(0), "{all}");
    assert_eq!(checks(output, "FAIL"), [""; 0], "{all}");
    assert!(!checks(output, "ok").is_empty(), "{all}");
    assert_eq!(stderr(output), "", "{all}");
}

/// Programs of `examples/wrong.rs`, the lesson of each, and the checks that must
/// find the fault.
const WRONG: [(&str, &str, &[&str]); 14] = [
    (
        "swallows-the-status",
        "step01-run",
        &[
            "status 42: the command exits with 42",
            "status 143: signal 15 ended the command",
            "status 127: the command does not exist",
            "status 126: the file is not executable",
        ],
    ),
    ("talks-on-stdout", "step01-run", &["only the command writes to standard output"]),
    ("leaks-mounts", "step02-namespaces", &["the host does not have the mount"]),
    (
        "forgets-uts",
        "step03-userns",
        &["ipc, mnt, net, user and uts are its own", "so it cannot change the hostname"],
    ),
    (
        "forgets-the-gid-map",
        "step04-uidmap",
        &["inside, the group is root", "from the host, gid_map maps 0 to the caller"],
    ),
    (
        "forgets-pid",
        "step05-pid",
        &["$$ in its shell is 1", "ipc, mnt, net, pid, user and uts are its own"],
    ),
    ("forgets-chdir", "step06-chroot", &["its working directory is in the root"]),
    ("passes-the-environment", "step06-chroot", &["its environment is HOME, PATH and TERM"]),
    (
        "runs-as-process-1",
        "step06-chroot",
        &["process tree: runner -> child -> command", "the command is process 2"],
    ),
    (
        "does-not-reap",
        "step06-chroot",
        &["orphans do not stay zombies", "a SIGTERM to the program reaches the command"],
    ),
    (
        "shows-the-hosts-proc",
        "step07-proc",
        &["/proc has only the processes 1 and 2", "ps shows only these two and itself"],
    ),
    ("writes-to-the-lower", "step08-overlay", &["the root below is the same, byte for byte"]),
    ("leaves-the-scratch", "step08-overlay", &["the scratch directory is gone"]),
    (
        "shares-the-scratch",
        "step08-overlay",
        &[
            "a new container starts with a fresh root",
            "a second container starts with a fresh root",
        ],
    ),
];

fn read_script(step: &str) -> String {
    fs::read_to_string(workspace().join(step).join("verify.sh")).expect("read a script")
}

/// The claim that a line of a script checks.
fn claim(line: &str) -> Option<&str> {
    let line = line.strip_prefix("so ").unwrap_or(line);
    let claim = line.strip_prefix("is ").or_else(|| line.strip_prefix("has "))?;
    let quote = claim.chars().next()?;
    claim[1..].split(quote).next()
}

/// A program of `examples/wrong.rs`, called by the name of a fault.
fn wrong(fault: &str, dir: &Path) -> PathBuf {
    let program = bin("xtask").with_file_name("examples").join("wrong");
    assert!(program.exists(), "wrong is missing; build it with `cargo build --examples`");
    let link = dir.join(fault);
    symlink(program, &link).expect("make a link");
    link
}

/// A shell script in place of a learner's program.
fn script(dir: &Path, text: &str) -> PathBuf {
    let program = dir.join("program.sh");
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).expect("write a program");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("make it executable");
    program
}

#[test]
fn every_script_passes_on_its_own_step() {
    if !containers_work() {
        return;
    }
    let output = verify().output().expect("start xtask");
    must_pass(&output);
    let said = stdout(&output);
    for step in ALL.iter() {
        assert!(said.contains(&format!("{step}: ")), "{said}");
    }
    let last = said.lines().last().unwrap_or_default().to_owned();
    // The reason must name the package to install.
    let opaque = said.lines().find(|line| line.starts_with("skip the new directory is opaque"));
    assert!(opaque.is_none_or(|line| line.contains("the package attr")), "{opaque:?}");
    let passed = checks(&output, "ok").len();
    assert!(last.starts_with(&format!("{passed} passed, 0 failed, ")), "{last}");
}

#[test]
fn every_script_fails_on_the_step_before() {
    if !containers_work() {
        return;
    }
    for pair in ALL.windows(2) {
        let [before, step] = pair else { continue };
        let script = read_script(step);
        let new: Vec<_> =
            script.lines().filter_map(|line| claim(line.strip_prefix("new ")?)).collect();
        must_fail(&on(step, &bin(before)), &new);
    }
}

#[test]
fn every_fault_is_found() {
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    for (fault, step, checks) in WRONG {
        if step == "step02-namespaces" && !is_root() {
            skip(&format!("{fault}: lesson 2 needs root"));
            continue;
        }
        must_fail(&on(step, &wrong(fault, dir.path())), checks);
    }
}

/// What a program prints cannot control the terminal, nor forge a line.
#[test]
fn a_program_writes_no_escape_sequence_to_the_terminal() {
    let dir = tempdir();
    let program = script(dir.path(), r"printf '\033]0;title\007\rok\n'");
    for format in ["text", "tap", "json"] {
        let mut command = verify();
        command.args(["1", "--format", format, "--bin"]).arg(&program);
        let output = command.env("VERIFY_LIMIT", "5").output().expect("start xtask");
        let said = stdout(&output);
        assert!(said.contains("]0;title"), "{said}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said}");
    }
}

#[test]
fn every_claim_is_made_once() {
    for step in ALL.iter().copied() {
        let script = read_script(step);
        let made = |line| claim(str::strip_prefix(line, "new ").unwrap_or(line));
        let mut claims: Vec<_> = script.lines().filter_map(made).collect();
        let all = claims.len();
        claims.sort();
        claims.dedup();
        assert_eq!(claims.len(), all, "{step} has a claim twice");
    }
}

#[test]
fn every_check_has_a_section_of_a_page() {
    for step in ALL.iter().copied() {
        let mut named = false;
        for line in read_script(step).lines().map(str::trim_start) {
            if let Some(page) = line.strip_prefix("page '") {
                let (heading, other) = page.split_once('\'').expect("a heading");
                let other = Some(other.trim()).filter(|it| !it.is_empty()).unwrap_or(step);
                let page = format!("{other}/README.md");
                assert!(has_section(&page, heading), "{step}: {page} has no section {heading}");
                named = true;
            }
            let check = claim(line.strip_prefix("new ").unwrap_or(line));
            assert!(named || check.is_none(), "{step}: no `page` before {line}");
        }
    }
}

#[test]
fn other_shells_run_the_scripts_too() {
    if !containers_work() {
        return;
    }
    for shell in ["dash", "busybox"] {
        let path = env::var("PATH").expect("a PATH");
        let found = env::split_paths(&path).map(|dir| dir.join(shell)).find(|it| it.exists());
        let Some(found) = found else {
            skip(&format!("{shell} is not installed"));
            continue;
        };
        // Each shell that the scripts start is this one, too.
        let dir = tempdir();
        symlink(found, dir.path().join("sh")).expect("make a link");
        let path = format!("{}:{path}", dir.path().display());
        for step in ALL.iter().copied() {
            let mut command = Command::new(dir.path().join("sh"));
            command.arg(workspace().join(step).join("verify.sh")).arg(bin(step));
            command.env("PATH", &path).env("CONTAINER_ROOTFS", rootfs());
            must_pass(&command.output().expect("start a shell"));
        }
    }
}

#[test]
fn a_host_that_refuses_is_a_reason_to_skip_unless_it_must_not() {
    let script = workspace().join("step04-uidmap/verify.sh");
    let run = |must_work| {
        let mut command = Command::new("sh");
        command.arg(&script).arg(bin("step04-uidmap")).env("VERIFY_REFUSED", "no namespaces here");
        command.env("CONTAINERS_MUST_WORK", must_work).output().expect("start a shell")
    };
    let skipped = run("");
    assert_eq!(skipped.status.code(), Some(0));
    assert!(stdout(&skipped).starts_with("skip ") && checks(&skipped, "ok").is_empty());
    assert!(stdout(&skipped).contains("(no namespaces here)"));
    let failed = run("1");
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(checks(&failed, "FAIL").len(), checks(&skipped, "skip").len());
    assert_eq!(stdout(&failed).matches("no namespaces here").count(), 1);
}

#[test]
fn a_command_line_without_sense_is_refused() {
    for (words, why) in [
        (&["--bin", "/bin/true"][..], "name exactly one STEP"),
        (&["--bin", "/bin/true", "1", "2"], "name exactly one STEP"),
        (&["--bin", "/no/such/program", "1"], "No such file"),
        (&["99"], "no lesson is called 99"),
        (&["--rootfs", "/no/such/root", "6"], "/no/such/root"),
    ] {
        let output = verify().args(words).output().expect("start xtask");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(stderr(&output).contains(why), "{words:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{words:?}: {}", stderr(&output));
    }
}
