//! The learner's progress in each exercise.

use std::fs;
use std::path::Path;

use anyhow::Result;
use layers::{Algorithm, Digest};
use lessons::Source;

use super::{Exercise, layout};
use crate::file;
use crate::verify::{Checks, Verdict};

/// The file with the result of the last check, beside the program.
pub(super) const FILE: &str = ".checked";

/// Notes the result of a check of a program: the number of passed checks, the number of
/// all checks, and a stamp of the program.
pub(super) fn note(exercise: &Exercise, program: &[Source], checks: &Checks) -> Result<()> {
    let (passed, failed) = (checks.count(Verdict::Passed), checks.count(Verdict::Failed));
    let text = format!("{passed} {} {}\n", passed + failed, stamp(program));
    file::write(&exercise.file(FILE), text)
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
        if !exercise.is_laid_out() {
            return State::NotBegun;
        }
        let program = exercise.program().unwrap_or_default();
        let noted = fs::read_to_string(exercise.file(FILE)).unwrap_or_default();
        let mut words = noted.split_whitespace();
        let mut count = || words.next()?.parse().ok();
        match (count(), count()) {
            (Some(passed), Some(of)) => {
                let changed = words.next() != Some(&stamp(&program));
                State::Checked { passed, of, changed }
            }
            _ => State::LaidOut,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self, State::Checked { passed, of, changed: false } if passed == of && *of > 0)
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
    // The first exercise that is begun, else the first after the last that is done,
    // else the first.
    let (mut begun, mut after_done, mut not_begun) = (None, None, None);
    let lessons = lessons::all()?;
    let width = lessons.iter().map(|lesson| lesson.name.len()).max().unwrap_or_default();
    for lesson in lessons {
        let exercise = Exercise::new(lesson, exercises)?;
        let state = State::of(&exercise);
        out += &format!("{:width$}  {}\n", exercise.lesson.name, state.words());
        let (number, option) = (exercise.lesson.number, &exercise.option);
        match state {
            State::NotBegun => {
                let command = format!("cargo xtask exercise {number}{option}");
                after_done.get_or_insert_with(|| command.clone());
                not_begun.get_or_insert(command);
            }
            _ if state.is_done() => after_done = None,
            _ => {
                begun.get_or_insert(format!("cargo xtask exercise {number} --check{option}"));
            }
        }
    }
    out += &match begun.or(after_done).or(not_begun) {
        Some(command) => format!("\nnext: {command}\n"),
        None => "\nEvery exercise is done.\n".to_owned(),
    };
    Ok(out)
}

/// The next command after a check.
pub(super) fn next(exercise: &Exercise, checks: &Checks) -> Result<String> {
    let (number, option) = (exercise.lesson.number, &exercise.option);
    if checks.count(Verdict::Failed) > 0 {
        return Ok(format!("\nstuck? cargo xtask exercise {number} --hint{option}\n"));
    }
    let mut out = match (checks.count(Verdict::Passed), checks.count(Verdict::Skipped)) {
        (0, _) => return Ok("\nThis host can make no check: the lines above say why.\n".to_owned()),
        (_, 0) => "\nEvery check passes.\n".to_owned(),
        _ => "\nEvery check that this host can make passes.\n".to_owned(),
    };
    let program = exercise.program().unwrap_or_default();
    let left = program.iter().map(|file| file.text.matches(&layout::mark(number)).count());
    out += &match left.sum() {
        0_usize => String::new(),
        1 => "1 TODO comment is left; delete it.\n".to_owned(),
        left => format!("{left} TODO comments are left; delete them.\n"),
    };
    out += &format!("compare  cargo xtask exercise {number} --diff{option}\n");
    if let Some(next) = lessons::all()?.into_iter().find(|lesson| lesson.number > number) {
        out += &format!("next     cargo xtask exercise {}{option}: {}\n", next.number, next.goal);
    }
    Ok(out)
}

/// A short digest of a program.
fn stamp(program: &[Source]) -> String {
    let text: String = program.iter().map(|file| file.text.as_str()).collect();
    let digest = Digest::of_bytes(text.as_bytes(), Algorithm::Sha256);
    digest.to_string().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::say::quoted;
    use lessons::MAIN;

    #[test]
    fn the_next_command_continues_the_exercise_that_is_begun() {
        let dir = testkit::tempdir();
        let next = || {
            let said = list(Some(dir.path())).expect("a list");
            let said = said.lines().last().expect("a line").to_owned();
            said.replace(&format!(" --dir {}", quoted(dir.path())), " in the directory")
        };
        assert_eq!(next(), "next: cargo xtask exercise 1 in the directory");
        let lesson = lessons::find("3").expect("lesson 3");
        let exercise = Exercise::new(lesson, Some(dir.path())).expect("an exercise");
        exercise.lay_out().expect("laid out");
        assert_eq!(next(), "next: cargo xtask exercise 3 --check in the directory");
        let program = exercise.program().expect("a program");
        // A check that was skipped does not end the exercise.
        for (line, said) in [("skip a (no)", "3 --check"), ("ok   a", "4")] {
            let mut checks = Checks::default();
            checks.take(line);
            note(&exercise, &program, &checks).expect("noted");
            assert_eq!(next(), format!("next: cargo xtask exercise {said} in the directory"));
        }
        // After the last lesson, the first exercise that is left.
        let last = lessons::last().expect("the last lesson");
        let exercise = Exercise::new(last, Some(dir.path())).expect("an exercise");
        exercise.lay_out().expect("laid out");
        let mut checks = Checks::default();
        checks.take("ok   a");
        note(&exercise, &exercise.program().expect("a program"), &checks).expect("noted");
        assert_eq!(next(), "next: cargo xtask exercise 1 in the directory");
    }

    #[test]
    fn the_end_counts_the_comments_that_are_left() {
        let dir = testkit::tempdir();
        let lesson = lessons::find("4").expect("lesson 4");
        let exercise = Exercise::new(lesson, Some(dir.path())).expect("an exercise");
        exercise.lay_out().expect("laid out");
        let mut checks = Checks::default();
        checks.take("ok   a");
        for said in ["3 TODO comments are left; delete them.", "1 TODO comment is left; delete it."]
        {
            let found = next(&exercise, &checks).expect("an answer");
            assert!(
                found.starts_with(&format!("\nEvery check passes.\n{said}\ncompare")),
                "{found}"
            );
            let main = exercise.source_file(MAIN);
            let done = fs::read_to_string(&main).expect("a program");
            let done = done.replacen(&layout::mark(4), "Done:", 2);
            fs::write(main, done).expect("write the program");
        }
    }

    #[test]
    fn the_end_says_whether_every_check_was_made() {
        let dir = testkit::tempdir();
        let lesson = lessons::find("3").expect("lesson 3");
        let exercise = Exercise::new(lesson, Some(dir.path())).expect("an exercise");
        for (lines, said) in [
            (
                &["ok   a", "skip b (no)"][..],
                "\nEvery check that this host can make passes.\ncompare",
            ),
            (&["ok   a"], "\nEvery check passes.\ncompare"),
            (&["skip a (no)"], "\nThis host can make no check: "),
            (&["ok   a", "FAIL b"], "\nstuck? "),
        ] {
            let mut checks = Checks::default();
            lines.iter().for_each(|line| checks.take(line));
            let found = next(&exercise, &checks).expect("an answer");
            assert!(found.starts_with(said), "{found}");
        }
    }
}
