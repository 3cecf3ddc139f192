//! The page of a lesson's program: what it adds to the one before, and the
//! whole.

use anyhow::Result;
use similar::{ChangeTag, TextDiff};

use super::page::{Page, escape};
use crate::lessons::Lesson;

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
        text: format!("{head}```rust\n{source}```\n"),
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
            let mut start = 1;
            for op in hunk {
                let (mut left, mut right) = (start, start);
                for change in text.iter_changes(op) {
                    let line = change.value();
                    let number = change.new_index().or(change.old_index()).unwrap_or_default() + 1;
                    match change.tag() {
                        ChangeTag::Equal => {
                            let old = change.old_index().unwrap_or_default() + 1;
                            diff.line("span class=\"old\"", left, old, line);
                            diff.line(
                                "span class=\"new\" aria-hidden=\"true\"",
                                right,
                                number,
                                line,
                            );
                            (left, right) = (left + 1, right + 1);
                        }
                        ChangeTag::Delete => {
                            diff.line("del", left, number, line);
                            (left, diff.removed) = (left + 1, diff.removed + 1);
                        }
                        ChangeTag::Insert => {
                            diff.line("ins", right, number, line);
                            (right, diff.added) = (right + 1, diff.added + 1);
                        }
                    }
                }
                start = left.max(right);
            }
            diff.html += "</div>\n";
        }
        diff
    }

    fn line(&mut self, tag: &str, row: usize, number: usize, line: &str) {
        let name = tag.split(' ').next().unwrap_or(tag);
        let line = escape(line.trim_end());
        self.html +=
            &format!("<{tag} style=\"--row:{row}\" data-line=\"{number}\">{line}</{name}>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_in_unified_order_and_knows_its_rows() {
        let diff = Diff::new("a\nb\nc\n", "a\n<x>\ny\nc\n");
        assert_eq!((diff.added, diff.removed), (2, 1));
        let lines: Vec<_> = diff.html.lines().collect();
        assert_eq!(
            lines,
            [
                "<div class=\"hunk\">",
                "<span class=\"old\" style=\"--row:1\" data-line=\"1\">a</span>",
                "<span class=\"new\" aria-hidden=\"true\" style=\"--row:1\" data-line=\"1\">a</span>",
                "<del style=\"--row:2\" data-line=\"2\">b</del>",
                "<ins style=\"--row:2\" data-line=\"2\">&lt;x&gt;</ins>",
                "<ins style=\"--row:3\" data-line=\"3\">y</ins>",
                "<span class=\"old\" style=\"--row:4\" data-line=\"3\">c</span>",
                "<span class=\"new\" aria-hidden=\"true\" style=\"--row:4\" data-line=\"4\">c</span>",
                "</div>",
            ]
        );
    }
}
