//! Checking again whenever the program is saved.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{RecursiveMode, Watcher};

use super::{Exercise, progress};
use crate::say;
use crate::verify::{Check, Checks, Verdict};

/// For how long nothing may happen before a save counts as over: an editor
/// writes, renames and touches several files.
const QUIET: Duration = Duration::from_millis(100);

/// Checks now and after each save, and says what changed. Ends by Ctrl-C alone.
pub(super) fn until_interrupted(exercise: &Exercise) -> Result<ExitCode> {
    let (sender, saved) = channel();
    let source = exercise.file("src");
    let doing = || format!("watch {}", source.display());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Building reads the program, which is no change.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // The receiver is gone only when this program ends.
            let _ = sender.send(());
        }
    })
    .with_context(doing)?;
    // The directory, not the file: many editors replace a file.
    watcher.watch(&source, RecursiveMode::NonRecursive).with_context(doing)?;
    let mut before: Option<Checks> = None;
    loop {
        match exercise.check() {
            Ok(checks) => {
                if let Some(before) = &before {
                    say::print(&changes(before, &checks))?;
                }
                say::print(&progress::next(exercise, &checks)?)?;
                before = Some(checks);
            }
            // It does not build, say; the next save may mend it.
            Err(error) => say::note(&common::one_line(&error)),
        }
        say::print(&format!(
            "\nwaiting for {} to be saved; Ctrl-C ends this\n",
            exercise.main().display()
        ))?;
        wait(&saved).context("wait for a save")?;
    }
}

/// Waits for an event, and until no more follow.
fn wait(saved: &Receiver<()>) -> Result<()> {
    saved.recv()?;
    while saved.recv_timeout(QUIET).is_ok() {}
    Ok(())
}

/// The checks that pass now and did not, and the other way round.
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
