//! Mounts.

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, Statfs, TMPFS_MAGIC, statfs,
};

use super::clone::{SECCOMP, module};
use super::{APPARMOR, Call, FULL, Failed, NO_ROOT, TAKEN};
use crate::said::host;

remedies! { |failed|
    KeepMountsPrivate: EACCES => module();
    KeepMountsPrivate: EINVAL =>
        "the root of this process is not a mount point, so the process is in a chroot; start it outside of the chroot, and make the mounts private before you enter a root";
    Mount | MountProc | MountOverlay: EACCES if host::has_apparmor_restriction() => APPARMOR;
    PivotRoot: EINVAL =>
        "the root of this process is no ordinary mount, in a chroot or on an initramfs, or the mounts are not private; start it outside of the chroot, and make the mounts private first";
    Bind: ENOENT => "bind a file or directory that this host has";
    Bind: EPERM | ENOSYS if host::is_filtered() => SECCOMP;
    Bind: ENOSYS =>
        "this kernel lacks openat2(2), open_tree(2), move_mount(2) or mount_setattr(2); start Linux 5.12 or later";
    MountProc: EPERM =>
        "this host hides parts of its /proc, as in a Docker container; start that container with --security-opt systempaths=unconfined";
    MountProc: ENOENT if host::is_no_root() => NO_ROOT;
    MountProc: ENOENT => "the root has no directory /proc; make that directory";
    MountProc: ENOTDIR => "/proc in the root is not a directory; replace it with a directory";
    MountOverlay: EPERM =>
        "this kernel is likely older than 5.11, and allows overlays to root only; use a newer kernel";
    MountOverlay: ENODEV =>
        "the kernel has no overlay file system loaded; as root: modprobe overlay";
    MountOverlay: EINVAL if upper_is_on(failed, &[OVERLAYFS_SUPER_MAGIC]) =>
        "the scratch directory is itself on an overlay, as in a container; name a directory on another file system with --scratch or TMPDIR";
    MountOverlay: EINVAL if upper_is_on(failed, GOOD) =>
        "a layer likely has mounts below it, as / has, or is on a file system of the kernel, as /proc, or on an overlay on an overlay; name another layer";
    MountOverlay: EINVAL =>
        "the file system of the scratch directory likely cannot hold upper and work, as eCryptfs, NFS or FUSE; name another directory with --scratch or TMPDIR";
    MountOverlay: ELOOP =>
        "you named a layer twice, or a layer is inside another layer or the scratch directory; name each layer once, and a scratch directory outside of all layers";
    MountOverlay: EROFS =>
        "the scratch directory is on a read-only file system; name another directory with --scratch or TMPDIR";
    MountOverlay: ENOTDIR => TAKEN;
    MountOverlay: EACCES =>
        "the scratch directory or a layer likely belongs to another user or group, or is below a directory that this user cannot enter; name another directory";
    DeleteLower: EIO =>
        "the file system of the scratch directory has no user attributes, as a tmpfs before Linux 6.6; name a directory on a disk with TMPDIR";
    MountOverlay: ENOSPC if upper_is_full(failed) => FULL;
    Mount: EPERM =>
        "likely parts of this host's /sys are hidden, as in a Docker container; there: --security-opt systempaths=unconfined";
    Mount | MountProc | MountOverlay: ENOSPC =>
        "this mount namespace has likely reached the limit on mounts; as root, raise it with sysctl fs.mount-max";
}

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
    statfs(&*failed.object).ok()
}
