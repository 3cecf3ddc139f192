//! `cargo xtask diff`: a lesson as what it adds to another.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use similar::{ChangeTag, TextDiff};

use crate::lessons::{self, Lesson};
use crate::say;
use crate::style::{Style, colour};

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
                    format!("{} is the last lesson; name two, as in `cargo xtask diff 7 8`", a.name)
                })?,
        };
        ensure!(
            a.number != b.number,
            "compare {} with itself: name two lessons, as in `cargo xtask diff 7 8`",
            a.name
        );
        let stdout = io::stdout();
        let diff = render(&a, &b, self.context, colour(&stdout))?;
        if stdout.is_terminal() {
            page(&diff)?;
        } else {
            say::print(&diff)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The difference between the sources of two lessons as a unified diff.
pub(crate) fn render(a: &Lesson, b: &Lesson, context: usize, colour: bool) -> Result<String> {
    let (from, to) = (a.source()?, b.source()?);
    let diff = TextDiff::from_lines(&from, &to);
    let style = Style::new(colour);
    let mut out = String::new();
    out += &style.bold(&format!("--- {}/src/main.rs\n", a.name));
    out += &style.bold(&format!("+++ {}/src/main.rs\n", b.name));
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
    Ok(out)
}

impl Lesson {
    /// The lesson's program, as text.
    pub(crate) fn source(&self) -> Result<String> {
        let main = self.dir().join("src/main.rs");
        fs::read_to_string(&main).with_context(|| format!("read {}", main.display()))
    }
}

/// Shows text through `$PAGER`, else less(1), else as it is.
fn page(text: &str) -> Result<()> {
    let pager = env::var("PAGER").ok().filter(|pager| !pager.is_empty());
    let mut words = pager.as_deref().unwrap_or("less").split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("less"));
    // As git does: colours, no pager for what fits on the screen, no clearing.
    let command = command.args(words).env("LESS", env::var("LESS").unwrap_or("FRX".into()));
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
