//! A lesson's program without its new code, with goals in the places.

use anyhow::{Context, Result, ensure};
use lessons::Lesson;
use similar::{ChangeTag, TextDiff};

/// The start of lesson 1. Each other lesson starts from the lesson before it.
const NOTHING: &str = "\
fn main() -> ExitCode {
    let step = common::step!();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    Ok(Exit::SUCCESS)
}
";

/// A part of the program after the imports.
pub(super) enum Piece {
    /// Lines of the lesson before, which stay.
    Kept(String),
    /// A place where this lesson adds code.
    Place {
        added: String,
        /// Lines of the lesson before, which the new code replaces.
        replaced: String,
    },
    /// Lines of the lesson before, which the learner only removes.
    Removed(String),
}

/// Compares the program of a lesson with the lesson before, in pieces.
pub(super) fn pieces(lesson: &Lesson) -> Result<Vec<Piece>> {
    let source = lesson.source()?;
    let code = split(&source)?.1;
    let before = match lesson.number {
        1 => NOTHING.to_owned(),
        number => split(&lessons::find(&(number - 1).to_string())?.source()?)?.1.to_owned(),
    };
    let mut pieces = Vec::new();
    let (mut added, mut replaced) = (String::new(), String::new());
    let changed = |added: &mut String, replaced: &mut String, pieces: &mut Vec<Piece>| {
        let (added, replaced) = (std::mem::take(added), std::mem::take(replaced));
        match (added.is_empty(), replaced.is_empty()) {
            (true, true) => {}
            (true, false) => pieces.push(Piece::Removed(replaced)),
            (false, _) => pieces.push(Piece::Place { added, replaced }),
        }
    };
    for change in TextDiff::from_lines(before.as_str(), code).iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => added += change.value(),
            ChangeTag::Delete => replaced += change.value(),
            ChangeTag::Equal => {
                changed(&mut added, &mut replaced, &mut pieces);
                match pieces.last_mut() {
                    Some(Piece::Kept(kept)) => *kept += change.value(),
                    _ => pieces.push(Piece::Kept(change.value().to_owned())),
                }
            }
        }
    }
    changed(&mut added, &mut replaced, &mut pieces);
    Ok(pieces)
}

/// The program of the lesson before, with this lesson's imports, and a goal at each
/// place where this lesson adds code.
pub(super) fn with_goals(lesson: &Lesson) -> Result<String> {
    let missing = || {
        format!(
            "make the exercise {}: `package.metadata.exercise.goals` in its Cargo.toml must have a goal for \
             each place where it adds code, and no more",
            lesson.name
        )
    };
    let mut goals = lesson.exercise.iter();
    let mut out = imports(lesson)?;
    for piece in pieces(lesson)? {
        match piece {
            Piece::Kept(text) | Piece::Removed(text) => out += &text,
            Piece::Place { added, replaced } => {
                out += &todo(lesson.number, goals.next().with_context(missing)?, &added);
                out += &replaced;
            }
        }
    }
    ensure!(goals.next().is_none(), missing());
    Ok(out)
}

/// The text before `main` in the lesson. The code that the learner replaces is
/// still there, so the names that only this code needs are imported, too.
fn imports(lesson: &Lesson) -> Result<String> {
    let source = lesson.source()?;
    let head = split(&source)?.0;
    let old = match lesson.number {
        1 => String::new(),
        number => lessons::find(&(number - 1).to_string())?.source()?,
    };
    let has = |path: &str, name: &str| {
        let mut imported = head.lines().filter_map(imported);
        imported.any(|(other, names)| other == path && names.contains(&name))
    };
    let mut out = head.to_owned();
    for (path, names) in old.lines().filter_map(imported) {
        for name in names.into_iter().filter(|name| !has(path, name)) {
            let line = format!("use {path}::{name};\n");
            let at = out.rfind("\nuse ").map_or(0, |at| at + 1);
            out.insert_str(at, &line);
        }
    }
    Ok(out)
}

/// The path and the names in a line `use path::{a, b};` or `use path::a;`.
fn imported(line: &str) -> Option<(&str, Vec<&str>)> {
    let (path, names) = line.strip_prefix("use ")?.strip_suffix(';')?.rsplit_once("::")?;
    let names = names.trim_start_matches('{').trim_end_matches('}');
    Some((path, names.split(", ").collect()))
}

/// The text before `main`, and the rest.
fn split(source: &str) -> Result<(&str, &str)> {
    let main = source.find("fn main()").context("find main in a lesson")?;
    Ok(source.split_at(main))
}

/// The first words of each goal.
pub(super) fn mark(number: u32) -> String {
    format!("TODO(lesson {number}):")
}

/// A goal as a comment in the place of the code `added`: with the same indent and
/// the same blank lines around it.
pub(super) fn todo(number: u32, goal: &str, added: &str) -> String {
    let line = added.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let start = format!("{indent}//");
    let mut out = String::new();
    if added.starts_with('\n') {
        out.push('\n');
    }
    let mut line = format!("{start} {}", mark(number));
    for word in goal.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out += &line;
            out.push('\n');
            line.clone_from(&start);
        }
        line.push(' ');
        line += word;
    }
    out += &line;
    out.push('\n');
    if added.ends_with("\n\n") {
        out.push('\n');
    }
    out
}

/// The most columns of a comment.
const WIDTH: usize = 90;

/// The lines that a learner removes, in order.
#[cfg(test)]
pub(super) fn removed(lesson: &Lesson) -> Result<Vec<String>> {
    let of = |piece| match piece {
        Piece::Kept(_) => None,
        Piece::Place { replaced, .. } => Some(replaced).filter(|it| !it.is_empty()),
        Piece::Removed(text) => Some(text),
    };
    Ok(pieces(lesson)?.into_iter().filter_map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lesson_has_a_goal_for_each_place_where_it_adds_code() {
        for lesson in lessons::all().expect("lessons") {
            let source = with_goals(&lesson).expect(&lesson.name);
            assert_eq!(
                source.matches(&mark(lesson.number)).count(),
                lesson.exercise.len(),
                "{source}"
            );
            assert!(!lesson.exercise.is_empty());
        }
    }

    #[test]
    fn a_goal_stands_where_the_code_would() {
        let goal = "Make a thing. ".repeat(8);
        let made = todo(3, &goal, "\n    let thing = 1;\n");
        let expected = "\n    \
             // TODO(lesson 3): Make a thing. Make a thing. Make a thing. Make a thing. Make a\n    \
             // thing. Make a thing. Make a thing. Make a thing.\n";
        assert_eq!(made, expected);
    }
}
