//! Cloning into namespaces.

use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::{Call, Failed, Row, SELINUX, always};
use crate::host;

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: |failed| user(failed) && failed.in_chroot,
        remedy: CHROOT,
    },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: |failed| user(failed) && host::is_unmapped(),
        remedy: "this process has no ID in its user namespace, as in lesson 3's container, and the kernel makes no other there; start it outside",
    },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: |failed| user(failed) && host::says(USERNS_CLONE, "0"),
        remedy: "this kernel keeps user namespaces to root; as root: sysctl kernel.unprivileged_userns_clone=1",
    },
    Row { call: Call::Clone, errno: Errno::EPERM, seen: |_| host::is_filtered(), remedy: SECCOMP },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: user,
        remedy: "likely a security module or a policy of this host forbids user namespaces",
    },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: always,
        remedy: "only root may make these namespaces by themselves; use sudo, or step 3, which makes them in a user namespace",
    },
    Row { call: Call::Clone, errno: Errno::ENOSPC, seen: always, remedy: LIMIT },
    Row { call: Call::Clone, errno: Errno::EUSERS, seen: always, remedy: LIMIT },
    Row { call: Call::Clone, errno: Errno::EACCES, seen: user, remedy: SELINUX },
    Row {
        call: Call::Clone,
        errno: Errno::EINVAL,
        seen: user,
        remedy: "likely a kernel without user namespaces, such as WSL 1's; use WSL 2 or another kernel",
    },
    Row { call: Call::Clone, errno: Errno::EAGAIN, seen: always, remedy: PROCESSES },
    Row { call: Call::Fork, errno: Errno::EAGAIN, seen: always, remedy: PROCESSES },
];

const CHROOT: &str =
    "this process is in a chroot, and the kernel makes no user namespace there; start it outside";
const LIMIT: &str = "a limit on namespaces is reached; as root: sysctl user.max_user_namespaces=10000, and likewise the other user.max_*_namespaces";
const SECCOMP: &str = "a seccomp filter is in force, as in a Docker container, and likely refuses this; there: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const PROCESSES: &str =
    "a limit on processes is reached: ulimit -u, or pids.max of the control group";
const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// Whether a user namespace was asked for.
fn user(failed: &Failed) -> bool {
    failed.namespaces.contains(CloneFlags::CLONE_NEWUSER)
}
