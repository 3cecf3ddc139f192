//! Reads the lessons from their manifests.
//!
//! A lesson is a crate `stepNN-name` of the workspace. Its `Cargo.toml` is the only
//! place of each fact about it. The tasks and tests read the facts here, and so find
//! a new lesson.

use std::ffi::OsStr;
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
    /// Whether the command line is a verb with a bundle, and not a command:
    /// `package.metadata.verbs`.
    pub has_verbs: bool,
    /// The goals for the learner, in the order of the places in the program:
    /// `package.metadata.exercise.goals`.
    pub exercise: Vec<String>,
    /// Three hints for each place: the idea, where to read, the call without its
    /// arguments. `package.metadata.exercise.hints`.
    pub hints: Vec<[String; 3]>,
    /// The files of earlier lessons that this lesson changes, besides `main.rs`:
    /// `package.metadata.changes`.
    pub changes: Vec<String>,
    /// The files of the lesson before that this lesson leaves out:
    /// `package.metadata.leaves-out`.
    pub leaves_out: Vec<String>,
}

/// A file of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in the directory `src`.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The file that every program has.
pub const MAIN: &str = "main.rs";

/// A file in two programs. A program without the file has an empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name of the file.
    pub name: String,
    /// The content in the first program.
    pub before: String,
    /// The content in the second program.
    pub after: String,
}

impl Lesson {
    /// The lesson's directory.
    pub fn dir(&self) -> PathBuf {
        common::workspace().join(&self.name)
    }

    /// The files of the lesson's program, as [`program`] reads them.
    ///
    /// # Errors
    ///
    /// As [`program`].
    pub fn program(&self) -> Result<Vec<Source>> {
        program(&self.dir())
    }

    /// Whether its containers have a root of their own.
    pub fn has_root(&self) -> bool {
        self.has_rootfs || self.has_verbs
    }

    /// The lesson before this one, if there is one.
    ///
    /// # Errors
    ///
    /// As [`all`].
    pub fn before(&self) -> Result<Option<Lesson>> {
        Ok(all()?.into_iter().rfind(|lesson| lesson.number < self.number))
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
        let strings = |list: Option<&Value>| -> Vec<String> {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let exercise = metadata.and_then(|table| table.get("exercise"));
        let hints = exercise.and_then(|table| table.get("hints")?.as_array());
        let hints = hints.into_iter().flatten();
        Ok(Some(Lesson {
            number,
            name: name.to_owned(),
            goal: text_of(package.get("description")),
            adds: text_of(metadata.and_then(|table| table.get("adds"))),
            needs_root: fact("needs-root"),
            has_pids: fact("pids"),
            has_rootfs: fact("rootfs"),
            has_layers: fact("layers"),
            has_verbs: fact("verbs"),
            exercise: strings(exercise.and_then(|table| table.get("goals"))),
            hints: hints.filter_map(|hints| strings(Some(hints)).try_into().ok()).collect(),
            changes: strings(metadata.and_then(|table| table.get("changes"))),
            leaves_out: strings(metadata.and_then(|table| table.get("leaves-out"))),
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

/// The files of the program in the crate `dir`: `main.rs`, then the others by name.
///
/// # Errors
///
/// When a file cannot be read.
pub fn program(dir: &Path) -> Result<Vec<Source>> {
    let src = dir.join("src");
    let doing = || format!("read {}", src.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(&src).with_context(doing)? {
        let file = entry.with_context(doing)?.path();
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        // An editor leaves other files here.
        if name.ends_with(".rs") && !name.starts_with('.') {
            let text = fs::read_to_string(&file);
            let text = text.with_context(|| format!("read {}", file.display()))?;
            files.push(Source { name: name.to_owned(), text });
        }
    }
    files.sort_by(|a, b| (a.name != MAIN, &a.name).cmp(&(b.name != MAIN, &b.name)));
    Ok(files)
}

/// The files of two programs, in the order for a reader: `main.rs`, the other files
/// that both have, the new files, the files that only the first has.
pub fn pairs(before: &[Source], after: &[Source]) -> Vec<Pair> {
    let text_in = |program: &[Source], name: &str| {
        let found = program.iter().find(|file| file.name == name);
        found.map(|file| file.text.clone()).unwrap_or_default()
    };
    let is_in = |program: &[Source], name: &str| program.iter().any(|file| file.name == name);
    let (kept, new): (Vec<_>, Vec<_>) = after.iter().partition(|file| is_in(before, &file.name));
    let gone = before.iter().filter(|file| !is_in(after, &file.name));
    let names = kept.into_iter().chain(new).chain(gone).map(|file| file.name.clone());
    names
        .map(|name| {
            let (before, after) = (text_in(before, &name), text_in(after, &name));
            Pair { name, before, after }
        })
        .collect()
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

/// The newest lesson whose step takes a command, and not a verb with a bundle.
///
/// # Errors
///
/// As [`all`].
pub fn last_with_command() -> Result<Lesson> {
    all()?.into_iter().rfind(|lesson| !lesson.has_verbs).context("find a lesson with a command")
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
    use std::collections::HashMap;

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

    /// Each lesson has all features of the lesson before it. With verbs, the bundle says what
    /// the container has.
    #[test]
    fn no_lesson_takes_anything_away() {
        let lessons = all().expect("lessons");
        let with_verbs = lessons.iter().position(|it| it.has_verbs).unwrap_or(lessons.len());
        assert!(lessons[with_verbs..].iter().all(|it| it.has_verbs));
        for pair in lessons[..with_verbs].windows(2) {
            let has = |lesson: &Lesson| [lesson.has_pids, lesson.has_rootfs, lesson.has_layers];
            let lost = has(&pair[0]).into_iter().zip(has(&pair[1])).any(|(had, has)| had && !has);
            assert!(!lost, "{}", pair[1].name);
        }
    }

    /// The first file of an earlier lesson that differs in this lesson, or is missing,
    /// although the lesson does not say so; or that does not differ, or is there, although
    /// it does.
    fn wrong_copy(
        before: &[Source],
        after: &[Source],
        changes: &[&str],
        leaves_out: &[&str],
    ) -> Option<String> {
        let earlier = |pair: &Pair| pair.name != MAIN && !pair.before.is_empty();
        let pairs: Vec<_> = pairs(before, after).into_iter().filter(earlier).collect();
        let wrong = |pair: &&Pair| {
            let listed = |list: &[&str]| list.contains(&pair.name.as_str());
            let is_gone = pair.after.is_empty();
            is_gone != listed(leaves_out)
                || (!is_gone && pair.before != pair.after) != listed(changes)
        };
        let known = |name: &&&str| pairs.iter().any(|pair| pair.name == ***name);
        let mut named = changes.iter().chain(leaves_out);
        let unknown = named.find(|name| !known(name)).map(|name| (*name).to_owned());
        pairs.iter().find(wrong).map(|pair| pair.name.clone()).or(unknown)
    }

    /// A file of an earlier lesson is a copy, or the lesson lists it under `changes`.
    #[test]
    fn a_lesson_changes_only_the_files_that_it_names() {
        for pair in all().expect("lessons").windows(2) {
            let [before, after] = [&pair[0], &pair[1]];
            let [changes, leaves_out] = [&after.changes, &after.leaves_out]
                .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
            let programs = [before, after].map(|lesson| lesson.program().expect("a program"));
            if let Some(file) = wrong_copy(&programs[0], &programs[1], &changes, &leaves_out) {
                panic!(
                    "{}/src/{file}: copy it from {}, or list it in Cargo.toml if and only if the lesson changes it (`changes`) or has no such file (`leaves-out`)",
                    after.name, before.name
                );
            }
        }
    }

    #[test]
    fn a_wrong_copy_is_found() {
        let program = |files: &[(&str, &str)]| -> Vec<Source> {
            let source = |(name, text): &(&str, &str)| Source {
                name: (*name).to_owned(),
                text: (*text).to_owned(),
            };
            files.iter().map(source).collect()
        };
        let before = program(&[(MAIN, "1"), ("a.rs", "a"), ("b.rs", "b")]);
        let new = ("c.rs", "c");
        for (files, changes, leaves_out, wrong) in [
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "b"), new][..], &[][..], &[][..], None),
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "x"), new], &["b.rs"], &[], None),
            (&[(MAIN, "2"), ("a.rs", "x"), ("b.rs", "x"), new], &["b.rs"], &[], Some("a.rs")),
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "b"), new], &["b.rs"], &[], Some("b.rs")),
            (&[(MAIN, "2"), ("a.rs", "a"), new], &[], &[], Some("b.rs")),
            (&[(MAIN, "2"), ("a.rs", "a"), new], &[], &["b.rs"], None),
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "b"), new], &[], &["b.rs"], Some("b.rs")),
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "b"), new], &["c.rs"], &[], Some("c.rs")),
            (&[(MAIN, "2"), ("a.rs", "a"), ("b.rs", "b"), new], &[], &["c.rs"], Some("c.rs")),
        ] {
            let found = wrong_copy(&before, &program(files), changes, leaves_out);
            assert_eq!(found.as_deref(), wrong, "{files:?}");
        }
        let after = program(&[(MAIN, "2"), ("a.rs", "a"), new]);
        let order: Vec<_> = pairs(&before, &after).into_iter().map(|pair| pair.name).collect();
        assert_eq!(order, [MAIN, "a.rs", "c.rs", "b.rs"]);
    }

    /// Code on a projector: the longest line fits beside the table of contents.
    #[test]
    fn the_files_of_a_lesson_are_short_and_narrow() {
        let mut earlier = HashMap::new();
        for lesson in all().expect("lessons") {
            let has_parts = lesson.number >= 10;
            for Source { name, text } in lesson.program().expect("a program") {
                let (lines, columns) = match &*name {
                    MAIN if lesson.number >= 17 => (170, 100),
                    MAIN if lesson.number == 16 => (150, 100),
                    MAIN if has_parts => (125, 100),
                    MAIN => (100, 100),
                    "bridge.rs" => (170, 80),
                    "hooks.rs" | "keep.rs" | "state.rs" => (170, 90),
                    "process.rs" if lesson.number >= 19 => (180, 90),
                    _ => (155, 90),
                };
                let file = format!("{}/src/{name}", lesson.name);
                assert!(text.lines().count() <= lines, "{file} has more than {lines} lines");
                let is_wide = |(_, line): &(usize, &str)| line.chars().count() > columns;
                let wide = text.lines().enumerate().find(is_wide).map(|(at, _)| at + 1);
                assert_eq!(wide, None, "{file} has a line with more than {columns} columns");
                // The title of a copy names the lesson of the original. A file that the
                // lesson before leaves out may begin anew.
                let number = text.strip_prefix("//! Lesson ").and_then(|it| it.split_once(':'));
                let number = number.and_then(|(number, _)| number.parse().ok());
                let known = earlier.get(&name).filter(|(_, last)| {
                    let begins = number == Some(lesson.number) && last + 1 < lesson.number;
                    name != MAIN && !begins
                });
                let first = known.map_or(lesson.number, |(first, _)| *first);
                assert_eq!(number, Some(first), "the title of {file}");
                earlier.insert(name, (first, lesson.number));
            }
        }
    }
}
