//! Lesson 8: a fresh root every time.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{Args, Exit};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::{chdir, chroot};
use nix::unistd::{getgid, getuid};

const NONE: Option<&str> = None;

fn main() -> ExitCode {
    let step = common::step!();
    let step = step.takes_rootfs();
    let step = step.takes_layers();
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
    let layers = args.lower();
    let scratch = args.scratch()?;
    let rootfs = scratch.merged();

    let child = common::clone(namespaces, || {
        // Nothing mounted from here on shows on the host.
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
            .context("make the mounts private")?;

        // Root inside is the caller outside.
        fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
        fs::write("/proc/self/uid_map", &uid_map).context("write /proc/self/uid_map")?;
        fs::write("/proc/self/gid_map", &gid_map).context("write /proc/self/gid_map")?;

        // What the container writes lands in upper; the layers below stay as they are.
        let lower = common::lowerdir(&layers)?;
        let upper = common::option(&scratch.upper())?;
        let work = common::option(&scratch.work())?;
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
        mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::empty(), Some(&*options))
            .with_context(|| format!("mount the overlay on {}", rootfs.display()))?;

        chroot(&rootfs).with_context(|| format!("chroot to {}", rootfs.display()))?;
        chdir("/").context("chdir to the new root")?;

        // ps and its kin read /proc.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, NONE).context("mount proc on /proc")?;

        // This child stays as process 1; the command is its own child.
        let run = common::fork(|| {
            common::fresh_environment();
            common::exec(&args.command)
        })?;
        run.reap()
    })?;
    child.wait()
}
