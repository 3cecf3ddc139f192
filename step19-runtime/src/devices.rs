//! Lesson 18: device nodes of a list, and the rules that say which devices may be used.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use common::Root;
use libc::{AT_RECURSIVE, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat, umask};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use serde::Deserialize;

use crate::config::Config;
use crate::mounts::attach;

/// A node of the configuration; mknod(2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Device {
    #[serde(rename = "type")]
    kind: String,
    path: PathBuf,
    #[serde(default)]
    major: u64,
    #[serde(default)]
    minor: u64,
    file_mode: Option<u32>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

/// Devices that each container has, and their minor and major numbers.
const USUAL: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];
/// Links in /dev, and their targets.
const LINKS: [(&str, &str); 6] = [
    // Where the kernel has it: it is hidden in most containers.
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Makes the nodes of the list and the usual ones, and the links, unless /dev is a bind.
pub(crate) fn make_nodes(config: &Config, root: &Root) -> Result<()> {
    // Each node has the mode of the list. `set_umask` sets the umask of the command.
    umask(Mode::empty());
    let dev = config.mounts.iter().rev().find(|it| it.destination == Path::new("/dev"));
    if dev.is_some_and(|it| it.is_bind()) {
        return Ok(());
    }
    let listed = |path: &str| config.linux.devices.iter().any(|it| it.path == Path::new(path));
    let usual =
        USUAL.iter().filter(|(path, ..)| !listed(path)).map(|(path, major, minor)| Device {
            kind: "c".into(),
            path: path.into(),
            major: *major,
            minor: *minor,
            file_mode: Some(0o666),
            uid: 0,
            gid: 0,
        });
    for device in &usual.collect::<Vec<_>>() {
        make_node(device, root)?;
    }
    for device in &config.linux.devices {
        make_node(device, root)?;
    }
    let dev = root.directory("/dev")?;
    let has_core = Path::new("/proc/kcore").exists();
    for (link, target) in LINKS.into_iter().filter(|(link, _)| *link != "core" || has_core) {
        match symlinkat(target, &dev, link) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => Err(errno).with_context(|| format!("make the link /dev/{link}"))?,
        }
    }
    Ok(())
}

fn make_node(device: &Device, root: &Root) -> Result<()> {
    let Device { path, major, minor, .. } = device;
    let doing = || format!("make the device {}", path.display());
    let kind = match &*device.kind {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => bail!("{}: there is no type {other}; give c, b, u or p", doing()),
    };
    let number = if kind == SFlag::S_IFIFO { 0 } else { makedev(*major, *minor) };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{}: it has no name", doing());
    };
    let above = root.place(parent, true).with_context(doing)?;
    let mode = Mode::from_bits_truncate(device.file_mode.unwrap_or(0o666) & 0o7777);
    match mknodat(&above, name, kind, mode, number) {
        Ok(()) => {
            let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            return fchownat(&above, name, Some(uid), Some(gid), flags).with_context(doing);
        }
        // In a user namespace, only the host's own node works.
        Err(Errno::EPERM) => {}
        // The root has it. Another device by this name is replaced by a bind.
        Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).with_context(doing),
    }
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE as u32;
    let source = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let tree = common::open_tree(AT_FDCWD, &source, flags).with_context(doing)?;
    let found = fstat(&tree).with_context(doing)?;
    ensure!(
        found.st_rdev == number && found.st_mode & SFlag::S_IFMT.bits() == kind.bits(),
        "{}: the host has another device by this name, and this container can only bind it",
        doing()
    );
    let place = root.place(path, false).with_context(doing)?;
    attach(&tree, &place).with_context(doing)
}
