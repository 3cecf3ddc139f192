//! Cloning into namespaces.

use nix::errno::Errno;
use nix::sched::CloneFlags;

use super::{Call, Failed, PROFILE, Row, SELINUX, always};
use crate::said::host;

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
        remedy: "this process has no ID in its user namespace, as in the container of lesson 3, so the kernel refuses a further user namespace; start it outside of that container",
    },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: |failed| user(failed) && host::says(USERNS_CLONE, "0"),
        remedy: "this kernel allows user namespaces to root only; as root: sysctl kernel.unprivileged_userns_clone=1",
    },
    Row { call: Call::Clone, errno: Errno::EPERM, seen: |_| host::is_filtered(), remedy: SECCOMP },
    Row { call: Call::Clone, errno: Errno::EPERM, seen: is_confined, remedy: PROFILE },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: user,
        remedy: "a security module or a policy of this host likely forbids user namespaces",
    },
    Row {
        call: Call::Clone,
        errno: Errno::EPERM,
        seen: always,
        remedy: "only root can make these namespaces without a user namespace; use sudo, or add a user namespace, as step 3 does",
    },
    Row { call: Call::Clone, errno: Errno::ENOSPC, seen: always, remedy: LIMIT },
    Row { call: Call::Clone, errno: Errno::EUSERS, seen: always, remedy: LIMIT },
    Row { call: Call::Clone, errno: Errno::EACCES, seen: is_confined, remedy: PROFILE },
    Row { call: Call::Clone, errno: Errno::EACCES, seen: user, remedy: SELINUX },
    Row {
        call: Call::Clone,
        errno: Errno::EINVAL,
        seen: user,
        remedy: "this kernel likely has no user namespaces, as in WSL 1; use WSL 2 or another kernel",
    },
    Row { call: Call::Clone, errno: Errno::EAGAIN, seen: always, remedy: PROCESSES },
    Row {
        call: Call::Fork,
        errno: Errno::EAGAIN,
        seen: always,
        remedy: "the container or this user has reached a limit on processes; raise --pids, ulimit -u, or pids.max of the control group",
    },
];

const CHROOT: &str = "this process is in a chroot, and the kernel makes no user namespace there; start it outside of the chroot";
const LIMIT: &str = "this host has reached a limit on namespaces; as root: sysctl user.max_user_namespaces=10000, and the same for the other user.max_*_namespaces";
pub(super) const SECCOMP: &str = "a seccomp filter, as in a Docker container, likely refuses this; start that container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const PROCESSES: &str =
    "this user has reached a limit on processes; raise ulimit -u, or pids.max of the control group";
const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// Whether the call asked for a user namespace.
fn user(failed: &Failed) -> bool {
    failed.namespaces.contains(CloneFlags::CLONE_NEWUSER)
}

/// Whether an AppArmor profile may have refused the user namespace.
fn is_confined(failed: &Failed) -> bool {
    user(failed) && host::is_confined()
}
