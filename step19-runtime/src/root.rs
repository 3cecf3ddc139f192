//! Lesson 9: a root that nobody can leave. Lesson 18: the root of the configuration, and
//! what is protected in it.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::{Place, Root, open_tree};
use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_SHARED, MS_SLAVE,
    OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE,
};
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, makedev};
use nix::unistd::{chdir, fchdir, pivot_root};

use crate::config::Config;
use crate::mounts::{attach, make, set};
use crate::options::{Change, Options, propagation};

/// How mounts of the root spread: like those of a slave, if the configuration says nothing.
fn spread(config: &Config) -> Result<(u64, bool)> {
    match &*config.linux.rootfs_propagation {
        "" => Ok((MS_SLAVE, true)),
        word => propagation(word).with_context(|| {
            format!("linux.rootfsPropagation is {word}, which is not done here; give slave")
        }),
    }
}

/// Refuses a word that is no kind of propagation.
pub(crate) fn check(config: &Config) -> Result<()> {
    spread(config).map(drop)
}

/// Changes how mounts spread at a place, and in all mounts below it.
fn slave(place: &str) -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>)
        .context("keep the mounts in this namespace")
}

/// Makes a mount of the directory of the root, with all mounts below it. Keeps other mounts
/// of the container in its namespace: the host does not see them. If the configuration wants
/// them shared, binds stay shared with the host.
pub(crate) fn mount_root(path: &Path, config: &Config) -> Result<(Root, OwnedFd)> {
    let doing = || format!("mount the root {}", path.display());
    let look = |path: &Path| -> Result<OwnedFd> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())?;
        Ok(open_tree(AT_FDCWD, &name, OPEN_TREE_CLOEXEC)?)
    };
    if spread(config)?.0 != MS_SHARED {
        slave("/")?;
    } else {
        // pivot_root(2) wants a root that is not shared, in a mount that is not shared. Only
        // the first of these directories that is a mount can be changed.
        let private = |dir| {
            look(dir).is_ok_and(|it| set(it, Change::default(), MS_PRIVATE, false, None).is_ok())
        };
        ensure!(path.ancestors().any(private), "{}: find its mount", doing());
    }
    let place = look(path).with_context(doing)?;
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE | AT_EMPTY_PATH) as u32;
    let tree = open_tree(&place, c"", flags).with_context(doing)?;
    attach(&tree, &place).with_context(doing)?;
    let root = Root::open(format!("/proc/self/fd/{}", tree.as_raw_fd()))?;
    Ok((root, tree))
}

/// Makes files that change the host read-only, and hides files that describe it.
pub(crate) fn protect_host(config: &Config, root: &Root) -> Result<()> {
    let read_only = Change { set: MOUNT_ATTR_RDONLY, clear: 0 };
    for path in &config.linux.readonly_paths {
        if let Some(place) = root.find(path)? {
            let doing = || format!("make {path} read-only");
            bind(&place, &place, read_only).with_context(doing)?;
        }
    }
    let mut null = None;
    for path in &config.linux.masked_paths {
        let Some(place) = root.find(path)? else { continue };
        let doing = || format!("hide {path}");
        if place.is_directory().with_context(doing)? {
            let options = Options { this: read_only, ..Options::default() };
            let empty = make("tmpfs", Path::new("tmpfs"), &options).with_context(doing)?;
            attach(&empty, &place).with_context(doing)?;
        } else {
            if null.is_none() {
                null = Some(find_null(root)?);
            }
            if let Some(null) = &null {
                bind(null, &place, Change::default()).with_context(doing)?;
            }
        }
    }
    Ok(())
}

/// The device /dev/null of the root: the root may have another file by that name.
fn find_null(root: &Root) -> Result<Place> {
    let null = root.find("/dev/null")?.context("open /dev/null in the root: it is missing")?;
    let found = fstat(&null).context("look at /dev/null in the root")?;
    ensure!(
        found.st_rdev == makedev(1, 3)
            && found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits(),
        "open /dev/null in the root: it is another file; give a mount for /dev"
    );
    Ok(null)
}

fn bind(source: &Place, place: &Place, change: Change) -> nix::Result<()> {
    let all = (AT_RECURSIVE | AT_EMPTY_PATH) as u32;
    let tree = open_tree(source, c"", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | all)?;
    set(&tree, change, 0, true, None)?;
    attach(&tree, place)
}

/// Makes the tree the root, goes there, and unmounts the old root.
pub(crate) fn enter_root(tree: &OwnedFd, config: &Config) -> Result<()> {
    if config.root.readonly {
        let change = Change { set: MOUNT_ATTR_RDONLY, clear: 0 };
        set(tree, change, 0, false, None).context("make the root read-only")?;
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
    let (kind, all) = spread(config)?;
    set(tree, Change::default(), kind, all, None).context("set linux.rootfsPropagation")
}
