//! Lesson 17: a container that has a name, and a second way in.

mod bridge;
mod capabilities;
mod control;
mod dev;
mod enter;
mod facts;
mod filter;
mod groups;
mod image;
mod keep;
mod list;
mod log;
mod logs;
mod network;
mod process;
mod state;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{Args, Exit, Root, Scratch};
use nix::mount::{MntFlags, umount2};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, getgid, getuid};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

fn main() -> ExitCode {
    let step = common::step!();
    let step = step.takes_rootfs();
    let step = step.takes_layers();
    let step = step.takes_binds();
    let step = step.takes_limits();
    let step = step.takes_capabilities();
    let step = step.takes_network();
    let step = step.takes_bridge();
    let step = step.takes_image();
    let step = step.takes_process();
    let step = step.takes_users();
    let step = step.takes_names();
    step.run(|args| match args.names.verb {
        None => keep::start(args, container),
        Some(verb) => control::act(args, verb),
    })
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args, keeper: &mut keep::Keeper) -> Result<Exit> {
    let namespaces = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET;
    let (uid, gid) = (getuid(), getgid());
    let layers = args.lower();
    let ids = args.ids()?;
    let ids = ids.as_ref();
    let image = image::open(args, ids)?;
    let process = process::plan(args, image.as_ref())?;
    let scratch = args.scratch_removed_by(users::in_map, ids)?;
    // The overlay is the new root, and --rootfs is its lower layer.
    let rootfs = scratch.merged();
    let group = groups::make_group(&args.limits)?;
    let kept = args.capabilities(&capabilities::KEPT)?;
    keeper.remember(&process, group.as_ref(), kept);

    let mut child = common::clone(namespaces, || {
        keep_mounts_private()?;
        match ids {
            None => map_ids(uid, gid)?,
            Some(ids) => users::take_ids(ids)?,
        }
        network::start_loopback()?;
        common::wait_for_runner(args.network)?;
        groups::join_group(group.as_ref())?;
        let layers = image::unpack(image, layers)?;
        mount_overlay(&layers, &scratch)?;
        let root = Root::open(&rootfs)?;
        process::set_hostname(args.hostname.as_deref())?;
        common::write_names(args.network, &root)?;
        let null = dev::mount_dev(&root)?;
        process::mount_tmpfs(&root, &args.tmpfs)?;
        dev::mount_binds(&root, &args.binds)?;
        let user = users::find_user(process.user.as_deref(), &root, ids)?;
        enter_root(&rootfs)?;
        mount_proc()?;
        network::allow_ping()?;
        scratch.check_root()?;
        leave_old_root()?;
        process::make_directory(&root, &process)?;
        dev::protect_host(root, null)?;
        process::protect_root(args.read_only)?;
        capabilities::drop_capabilities(kept.and(&users::TO_SWITCH)?)?;
        filter::filter_calls()?;

        // This child stays as process 1; the command is its own child.
        let command = common::fork(|| {
            common::fresh_environment();
            common::use_devices()?;
            users::become_user(&user, ids, kept)?;
            let _told = common::tell_start()?;
            process::start(&process, &user)
        })?;
        capabilities::drop_capabilities(kept.and(&users::TO_SIGNAL)?)?;
        let command = command.stop_by(process.stop_signal);
        command.reap()
    })?;
    child.meet(ids, users::write_maps)?;
    let _way = child.meet(args.network, |kind, id| network::connect(kind, args, &scratch, id))?;
    child.wait_and(keeper)
}

/// Keeps later mounts in this namespace: the host does not see them.
fn keep_mounts_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).context("make the mounts private")
}

/// Maps root inside to the caller outside, the user `uid` and the group `gid`.
fn map_ids(uid: Uid, gid: Gid) -> Result<()> {
    fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("write /proc/self/gid_map")
}

/// Makes the directory `rootfs` the root, and goes there.
fn enter_root(rootfs: &Path) -> Result<()> {
    chdir(rootfs).with_context(|| format!("chdir to {}", rootfs.display()))?;
    pivot_root(".", ".").context("pivot_root to the new root")
}

/// Mounts a proc that shows the processes of this PID namespace; ps(1) reads it.
fn mount_proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE).context("mount proc on /proc")
}

/// Mounts an overlay: changes go to upper, and the lower layers stay as they are.
fn mount_overlay(layers: &[PathBuf], scratch: &Scratch) -> Result<()> {
    let lower = common::lowerdir(layers)?;
    let upper = scratch.upper_option()?;
    let work = scratch.work_option()?;
    let merged = scratch.merged();
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&*options))
        .with_context(|| format!("mount the overlay on {}", merged.display()))
}

/// Unmounts the old root, which lies on top of the new one, with all mounts below it.
fn leave_old_root() -> Result<()> {
    umount2(".", MntFlags::MNT_DETACH).context("unmount the old root")?;
    chdir("/").context("chdir to the new root")
}
