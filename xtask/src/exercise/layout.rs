//! A lesson's program without its new code, with goals in the places.

use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use lessons::{Lesson, MAIN, Pair, Source};
use regex_lite::Regex;
use similar::{DiffOp, TextDiff};

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

/// A part of a file after its head.
#[derive(Debug, PartialEq)]
pub(super) struct Piece {
    /// The lines that the learner finds.
    pub(super) before: String,
    /// The lines of the lesson.
    pub(super) after: String,
    /// The goal, if the learner adds code here. Otherwise, it is empty.
    pub(super) comment: String,
}

impl Piece {
    fn new(before: impl Into<String>, after: impl Into<String>) -> Piece {
        Piece { before: before.into(), after: after.into(), comment: String::new() }
    }

    fn adds_code(&self) -> bool {
        !self.after.is_empty() && self.before != self.after
    }
}

/// A file of the program, in pieces.
pub(super) struct Parts {
    /// Its name in the directory `src`.
    pub(super) name: String,
    /// The text before the first function: the title, the imports, the tables.
    head: String,
    pub(super) pieces: Vec<Piece>,
}

/// The files of an exercise, with a goal at each place where the lesson adds code.
pub(super) fn files(lesson: &Lesson) -> Result<Vec<Parts>> {
    let missing = || {
        format!(
            "make the exercise {}: `package.metadata.exercise.goals` in its Cargo.toml must have a goal for \
             each place where it adds code, and no more",
            lesson.name
        )
    };
    let mut files = compared(lesson)?;
    let mut goals = lesson.exercise.iter();
    for piece in files.iter_mut().flat_map(|file| &mut file.pieces).filter(|it| it.adds_code()) {
        piece.comment = todo(lesson.number, goals.next().with_context(missing)?, &piece.after);
    }
    ensure!(goals.next().is_none(), missing());
    Ok(files)
}

/// Compares the program of a lesson with the lesson before, file by file. With verbs, a
/// lesson is too long to be written as a whole: the learner writes some of its functions.
fn compared(lesson: &Lesson) -> Result<Vec<Parts>> {
    let program = lesson.program()?;
    if lesson.has_verbs {
        let of = |Source { name, text }: Source| {
            let pieces = bodies(&name, &text, &lesson.exercise)?;
            Ok(Parts { name, head: String::new(), pieces })
        };
        return program.into_iter().map(of).collect();
    }
    let before = match lesson.before()? {
        None => vec![Source { name: MAIN.to_owned(), text: NOTHING.to_owned() }],
        Some(before) => before.program()?,
    };
    let of = |Pair { name, before, after }: Pair| {
        let (head, code) = split(&after);
        let pieces = if before.is_empty() {
            new_places(code, &lesson.exercise)
        } else {
            changed_pieces(split(&before).1, code)
        };
        Parts { name, head: with_imports(head, &before), pieces }
    };
    Ok(lessons::pairs(&before, &program).into_iter().map(of).collect())
}

/// The code of a new file: a place for each function that a goal names first, as in
/// "Write `mount_proc`."
fn new_places(code: &str, goals: &[String]) -> Vec<Piece> {
    let start = |goal: &String| {
        let (name, _) = goal.strip_prefix("Write `")?.split_once('`')?;
        let at = code.find(&format!("fn {name}("))?;
        // The empty line before the comment of the function.
        Some(code[..at].rfind("\n\n")? + 1)
    };
    let mut cuts: Vec<usize> = goals.iter().filter_map(start).collect();
    cuts.extend([0, code.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| Piece::new("", &code[cut[0]..cut[1]])).collect()
}

/// The code of a file without the functions that a goal names first, as in "Write `join` in
/// namespaces.rs".
fn bodies(file: &str, code: &str, goals: &[String]) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut left = code;
    for goal in goals {
        let named = goal.strip_prefix("Write `").and_then(|it| it.split_once("` in "));
        let (name, place) = named.with_context(|| format!("find a function in {goal:?}"))?;
        if place.split(".rs").next() != file.strip_suffix(".rs") {
            continue;
        }
        let missing = || format!("find a function {name} without a result, next in {file}");
        let at = left.find(&format!("fn {name}(")).with_context(missing)?;
        let open = at + left[at..].find("{\n").with_context(missing)? + 2;
        ensure!(left[at..open].ends_with("-> Result<()> {\n"), missing());
        let line = left[..at].rsplit('\n').next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = left[open..].find(&format!("\n{indent}}}\n")).with_context(missing)?;
        let end = open + end + 1;
        pieces.push(Piece::new(&left[..open], &left[..open]));
        let nothing = format!("{indent}    Ok(()) // `{name}` does nothing yet\n");
        pieces.push(Piece::new(nothing, &left[open..end]));
        left = &left[end..];
    }
    pieces.push(Piece::new(left, left));
    Ok(pieces)
}

fn changed_pieces(before: &str, after: &str) -> Vec<Piece> {
    let diff = TextDiff::from_lines(before, after);
    let piece = |op: &DiffOp| {
        let before = diff.old_slices()[op.old_range()].concat();
        Piece::new(before, diff.new_slices()[op.new_range()].concat())
    };
    diff.ops().iter().map(piece).collect()
}

/// The program that the learner begins with: that of the lesson before, with this
/// lesson's files and imports, and the goals.
pub(super) fn with_goals(lesson: &Lesson) -> Result<Vec<Source>> {
    let text = |Parts { name, head, pieces }| {
        let pieces = pieces.into_iter().map(|it: Piece| it.comment + &it.before);
        Source { name, text: head + &pieces.collect::<String>() }
    };
    Ok(files(lesson)?.into_iter().map(text).collect())
}

/// The head of a file. The code that the learner replaces is still there, so the names
/// that only the old file imports are imported, too.
fn with_imports(head: &str, old: &str) -> String {
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
    out
}

/// The path and the names in a line `use path::{a, b};` or `use path::a;`.
fn imported(line: &str) -> Option<(&str, Vec<&str>)> {
    let (path, names) = line.strip_prefix("use ")?.strip_suffix(';')?.rsplit_once("::")?;
    let names = names.trim_start_matches('{').trim_end_matches('}');
    Some((path, names.split(", ").collect()))
}

/// The text before the first function with its comment and attributes, and the rest.
fn split(source: &str) -> (&str, &str) {
    static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"(?m)^(?:(?:///|#\[).*\n)*(?:pub\(crate\) )?fn ";
        Regex::new(pattern).expect("a pattern")
    });
    source.split_at(FUNCTION.find(source).map_or(source.len(), |function| function.start()))
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
    let mut text = format!("{start} {}", mark(number));
    let mut width = text.len();
    for word in goal.split_whitespace() {
        if width + 1 + word.len() > WIDTH {
            text += &format!("\n{start}");
            width = start.len();
        }
        text += &format!(" {word}");
        width += 1 + word.len();
    }
    let above = if added.starts_with('\n') { "\n" } else { "" };
    let below = if added.ends_with("\n\n") { "\n" } else { "" };
    format!("{above}{text}\n{below}")
}

/// The most columns of a comment.
const WIDTH: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lesson_has_a_goal_for_each_place_where_it_adds_code() {
        for lesson in lessons::all().expect("lessons") {
            let program = with_goals(&lesson).expect(&lesson.name);
            let goals = program.iter().map(|file| file.text.matches(&mark(lesson.number)).count());
            assert_eq!(goals.sum::<usize>(), lesson.exercise.len(), "{}", lesson.name);
            assert!(!lesson.exercise.is_empty());
        }
    }

    #[test]
    fn a_new_file_has_its_head_and_a_place_for_each_function_that_a_goal_names() {
        let text = "//! A\n\nuse a;\n\n/// T\nconst T: u8 = 1;\n\n/// B\npub(crate) fn b() {\n\n}\n\n\
                    fn c() {}\n\n/// D\nfn d() {}\n";
        let (head, code) = split(text);
        assert_eq!(head, "//! A\n\nuse a;\n\n/// T\nconst T: u8 = 1;\n\n");
        let goals =
            ["Write `b` and `c`.", "Write `d`.", "Call `c`.", "Write `e`."].map(str::to_owned);
        let expected = ["/// B\npub(crate) fn b() {\n\n}\n\nfn c() {}\n", "\n/// D\nfn d() {}\n"];
        assert_eq!(new_places(code, &goals), expected.map(|added| Piece::new("", added)));
    }

    #[test]
    fn a_lesson_with_verbs_is_there_but_for_some_functions() {
        let text = "/// A\nfn a() -> Result<()> {\n    x\n}\n\nimpl B {\n    fn b(\n        &self,\n    \
                    ) -> Result<()> {\n        if y {\n        }\n        z\n    }\n}\n";
        let goals = ["Write `a` in a.rs: a.", "Write `b` in a.rs: b.", "Write `c` in c.rs: c."];
        let pieces = bodies("a.rs", text, &goals.map(str::to_owned)).expect("pieces");
        let places = pieces.iter().filter(|piece| piece.adds_code());
        let places = places.map(|piece| (&*piece.after, &*piece.before));
        let b =
            ("        if y {\n        }\n        z\n", "        Ok(()) // `b` does nothing yet\n");
        assert!(places.eq([("    x\n", "    Ok(()) // `a` does nothing yet\n"), b]));
        assert!(bodies("c.rs", text, &goals.map(str::to_owned)).is_err());
        let turned = [goals[1], goals[0]].map(str::to_owned);
        assert!(bodies("a.rs", text, &turned).is_err());
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
