//! Lesson 1: run a command and exit as it did.

use std::process::ExitCode;

use anyhow::Result;
use common::{Args, Exit};
use nix::sched::CloneFlags;

fn main() -> ExitCode {
    let step = common::step!();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    let namespaces = CloneFlags::empty();

    let child = common::clone(namespaces, || {
        // This copy of the program becomes the command.
        common::exec(&args.command)
    })?;
    child.wait()
}
