//! The page of a lesson's program: the files that the lesson changes or adds, with the
//! lines that it adds to the program before it, and the lines that it removes.

use anyhow::Result;
use lessons::{Lesson, MAIN, Pair};
use similar::{ChangeTag, TextDiff};

use super::page::{Form, Page, slug};
use crate::diff::imports;
use crate::picture::escape;

/// The page of a lesson's program. `before` are the lessons before it.
pub(super) fn page(lesson: &Lesson, before: &[Lesson], form: Form) -> Result<Page> {
    let number = lesson.number;
    let program = lesson.program()?;
    // In lesson 1, no line is marked as new.
    let old = before.last().map(Lesson::program).transpose()?;
    let pairs = lessons::pairs(old.as_deref().unwrap_or(&program), &program);
    let mut files = Files::default();
    let (mut others, mut gone) = (Vec::new(), Vec::new());
    for Pair { name, before: old, after } in &pairs {
        if name != MAIN && old == after {
            let last = last_change(name, before)?;
            let place = format!("../{}/program.md#{}", last.name, slug(name));
            others.push(format!("`{name}` in [lesson {}]({place})", last.number));
            continue;
        }
        if after.is_empty() {
            gone.push(format!("`{name}`"));
            continue;
        }
        if pairs.len() > 1 {
            files.html += &format!("## {name}\n\n");
        }
        files.add(old, after, form == Form::Web && !before.is_empty());
    }
    let text = match before.last() {
        None => format!("# The program of lesson {number}\n\n{}", files.html),
        Some(Lesson { number: a, .. }) => {
            let whole = if others.is_empty() {
                format!("The whole program of lesson {number}.")
            } else {
                let others = others.join(", ");
                format!("The files that lesson {number} changes or adds. As before: {others}.")
            };
            let gone = match gone.is_empty() {
                true => String::new(),
                false => format!(" Files of lesson {a} that it leaves out: {}.", gone.join(", ")),
            };
            format!(
                "# What lesson {number} adds\n\n\
                 {whole}{gone} \
                 Lines added to the program of lesson {a}: {}. Lines removed: {}. \
                 In a terminal: `cargo xtask diff {a} {number}`.\n\n{}",
                files.added, files.removed, files.html
            )
        }
    };
    Ok(Page { path: format!("{}/program.md", lesson.name).into(), text })
}

/// The last lesson that changes or adds a file.
fn last_change<'a>(name: &str, lessons: &'a [Lesson]) -> Result<&'a Lesson> {
    let text = |lesson: &Lesson| -> Result<Option<String>> {
        let file = lesson.program()?.into_iter().find(|file| file.name == name);
        Ok(file.map(|file| file.text))
    };
    for pair in lessons.windows(2).rev() {
        if text(&pair[0])? != text(&pair[1])? {
            return Ok(&pair[1]);
        }
    }
    Ok(&lessons[0])
}

/// Files as HTML, compared with the files before them.
///
/// Every line is an element that includes its newline. So the text of a block is the
/// file, if the removed lines are left out. The browser's highlighter keeps the
/// elements.
#[derive(Default)]
struct Files {
    html: String,
    added: usize,
    removed: usize,
}

impl Files {
    /// Adds a file. With `fold`, a reader sees its imports only after a click.
    fn add(&mut self, before: &str, after: &str, fold: bool) {
        self.html += "<div class=\"program\">\n";
        if fold {
            self.html += "<label><input type=\"checkbox\"> imports</label>\n";
        }
        self.html += "<pre><code class=\"language-rust\">";
        let (old_imports, new_imports) = (imports(before), imports(after));
        for change in TextDiff::from_lines(before, after).iter_all_changes() {
            let tag = match change.tag() {
                ChangeTag::Equal => "span",
                ChangeTag::Insert => "ins",
                ChangeTag::Delete => "del",
            };
            self.added += usize::from(tag == "ins");
            self.removed += usize::from(tag == "del");
            // Numbers count from 0 here. A removed line has no number.
            let number = change.new_index().map(|index| format!(" data-line=\"{}\"", index + 1));
            let number = number.unwrap_or_default();
            let is_import = match (change.new_index(), change.old_index()) {
                (Some(new), _) => new_imports.contains(&new),
                (None, old) => old.is_some_and(|old| old_imports.contains(&old)),
            };
            let class = if is_import { " class=\"import\"" } else { "" };
            let line = escape(change.value().trim_end());
            self.html += &format!("<{tag}{class}{number}>{line}\n</{tag}>");
        }
        self.html += "</code></pre>\n</div>\n\n";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lessons::Source;

    #[test]
    fn a_program_is_whole_with_its_changes_marked() {
        let mut files = Files::default();
        files.add("a\nb\n\nc\n", "a\n<x>\n  y\n\nc\n", false);
        assert_eq!((files.added, files.removed), (2, 1));
        let expected = "<div class=\"program\">\n<pre><code class=\"language-rust\">\
             <span data-line=\"1\">a\n</span>\
             <del>b\n</del>\
             <ins data-line=\"2\">&lt;x&gt;\n</ins>\
             <ins data-line=\"3\">  y\n</ins>\
             <span data-line=\"4\">\n</span>\
             <span data-line=\"5\">c\n</span>\
             </code></pre>\n</div>\n\n";
        assert_eq!(files.html, expected);
    }

    #[test]
    fn the_imports_can_be_folded() {
        let mut files = Files::default();
        files.add("use a;\nuse b;\nc\n", "use a;\nuse d;\nc\n", true);
        let expected = "<div class=\"program\">\n\
             <label><input type=\"checkbox\"> imports</label>\n\
             <pre><code class=\"language-rust\">\
             <span class=\"import\" data-line=\"1\">use a;\n</span>\
             <del class=\"import\">use b;\n</del>\
             <ins class=\"import\" data-line=\"2\">use d;\n</ins>\
             <span data-line=\"3\">c\n</span>\
             </code></pre>\n</div>\n\n";
        assert_eq!(files.html, expected);
    }

    /// Each file is on one page, or the page leads to it.
    #[test]
    fn the_page_of_each_lesson_names_every_file() {
        let lessons = lessons::all().expect("lessons");
        for (index, lesson) in lessons.iter().enumerate() {
            let page = page(lesson, &lessons[..index], Form::Web).expect("a page");
            for Source { name, .. } in lesson.program().expect("a program") {
                let led = page.text.matches(&format!("`{name}` in [lesson ")).count();
                let shown = page.text.matches(&format!("\n## {name}\n")).count();
                let only = usize::from(page.text.matches("<pre>").count() == 1 && name == MAIN);
                assert_eq!(led + shown.max(only), 1, "{} {name}", lesson.name);
            }
        }
    }
}
