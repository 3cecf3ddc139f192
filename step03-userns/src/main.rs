//! Lesson 3: these namespaces without root, in a user namespace.

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
        | CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET;

    let child = common::clone(namespaces, || {
        keep_mounts_private()?;

        // This copy of the program becomes the command.
        common::exec(&args.command)
    })?;
    child.wait()
}

/// Keeps later mounts in this namespace: the host does not see them.
fn keep_mounts_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).context("make the mounts private")
}
