//! `cargo xtask diff`: shows the lines that a lesson adds to another lesson.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use regex_lite::Regex;
use similar::{ChangeTag, TextDiff};

use crate::say;
use crate::style::Style;
use lessons::{Pair, Source};

/// Show the lines that lesson B adds to lesson A. On a terminal, use colours and a
/// pager
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first lesson: 5, 05, step05 or step05-pid
    a: String,
    /// The lesson that adds lines to it [default: the next lesson]
    b: Option<String>,
    /// The number of unchanged lines around a change. 1000 shows the whole program
    #[arg(long, short = 'U', value_name = "LINES", default_value_t = 3)]
    context: usize,
}

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        let a = lessons::find(&self.a)?;
        let b = match &self.b {
            Some(b) => lessons::find(b)?,
            None => lessons::all()?
                .into_iter()
                .find(|lesson| lesson.number > a.number)
                .with_context(|| {
                    format!(
                        "{} is the last lesson; name two lessons, as in `cargo xtask diff 7 8`",
                        a.name
                    )
                })?,
        };
        ensure!(
            a.number != b.number,
            "compare {} with itself: name two lessons, as in `cargo xtask diff 7 8`",
            a.name
        );
        show((&a.name, &a.program()?), (&b.name, &b.program()?), self.context)
    }
}

/// The name of a crate, and its program.
type Named<'a> = (&'a str, &'a [Source]);

/// Shows the difference between two programs as a unified diff. On a terminal, it
/// uses colours and a pager.
pub(crate) fn show(from: Named<'_>, to: Named<'_>, context: usize) -> Result<()> {
    if from.1 == to.1 {
        return say::line(&format!("{} and {} are the same", from.0, to.0));
    }
    let diff = render(from, to, context, Style::of_stdout());
    if io::stdout().is_terminal() { page(&diff) } else { say::print(&diff) }
}

fn render(from: Named<'_>, to: Named<'_>, context: usize, style: Style) -> String {
    let mut out = String::new();
    for Pair { name, before, after } in lessons::pairs(from.1, to.1) {
        if before == after {
            continue;
        }
        for (sign, program, text) in [("---", from.0, &before), ("+++", to.0, &after)] {
            let file = if text.is_empty() { "/dev/null" } else { &format!("{program}/src/{name}") };
            out += &style.bold(&format!("{sign} {file}\n"));
        }
        // The name says enough of a file that is gone.
        if after.is_empty() {
            continue;
        }
        // The imports are last: the code is the lesson.
        let [start, imports, code] =
            [0, 1, 2].map(|part| (parts(&before)[part], parts(&after)[part]));
        for (before, after) in [start, code, imports] {
            out += &hunks(before, after, context, style);
        }
    }
    out
}

/// Lines of a file, and the number of lines before them.
type Part<'a> = (usize, &'a str);

/// The lines that import names. Other lines in between are empty, or belong to an import.
static IMPORTS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^use .*\n(?:(?:use |[ }]).*\n|\n)*").expect("a pattern"));

/// The three parts of a file: the lines before the imports, the imports, the code.
fn parts(text: &str) -> [Part<'_>; 3] {
    let imports = IMPORTS.find(text).map_or(0..0, |found| found.range());
    let line = |at: usize| text[..at].lines().count();
    [
        (0, &text[..imports.start]),
        (line(imports.start), &text[imports.clone()]),
        (line(imports.end), &text[imports.end..]),
    ]
}

/// The lines of a file that import names, counted from 0.
pub(crate) fn imports(text: &str) -> Range<usize> {
    let [_, (above, imports), _] = parts(text);
    above..above + imports.lines().count()
}

/// The changes between two parts, as hunks of a unified diff.
fn hunks(before: Part<'_>, after: Part<'_>, context: usize, style: Style) -> String {
    let diff = TextDiff::from_lines(before.1, after.1);
    let mut out = String::new();
    for group in diff.grouped_ops(context) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let lines = |above: usize, first: Range<usize>, last: Range<usize>| {
            let count = last.end - first.start;
            // An empty range has the number of the line before it.
            format!("{},{count}", above + first.start + usize::from(count > 0))
        };
        let old = lines(before.0, first.old_range(), last.old_range());
        let new = lines(after.0, first.new_range(), last.new_range());
        out += &style.blue(&format!("@@ -{old} +{new} @@\n"));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = format!("{}{}", change.tag(), change.value());
            out += &match change.tag() {
                ChangeTag::Insert => style.green(&line),
                ChangeTag::Delete => style.red(&line),
                ChangeTag::Equal => line,
            };
        }
    }
    out
}

/// The options of less(1), unless the user has set `$LESS`. They are as in git:
/// colours, no pager for a text that fits on the screen, and the screen is not
/// cleared. The prompt says how to leave.
const LESS: &str = "FRXPsq leaves the diff, the space bar shows more$";

/// Shows text through `$PAGER`, else through less(1), else without a pager.
fn page(text: &str) -> Result<()> {
    let pager = env::var("PAGER").ok().filter(|pager| !pager.is_empty());
    let mut words = pager.as_deref().unwrap_or("less").split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("less"));
    let command = command.args(words).env("LESS", env::var("LESS").unwrap_or(LESS.into()));
    let Ok(mut pager) = command.stdin(Stdio::piped()).spawn() else {
        return say::print(text);
    };
    if let Some(mut stdin) = pager.stdin.take() {
        // An error means that the reader has left the pager early.
        let _ = stdin.write_all(text.as_bytes());
    }
    pager.wait().context("wait for the pager")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lessons::{Lesson, MAIN};

    fn program(files: &[(&str, &str)]) -> Vec<Source> {
        let source = |(name, text): &(&str, &str)| Source {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
        };
        files.iter().map(source).collect()
    }

    #[test]
    fn the_imports_come_after_the_code_and_a_new_file_after_the_changed_files() {
        let before = program(&[
            ("main.rs", "//! 1\n\nuse a;\n\nfn main() {\n    a();\n}\n"),
            ("same.rs", "//! 1\n"),
        ]);
        let after = program(&[
            (
                "main.rs",
                "//! 2\n\nmod b;\n\nuse a;\nuse c::{\n    d,\n};\n\nfn main() {\n    a();\n    b::d();\n}\n",
            ),
            ("b.rs", "//! 2\n\npub fn d() {}\n"),
            ("same.rs", "//! 1\n"),
        ]);
        let expected = "\
--- one/src/main.rs
+++ two/src/main.rs
@@ -1,2 +1,4 @@
-//! 1
+//! 2
+
+mod b;
 
@@ -6,2 +11,3 @@
     a();
+    b::d();
 }
@@ -3,2 +5,5 @@
 use a;
+use c::{
+    d,
+};
 
--- /dev/null
+++ two/src/b.rs
@@ -0,0 +1,3 @@
+//! 2
+
+pub fn d() {}
";
        let made = render(("one", &before), ("two", &after), 1, Style::new(false));
        assert_eq!(made, expected);
    }

    #[test]
    fn every_file_is_the_sum_of_its_parts() {
        for lesson in lessons::all().expect("lessons") {
            for Source { name, text } in lesson.program().expect("a program") {
                let parts = parts(&text);
                assert_eq!(parts.map(|(_, part)| part).concat(), text);
                let [_, (_, imports), (_, code)] = parts;
                assert!(imports.starts_with("use "), "{} {name}", lesson.name);
                let has_code = ["fn ", "struct "].iter().any(|word| code.contains(word));
                assert!(!code.contains("\nuse ") && has_code, "{} {name}", lesson.name);
            }
        }
    }

    /// From lesson 10 on, the change of the recipe is one screen. From lesson 16 on, a lesson
    /// has several files, and the change is two. Lesson 18 has a file in the place of the
    /// options, so each stage gets other values: its recipe is a new one, and is read as such.
    /// In lesson 19, the recipe moves to a file of its own, and the verbs take its place.
    #[test]
    fn a_lesson_changes_few_lines_of_main() {
        for pair in lessons::all().expect("lessons").windows(2) {
            let [before, after] = [&pair[0], &pair[1]].map(|lesson| {
                let program = lesson.program().expect("a program").into_iter();
                program.filter(|file| file.name == MAIN).collect::<Vec<_>>()
            });
            let made = render(("a", &before), ("b", &after), 3, Style::new(false));
            let removed = made.lines().skip(2).filter(|line| line.starts_with('-')).count();
            let Lesson { name, number, .. } = &pair[1];
            let lines = made.lines().count();
            let (most, gone) = match number {
                10..16 => (50, 5),
                18 | 19 => (300, 165),
                ..16 => (80, 5),
                _ => (90, 5),
            };
            assert!(lines <= most, "{name}: {lines} lines");
            assert!(removed <= gone, "{name} removes {removed} lines of {MAIN}");
        }
    }
}
