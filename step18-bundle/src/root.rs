//! Lesson 18: the root of the configuration, and what is protected in it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::{Place, Root, is_inside};
use libc::{MS_PRIVATE, MS_SHARED, MS_SLAVE};
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::unistd::{chdir, fchdir, pivot_root};

use crate::config::{Config, Linux};
use crate::mounts::{attach, bind, copy, look, make, set};
use crate::options::{Change, Options, propagation};
use crate::plan::Kept;

/// How mounts of the root spread, and those below it: like those of a slave, if the
/// configuration says nothing.
pub(crate) fn spread(linux: &Linux) -> Result<(u64, bool)> {
    match &*linux.rootfs_propagation {
        "" => Ok((MS_SLAVE, true)),
        word => propagation(word)
            .with_context(|| format!("linux.rootfsPropagation is {word}; give rslave")),
    }
}

/// Changes how mounts spread at a place, and in all mounts below it.
fn slave(place: &str) -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)
        .context("keep the mounts in this namespace")
}

/// Makes a mount of the directory of the root, with all mounts below it. Keeps other
/// mounts of the container in its namespace: the host does not see them. If the
/// configuration wants them shared, binds stay shared with the host.
pub(crate) fn mount_root(config: &Config, place: &OwnedFd) -> Result<(Root, OwnedFd)> {
    let path = &config.root.path;
    if spread(&config.linux)?.0 != MS_SHARED {
        slave("/")?;
    } else {
        // pivot_root(2) wants a root that is not shared, in a mount that is not shared.
        // Only the first of these directories that is a mount can be changed.
        let private = Change::spread(MS_PRIVATE);
        let change = |dir| look(dir).is_ok_and(|it| set(it, private, false).is_ok());
        ensure!(path.ancestors().any(change), "find the mount of the root");
    }
    let tree = copy(place, true)?;
    attach(&tree, place)?;
    Ok((Root::open(format!("/proc/self/fd/{}", tree.as_raw_fd()))?, tree))
}

/// Makes mounts, and files that change the host, read-only. Hides files that describe it.
pub(crate) fn protect_host(linux: &Linux, root: &Root, kept: &[Kept]) -> Result<()> {
    for mount in kept {
        if let Kept::Tmpfs(mount) = mount {
            set(mount, Change::read_only(), false).context("make a mount read-only")?;
        }
    }
    for path in &linux.readonly_paths {
        let Some(place) = find(path, root, kept)? else { continue };
        let done = match is_root(&place, root)? {
            // A mount over the root would not be seen.
            true => set(&place, Change::read_only(), false).map_err(Into::into),
            false => bind(&place, &place, Change::read_only()),
        };
        done.with_context(|| format!("make {path} read-only"))?;
    }
    for path in &linux.masked_paths {
        let Some(place) = find(path, root, kept)? else { continue };
        ensure!(!is_root(&place, root)?, "hide {path}: it is the root itself; change it");
        let hidden = if place.is_directory().context("look at it")? {
            let options = Options { this: Change::read_only(), ..Options::default() };
            let empty = make("tmpfs", Path::new("tmpfs"), &options);
            empty.and_then(|empty| Ok(attach(&empty, &place)?))
        } else {
            bind(&find_null(root)?, &place, Change::default())
        };
        hidden.with_context(|| format!("hide {path}"))?;
    }
    Ok(())
}

/// Finds a path to protect. Another process can move the place of a proc meanwhile: then
/// the path is still one in this proc.
fn find(path: &str, root: &Root, kept: &[Kept]) -> Result<Option<Place>> {
    let absolute = &Path::new("/").join(path);
    let doing = || format!("protect {path}");
    ensure!(is_inside(absolute), "{}: it has `..`; give a path without it", doing());
    let inner = kept.iter().rev().find_map(|it| match it {
        Kept::Kernel(top, place) => Some((top, absolute.strip_prefix(place).ok()?)),
        Kept::Tmpfs(_) => None,
    });
    let Some((top, inner)) = inner else { return root.find(path) };
    // There may be another mount over this one: at the top, `..` leads to it. A link may
    // lead out of this mount.
    match top.find(&format!("/../{}", inner.display())).with_context(doing)? {
        None => root.find(path),
        found => Ok(found),
    }
}

/// Whether a place is the root itself: other names lead there, too.
pub(crate) fn is_root(place: &Place, root: &Root) -> Result<bool> {
    let (this, other) = (fstat(place)?, fstat(root)?);
    let is_same = (this.st_dev, this.st_ino) == (other.st_dev, other.st_ino);
    Ok(is_same && mount_of(place)? == mount_of(root)?)
}

/// The number of the mount that a place is in; proc_pid_fdinfo(5).
pub(crate) fn mount_of(place: impl AsFd) -> Result<String> {
    let number = place.as_fd().as_raw_fd();
    let about = common::open::text(format!("/proc/self/fdinfo/{number}"))?;
    let number = about.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    Ok(number.context("find the mount of the place")?.trim().to_owned())
}

/// The device /dev/null of the root: the root may have another file by that name.
fn find_null(root: &Root) -> Result<Place> {
    let null = root.find("/dev/null")?;
    let null = null.context("open /dev/null in the root: it is missing")?;
    let is_null = is_device(&null, SFlag::S_IFCHR, makedev(1, 3))?;
    ensure!(is_null, "open /dev/null in the root: it is another file; mount a /dev");
    Ok(null)
}

/// Whether an open file is this device.
pub(crate) fn is_device(file: impl AsFd, kind: SFlag, number: u64) -> nix::Result<bool> {
    let found = fstat(file)?;
    Ok(found.st_rdev == number && found.st_mode & SFlag::S_IFMT.bits() == kind.bits())
}

/// Makes the tree the root, goes there, and unmounts the old root.
pub(crate) fn enter_root(tree: &OwnedFd, config: &Config) -> Result<()> {
    if config.root.readonly {
        set(tree, Change::read_only(), false).context("make the root read-only")?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let old = open("/", flags, Mode::empty()).context("open the old root")?;
    fchdir(tree).context("go to the root")?;
    pivot_root(".", ".").context("pivot_root to the new root")?;
    fchdir(&old).context("go to the old root")?;
    // The host's mounts stay.
    slave(".")?;
    umount2(".", MntFlags::MNT_DETACH).context("unmount the old root")?;
    chdir("/").context("chdir to the new root")?;
    if config.linux.rootfs_propagation.is_empty() {
        return Ok(());
    }
    let (kind, all) = spread(&config.linux)?;
    set(tree, Change::spread(kind), all).context("set linux.rootfsPropagation")
}
