//! Lesson 10: a /dev, and directories of the host.

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use common::{Bind, Place, Root, mount_setattr, move_mount, open_tree};
use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE,
};
use nix::mount::{MsFlags, mount};
use nix::unistd::symlinkat;

/// Devices that programs expect. A user namespace cannot make any, so they are the
/// host's.
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
#[rustfmt::skip]
const HIDDEN: [&str; 10] = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/firmware",
];

/// Mounts a new file system of the type `kind`.
fn mount_new(kind: &str, at: &Place, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), &*at.name(), Some(kind), flags | MsFlags::MS_NOSUID, Some(options))
        .with_context(|| format!("mount {kind} on {at}"))
}

/// Mounts a /dev with pseudoterminals of its own, a /tmp, and a /sys to read. Returns
/// /dev/null.
pub(crate) fn mount_dev(root: &Root) -> Result<Place> {
    let at = |path| root.directory(path);
    let data = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let read = data | MsFlags::MS_RDONLY;
    mount_new("tmpfs", &at("/dev")?, MsFlags::MS_NOEXEC, "mode=755,size=64k")?;
    // Pseudoterminals of the group tty. A container of one user does not have it.
    let map = fs::read_to_string("/proc/self/gid_map").context("read the gid_map")?;
    let tty = if map.lines().count() > 1 { ",gid=5" } else { "" };
    let pts = format!("ptmxmode=0666,mode=0620{tty}");
    mount_new("devpts", &at("/dev/pts")?, MsFlags::MS_NOEXEC, &pts)?;
    mount_new("tmpfs", &at("/dev/shm")?, data, "mode=1777")?;
    mount_new("tmpfs", &at("/tmp")?, MsFlags::MS_NODEV, "mode=1777")?;
    mount_new("sysfs", &at("/sys")?, read, "")?;
    mount_new("cgroup2", &at("/sys/fs/cgroup")?, read, "")?;
    mount_binds(root, &DEVICES.map(Bind::read_only))?;
    mount_binds(root, common::console().as_slice())?;
    let dev = at("/dev")?;
    for (link, target) in LINKS {
        let made = symlinkat(target, &dev, link);
        made.with_context(|| format!("make the link /dev/{link}"))?;
    }
    root.find("/dev/null")?.context("open /dev/null in the root: it is missing")
}

/// Binds files and directories of the host.
pub(crate) fn mount_binds(root: &Root, binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let (source, place) = bind.open(root)?;
        bind_to(&place, &source, bind.read_only).with_context(|| format!("bind {bind}"))?;
    }
    Ok(())
}

/// Makes a bind of `source`, with all mounts below it, and only then attaches it.
fn bind_to(place: &Place, source: impl AsFd, read_only: bool) -> nix::Result<()> {
    let all = AT_RECURSIVE | AT_EMPTY_PATH;
    let bind = open_tree(source, c"", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | all as u32)?;
    if read_only {
        mount_setattr(&bind, c"", all, MOUNT_ATTR_RDONLY)?;
    }
    move_mount(&bind, c"", place, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Makes files that change the host read-only, and hides files that describe it.
pub(crate) fn protect_host(root: Root, null: Place) -> Result<()> {
    for path in READ_ONLY {
        if let Some(place) = root.find(path)? {
            let bound = bind_to(&place, &place, true);
            bound.with_context(|| format!("bind {path} to itself"))?;
        }
    }
    for path in HIDDEN {
        let Some(place) = root.find(path)? else { continue };
        if place.is_directory()? {
            mount_new("tmpfs", &place, MsFlags::MS_RDONLY, "")?;
        } else {
            let bound = bind_to(&place, &null, false);
            bound.with_context(|| format!("bind {null} to {path}"))?;
        }
    }
    Ok(())
}
