//! Hints for an exercise: each call gives the next hint.

use std::fs;

use anyhow::{Context, Result};
use lessons::Lesson;

use super::Exercise;
use super::layout::{Piece, pieces, todo};

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
    let (main, given) = (exercise.source()?, exercise.file(FILE));
    let mut counts: Vec<usize> = fs::read_to_string(&given)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|count| count.parse().ok())
        .collect();
    counts.resize(places.len(), 0);
    let open = |index: &usize| main.contains(first_line(&places[*index].comment));
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
    fs::write(&given, text.join(" ") + "\n")
        .with_context(|| format!("write {}", given.display()))?;
    // A hint may be code with empty lines around it. The indent of the code stays.
    let hint = places[place].hints[kind].trim_start_matches('\n').trim_end();
    let number = kind + 1;
    let then = match (number == KINDS.len(), place + 1 == places.len()) {
        (false, _) => "",
        (true, false) => {
            "\nPut it in the place of the TODO comment. Then `--hint` goes on to the next place.\n"
        }
        (true, true) => "\nPut it in the place of the TODO comment.\n",
    };
    Ok(format!(
        "place {} of {}, hint {number} of {}, {}:\n\n{hint}\n{then}",
        place + 1,
        places.len(),
        KINDS.len(),
        KINDS[kind]
    ))
}

/// A place in the program where the learner writes code.
struct Place {
    /// The comment in the unchanged exercise.
    comment: String,
    hints: [String; KINDS.len()],
}

/// The places of a lesson, in order. The last hint for each place is the code.
fn places(lesson: &Lesson) -> Result<Vec<Place>> {
    let missing = || {
        format!(
            "give hints for {}: its Cargo.toml must have three hints for each goal",
            lesson.name
        )
    };
    let mut hints = lesson.hints.iter();
    let mut goals = lesson.exercise.iter();
    let mut places = Vec::new();
    for piece in pieces(lesson)? {
        let Piece::Place { added, .. } = piece else { continue };
        let comment = todo(lesson.number, goals.next().with_context(missing)?, &added);
        let [idea, page, call] = hints.next().with_context(missing)?.clone();
        places.push(Place { comment, hints: [idea, page, call, added] });
    }
    Ok(places)
}

fn first_line(comment: &str) -> &str {
    comment.trim_start().lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exercise::layout;
    use crate::say::quoted;

    /// All hints together give the lesson's own program, which passes.
    #[test]
    fn each_chain_of_hints_ends_in_the_lessons_program() {
        let dir = testkit::tempdir();
        for lesson in lessons::all().expect("lessons") {
            let exercise = Exercise::new(lesson, Some(dir.path())).expect("an exercise");
            let lesson = &exercise.lesson;
            exercise.lay_out().expect("laid out");
            let mut main = exercise.source().expect("the program");
            let places = places(lesson).expect("places");
            for (index, place) in places.iter().enumerate() {
                for (kind, expected) in KINDS.iter().zip(&place.hints) {
                    let said = next(&exercise).expect("a hint");
                    assert!(
                        said.contains(kind)
                            && said.contains(expected.trim_matches('\n').trim_end()),
                        "{said}"
                    );
                    assert!(!said.contains("\n\n\n") && said.ends_with('\n'), "{said}");
                    let goes_on = *kind == "the code" && index + 1 < places.len();
                    assert_eq!(said.contains("the next place"), goes_on, "{said}");
                }
                main = main.replacen(&place.comment, &place.hints[KINDS.len() - 1], 1);
                fs::write(exercise.main(), &main).expect("write the program");
            }
            let removed = layout::removed(lesson).expect("what goes");
            for old in removed {
                main = main.replacen(&old, "", 1);
            }
            // The imports of the removed code remain.
            let source = lesson.source().expect("the lesson");
            let left = main.lines().filter(|line| !line.starts_with("use "));
            assert!(left.eq(source.lines().filter(|line| !line.starts_with("use "))), "{main}");
            let last = next(&exercise).expect("an answer");
            assert!(last.starts_with("there is no hint left; "), "{last}");
            assert!(last.contains(&format!(" --diff --dir {}", quoted(dir.path()))), "{last}");
            assert!(last.ends_with('\n'), "{last}");
        }
    }
}
