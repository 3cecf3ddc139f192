//! Lesson 18: device nodes of a list.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use common::Root;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat, umask};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use serde::Deserialize;

use crate::config::Config;
use crate::mounts::{bind, look};
use crate::numbers::Id;
use crate::options::Change;
use crate::root::is_device;

/// A node of the configuration; mknod(2).
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Device {
    #[serde(rename = "type")]
    kind: String,
    path: PathBuf,
    major: u64,
    minor: u64,
    file_mode: Option<u32>,
    uid: Id,
    gid: Id,
}

/// Devices that each container has, and their major and minor numbers.
#[rustfmt::skip]
const USUAL: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0),
];
/// Links in /dev, and their targets. Some kernels have no /proc/kcore.
#[rustfmt::skip]
const LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"), ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes the usual nodes and those of the list, and the links, unless /dev is a bind.
pub(crate) fn make_nodes(config: &Config, root: &Root) -> Result<()> {
    let listed = &config.linux.devices;
    let dev = config.mounts.iter().rfind(|it| it.destination == Path::new("/dev"));
    if dev.is_some_and(|it| it.is_bind()) {
        return Ok(());
    }
    let usual = USUAL.map(|(path, major, minor)| {
        let (kind, path) = ("c".to_owned(), PathBuf::from(path));
        Device { kind, path, major, minor, ..Device::default() }
    });
    let is_new = |it: &&Device| listed.iter().all(|other| other.path != it.path);
    // Each node has the mode of the list. Hooks have the umask of the caller.
    let before = umask(Mode::empty());
    for device in usual.iter().filter(is_new).chain(listed) {
        let made = make_node(device, root);
        made.with_context(|| format!("make the device {}", device.path.display()))?;
    }
    umask(before);
    let dev = root.directory("/dev")?;
    let has_core = Path::new("/proc/kcore").exists();
    for (link, target) in LINKS.into_iter().filter(|it| it.0 != "core" || has_core) {
        let made = symlinkat(target, &dev, link);
        if made != Err(Errno::EEXIST) {
            made.with_context(|| format!("make the link /dev/{link}"))?;
        }
    }
    Ok(())
}

fn make_node(device: &Device, root: &Root) -> Result<()> {
    let Device { path, major, minor, uid, gid, .. } = device;
    let kind = match &*device.kind {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => bail!("there is no type {other}; give c, b, u or p"),
    };
    let number = if kind == SFlag::S_IFIFO { 0 } else { makedev(*major, *minor) };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("it has no name; give a path");
    };
    let above = root.place(parent, true)?;
    let mode = Mode::from_bits_truncate(device.file_mode.unwrap_or(0o666) & 0o7777);
    let make = || mknodat(&above, name, kind, mode, number);
    let made = match make() {
        Err(Errno::EEXIST) => {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let there = openat(&above, name, flags, Mode::empty())?;
            if is_device(&there, kind, number)? {
                return Ok(());
            }
            // An earlier start may have made an empty file as the place of a bind.
            let is_place =
                is_device(&there, SFlag::S_IFREG, 0)? && fstat(&there)?.st_size == 0;
            ensure!(is_place, "the root has another file by this name; remove it");
            unlinkat(&above, name, UnlinkatFlags::NoRemoveDir).and_then(|()| make())
        }
        made => made,
    };
    if let Err(Errno::EPERM | Errno::EROFS) = made {
        // In a user namespace, only the host's own node works, with its mode and owner.
        let node = look(path)?;
        let is_right = is_device(&node, kind, number)?;
        ensure!(is_right, "it can only be a bind, and the host has another by this name");
        // The mode of the host's node cannot change. Programs can still write to it.
        return bind(node, root.place(path, false)?, Change::read_only());
    }
    made?;
    let (uid, gid) = (Uid::from_raw(uid.0), Gid::from_raw(gid.0));
    Ok(fchownat(&above, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
}
