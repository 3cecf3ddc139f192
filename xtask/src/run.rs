//! `cargo xtask run`: into a container with one command.

use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};

use crate::cargo;
use crate::fetch_rootfs::{Args as Fetch, FromHost, fetch, unreachable};
use crate::say::{note, quoted};

/// Run a step, the newest and /bin/sh when nothing is named; fetch a rootfs
/// first when there is none.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The step: 8, 08, step08 or step08-overlay [default: the last]
    #[arg(allow_hyphen_values = true)]
    step: Option<String>,
    /// What stands where nothing should.
    #[arg(hide = true, allow_hyphen_values = true)]
    misplaced: Vec<OsString>,
    /// The command, after options of the step's own [default: /bin/sh]
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lesson = match &self.step {
            Some(word) => {
                let found = lessons::find(word);
                found.map_err(|error| self.may_be_a_command(word, error))?
            }
            None => lessons::last()?,
        };
        if !self.misplaced.is_empty() {
            let step = self.step.as_deref().unwrap_or_default();
            bail!("run {}: {}", lesson.name, after_dashes(step, self.words()));
        }
        if lesson.has_rootfs && !has_rootfs() {
            get_rootfs()?;
        }
        let mut command = self.command;
        if command.is_empty() {
            command.push("/bin/sh".into());
        }
        let binary = cargo::step(&lesson)?;
        // In the place of this program, so that the terminal and every signal
        // reach the step itself.
        let error = Command::new(&binary).args(command).exec();
        Err(error).with_context(|| format!("execute {}", binary.display()))
    }

    /// All that should stand after `--`, in order.
    fn words(&self) -> impl Iterator<Item = &OsStr> {
        self.misplaced.iter().chain(&self.command).map(OsString::as_os_str)
    }

    /// The error about a step that there is not, with the remedy when its name
    /// looks like that of a command or an option.
    fn may_be_a_command(&self, word: &str, error: anyhow::Error) -> anyhow::Error {
        if word.starts_with("step") || word.starts_with(|c: char| c.is_ascii_digit()) {
            return error;
        }
        anyhow!("{error}; {}", after_dashes("", iter::once(OsStr::new(word)).chain(self.words())))
    }
}

/// What to do for one who has left out the `--`.
fn after_dashes<'a>(step: &str, words: impl Iterator<Item = &'a OsStr>) -> String {
    let words =
        iter::once(step.to_owned()).chain(iter::once("--".to_owned())).chain(words.map(quoted));
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    format!(
        "the command, and the step's own options, go after `--`: `cargo xtask run {}`",
        words.join(" ")
    )
}

/// Fetches a root, or makes one of this machine's own programs where Alpine
/// cannot be reached.
fn get_rootfs() -> Result<()> {
    let fetched = match fetch(&Fetch::default()) {
        Err(error) if unreachable(&error) => {
            note(&common::one_line(&error));
            note(
                "Alpine cannot be reached, so a root of this machine's own programs must do; `cargo xtask fetch-rootfs --force` gets Alpine later",
            );
            fetch(&Fetch::from_host(FromHost::Any))
        }
        fetched => fetched,
    };
    note(&fetched?.to_string());
    Ok(())
}

/// Whether there is a root already, fetched or named.
fn has_rootfs() -> bool {
    common::named_rootfs().is_some() || common::workspace().join("rootfs").exists()
}
