//! The lessons as their manifests describe them, and their binaries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cargo;

/// One lesson: a crate `stepNN-name` of the workspace.
#[derive(Clone, Debug)]
pub(crate) struct Lesson {
    pub(crate) number: u32,
    /// The crate's name, which is the binary's and the directory's, too.
    pub(crate) name: String,
    /// The lesson's goal in one line, from the manifest's `description`.
    pub(crate) goal: String,
    /// What its container asks of the kernel besides, in a few words, from the
    /// manifest's `package.metadata`.
    pub(crate) adds: String,
    /// What a learner is to write, in the order of the places in the program,
    /// from the manifest's `package.metadata.exercise`.
    pub(crate) exercise: Vec<String>,
}

const FIRST_WITH_ROOTFS: u32 = 6;

impl Lesson {
    /// The lesson's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        common::workspace().join(&self.name)
    }

    /// Whether its container has a root of its own, and takes `--rootfs`.
    pub(crate) fn has_rootfs(&self) -> bool {
        self.number >= FIRST_WITH_ROOTFS
    }

    /// Whether `word` names this lesson: `8`, `08`, `step08`, `step08-overlay`.
    fn is(&self, word: &str) -> bool {
        let number = word.strip_prefix("step").unwrap_or(word);
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        word == self.name || (digits && number.parse() == Ok(self.number))
    }

    /// The step's binary, built first when cargo runs this task. Without cargo
    /// it is the one beside this program, as it was built.
    pub(crate) fn binary(&self) -> Result<PathBuf> {
        if cargo::is_there() {
            let built = cargo::build(|build| {
                build.args(["--package", &self.name]);
                if !cfg!(debug_assertions) {
                    build.arg("--release");
                }
            })?;
            return cargo::program(&built, &self.name).map(Path::to_owned);
        }
        let exe = env::current_exe().context("find this program")?;
        let binary = exe.with_file_name(&self.name);
        ensure!(
            binary.exists(),
            "find {}: it is not built; build it with `cargo build`",
            binary.display()
        );
        Ok(binary)
    }
}

/// All lessons, in order.
pub(crate) fn all() -> Result<Vec<Lesson>> {
    let workspace = common::workspace();
    let doing = || format!("list the lessons in {}", workspace.display());
    let mut lessons = Vec::new();
    for entry in fs::read_dir(workspace).with_context(doing)? {
        let name = entry.with_context(doing)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = name.strip_prefix("step").and_then(|rest| rest.split('-').next());
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        let manifest = workspace.join(name).join("Cargo.toml");
        let doing = || format!("read {}", manifest.display());
        let text = fs::read_to_string(&manifest).with_context(doing)?;
        let manifest: toml::Table = text.parse().with_context(doing)?;
        let package = manifest.get("package").and_then(toml::Value::as_table);
        let package = package.with_context(|| format!("{}: it has no [package]", doing()))?;
        let goal = package.get("description").and_then(|text| text.as_str()).unwrap_or_default();
        let metadata = package.get("metadata");
        let adds = metadata.and_then(|metadata| metadata.get("adds")?.as_str());
        let exercise = metadata.and_then(|metadata| metadata.get("exercise"));
        let goals = exercise.and_then(|exercise| exercise.get("goals")?.as_array());
        let goals = goals.into_iter().flatten().filter_map(|goal| goal.as_str());
        lessons.push(Lesson {
            number,
            name: name.to_owned(),
            goal: goal.to_owned(),
            adds: adds.unwrap_or_default().to_owned(),
            exercise: goals.map(str::to_owned).collect(),
        });
    }
    lessons.sort_by_key(|lesson| lesson.number);
    ensure!(!lessons.is_empty(), "find a lesson in {}", workspace.display());
    Ok(lessons)
}

/// The newest lesson.
pub(crate) fn last() -> Result<Lesson> {
    all()?.pop().context("find a lesson")
}

/// The lesson that `word` names.
pub(crate) fn find(word: &str) -> Result<Lesson> {
    let lessons = all()?;
    let found = lessons.iter().find(|lesson| lesson.is(word)).cloned();
    found.with_context(|| {
        let names: Vec<_> = lessons.iter().map(|lesson| lesson.name.as_str()).collect();
        format!("no lesson is called {word}; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lesson_has_four_names() {
        for word in ["8", "08", "step8", "step08", "step08-overlay"] {
            assert_eq!(find(word).expect(word).name, "step08-overlay");
        }
        for word in ["", "0", "9", "step", "8x", "overlay", "-8", "+8"] {
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
}
