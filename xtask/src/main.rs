//! The course's tasks, one file each. `cargo xtask` lists them.

mod bench;
mod book;
mod bundle;
mod calls;
mod cargo;
mod diff;
mod dist;
mod doctor;
mod download;
mod exercise;
mod fetch_rootfs;
mod file;
mod handout;
mod isolation;
mod manual;
mod picture;
mod pull;
mod rootfs;
mod run;
mod say;
mod style;
mod table;
mod temporary;
mod verify;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{ExitCode, Termination};

use clap::{Parser, Subcommand};

/// The course's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Run(run::Args),
    FetchRootfs(fetch_rootfs::Args),
    Pull(pull::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Doctor(doctor::Args),
    Dist(dist::Args),
    Handout(handout::Args),
    Bench(bench::Args),
    Isolation(isolation::Args),
    Exercise(exercise::Args),
    Book(book::Args),
    Man(manual::Man),
    Completions(manual::Completions),
    /// Make a temporary directory for another task or a test
    #[command(hide = true)]
    Temporary(temporary::Args),
    #[command(hide = true)]
    Calls(calls::Args),
}

fn main() -> ExitCode {
    common::end_on_closed_pipe();
    if env::var_os("TMPDIR").is_some_and(|dir| dir.is_empty()) {
        // An empty name is the current directory for std, but other programs ignore
        // it. The first call cannot fail.
        let _ = tempfile::env::override_temp_dir(Path::new("/tmp"));
    }
    let task = match Cli::try_parse() {
        Ok(cli) => cli.task,
        Err(help_or_error) => return tell(&help_or_error),
    };
    let done = match task {
        Task::Run(args) => args.run().map(Termination::report),
        Task::FetchRootfs(args) => args.run().map(Termination::report),
        Task::Pull(args) => args.run().map(Termination::report),
        Task::Verify(args) => args.run(),
        Task::Diff(args) => args.run().map(Termination::report),
        Task::Doctor(args) => args.run(),
        Task::Dist(args) => args.run().map(Termination::report),
        Task::Handout(args) => args.run().map(Termination::report),
        Task::Bench(args) => args.run().map(Termination::report),
        Task::Isolation(args) => args.run().map(Termination::report),
        Task::Exercise(args) => args.run(),
        Task::Book(args) => args.run().map(Termination::report),
        Task::Man(args) => args.run().map(Termination::report),
        Task::Completions(args) => args.run().map(Termination::report),
        Task::Temporary(args) => args.run().map(Termination::report),
        Task::Calls(args) => args.run().map(Termination::report),
    };
    done.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say::note(&common::one_line(error));
    ExitCode::FAILURE
}

/// Writes the help, or the error of the command line.
fn tell(help_or_error: &clap::Error) -> ExitCode {
    match help_or_error.print().and_then(|()| io::stdout().flush()) {
        Err(error) if !help_or_error.use_stderr() => {
            failed(&anyhow::Error::new(error).context("write to standard output"))
        }
        // If standard error is closed or full, the line is lost.
        _ => ExitCode::from(u8::try_from(help_or_error.exit_code()).unwrap_or(2)),
    }
}
