//! The learner's progress in each exercise.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::Exercise;
use crate::verify::{Checks, Verdict};

/// The file with the result of the last check, beside the program.
pub(super) const FILE: &str = ".checked";

/// Notes the result of a check of the program `source`: the number of passed
/// checks, the number of all checks, and a stamp of the program.
pub(super) fn note(exercise: &Exercise, source: &str, checks: &Checks) -> Result<()> {
    let (passed, failed) = (checks.count(Verdict::Passed), checks.count(Verdict::Failed));
    let file = exercise.file(FILE);
    let text = format!("{passed} {} {}\n", passed + failed, stamp(source));
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

/// The progress in an exercise.
#[derive(Debug, PartialEq, Eq)]
enum State {
    NotBegun,
    LaidOut,
    Checked {
        passed: usize,
        of: usize,
        /// Whether the program has changed since the check.
        changed: bool,
    },
}

impl State {
    fn of(exercise: &Exercise) -> State {
        let Ok(source) = exercise.source() else { return State::NotBegun };
        let noted = fs::read_to_string(exercise.file(FILE)).unwrap_or_default();
        let mut words = noted.split_whitespace();
        let mut count = || words.next()?.parse().ok();
        match (count(), count()) {
            (Some(passed), Some(of)) => {
                let changed = words.next() != Some(&stamp(&source));
                State::Checked { passed, of, changed }
            }
            _ => State::LaidOut,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, State::Checked { passed, of, changed: false } if passed == of)
    }

    fn words(&self) -> String {
        match self {
            State::NotBegun => "not begun".to_owned(),
            State::LaidOut => "begun, not checked".to_owned(),
            _ if self.is_done() => "done".to_owned(),
            State::Checked { passed, of, changed } => {
                let since = if *changed { ", changed since" } else { "" };
                format!("{passed} of {of} checks{since}")
            }
        }
    }
}

/// The lessons with the progress in each exercise, and the next command.
pub(super) fn list(exercises: Option<&Path>) -> Result<String> {
    let mut out = String::new();
    let mut next = None;
    let lessons = lessons::all()?;
    let width = lessons.iter().map(|lesson| lesson.name.len()).max().unwrap_or_default();
    for lesson in lessons {
        let exercise = Exercise::new(lesson, exercises)?;
        let state = State::of(&exercise);
        out += &format!("{:width$}  {}\n", exercise.lesson.name, state.words());
        if next.is_none() && !state.is_done() {
            let number = exercise.lesson.number;
            next = Some(match state {
                State::NotBegun => format!("cargo xtask exercise {number}"),
                _ => format!("cargo xtask exercise {number} --check"),
            });
        }
    }
    out += &match next {
        Some(command) => format!("\nnext: {command}\n"),
        None => "\nEvery exercise is done.\n".to_owned(),
    };
    Ok(out)
}

/// The next command after a check.
pub(super) fn next(exercise: &Exercise, checks: &Checks) -> Result<String> {
    let number = exercise.lesson.number;
    if checks.count(Verdict::Failed) > 0 {
        return Ok(format!("\nstuck? cargo xtask exercise {number} --hint\n"));
    }
    let mut out = format!("\nEvery check passes.\ncompare  cargo xtask exercise {number} --diff\n");
    if let Some(next) = lessons::all()?.into_iter().find(|lesson| lesson.number > number) {
        out += &format!("next     cargo xtask exercise {}: {}\n", next.number, next.goal);
    }
    Ok(out)
}

/// A short digest of a program.
fn stamp(source: &str) -> String {
    Sha256::digest(source).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
