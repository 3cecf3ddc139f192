//! Checks again each time the learner saves the program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use notify::{ErrorKind, RecursiveMode, Watcher};

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
    let file = source.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // A build reads the program; that is not a change. The tasks write beside `src`.
        let concerns = |path: &PathBuf| path.starts_with(&file) || file.starts_with(path);
        if event.is_ok_and(|it| !it.kind.is_access() && it.paths.iter().any(concerns)) {
            // The receiver lives as long as this program.
            let _ = sender.send(());
        }
    })
    .map_err(with_remedy)
    .with_context(doing)?;
    let mut before: Option<Checks> = None;
    loop {
        watch(&mut watcher, &source).with_context(doing)?;
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
        wait(&saved).context("wait for a save")?;
    }
}

/// Watches the directory, not the file: many editors replace the file. It watches the two
/// directories above, too: git and some editors replace the directory. A watch stays with the
/// old directory, so this function begins again.
fn watch(watcher: &mut impl Watcher, source: &Path) -> Result<()> {
    for dir in source.ancestors().take(3) {
        // There may be no watch yet.
        let _ = watcher.unwatch(dir);
        match watcher.watch(dir, RecursiveMode::NonRecursive) {
            Err(error) if !matches!(error.kind, ErrorKind::PathNotFound) => {
                return Err(with_remedy(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Names the setting of the kernel that is too low; inotify(7).
fn with_remedy(error: notify::Error) -> anyhow::Error {
    let setting = match &error.kind {
        ErrorKind::MaxFilesWatch => "watches",
        ErrorKind::Io(io) if io.raw_os_error() == Some(libc::EMFILE) => "instances",
        _ => return error.into(),
    };
    anyhow!(
        "this user has no inotify {setting} left; end a program that watches files, or raise \
         fs.inotify.max_user_{setting} with sysctl(8)"
    )
}

/// Waits for an event, and until no further event follows.
fn wait(saved: &Receiver<()>) -> Result<()> {
    saved.recv()?;
    while saved.recv_timeout(QUIET).is_ok() {}
    Ok(())
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
