//! Lesson 2: a hostname, IPC, mounts and a network of its own.

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{Args, Exit};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

const NONE: Option<&str> = None;

fn main() -> ExitCode {
    let step = common::step!();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    let namespaces = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET;

    let child = common::clone(namespaces, || {
        // Nothing mounted from here on shows on the host.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .context("make the mounts private")?;

        // This copy of the program becomes the command.
        common::exec(&args.command)
    })?;
    child.wait()
}
