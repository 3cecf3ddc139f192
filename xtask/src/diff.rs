//! `cargo xtask diff`: a lesson as what it adds to another.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use similar::{ChangeTag, TextDiff};

use crate::say;
use crate::style::{Style, colour};
use lessons::Lesson;

/// Show what lesson B adds to lesson A, in colour, through a pager on a
/// terminal.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lesson to begin with: 5, 05, step05 or step05-pid
    a: String,
    /// The lesson that adds to it [default: the next one]
    b: Option<String>,
    /// How many unchanged lines to show around a change; 1000 shows all
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

/// Shows the difference between two texts as a unified diff, in colour through
/// a pager on a terminal.
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

/// The options of less(1), unless there are some. As git has them: colours, no
/// pager for what fits on the screen, no clearing. And a prompt that says how to
/// leave.
const LESS: &str = "FRXPsq leaves the diff, the space bar shows more$";

/// Shows text through `$PAGER`, else less(1), else as it is.
fn page(text: &str) -> Result<()> {
    let pager = env::var("PAGER").ok().filter(|pager| !pager.is_empty());
    let mut words = pager.as_deref().unwrap_or("less").split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("less"));
    let command = command.args(words).env("LESS", env::var("LESS").unwrap_or(LESS.into()));
    let Ok(mut pager) = command.stdin(Stdio::piped()).spawn() else {
        return say::print(text);
    };
    if let Some(mut stdin) = pager.stdin.take() {
        // A reader who leaves early has seen enough.
        let _ = stdin.write_all(text.as_bytes());
    }
    pager.wait().context("wait for the pager")?;
    Ok(())
}
