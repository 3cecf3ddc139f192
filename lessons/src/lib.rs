//! Reads the lessons from their manifests.
//!
//! A lesson is a crate `stepNN-name` of the workspace. Its `Cargo.toml` is the only
//! place of each fact about it. The tasks and tests read the facts here, and so find
//! a new lesson.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

/// One lesson.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Its number, from 1.
    pub number: u32,
    /// The name of the crate, the program and the directory.
    pub name: String,
    /// The goal in one line, from the manifest's `description`.
    pub goal: String,
    /// The new things that the step asks of the kernel, in a few words:
    /// `package.metadata.adds`.
    pub adds: String,
    /// Whether the step needs root: `package.metadata.needs-root`.
    pub needs_root: bool,
    /// Whether it has a PID namespace: `package.metadata.pids`.
    pub has_pids: bool,
    /// Whether the container has a root of its own, named with `--rootfs`:
    /// `package.metadata.rootfs`. Then the command is a child of process 1.
    pub has_rootfs: bool,
    /// Whether it has layers, named with `--lower` and `--scratch`:
    /// `package.metadata.layers`.
    pub has_layers: bool,
    /// The goals for the learner, in the order of the places in the program:
    /// `package.metadata.exercise.goals`.
    pub exercise: Vec<String>,
    /// Three hints for each place: the idea, where to read, the call without its
    /// arguments. `package.metadata.exercise.hints`.
    pub hints: Vec<[String; 3]>,
}

impl Lesson {
    /// The lesson's directory.
    pub fn dir(&self) -> PathBuf {
        common::workspace().join(&self.name)
    }

    /// The lesson's program, as text.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn source(&self) -> Result<String> {
        let main = self.dir().join("src/main.rs");
        fs::read_to_string(&main).with_context(|| format!("read {}", main.display()))
    }

    /// Whether `word` names this lesson: `8`, `08`, `step08`, `step08-overlay`.
    fn is(&self, word: &str) -> bool {
        let number = word.strip_prefix("step").unwrap_or(word);
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        word == self.name || (digits && number.parse() == Ok(self.number))
    }

    /// Reads a manifest. Returns nothing if the directory's name is not a lesson's name.
    fn read(name: &str) -> Result<Option<Lesson>> {
        let number = name.strip_prefix("step").and_then(|rest| rest.split('-').next());
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            return Ok(None);
        };
        let manifest = common::workspace().join(name).join("Cargo.toml");
        let doing = || format!("read {}", manifest.display());
        let text = fs::read_to_string(&manifest).with_context(doing)?;
        let manifest: Table = text.parse().with_context(doing)?;
        let package = manifest.get("package").and_then(Value::as_table);
        let package = package.with_context(|| format!("{}: it has no [package]", doing()))?;
        let metadata = package.get("metadata").and_then(Value::as_table);
        let text_of =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let fact =
            |key: &str| metadata.and_then(|table| table.get(key)?.as_bool()).unwrap_or(false);
        let list = |key: &str| {
            let list = metadata.and_then(|table| table.get("exercise")?.get(key)?.as_array());
            list.into_iter().flatten()
        };
        let strings = |list: &Value| {
            let list = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            list.map(str::to_owned).collect::<Vec<_>>().try_into().ok()
        };
        Ok(Some(Lesson {
            number,
            name: name.to_owned(),
            goal: text_of(package.get("description")),
            adds: text_of(metadata.and_then(|table| table.get("adds"))),
            needs_root: fact("needs-root"),
            has_pids: fact("pids"),
            has_rootfs: fact("rootfs"),
            has_layers: fact("layers"),
            exercise: list("goals").filter_map(Value::as_str).map(str::to_owned).collect(),
            hints: list("hints").filter_map(strings).collect(),
        }))
    }
}

/// All lessons, in order.
///
/// # Errors
///
/// When there is none, or a manifest cannot be read.
pub fn all() -> Result<Vec<Lesson>> {
    let workspace = course(common::workspace())?;
    let doing = || format!("list the lessons in {}", workspace.display());
    let mut lessons = Vec::new();
    for entry in fs::read_dir(workspace).with_context(doing)? {
        let name = entry.with_context(doing)?.file_name();
        lessons.extend(name.to_str().map(Lesson::read).transpose()?.flatten());
    }
    lessons.sort_by_key(|lesson| lesson.number);
    ensure!(!lessons.is_empty(), "find a lesson in {}", workspace.display());
    Ok(lessons)
}

/// The directory of the course, if there is a course. Otherwise `common` names a
/// directory that no machine has, which would mean nothing to the learner.
fn course(workspace: &Path) -> Result<&Path> {
    ensure!(
        workspace.exists(),
        "list the lessons: there is no course that this user can use; go to your own copy of the course, and try again"
    );
    Ok(workspace)
}

/// The newest lesson.
///
/// # Errors
///
/// As [`all`].
pub fn last() -> Result<Lesson> {
    all()?.pop().context("find a lesson")
}

/// The lesson that `word` names: `8`, `08`, `step08` or `step08-overlay`.
///
/// # Errors
///
/// When there is no such lesson, and as [`all`].
pub fn find(word: &str) -> Result<Lesson> {
    let lessons = all()?;
    let found = lessons.iter().find(|lesson| lesson.is(word)).cloned();
    found.with_context(|| {
        let names: Vec<_> = lessons.iter().map(|lesson| lesson.name.as_str()).collect();
        format!("no lesson is called {word}; the lessons are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_course_has_no_name() {
        assert!(course(common::workspace()).is_ok());
        let error = course(Path::new("/nonexistent")).expect_err("no course").to_string();
        assert!(error.starts_with("list the lessons: there is no course "), "{error}");
    }

    #[test]
    fn a_lesson_has_four_names() {
        for word in ["8", "08", "step8", "step08", "step08-overlay"] {
            assert_eq!(find(word).expect(word).name, "step08-overlay");
        }
        for word in ["", "0", "99", "step", "8x", "overlay", "-8", "+8"] {
            assert!(find(word).is_err(), "{word}");
        }
    }

    #[test]
    fn lessons_are_numbered_from_one_without_a_gap() {
        let numbers: Vec<_> = all().expect("lessons").iter().map(|lesson| lesson.number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn every_lesson_says_what_it_adds() {
        for lesson in all().expect("lessons") {
            assert!(!lesson.goal.is_empty() && !lesson.adds.is_empty(), "{}", lesson.name);
        }
    }

    /// Each lesson has all features of the lesson before it.
    #[test]
    fn no_lesson_takes_anything_away() {
        for pair in all().expect("lessons").windows(2) {
            let has = |lesson: &Lesson| [lesson.has_pids, lesson.has_rootfs, lesson.has_layers];
            let lost = has(&pair[0]).into_iter().zip(has(&pair[1])).any(|(had, has)| had && !has);
            assert!(!lost, "{}", pair[1].name);
        }
    }
}
