//! Stages in a wrong order: an earlier stage of this program is the cause.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::sys::statfs::{SYSFS_MAGIC, statfs};

use super::{Call, Failed, Row};
use crate::calls::capabilities;
use crate::calls::seccomp;
use crate::said::host;

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::Any,
        errno: Errno::EPERM,
        seen: |_| seccomp::is_set(),
        remedy: "the filter on system calls is already in force, and likely refuses this one; set the filter after the other stages",
    },
    Row {
        call: Call::Any,
        errno: Errno::EPERM,
        seen: has_given_up_capabilities,
        remedy: "this process has already given up capabilities, and likely needs one of them here; give them up after the other stages",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::EPERM,
        seen: |_| !host::has_proc() && has_left_old_root(),
        remedy: "no proc is left that shows all of its files, because the old root is gone; mount proc before you leave the old root",
    },
    Row {
        call: Call::Mount,
        errno: Errno::EPERM,
        seen: |failed| failed.call == Call::Mount && !has_sysfs() && has_left_old_root(),
        remedy: "no sysfs is left that shows all of its files, because the old root is gone; mount it before you leave the old root",
    },
    Row {
        call: Call::Mount,
        errno: Errno::ENOENT,
        seen: |failed| failed.call == Call::Mount && !host::has_proc(),
        remedy: "the place has its name in /proc, where no proc is mounted; mount this before you enter the root",
    },
    Row { call: Call::OpenRoot, errno: Errno::ENOENT, seen: has_entered_root, remedy: ENTERED },
    Row { call: Call::OpenLayer, errno: Errno::ENOENT, seen: has_entered_root, remedy: ENTERED },
    Row { call: Call::Bind, errno: Errno::ENOENT, seen: has_entered_root, remedy: ENTERED },
    Row {
        call: Call::MapIds,
        errno: Errno::ENOENT,
        seen: |_| host::is_covered() || host::in_chroot(),
        remedy: "the new root has no proc yet; map the IDs before you enter the root",
    },
    Row {
        call: Call::Mount,
        errno: Errno::EACCES,
        seen: |_| host::is_unmapped(),
        remedy: "this process has no ID in its user namespace yet; map the IDs before you mount",
    },
    Row {
        call: Call::PivotRoot,
        errno: Errno::EINVAL,
        seen: |_| !is_mount_point(),
        remedy: "the new root is likely not a mount point; mount the overlay on it before you enter the root",
    },
];

const ENTERED: &str = "this process has entered the new root, and a path of the host leads nowhere there; do this before you enter the root";

/// Whether process 1 is in the new root: it is on top of the old one, or has no proc yet, or
/// has a proc of its own.
fn has_entered_root(_failed: &Failed) -> bool {
    let has_own_proc = || fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new("1"));
    process::id() == 1 && (host::is_covered() || !host::has_proc() || has_own_proc())
}

/// Whether lesson 12's stage has run before another stage that needs a capability.
fn has_given_up_capabilities(failed: &Failed) -> bool {
    use Call::{BecomeUser, ConnectNetwork, DropCapabilities, Fork, SetFilter};
    let own =
        matches!(failed.call, BecomeUser | DropCapabilities | ConnectNetwork | SetFilter | Fork);
    capabilities::are_set() && !own
}

/// Whether this root is the only one, and not a part of another: after lesson 9's last stage.
/// On the host's own root it is true, too, but there are proc and sysfs.
fn has_left_old_root() -> bool {
    !host::is_covered() && !host::in_chroot()
}

fn has_sysfs() -> bool {
    statfs("/sys").is_ok_and(|found| found.filesystem_type() == SYSFS_MAGIC)
}

/// Whether the current directory is a mount point.
fn is_mount_point() -> bool {
    let device = |path| fs::metadata(path).map(|dir| dir.dev()).ok();
    device(".") != device("..")
}
