//! Mounts.

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, Statfs, TMPFS_MAGIC, statfs,
};

use super::{APPARMOR, Call, FULL, NO_ROOT, Row, TAKEN, always};
use crate::{host, scratch};

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::KeepMountsPrivate,
        errno: Errno::EACCES,
        seen: |_| host::has_apparmor_restriction(),
        remedy: APPARMOR,
    },
    Row {
        call: Call::KeepMountsPrivate,
        errno: Errno::EACCES,
        seen: always,
        remedy: "likely an AppArmor profile such as Docker's; there: --security-opt apparmor=unconfined",
    },
    Row {
        call: Call::KeepMountsPrivate,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the root of this process is no mount point, so it is in a chroot; start it outside",
    },
    Row {
        call: Call::Mount,
        errno: Errno::EACCES,
        seen: |_| host::has_apparmor_restriction(),
        remedy: APPARMOR,
    },
    Row {
        call: Call::PivotRoot,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the root of this process must be a mount, as it is not in a chroot, and the mounts must be private; start it outside of the chroot, and make the mounts private first",
    },
    Row {
        call: Call::Bind,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "bind a file or directory that this host has",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::EPERM,
        seen: always,
        remedy: "parts of this host's /proc are hidden, as in a Docker container; there: --security-opt systempaths=unconfined",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::ENOENT,
        seen: |_| host::is_no_root(),
        remedy: NO_ROOT,
    },
    Row {
        call: Call::MountProc,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the root has no directory /proc; make one in it",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "/proc in the root is no directory; make it one",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EPERM,
        seen: always,
        remedy: "likely a kernel before 5.11, which mounts overlays for root alone; use a newer one",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::ENODEV,
        seen: always,
        remedy: "the kernel has no overlay file system loaded; as root: modprobe overlay",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EINVAL,
        seen: |_| upper_is_on(&[OVERLAYFS_SUPER_MAGIC]),
        remedy: "the scratch directory is on an overlay itself, as in a container; name one that is not, with --scratch or TMPDIR",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EINVAL,
        seen: |_| upper_is_on(GOOD),
        remedy: "likely a layer has mounts below it, as / has, is no place for files, as /proc, or lies on an overlay on an overlay; name another",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "likely the scratch directory is on a file system that cannot hold upper and work, such as eCryptfs, NFS or FUSE; name another directory with --scratch or TMPDIR",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::ELOOP,
        seen: always,
        remedy: "a layer is named twice, or one lies inside another; name each once, and the scratch directory outside of them all",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EROFS,
        seen: always,
        remedy: "the scratch directory is on a file system that is read-only; name another with --scratch or TMPDIR",
    },
    Row { call: Call::MountOverlay, errno: Errno::ENOTDIR, seen: always, remedy: TAKEN },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EACCES,
        seen: always,
        remedy: "likely the scratch directory or a layer belongs to another user or group, or lies below a directory that does not let this user through; name another",
    },
    Row {
        call: Call::DeleteLower,
        errno: Errno::EIO,
        seen: always,
        remedy: "files on the file system of the scratch directory have no user attributes, as on a tmpfs before Linux 6.6; name a directory on a disk with TMPDIR",
    },
    Row { call: Call::MountOverlay, errno: Errno::ENOSPC, seen: |_| upper_is_full(), remedy: FULL },
    Row {
        call: Call::Mount,
        errno: Errno::EPERM,
        seen: always,
        remedy: "likely parts of this host's /sys are hidden, as in a Docker container; there: --security-opt systempaths=unconfined",
    },
    Row {
        call: Call::Mount,
        errno: Errno::ENOSPC,
        seen: always,
        remedy: "likely the limit on mounts in a namespace is reached; as root: sysctl fs.mount-max",
    },
];

/// File systems that can hold an upper directory; XFS by its number, since nix
/// has its name for glibc alone.
const GOOD: &[FsType] = &[BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, FsType(0x5846_5342)];

/// Whether the upper directory is on a file system of one of `kinds`.
fn upper_is_on(kinds: &[FsType]) -> bool {
    upper_fs().is_some_and(|found| kinds.contains(&found.filesystem_type()))
}

/// Whether that has no block or no inode left.
fn upper_is_full() -> bool {
    // Btrfs counts no inodes.
    let full = |of: Statfs| of.blocks_available() == 0 || of.files() > 0 && of.files_free() == 0;
    upper_fs().is_some_and(full)
}

/// What this run's scratch directory lies on.
fn upper_fs() -> Option<Statfs> {
    statfs(scratch::merged()?).ok()
}
