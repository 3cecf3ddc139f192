//! The page of a lesson's program: what it adds to the one before, and the
//! whole.

use std::ops::Range;

use anyhow::Result;
use similar::TextDiff;

use super::page::Page;
use crate::lessons::Lesson;
use crate::picture::escape;

/// How many unchanged lines stand around a change.
const CONTEXT: usize = 3;

/// The page of a lesson's program.
pub(super) fn page(before: Option<&Lesson>, lesson: &Lesson) -> Result<Page> {
    let source = lesson.source()?;
    let b = lesson.number;
    let head = match before {
        None => format!("# The program of lesson {b}\n\n"),
        Some(before) => {
            let a = before.number;
            let diff = Diff::new(&before.source()?, &source);
            format!(
                "# What lesson {b} adds\n\n\
                 Lines added to the program of lesson {a}: {}. Lines taken out: {}. \
                 In a terminal: `cargo xtask diff {a} {b}`.\n\n\
                 <div class=\"diff\">\n\
                 <div class=\"names\"><span>{}</span><span>{}</span></div>\n\
                 {}</div>\n\n## The whole program\n\n",
                diff.added, diff.removed, before.name, lesson.name, diff.html
            )
        }
    };
    Ok(Page {
        path: format!("{}/program.md", lesson.name).into(),
        text: format!("{head}<div class=\"program\">\n\n```rust\n{source}```\n\n</div>\n"),
    })
}

/// A difference as HTML.
///
/// The lines stand in the order of a unified diff. On a wide page a grid sets
/// them side by side, for each knows its row; there an unchanged line shows
/// twice, and so it is written twice.
struct Diff {
    html: String,
    added: usize,
    removed: usize,
}

impl Diff {
    fn new(from: &str, to: &str) -> Diff {
        let text = TextDiff::from_lines(from, to);
        let mut diff = Diff { html: String::new(), added: 0, removed: 0 };
        for (index, hunk) in text.grouped_ops(CONTEXT).iter().enumerate() {
            if index > 0 {
                diff.html += "<div class=\"gap\">⋮</div>\n";
            }
            diff.html += "<div class=\"hunk\">\n";
            let mut row = 1;
            for op in hunk {
                let (old, new) = (op.old_range(), op.new_range());
                for change in text.iter_changes(op) {
                    let line = change.value();
                    // Numbers count from 0 here.
                    match (change.old_index(), change.new_index()) {
                        (Some(a), Some(b)) => {
                            let row = row + a - old.start;
                            diff.line("span class=\"old\"", row, 1, a, line);
                            diff.line("span class=\"new\" aria-hidden=\"true\"", row, 1, b, line);
                        }
                        (Some(a), None) => {
                            let rows = rows(a, &old, &new);
                            diff.line("del", row + a - old.start, rows, a, line);
                            diff.removed += 1;
                        }
                        (None, Some(b)) => {
                            let rows = rows(b, &new, &old);
                            diff.line("ins", row + b - new.start, rows, b, line);
                            diff.added += 1;
                        }
                        (None, None) => {}
                    }
                }
                row += old.len().max(new.len());
            }
            diff.html += "</div>\n";
        }
        diff
    }

    fn line(&mut self, tag: &str, row: usize, rows: usize, number: usize, line: &str) {
        let name = tag.split(' ').next().unwrap_or(tag);
        let indent = line.len() - line.trim_start_matches(' ').len();
        let (number, line) = (number + 1, escape(line.trim_end()));
        self.html += &format!(
            "<{tag} style=\"--row:{row}/span {rows};--indent:{indent}\" data-line=\"{number}\">{line}</{name}>\n"
        );
    }
}

/// How many rows a line takes: the last of the shorter side makes up for what
/// the other side has more.
fn rows(line: usize, side: &Range<usize>, other: &Range<usize>) -> usize {
    if line + 1 == side.end { other.len().saturating_sub(side.len()) + 1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_in_unified_order_and_knows_its_rows() {
        let diff = Diff::new("a\nb\nc\n", "a\n<x>\n  y\nc\n");
        assert_eq!((diff.added, diff.removed), (2, 1));
        let line = |tag: &str, row: usize, rows: usize, number: usize, text: &str| {
            let name = tag.split(' ').next().unwrap_or(tag);
            let indent = if text.starts_with(' ') { 2 } else { 0 };
            format!(
                "<{tag} style=\"--row:{row}/span {rows};--indent:{indent}\" data-line=\"{number}\">{text}</{name}>\n"
            )
        };
        let twin = "span class=\"new\" aria-hidden=\"true\"";
        let expected = [
            line("span class=\"old\"", 1, 1, 1, "a"),
            line(twin, 1, 1, 1, "a"),
            line("del", 2, 2, 2, "b"),
            line("ins", 2, 1, 2, "&lt;x&gt;"),
            line("ins", 3, 1, 3, "  y"),
            line("span class=\"old\"", 4, 1, 3, "c"),
            line(twin, 4, 1, 4, "c"),
        ];
        assert_eq!(diff.html, format!("<div class=\"hunk\">\n{}</div>\n", expected.concat()));
    }
}
