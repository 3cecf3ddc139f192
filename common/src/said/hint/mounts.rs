//! Mounts.

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, Statfs, TMPFS_MAGIC, statfs,
};

use super::clone::SECCOMP;
use super::{APPARMOR, Call, FULL, Failed, NO_ROOT, PROFILE, Row, SELINUX, TAKEN, always};
use crate::said::host;

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
        seen: |_| host::is_confined(),
        remedy: PROFILE,
    },
    Row { call: Call::KeepMountsPrivate, errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        call: Call::KeepMountsPrivate,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the root of this process is not a mount point, so the process is in a chroot; start it outside of the chroot, and make the mounts private before you enter a root",
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
        remedy: "the root of this process is no ordinary mount, in a chroot or on an initramfs, or the mounts are not private; start it outside of the chroot, and make the mounts private first",
    },
    Row {
        call: Call::Bind,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "bind a file or directory that this host has",
    },
    Row { call: Call::Bind, errno: Errno::EPERM, seen: |_| host::is_filtered(), remedy: SECCOMP },
    Row { call: Call::Bind, errno: Errno::ENOSYS, seen: |_| host::is_filtered(), remedy: SECCOMP },
    Row {
        call: Call::Bind,
        errno: Errno::ENOSYS,
        seen: always,
        remedy: "this kernel lacks openat2(2), open_tree(2), move_mount(2) or mount_setattr(2); start Linux 5.12 or later",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::EPERM,
        seen: always,
        remedy: "this host hides parts of its /proc, as in a Docker container; start that container with --security-opt systempaths=unconfined",
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
        remedy: "the root has no directory /proc; make that directory",
    },
    Row {
        call: Call::MountProc,
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "/proc in the root is not a directory; replace it with a directory",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EPERM,
        seen: always,
        remedy: "this kernel is likely older than 5.11, and allows overlays to root only; use a newer kernel",
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
        seen: |failed| upper_is_on(failed, &[OVERLAYFS_SUPER_MAGIC]),
        remedy: "the scratch directory is itself on an overlay, as in a container; name a directory on another file system with --scratch or TMPDIR",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EINVAL,
        seen: |failed| upper_is_on(failed, GOOD),
        remedy: "a layer likely has mounts below it, as / has, or is on a file system of the kernel, as /proc, or on an overlay on an overlay; name another layer",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the file system of the scratch directory likely cannot hold upper and work, as eCryptfs, NFS or FUSE; name another directory with --scratch or TMPDIR",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::ELOOP,
        seen: always,
        remedy: "you named a layer twice, or a layer is inside another layer or the scratch directory; name each layer once, and a scratch directory outside of all layers",
    },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EROFS,
        seen: always,
        remedy: "the scratch directory is on a read-only file system; name another directory with --scratch or TMPDIR",
    },
    Row { call: Call::MountOverlay, errno: Errno::ENOTDIR, seen: always, remedy: TAKEN },
    Row {
        call: Call::MountOverlay,
        errno: Errno::EACCES,
        seen: always,
        remedy: "the scratch directory or a layer likely belongs to another user or group, or is below a directory that this user cannot enter; name another directory",
    },
    Row {
        call: Call::DeleteLower,
        errno: Errno::EIO,
        seen: always,
        remedy: "the file system of the scratch directory has no user attributes, as a tmpfs before Linux 6.6; name a directory on a disk with TMPDIR",
    },
    Row { call: Call::MountOverlay, errno: Errno::ENOSPC, seen: upper_is_full, remedy: FULL },
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
        remedy: "this mount namespace has likely reached the limit on mounts; as root, raise it with sysctl fs.mount-max",
    },
];

/// File systems that can hold an upper directory. XFS is a number here, because nix
/// names it only for glibc.
const GOOD: &[FsType] = &[BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, FsType(0x5846_5342)];

/// Whether the upper directory is on a file system of one of `kinds`.
fn upper_is_on(failed: &Failed, kinds: &[FsType]) -> bool {
    upper_fs(failed).is_some_and(|found| kinds.contains(&found.filesystem_type()))
}

/// Whether the file system of the upper directory has no free block or inode.
fn upper_is_full(failed: &Failed) -> bool {
    // Btrfs counts no inodes.
    let full = |of: Statfs| of.blocks_available() == 0 || of.files() > 0 && of.files_free() == 0;
    upper_fs(failed).is_some_and(full)
}

/// The file system of the scratch directory: the overlay was to be mounted in it.
fn upper_fs(failed: &Failed) -> Option<Statfs> {
    statfs(failed.path.as_ref()?).ok()
}
