//! `cargo xtask run`: starts a container.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::iter;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lessons::Lesson;

use crate::bundle;
use crate::cargo;
use crate::fetch_rootfs::{Args as Fetch, fetch};
use crate::pull;
use crate::say::{note, quoted};
use crate::temporary::Temporary;

/// Run a step. By default, run /bin/sh in the newest step that takes a command. Fetch
/// a rootfs first if it is missing
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The step: 8, 08, step08 or step08-overlay [default: the last that takes a command]
    #[arg(allow_hyphen_values = true)]
    step: Option<String>,
    /// Start this image, and pull it first if it is missing: a reference, such as
    /// alpine:3.20, or an image layout, such as ./DIR:TAG. Without a command, run the
    /// image's own
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// Words that should be after `--`
    #[arg(hide = true, allow_hyphen_values = true)]
    misplaced: Vec<OsString>,
    /// The step's own options and the command [default: /bin/sh; from lesson 18 on, in a
    /// new bundle]
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
            None => lessons::last_with_command()?,
        };
        if !self.misplaced.is_empty() {
            let step = self.step.as_deref().unwrap_or_default();
            bail!("run {}: {}", lesson.name, self.after_dashes(step, self.words()));
        }
        let mut command = self.command;
        if let Some(image) = &self.image {
            ensure!(
                !lesson.has_verbs,
                "run {}: it starts a bundle, and no image; name another lesson",
                lesson.name
            );
            command.splice(..0, ["--image".into(), pull::layout(image)?]);
        } else {
            let in_bundle = lesson.has_verbs && command.is_empty();
            if (lesson.has_rootfs || in_bundle) && !has_rootfs() {
                note(&fetch(&Fetch::or_from_host())?);
            }
            if in_bundle {
                return shell_in_bundle(&lesson);
            }
            if command.is_empty() {
                command.push("/bin/sh".into());
            }
        }
        let binary = cargo::step(&lesson)?;
        become_step(Command::new(binary).args(command))
    }

    /// All words that should be after `--`, in order.
    fn words(&self) -> impl Iterator<Item = &OsStr> {
        self.misplaced.iter().chain(&self.command).map(OsString::as_os_str)
    }

    /// The error about an unknown step. It gets a remedy if the word looks like a
    /// command or an option.
    fn may_be_a_command(&self, word: &str, error: anyhow::Error) -> anyhow::Error {
        if word.starts_with("step") || word.starts_with(|c: char| c.is_ascii_digit()) {
            return error;
        }
        let words = iter::once(OsStr::new(word)).chain(self.words());
        anyhow!("{error}; {}", self.after_dashes("", words))
    }

    /// The remedy for a missing `--`.
    fn after_dashes<'a>(&self, step: &str, words: impl Iterator<Item = &'a OsStr>) -> String {
        let image = self.image.as_ref().map(|image| format!("--image {}", quoted(image)));
        let before = [image.unwrap_or_default(), step.to_owned(), "--".to_owned()];
        let words = before.into_iter().chain(words.map(quoted));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!(
            "write the command and the step's own options after `--`: `cargo xtask run {}`",
            words.join(" ")
        )
    }
}

/// Runs a shell in a new bundle, which is removed after the end of the step.
fn shell_in_bundle(lesson: &Lesson) -> Result<ExitCode> {
    let root = common::named_rootfs().unwrap_or_else(|| common::workspace().join("rootfs"));
    let root = root.canonicalize().with_context(|| format!("use the root {}", root.display()))?;
    let dir = Temporary::of_this_process()?;
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let step = cargo::step(lesson)?;
    become_step(&mut bundle::make(&step, &dir, &root, &["/bin/sh"], terminal)?)
}

/// The step replaces this program: the terminal and every signal then reach the step
/// itself.
fn become_step(step: &mut Command) -> Result<ExitCode> {
    Err(step.exec()).with_context(|| format!("execute {}", Path::new(step.get_program()).display()))
}

/// Whether a root is in the workspace, or the caller names a root.
fn has_rootfs() -> bool {
    common::named_rootfs().is_some() || common::workspace().join("rootfs").exists()
}
