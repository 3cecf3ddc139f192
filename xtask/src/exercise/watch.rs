//! Checks again each time the learner saves the program.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{RecursiveMode, Watcher};

use super::{Exercise, progress};
use crate::say;
use crate::verify::{Check, Checks, Verdict};

/// A save ends after this time without an event: an editor writes, renames and
/// touches several files.
const QUIET: Duration = Duration::from_millis(100);

/// Checks now and after each save, and prints the changes. Only Ctrl-C ends it.
pub(super) fn until_interrupted(exercise: &Exercise) -> Result<ExitCode> {
    let (sender, saved) = channel();
    let source = exercise.file("src");
    let doing = || format!("watch {}", source.display());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A build reads the program; that is not a change.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // The receiver lives as long as this program.
            let _ = sender.send(());
        }
    })
    .with_context(doing)?;
    // Watch the directory, not the file: many editors replace the file.
    watcher.watch(&source, RecursiveMode::NonRecursive).with_context(doing)?;
    let mut before: Option<Checks> = None;
    loop {
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
            "\nsave {} to check it again; press Ctrl-C to stop\n",
            exercise.main().display()
        ))?;
        wait(&saved).context("wait for a save")?;
    }
}

/// Waits for an event, and until no further event follows.
fn wait(saved: &Receiver<()>) -> Result<()> {
    saved.recv()?;
    while saved.recv_timeout(QUIET).is_ok() {}
    Ok(())
}

/// The checks whose verdict changed between passed and failed.
fn changes(before: &Checks, now: &Checks) -> String {
    let is = |checks: &Checks, check: &Check| {
        let found = checks.0.iter().find(|other| other.claim == check.claim);
        found.map(|found| found.verdict)
    };
    let mut out = String::new();
    for check in &now.0 {
        match (is(before, check), check.verdict) {
            (Some(Verdict::Failed), Verdict::Passed) => {
                out += &format!("now passes: {}\n", check.claim)
            }
            (Some(Verdict::Passed), Verdict::Failed) => {
                out += &format!("now fails:  {}\n", check.claim)
            }
            _ => {}
        }
    }
    if out.is_empty() { "\nnothing changed\n".to_owned() } else { format!("\n{out}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_named_once() {
        let checks = |lines: &[&str]| {
            let mut checks = Checks::default();
            lines.iter().for_each(|line| checks.take(line));
            checks
        };
        let before = checks(&["ok   a", "FAIL b", "FAIL c", "skip d (no)"]);
        let now = checks(&["FAIL a", "ok   b", "FAIL c", "ok   d"]);
        assert_eq!(changes(&before, &now), "\nnow fails:  a\nnow passes: b\n");
        assert_eq!(changes(&now, &now), "\nnothing changed\n");
    }
}
