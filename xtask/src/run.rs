//! `cargo xtask run`: into a container with one command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::fetch_rootfs::{Args as Fetch, FromHost, fetch, unreachable};
use crate::lessons;
use crate::say::note;

/// Run a step, the newest and /bin/sh when nothing is named; fetch a rootfs
/// first when there is none.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The step: 8, 08, step08 or step08-overlay [default: the last]
    step: Option<String>,
    /// The command, after options of the step's own [default: /bin/sh]
    #[arg(last = true)]
    command: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lesson = match &self.step {
            Some(word) => lessons::find(word)?,
            None => lessons::last()?,
        };
        if lesson.has_rootfs() && !has_rootfs() {
            get_rootfs()?;
        }
        let mut command = self.command;
        if command.is_empty() {
            command.push("/bin/sh".into());
        }
        let binary = lesson.binary()?;
        // In the place of this program, so that the terminal and every signal
        // reach the step itself.
        let error = Command::new(&binary).args(command).exec();
        Err(error).with_context(|| format!("execute {}", binary.display()))
    }
}

/// Fetches a root, or makes one of this machine's own programs where Alpine
/// cannot be reached.
fn get_rootfs() -> Result<()> {
    let fetched = match fetch(&Fetch::default()) {
        Err(error) if unreachable(&error) => {
            note(&common::one_line(&error));
            note("Alpine cannot be reached, so a root of this machine's own programs must do");
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
