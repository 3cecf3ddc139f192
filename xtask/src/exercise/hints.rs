//! Hints for an exercise: each call gives the next hint.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lessons::Lesson;

use super::layout::{Piece, pieces, todo};

/// The kinds of hints, in the order of the calls.
const KINDS: [&str; 4] = ["the idea", "where to read", "the call", "the code"];

/// The next hint for the program `main`. The file `given` counts the hints, with a
/// number for each place.
///
/// The place is the first place whose comment is still in the program, else the
/// first place that has hints left.
pub(super) fn next(lesson: &Lesson, main: &str, given: &Path) -> Result<String> {
    let places = places(lesson)?;
    let mut counts: Vec<usize> = fs::read_to_string(given)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|count| count.parse().ok())
        .collect();
    counts.resize(places.len(), 0);
    let open = |index: &usize| main.contains(first_line(&places[*index].comment));
    let left = |index: &usize| counts[*index] < KINDS.len();
    let Some(place) = (0..places.len()).find(open).or_else(|| (0..places.len()).find(left)) else {
        return Ok(
            "there is no hint left; `--diff` compares your program with the lesson's program"
                .to_owned(),
        );
    };
    let kind = counts[place].min(KINDS.len() - 1);
    counts[place] = kind + 1;
    let text: Vec<String> = counts.iter().map(usize::to_string).collect();
    fs::write(given, text.join(" ") + "\n")
        .with_context(|| format!("write {}", given.display()))?;
    let hint = &places[place].hints[kind];
    let number = kind + 1;
    let then = match (number == KINDS.len(), place + 1 == places.len()) {
        (false, _) => "",
        (true, false) => {
            "\nPut it in the place of the TODO comment. Then `--hint` goes on to the next place.\n"
        }
        (true, true) => "\nPut it in the place of the TODO comment.\n",
    };
    Ok(format!(
        "place {} of {}, hint {number} of {}, {}:\n\n{}\n{then}",
        place + 1,
        places.len(),
        KINDS.len(),
        KINDS[kind],
        hint.trim_end()
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
    use crate::exercise::layout::{self, with_goals};

    /// All hints together give the lesson's own program, which passes.
    #[test]
    fn each_chain_of_hints_ends_in_the_lessons_program() {
        let dir = testkit::tempdir();
        for lesson in lessons::all().expect("lessons") {
            let given = dir.path().join(&lesson.name);
            let mut main = with_goals(&lesson).expect("laid out");
            let places = places(&lesson).expect("places");
            for (index, place) in places.iter().enumerate() {
                for (kind, expected) in KINDS.iter().zip(&place.hints) {
                    let said = next(&lesson, &main, &given).expect("a hint");
                    assert!(said.contains(kind) && said.contains(expected.trim_end()), "{said}");
                    let goes_on = *kind == "the code" && index + 1 < places.len();
                    assert_eq!(said.contains("the next place"), goes_on, "{said}");
                }
                main = main.replacen(&place.comment, &place.hints[KINDS.len() - 1], 1);
            }
            let removed = layout::removed(&lesson).expect("what goes");
            for old in removed {
                main = main.replacen(&old, "", 1);
            }
            // The imports of the removed code remain.
            let source = lesson.source().expect("the lesson");
            let left = main.lines().filter(|line| !line.starts_with("use "));
            assert!(left.eq(source.lines().filter(|line| !line.starts_with("use "))), "{main}");
            assert!(next(&lesson, &main, &given).expect("an answer").contains("no hint left"));
        }
    }
}
