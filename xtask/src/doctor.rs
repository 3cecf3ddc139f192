//! Not written yet.

use std::process::ExitCode;

use anyhow::Result;

/// Not written yet.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
