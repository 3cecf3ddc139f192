//! The page of a lesson's program: the whole program, with the lines that it adds
//! to the program before it, and the lines that it removes.

use anyhow::Result;
use similar::{ChangeTag, TextDiff};

use super::page::Page;
use crate::picture::escape;
use lessons::Lesson;

/// The page of a lesson's program.
pub(super) fn page(before: Option<&Lesson>, lesson: &Lesson) -> Result<Page> {
    let source = lesson.source()?;
    let number = lesson.number;
    let text = match before {
        None => {
            let program = Program::new(&source, &source);
            format!("# The program of lesson {number}\n\n{}", program.html)
        }
        Some(before) => {
            let a = before.number;
            let program = Program::new(&before.source()?, &source);
            format!(
                "# What lesson {number} adds\n\n\
                 The whole program of lesson {number}. \
                 Lines added to the program of lesson {a}: {}. Lines removed: {}. \
                 In a terminal: `cargo xtask diff {a} {number}`.\n\n{}",
                program.added, program.removed, program.html
            )
        }
    };
    Ok(Page { path: format!("{}/program.md", lesson.name).into(), text })
}

/// A program as HTML, compared with the program before it.
///
/// Every line is an element that includes its newline. So the text of the block is
/// the program, if the removed lines are left out. The browser's highlighter keeps
/// the elements.
struct Program {
    html: String,
    added: usize,
    removed: usize,
}

impl Program {
    fn new(before: &str, source: &str) -> Program {
        let mut program = Program { html: String::new(), added: 0, removed: 0 };
        program.html += "<div class=\"program\">\n<pre><code class=\"language-rust\">";
        for change in TextDiff::from_lines(before, source).iter_all_changes() {
            let tag = match change.tag() {
                ChangeTag::Equal => "span",
                ChangeTag::Insert => "ins",
                ChangeTag::Delete => "del",
            };
            program.added += usize::from(tag == "ins");
            program.removed += usize::from(tag == "del");
            // Numbers count from 0 here. A removed line has no number.
            let number = change.new_index().map(|index| format!(" data-line=\"{}\"", index + 1));
            let number = number.unwrap_or_default();
            let line = escape(change.value().trim_end());
            program.html += &format!("<{tag}{number}>{line}\n</{tag}>");
        }
        program.html += "</code></pre>\n</div>\n";
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_whole_with_its_changes_marked() {
        let program = Program::new("a\nb\n\nc\n", "a\n<x>\n  y\n\nc\n");
        assert_eq!((program.added, program.removed), (2, 1));
        let expected = "<div class=\"program\">\n<pre><code class=\"language-rust\">\
             <span data-line=\"1\">a\n</span>\
             <del>b\n</del>\
             <ins data-line=\"2\">&lt;x&gt;\n</ins>\
             <ins data-line=\"3\">  y\n</ins>\
             <span data-line=\"4\">\n</span>\
             <span data-line=\"5\">c\n</span>\
             </code></pre>\n</div>\n";
        assert_eq!(program.html, expected);
    }
}
