//! The picture of the isolation shows the same as the measurement.

use std::fs;
use std::process::{Command, Output};

use testkit::{
    ALL, STEPS, bin, containers_work, is_root, rootfs, stderr, stdout, tempdir, workspace,
};

/// The step that an ordinary user cannot start.
const FOR_ROOT: &str = "step02-namespaces";
/// A user's bundle of these steps has a user namespace, and root's has none.
const BY_CALLER: [&str; 2] = ["step18-bundle", "step19-runtime"];

fn isolation() -> Command {
    let mut command = Command::new(bin("xtask"));
    // The steps are built already.
    command.arg("isolation").env("CONTAINER_ROOTFS", rootfs()).env_remove("CARGO");
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().expect("start xtask");
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

#[test]
fn the_picture_shows_what_is_measured() {
    if !containers_work() {
        return;
    }
    let file = workspace().join("docs/isolation.svg");
    let mut shown = fs::read_to_string(&file).expect("read the picture");
    let mut measured = stdout(&done(isolation().args(["--format", "svg"]))) + "\n";
    if !is_root() {
        for step in [&[FOR_ROOT], &BY_CALLER[..]].concat() {
            shown = without(step, &shown);
            measured = without(step, &measured);
        }
    }
    assert!(
        shown == measured,
        "{} is stale; as root: cargo xtask isolation --format svg --output docs/isolation.svg\n\
         it should be:\n{measured}",
        file.display()
    );
}

/// A picture without the row of a step and its line in the description.
fn without(step: &str, svg: &str) -> String {
    let group = format!("  <g id=\"{step}\">\n");
    let (before, row) = svg.split_once(&group).expect("a row");
    let (_, after) = row.split_once("\n  </g>\n").expect("the end of a row");
    let (text, rest) = before.split_once(&format!("    {step}:")).expect("a description");
    let (_, rest) = rest.split_once('\n').expect("the end of a line");
    format!("{text}{rest}{after}")
}

#[test]
fn each_lesson_adds_what_it_teaches() {
    if !containers_work() {
        return;
    }
    let table = stdout(&done(isolation().args(["--format", "markdown"])));
    for step in STEPS.iter().copied() {
        let start = format!("| {step} |");
        let row = table.lines().find(|line| line.starts_with(&start)).expect(step);
        if step == FOR_ROOT && !is_root() {
            assert!(row.contains("needs root"), "{row}");
        } else {
            assert_eq!(row.matches("**own**").count(), own(step), "{row}");
        }
    }
}

#[test]
fn a_bundle_has_what_its_file_says() {
    if !containers_work() {
        return;
    }
    let table = stdout(&done(isolation().args(["--format", "markdown"])));
    for step in BY_CALLER {
        let start = format!("| {step} |");
        let row = table.lines().find(|line| line.starts_with(&start)).expect(step);
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('*')).collect();
        let user = if is_root() { "shared" } else { "own" };
        let expected = ["own", "own", "own", "own", user, "own", "own", "own", "none"];
        assert_eq!(cells[2..11], expected, "{row}");
    }
}

/// The number of columns that are the container's own: the namespaces that its
/// script demands, the root if the step takes `--rootfs`, and the changes if it
/// takes `--scratch`.
fn own(step: &str) -> usize {
    let script = fs::read_to_string(workspace().join(step).join("verify.sh")).expect("a script");
    let check = script.lines().find(|line| line.ends_with("\"$(own)\"")).expect(step);
    let words = check.rsplit('\'').nth(1).expect("what is expected");
    let namespaces = words.split(' ').filter(|&word| word != "nothing").count();
    let help = stdout(&testkit::step(step).arg("--help").output().expect("start a step"));
    let options = ["--rootfs", "--scratch"].into_iter().filter(|&option| help.contains(option));
    namespaces + options.count()
}

#[test]
fn a_table_in_a_file_has_no_colours() {
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    let file = dir.path().join("table");
    let output = done(isolation().arg("--output").arg(&file));
    assert_eq!(stdout(&output), "");
    let table = fs::read_to_string(&file).expect("read the table");
    assert!(table.lines().count() > ALL.len() && !table.contains('\x1b'), "{table}");
}

#[test]
fn a_step_that_cannot_start_is_told_in_a_line_and_leaves_nothing_behind() {
    if !containers_work() {
        return;
    }
    let marker = format!("ISOLATION_TEST={}", std::process::id());
    let (name, value) = marker.split_once('=').expect("a variable");
    let failed =
        isolation().env("CONTAINER_ROOTFS", "/nowhere").env(name, value).output().expect("xtask");
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1));
    assert!(said.starts_with("xtask: start step06-chroot: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    let marked = |environment: &[u8]| {
        environment.split(|&byte| byte == 0).any(|variable| variable == marker.as_bytes())
    };
    let left = fs::read_dir("/proc").expect("list /proc").flatten().filter(|entry| {
        fs::read(entry.path().join("environ")).is_ok_and(|environment| marked(&environment))
    });
    let left: Vec<_> = left.map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
