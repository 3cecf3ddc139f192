//! Lesson 10: a /dev, and directories of the host.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{Args, Bind, Exit, Place, Root, Scratch};
use common::{mount_setattr, move_mount, open_tree};
use libc::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use libc::{MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH};
use nix::mount::{MntFlags, umount2};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::symlinkat;
use nix::unistd::{Gid, Uid, getgid, getuid};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

/// Devices that programs expect. A user namespace cannot make any, so they are the host's.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// Links in /dev, and their targets.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
];
/// Files that change the host, and files that describe it.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const HIDDEN: [&str; 10] = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
];

fn main() -> ExitCode {
    let step = common::step!();
    let step = step.takes_rootfs();
    let step = step.takes_layers();
    let step = step.takes_binds();
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
    let (uid, gid) = (getuid(), getgid());
    let layers = args.lower();
    let scratch = args.scratch()?;
    // The overlay is the new root, and --rootfs is its lower layer.
    let rootfs = scratch.merged();

    let child = common::clone(namespaces, || {
        keep_mounts_private()?;
        map_ids(uid, gid)?;
        mount_overlay(&layers, &scratch)?;
        let root = Root::open(&rootfs)?;
        let null = mount_dev(&root)?;
        mount_binds(&root, &args.binds)?;
        enter_root(&rootfs)?;
        mount_proc()?;
        scratch.check_root()?;
        leave_old_root()?;
        protect_host(root, null)?;

        // This child stays as process 1; the command is its own child.
        let command = common::fork(|| {
            common::fresh_environment();
            common::use_devices()?;
            common::exec(&args.command)
        })?;
        command.reap()
    })?;
    child.wait()
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

/// Mounts a new file system of the type `kind`.
fn mount_new(kind: &str, at: &Place, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), &*at.name(), Some(kind), flags | MsFlags::MS_NOSUID, Some(options))
        .with_context(|| format!("mount {kind} on {at}"))
}

/// Mounts a /dev with pseudoterminals of its own, a /tmp, and a /sys to read. Returns /dev/null.
fn mount_dev(root: &Root) -> Result<Place> {
    let at = |path| root.directory(path);
    let data = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let read = data | MsFlags::MS_RDONLY;
    mount_new("tmpfs", &at("/dev")?, MsFlags::MS_NOEXEC, "mode=755,size=64k")?;
    mount_new("devpts", &at("/dev/pts")?, MsFlags::MS_NOEXEC, "ptmxmode=0666,mode=0620")?;
    mount_new("tmpfs", &at("/dev/shm")?, data, "mode=1777")?;
    mount_new("tmpfs", &at("/tmp")?, MsFlags::MS_NODEV, "mode=1777")?;
    mount_new("sysfs", &at("/sys")?, read, "")?;
    mount_binds(root, &DEVICES.map(Bind::read_only))?;
    mount_binds(root, common::console().as_slice())?;
    let dev = at("/dev")?;
    for (link, target) in LINKS {
        symlinkat(target, &dev, link).with_context(|| format!("make the link /dev/{link}"))?;
    }
    root.find("/dev/null")?.context("open /dev/null in the root: it is missing")
}

/// Binds files and directories of the host.
fn mount_binds(root: &Root, binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let (source, place) = bind.open(root)?;
        bind_to(&place, &source, bind.read_only).with_context(|| format!("bind {bind}"))?;
    }
    Ok(())
}

/// Makes a bind of `source`, with all mounts below it, and only then attaches it.
fn bind_to(place: &Place, source: impl AsFd, read_only: bool) -> nix::Result<()> {
    let copy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE | AT_EMPTY_PATH) as u32;
    let bind = open_tree(source, c"", copy)?;
    if read_only {
        mount_setattr(&bind, c"", AT_RECURSIVE | AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)?;
    }
    move_mount(&bind, c"", place, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Makes files that change the host read-only, and hides files that describe it.
fn protect_host(root: Root, null: Place) -> Result<()> {
    for path in READ_ONLY {
        if let Some(place) = root.find(path)? {
            bind_to(&place, &place, true).with_context(|| format!("bind {path} to itself"))?;
        }
    }
    for path in HIDDEN {
        match root.find(path)? {
            Some(place) if place.is_directory()? => {
                mount_new("tmpfs", &place, MsFlags::MS_RDONLY, "")?;
            }
            Some(place) => {
                bind_to(&place, &null, false).with_context(|| format!("bind {null} to {path}"))?;
            }
            None => {}
        }
    }
    Ok(())
}
