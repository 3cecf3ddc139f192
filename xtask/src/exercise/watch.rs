//! Checks again each time the learner saves the program.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::{Exercise, progress};
use crate::say;
use crate::verify::{Check, Checks, Verdict};

/// The time between two looks at the files. An editor writes, renames and touches several
/// files, so a save ends when two looks are the same.
const PAUSE: Duration = Duration::from_millis(100);

/// Checks now and after each save, and prints the changes. Only Ctrl-C ends it.
pub(super) fn until_interrupted(exercise: &Exercise) -> Result<ExitCode> {
    let source = exercise.file("src");
    let mut before: Option<Checks> = None;
    loop {
        let checked = files(&source);
        match exercise.check(true) {
            Ok(checks) => {
                if let Some(before) = &before {
                    say::print(&changes(before, &checks))?;
                }
                say::print(&progress::next(exercise, &checks)?)?;
                before = Some(checks);
            }
            // For example, it does not compile; the next save may correct it.
            Err(error) => say::note(&common::one_line(&error)),
        }
        say::print(&format!(
            "\nsave a file in {} to check it again; press Ctrl-C to stop\n",
            source.display()
        ))?;
        let (mut last, mut now) = (Vec::new(), checked.clone());
        while now == checked || now != last {
            thread::sleep(PAUSE);
            last = now;
            now = files(&source);
        }
    }
}

/// The files in a directory, with the times of their last changes. Many editors replace a
/// file, and git replaces the directory: inotify(7) would go on with the old one.
fn files(dir: &Path) -> Vec<(OsString, SystemTime)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let file = |it: DirEntry| Some((it.file_name(), it.metadata().ok()?.modified().ok()?));
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    files
}

/// The most changes that are worth a line each.
const FEW: usize = 5;

/// The checks whose verdict changed between passed and failed. If many of them now
/// fail, they likely have one cause, which is the last line.
fn changes(before: &Checks, now: &Checks) -> String {
    let is = |checks: &Checks, check: &Check| {
        let found = checks.0.iter().find(|other| other.claim == check.claim);
        found.map(|found| found.verdict)
    };
    let mut out = String::new();
    for (from, to, word) in [
        (Verdict::Failed, Verdict::Passed, "now passes: "),
        (Verdict::Passed, Verdict::Failed, "now fails:  "),
    ] {
        let changed = |check: &&Check| check.verdict == to && is(before, check) == Some(from);
        let changed: Vec<&Check> = now.0.iter().filter(changed).collect();
        if changed.len() <= FEW {
            changed.iter().for_each(|check| out += &format!("{word}{}\n", check.claim));
            continue;
        }
        let Check { claim, details, .. } = changed[0];
        out += &format!("{word}{} checks; the first: {claim}\n", changed.len());
        details.last().into_iter().for_each(|detail| out += &format!("            {detail}\n"));
    }
    if out.is_empty() { "\nnothing changed\n".to_owned() } else { format!("\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks<Line: AsRef<str>>(lines: &[Line]) -> Checks {
        let mut checks = Checks::default();
        lines.iter().for_each(|line| checks.take(line.as_ref()));
        checks
    }

    #[test]
    fn a_change_is_named_once() {
        let before = checks(&["ok   a", "FAIL b", "FAIL c", "skip d (no)"]);
        let now = checks(&["FAIL a", "ok   b", "FAIL c", "ok   d"]);
        assert_eq!(changes(&before, &now), "\nnow passes: b\nnow fails:  a\n");
        assert_eq!(changes(&now, &now), "\nnothing changed\n");
    }

    #[test]
    fn many_changes_are_counted_and_the_cause_is_last() {
        let passed: Vec<_> = (1..=FEW + 1).map(|number| format!("ok   {number}")).collect();
        let mut failed: Vec<_> = passed.iter().map(|line| line.replace("ok  ", "FAIL")).collect();
        let cause = ["       got:      no container: it ended", "                 no mount"];
        failed.splice(1..1, cause.map(str::to_owned));
        let (passed, failed) = (checks(&passed), checks(&failed));
        let said = "\nnow fails:  6 checks; the first: 1\n            no mount\n";
        assert_eq!(changes(&passed, &failed), said);
        assert_eq!(changes(&failed, &passed), "\nnow passes: 6 checks; the first: 1\n");
    }
}
