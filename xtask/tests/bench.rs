//! The tables of `cargo xtask bench` have the right form for any figures.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use testkit::{STEPS, bin, containers_work, is_root, skip, stderr, tempdir};

/// The output of the bench with these options, for the steps beside this test. Prints the
/// reason and returns nothing if it cannot run.
fn bench(options: &[&str]) -> Option<String> {
    if !containers_work() {
        return None;
    }
    if Command::new("hyperfine").arg("--version").output().is_err() {
        skip("hyperfine is not installed");
        return None;
    }
    let dir = bin("xtask").parent().expect("a directory").to_owned();
    // Not the real one: for root, it leaves control groups, and directories beside them.
    let tools = tempdir();
    let podman = tools.path().join("podman");
    fs::write(&podman, "#!/bin/sh\nexit 1\n").expect("write a tool");
    fs::set_permissions(&podman, Permissions::from_mode(0o755)).expect("chmod");
    let path = env::var("PATH").unwrap_or_default();
    let output = Command::new(bin("xtask"))
        .args(["bench", "--runs", "2", "--dir"])
        .arg(dir)
        .args(options)
        .env("PATH", format!("{}:{path}", tools.path().display()))
        .output()
        .expect("start xtask");
    assert!(output.status.success(), "{}", stderr(&output));
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// A figure that a measurement can have.
fn figure(cell: &str) -> f64 {
    let figure: f64 = cell.parse().unwrap_or_else(|_| panic!("no number: {cell}"));
    assert!(figure.is_finite(), "{cell}");
    figure
}

/// Checks both tables. Their rows are split into cells.
fn check(tables: &[Vec<Vec<&str>>]) {
    let [compared, added] = tables else { panic!("not two tables: {tables:?}") };
    for (table, head) in [(compared, "command"), (added, "step")] {
        assert_eq!(table[0][..3], [head, "median ms", "fastest ms"]);
        for row in &table[1..] {
            let (median, fastest) = (figure(row[1]), figure(row[2]));
            assert!(0.0 < fastest && fastest <= median, "{row:?}");
            assert!(!row[4].is_empty(), "{row:?}");
        }
    }
    for row in &compared[1..] {
        assert!(figure(row[3]) > 0.0, "{row:?}");
    }
    let last = STEPS[STEPS.len() - 1];
    assert_eq!((compared[1][0], compared[1][3]), (last, "1.00"));

    let measured: Vec<&str> = added[1..].iter().map(|row| row[0]).collect();
    let expected = STEPS.iter().copied().filter(|&step| is_root() || step != "step02-namespaces");
    assert_eq!(measured, expected.collect::<Vec<_>>());
    let sum: f64 = added[1..].iter().map(|row| figure(row[3])).sum();
    let whole = figure(added[added.len() - 1][1]);
    assert!((sum - whole).abs() < 0.005, "the additions make {sum}, not {whole}");
    assert_eq!(added[added.len() - 1][1..3], compared[1][1..3], "one measurement");
}

#[test]
fn the_tables_for_a_page_are_whole() {
    let Some(printed) = bench(&["--format", "markdown"]) else { return };
    let mut blocks = printed.split("\n\n");
    let circumstances = blocks.next().expect("a line");
    assert!(circumstances.starts_with("Medians of 2 runs each, "), "{circumstances}");
    let tables: Vec<Vec<Vec<&str>>> = blocks
        .map(|block| {
            let lines = block.lines().enumerate().filter(|(index, _)| *index != 1);
            lines.map(|(_, line)| line.trim_matches(['|', ' ']).split(" | ").collect()).collect()
        })
        .collect();
    check(&tables);
}

#[test]
fn the_tables_for_a_terminal_are_whole() {
    let Some(printed) = bench(&["--format", "text"]) else { return };
    assert!(!printed.contains('\x1b'), "colours in a pipe: {printed}");
    let tables: Vec<Vec<Vec<&str>>> = printed
        .split("\n\n")
        .skip(1)
        .map(|block| {
            let cells = |line| {
                let cells = str::split(line, "  ").map(str::trim);
                cells.filter(|cell| !cell.is_empty()).collect()
            };
            block.lines().map(cells).collect()
        })
        .collect();
    check(&tables);
}

/// Each task has one step or more. The first is the measure of the others.
#[test]
fn lessons_16_to_19_are_measured_next_to_other_tools() {
    let Some(printed) = bench(&["--tools", "--format", "markdown"]) else { return };
    let (circumstances, table) = printed.split_once("\n\n").expect("a line");
    assert!(circumstances.starts_with("Medians of 2 runs each, "), "{circumstances}");
    let rows = table.lines().map(|line| line.trim_matches(['|', ' ']).split(" | "));
    let rows: Vec<Vec<&str>> = rows.skip(2).map(Iterator::collect).collect();
    let mut tasks: Vec<(&str, &str)> = Vec::new();
    for row in &rows {
        let (median, fastest) = (figure(row[2]), figure(row[3]));
        assert!(0.0 < fastest && fastest <= median, "{row:?}");
        if tasks.last().is_none_or(|(task, _)| *task != row[0]) {
            assert_eq!(row[4], "1.00", "{row:?}");
            tasks.push((row[0], row[1].split([' ', ',']).next().expect("a word")));
        }
        assert!(figure(row[4]) > 0.0, "{row:?}");
    }
    let expected = [
        ("start an image", "step16-images"),
        ("unpack an image", "step16-images"),
        ("enter a container", "step17-exec"),
        ("run a bundle", "step18-bundle"),
        ("create, start, delete", "step19-runtime"),
    ];
    assert_eq!(tasks, expected);
    for (tool, task) in [("umoci", "unpack an image"), ("nsenter", "enter a container")] {
        if Command::new(tool).arg("--version").output().is_ok() {
            assert!(rows.iter().any(|row| row[0] == task && row[1].starts_with(tool)), "{tool}");
        }
    }
}

#[test]
fn the_picture_is_well_formed() {
    let Some(picture) = bench(&["--format", "svg"]) else { return };
    let mut open = Vec::new();
    for tag in picture.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("the end of a tag");
        let escaped =
            |rest: &str| ["amp;", "lt;", "gt;", "quot;"].iter().any(|name| rest.starts_with(name));
        assert!(!text.contains('>') && text.split('&').skip(1).all(escaped), "{text}");
        let name = tag.split(' ').next().expect("a name");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty() && picture.ends_with("</svg>\n"), "{open:?}\n{picture}");
    assert!(picture.contains(&format!("{}: ", STEPS[STEPS.len() - 1])), "{picture}");
}

#[test]
fn a_folder_without_the_steps_is_told_in_a_line() {
    let dir = tempdir();
    let failed = Command::new(bin("xtask"))
        .args(["bench", "--dir"])
        .arg(dir.path())
        .output()
        .expect("start");
    let said = stderr(&failed);
    assert_eq!(failed.status.code(), Some(1));
    assert!(said.starts_with("xtask: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
