//! Lesson 18: mounts of a list, each at a place in the root.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::{
    Place, Root, change_mount, copy_files, fsconfig, fsmount, fsopen, is_inside,
    move_mount, open, open_tree,
};
use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH, MS_SLAVE, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE, mount_attr,
};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};

use crate::groups::Groups;
use crate::options::{Change, Options};
use crate::plan::{Kept, Plan};
use crate::root::{is_root, mount_of};

/// The part of the path that a call does not need, because it has a descriptor.
const HERE: &CStr = c"";

/// Changes a mount, and all mounts below it on demand.
pub(crate) fn set(mount: impl AsFd, change: Change, all: bool) -> nix::Result<()> {
    let flags = if all { AT_RECURSIVE } else { 0 } | AT_EMPTY_PATH;
    let Change { set, clear, propagation, user } = change;
    let attributes =
        mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd: user };
    change_mount(mount, HERE, flags, &attributes)
}

/// Attaches a mount at a place.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> nix::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, HERE, place, HERE, flags)
}

/// Copies the mount of an open file or directory, with all mounts below it on demand. It
/// has no place yet.
pub(crate) fn copy(file: impl AsFd, all: bool) -> nix::Result<OwnedFd> {
    let flags = if all { AT_RECURSIVE } else { 0 } | AT_EMPTY_PATH;
    open_tree(file, HERE, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags as u32)
}

/// Mounts an open file or directory at another place, too, with all mounts below it.
pub(crate) fn bind(file: impl AsFd, place: impl AsFd, change: Change) -> Result<()> {
    let tree = copy(file, true)?;
    set(&tree, change, true)?;
    Ok(attach(&tree, place)?)
}

/// Opens a file or directory of the host, whatever it is.
pub(crate) fn look(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_encoded_bytes())?;
    let opened = open_tree(AT_FDCWD, &name, OPEN_TREE_CLOEXEC);
    opened.with_context(|| format!("open {}", path.display()))
}

/// Makes a file system, with its options. It has no place yet.
pub(crate) fn make(kind: &str, source: &Path, options: &Options) -> Result<OwnedFd> {
    let text = |text: &str| CString::new(text).context("read the options");
    let fs = fsopen(&text(kind)?).context("open the file system")?;
    let source = source.to_str().context("read the source: it is not UTF-8")?;
    for option in [format!("source={source}")].iter().chain(&options.data) {
        let (name, value) = option.split_once('=').unzip();
        let value = value.map(text).transpose()?;
        let set = fsconfig(&fs, &text(name.unwrap_or(option))?, value.as_deref());
        set.with_context(|| format!("set its option {option}"))?;
    }
    Ok(fsmount(&fs, options.this.set as u32)?)
}

/// Mounts one of the list, in its order. A new tmpfs becomes read-only later: others of
/// the list may have a place in it. In a shared mount, it is read-only at once.
pub(crate) fn mount(
    plan: Plan,
    bundle: &Path,
    root: &Root,
    groups: &Groups,
) -> Result<Option<Kept>> {
    let Plan { mount, mut options, source } = plan;
    let by_runner = source.is_some();
    let is = |kinds: [&str; 2]| kinds.contains(&&*mount.kind);
    let is_new = options.bind.is_none();
    let is_groups = is_new && is(["cgroup", "cgroup2"]);
    let is_tmpfs = is_new && mount.kind == "tmpfs";
    let later = if is_tmpfs { options.this.set & MOUNT_ATTR_RDONLY } else { 0 };
    options.this.set -= later;
    let made = match (source, options.bind) {
        (Some(tree), _) => tree,
        (None, Some(all)) => copy(look(&bundle.join(&mount.source))?, all)?,
        (None, None) if is_groups => groups.tree()?,
        (None, None) => make(&mount.kind, &mount.source, &options)?,
    };
    let kind = SFlag::from_bits_truncate(fstat(&made)?.st_mode) & SFlag::S_IFMT;
    let mut place = root.place(&mount.destination, kind == SFlag::S_IFDIR)?;
    if is(["proc", "sysfs"]) {
        place = root
            .find_without_links(&mount.destination)
            .context("it must be mounted on ordinary directory, and not on a link")?;
    }
    ensure!(!is_root(&place, root)?, "its place is the root itself; change it");
    if options.copy_up {
        copy_files(&place, &made)?;
    }
    let is_later = later != 0 && !is_shared(&place)?;
    if !is_later {
        options.this.set |= later;
    }
    if is_groups {
        // Only a mount with a place can have others in it. The root is not shared.
        attach(&made, root)?;
        groups.mount_each(&made)?;
    }
    // Before it has its place: in a shared mount, others see it from then on.
    set(&made, options.all, true)?;
    set(&made, options.this, is_groups)?;
    attach(&made, &place)?;
    if by_runner {
        // The host does not see mounts of the container.
        set(&made, Change::spread(MS_SLAVE), true)?;
    }
    let mut propagation = options.propagation.iter();
    propagation.try_for_each(|(kind, all)| set(&made, Change::spread(*kind), *all))?;
    let file_system = fstatfs(&made).map(|it| it.filesystem_type());
    let is_kernel = [Ok(PROC_SUPER_MAGIC), Ok(SYSFS_MAGIC)].contains(&file_system);
    if kind != SFlag::S_IFDIR || !is_kernel {
        return Ok(is_later.then_some(Kept::Tmpfs(made)));
    }
    let destination = Path::new("/").join(&mount.destination);
    ensure!(is_inside(&destination), "its place has `..`; give a path without it");
    let top = Root::open(format!("/proc/self/fd/{}", made.as_raw_fd()))?;
    Ok(Some(Kept::Kernel(top, destination)))
}

/// Whether what is mounted at a place is mounted elsewhere, too; mount_namespaces(7).
fn is_shared(place: &Place) -> Result<bool> {
    let begin = format!("{} ", mount_of(place)?);
    let mounts = open::text("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.starts_with(&begin));
    Ok(mount.is_none_or(|line| line.contains(" shared:")))
}
