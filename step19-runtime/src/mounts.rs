//! Lesson 18: mounts of a list, each at a place in the root.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::{Root, change_mount, copy_files, fsconfig, fsmount, fsopen, move_mount};
use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, MS_SLAVE,
    mount_attr,
};
use nix::sys::stat::{SFlag, fstat};

use crate::groups::Groups;
use crate::options::{Change, Options};
use crate::plan::{Plan, copy};

/// The part of the path that a call does not need, because it has a descriptor.
const HERE: &CStr = c"";

/// Changes a mount, and all mounts below it on demand.
pub(crate) fn set(
    mount: impl AsFd,
    Change { set, clear }: Change,
    propagation: u64,
    all: bool,
    user: Option<OwnedFd>,
) -> nix::Result<()> {
    let userns_fd = user.as_ref().map_or(0, |user| user.as_raw_fd() as u64);
    let attributes = mount_attr { attr_set: set, attr_clr: clear, propagation, userns_fd };
    let flags = if all { AT_EMPTY_PATH | AT_RECURSIVE } else { AT_EMPTY_PATH };
    change_mount(mount, HERE, flags, &attributes)
}

/// Attaches a mount at a place.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> nix::Result<()> {
    move_mount(mount, HERE, place, HERE, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Makes a file system, with its options. It has no place yet.
pub(crate) fn make(kind: &str, source: &Path, options: &Options) -> Result<OwnedFd> {
    let text = |text: &str| CString::new(text).context("read the options");
    let fs = fsopen(&text(kind)?).context("open the file system")?;
    let source = source.to_str().context("read the source: it is not UTF-8")?;
    let source = [("source".to_owned(), Some(source.to_owned()))];
    for (name, value) in source.iter().chain(&options.data) {
        let value = value.as_deref().map(text).transpose()?;
        fsconfig(&fs, &text(name)?, value.as_deref())
            .with_context(|| format!("set its option {name}"))?;
    }
    Ok(fsmount(&fs, options.this.set as u32)?)
}

/// Mounts all, in the order of the list.
pub(crate) fn mount_all(
    plans: Vec<Plan<'_>>,
    bundle: &Path,
    root: &Root,
    groups: &Groups,
) -> Result<()> {
    for Plan { mount, options, source } in plans {
        let doing = || mount.doing();
        let by_runner = source.is_some();
        let made = match (options.bind, &*mount.kind, source) {
            (Some(_), _, Some(tree)) => tree,
            (Some(all), ..) => copy(&bundle.join(&mount.source), all).with_context(doing)?,
            (None, "cgroup" | "cgroup2", _) => groups.tree().with_context(doing)?,
            (None, kind, _) => make(kind, &mount.source, &options).with_context(doing)?,
        };
        let is_directory = fstat(&made)?.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let has_link = root.has_link(&mount.destination);
        ensure!(
            !(has_link && ["proc", "sysfs"].contains(&&*mount.kind)),
            "{}: the place must be an ordinary directory, and not a link",
            doing()
        );
        let place = root.place(&mount.destination, is_directory).with_context(doing)?;
        if options.copy_up {
            copy_files(&place, &made).with_context(doing)?;
        }
        attach(&made, &place).with_context(doing)?;
        let is_groups = mount.kind.starts_with("cgroup") && options.bind.is_none();
        if is_groups {
            groups.mount_each(&made).with_context(doing)?;
        }
        if by_runner {
            // The host does not see mounts of the container.
            set(&made, Change::default(), MS_SLAVE, true, None).with_context(doing)?;
        }
        set(&made, options.all, 0, true, None).with_context(doing)?;
        set(&made, options.this, 0, is_groups, None).with_context(doing)?;
        for (propagation, all) in &options.propagation {
            set(&made, Change::default(), *propagation, *all, None).with_context(doing)?;
        }
    }
    Ok(())
}
