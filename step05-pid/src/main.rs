//! Lesson 5: be process 1.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{Args, Exit};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::{getgid, getuid};

const NONE: Option<&str> = None;

fn main() -> ExitCode {
    let step = common::step!();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    let namespaces = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET;
    let uid_map = format!("0 {} 1", getuid());
    let gid_map = format!("0 {} 1", getgid());

    let child = common::clone(namespaces, || {
        // Nothing mounted from here on shows on the host.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .context("make the mounts private")?;

        // Root inside is the caller outside.
        fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
        fs::write("/proc/self/uid_map", &uid_map).context("write /proc/self/uid_map")?;
        fs::write("/proc/self/gid_map", &gid_map).context("write /proc/self/gid_map")?;

        // This copy of the program becomes the command.
        common::exec(&args.command)
    })?;
    child.wait()
}
