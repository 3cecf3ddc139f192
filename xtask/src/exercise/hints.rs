//! Hints for an exercise: each call gives the next hint.

use std::fs;

use anyhow::{Context, Result};
use lessons::Lesson;

use super::Exercise;
use super::layout::{Parts, Piece, files};
use crate::file;

/// The file with the number of hints that the learner has seen for each place.
pub(super) const FILE: &str = ".hints";

/// The kinds of hints, in the order of the calls.
const KINDS: [&str; 4] = ["the idea", "where to read", "the call", "the code"];

/// The next hint for the learner's program.
///
/// The place is the first place whose comment is still in the program, else the
/// first place that has hints left.
pub(super) fn next(exercise: &Exercise) -> Result<String> {
    let places = places(&exercise.lesson)?;
    let (program, given) = (exercise.program()?, exercise.file(FILE));
    let mut counts: Vec<usize> = fs::read_to_string(&given)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|count| count.parse().ok())
        .collect();
    counts.resize(places.len(), 0);
    let open = |index: &usize| {
        let Place { file, comment, .. } = &places[*index];
        program.iter().any(|it| it.name == *file && it.text.contains(first_line(comment)))
    };
    let left = |index: &usize| counts[*index] < KINDS.len();
    let Some(place) = (0..places.len()).find(open).or_else(|| (0..places.len()).find(left)) else {
        let (number, option) = (exercise.lesson.number, &exercise.option);
        return Ok(format!(
            "there is no hint left; `cargo xtask exercise {number} --diff{option}` compares your program with the lesson's program\n"
        ));
    };
    let kind = counts[place].min(KINDS.len() - 1);
    counts[place] = kind + 1;
    let text: Vec<String> = counts.iter().map(usize::to_string).collect();
    file::write(&given, text.join(" ") + "\n")?;
    let Place { file, hints, .. } = &places[place];
    // A hint may be code with empty lines around it. The indent of the code stays.
    let hint = hints[kind].trim_start_matches('\n').trim_end();
    let number = kind + 1;
    let then = match (number == KINDS.len(), place + 1 == places.len()) {
        (false, _) => "",
        (true, false) => {
            "\nPut it in the place of the TODO comment. Then `--hint` goes on to the next place.\n"
        }
        (true, true) => "\nPut it in the place of the TODO comment.\n",
    };
    Ok(format!(
        "place {} of {}, in {file}, hint {number} of {}, {}:\n\n{hint}\n{then}",
        place + 1,
        places.len(),
        KINDS.len(),
        KINDS[kind]
    ))
}

/// A place in the program where the learner writes code.
struct Place {
    /// The name of its file.
    file: String,
    /// The comment in the unchanged exercise.
    comment: String,
    hints: [String; KINDS.len()],
}

/// The places of a lesson, in order. The last hint for each place is the code.
fn places(lesson: &Lesson) -> Result<Vec<Place>> {
    let mut hints = lesson.hints.iter();
    let mut places = Vec::new();
    for Parts { name: file, pieces, .. } in files(lesson)? {
        for Piece { comment, after, .. } in pieces {
            if !comment.is_empty() {
                let [idea, page, call] = hints.next().cloned().with_context(|| {
                    let name = &lesson.name;
                    format!("give hints for {name}: each goal in its Cargo.toml needs three hints")
                })?;
                let file = file.clone();
                places.push(Place { file, comment, hints: [idea, page, call, after] });
            }
        }
    }
    Ok(places)
}

fn first_line(comment: &str) -> &str {
    comment.trim_start().lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::say::quoted;
    use lessons::Source;

    /// All hints together give the lesson's own program, which passes.
    #[test]
    fn each_chain_of_hints_ends_in_the_lessons_program() {
        let dir = testkit::tempdir();
        for lesson in lessons::all().expect("lessons") {
            let exercise = Exercise::new(lesson, Some(dir.path())).expect("an exercise");
            let lesson = &exercise.lesson;
            exercise.lay_out().expect("laid out");
            let places = places(lesson).expect("places");
            let replace = |name: &str, old: &str, new: &str| {
                let file = exercise.source_file(name);
                let text = fs::read_to_string(&file).expect("the program");
                fs::write(&file, text.replacen(old, new, 1)).expect("write the program");
            };
            for (index, place) in places.iter().enumerate() {
                for (kind, expected) in KINDS.iter().zip(&place.hints) {
                    let said = next(&exercise).expect("a hint");
                    assert!(
                        said.contains(kind)
                            && said.contains(&format!(", in {}, ", place.file))
                            && said.contains(expected.trim_matches('\n').trim_end()),
                        "{said}"
                    );
                    assert!(!said.contains("\n\n\n") && said.ends_with('\n'), "{said}");
                    let goes_on = *kind == "the code" && index + 1 < places.len();
                    assert_eq!(said.contains("the next place"), goes_on, "{said}");
                }
                replace(&place.file, &place.comment, &place.hints[KINDS.len() - 1]);
            }
            // The lines that are not replaced, but removed.
            for file in files(lesson).expect("files") {
                for piece in
                    file.pieces.iter().filter(|it| it.after.is_empty() || !it.comment.is_empty())
                {
                    replace(&file.name, &piece.before, "");
                }
            }
            // The imports of the removed code remain.
            let without_imports = |program: Vec<Source>| -> Vec<(String, Vec<String>)> {
                let lines = |text: &str| {
                    let lines = text.lines().filter(|line| !line.starts_with("use "));
                    lines.map(str::to_owned).collect()
                };
                program.into_iter().map(|it| (it.name, lines(&it.text))).collect()
            };
            let [made, ours] = [exercise.program(), lesson.program()]
                .map(|program| without_imports(program.expect("a program")));
            assert_eq!(made, ours);
            let last = next(&exercise).expect("an answer");
            assert!(last.starts_with("there is no hint left; "), "{last}");
            assert!(last.contains(&format!(" --diff --dir {}", quoted(dir.path()))), "{last}");
            assert!(last.ends_with('\n'), "{last}");
        }
    }
}
