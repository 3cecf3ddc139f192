//! The page of a lesson's program: the whole, with what it adds to the one
//! before and what it takes out.

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
                 Lines added to that of lesson {a}: {}. Lines taken out: {}. \
                 In a terminal: `cargo xtask diff {a} {number}`.\n\n{}",
                program.added, program.removed, program.html
            )
        }
    };
    Ok(Page { path: format!("{}/program.md", lesson.name).into(), text })
}

/// A program as HTML, compared with the one before it.
///
/// Every line is an element, which holds its newline too: so the text of the
/// block is the program, once what is taken out is left out. The browser's
/// highlighter keeps the elements.
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
            // Numbers count from 0 here. What is taken out has none.
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
