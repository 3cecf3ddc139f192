//! `cargo xtask diff`: shows the lines that a lesson adds to another lesson.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use similar::{ChangeTag, TextDiff};

use crate::say;
use crate::style::{Style, colour};
use lessons::Lesson;

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
    pub(crate) fn run(self) -> Result<ExitCode> {
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
        let name = |lesson: &Lesson| format!("{}/src/main.rs", lesson.name);
        show((&name(&a), &a.source()?), (&name(&b), &b.source()?), self.context)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A text and its name.
type Named<'a> = (&'a str, &'a str);

/// Shows the difference between two texts as a unified diff. On a terminal, it uses
/// colours and a pager.
pub(crate) fn show(from: Named<'_>, to: Named<'_>, context: usize) -> Result<()> {
    if from.1 == to.1 {
        return say::line(&format!("{} and {} are the same", from.0, to.0));
    }
    let stdout = io::stdout();
    let diff = render(from, to, context, colour(&stdout));
    if stdout.is_terminal() { page(&diff) } else { say::print(&diff) }
}

fn render(from: Named<'_>, to: Named<'_>, context: usize, colour: bool) -> String {
    let diff = TextDiff::from_lines(from.1, to.1);
    let style = Style::new(colour);
    let mut out = String::new();
    out += &style.bold(&format!("--- {}\n", from.0));
    out += &style.bold(&format!("+++ {}\n", to.0));
    for hunk in diff.unified_diff().context_radius(context).iter_hunks() {
        out += &style.blue(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
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
