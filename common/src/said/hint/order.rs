//! Stages in a wrong order: an earlier stage of this program is the cause.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::sys::statfs::{SYSFS_MAGIC, statfs};

use super::{Call, Failed};
use crate::calls::capabilities;
use crate::calls::seccomp;
use crate::said::host;

remedies! { |failed|
    _: EPERM if seccomp::is_set() =>
        "the filter on system calls is already in force, and likely refuses this one; set the filter after the other stages";
    _: EPERM if has_given_up_capabilities(failed) =>
        "this process has already given up capabilities, and likely needs one of them here; give them up after the other stages";
    MountProc: EPERM if !host::has_proc() && has_left_old_root() =>
        "no proc is left that shows all of its files, because the old root is gone; mount proc before you leave the old root";
    Mount: EPERM if !has_sysfs() && has_left_old_root() =>
        "no sysfs is left that shows all of its files, because the old root is gone; mount it before you leave the old root";
    Mount: ENOENT if !host::has_proc() =>
        "the place has its name in /proc, where no proc is mounted; mount this before you enter the root";
    OpenRoot | OpenLayer: ENOENT if has_entered_root() =>
        "this process has entered the new root, and a path of the host leads nowhere there; do this before you enter the root";
    MapIds: ENOENT if host::is_covered() || host::in_chroot() =>
        "the new root has no proc yet; map the IDs before you enter the root";
    Mount | MountProc | MountOverlay: EACCES if host::is_unmapped() =>
        "this process has no ID in its user namespace yet; map the IDs before you mount";
    PivotRoot: EINVAL if !is_mount_point() =>
        "the new root is likely not a mount point; mount the overlay on it before you enter the root";
}

/// Whether process 1 is in the new root: it is on top of the old one, or has no proc yet, or
/// has a proc of its own.
fn has_entered_root() -> bool {
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
