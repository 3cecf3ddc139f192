//! Cloning into namespaces, and mapping the IDs.

use nix::errno::Errno;

use super::{APPARMOR, Call, Failed, PROFILE, SELINUX};
use crate::said::host;

remedies! { |failed|
    Clone: EPERM if user(failed) && host::in_chroot() =>
        "this process is in a chroot, and the kernel makes no user namespace there; start it outside of the chroot";
    Clone: EPERM if user(failed) && host::is_unmapped() =>
        "this process has no ID in its user namespace, as in the container of lesson 3, so the kernel refuses a further user namespace; start it outside of that container";
    Clone: EPERM if user(failed) && host::says(USERNS_CLONE, "0") =>
        "this kernel allows user namespaces to root only; as root: sysctl kernel.unprivileged_userns_clone=1";
    Clone: EPERM if host::is_filtered() => SECCOMP;
    Clone: EPERM if is_confined(failed) => PROFILE;
    Clone: EPERM if user(failed) =>
        "a security module or a policy of this host likely forbids user namespaces";
    Clone: EPERM =>
        "only root can make these namespaces without a user namespace; use sudo, or add a user namespace, as step 3 does";
    Clone: ENOSPC | EUSERS =>
        "this host has reached a limit on namespaces; as root: sysctl user.max_user_namespaces=10000, and the same for the other user.max_*_namespaces";
    Clone: EACCES if is_confined(failed) => PROFILE;
    Clone: EACCES if user(failed) => SELINUX;
    Clone: EINVAL if user(failed) =>
        "this kernel likely has no user namespaces, as in WSL 1; use WSL 2 or another kernel";
    Clone: EAGAIN =>
        "this user has reached a limit on processes; raise ulimit -u, or pids.max of the control group";
    Fork: EAGAIN =>
        "the container or this user has reached a limit on processes; raise --pids, ulimit -u, or pids.max of the control group";
    MapIds | WriteMaps: ENOENT => NO_PROC;
    WriteMaps: EPERM =>
        "root of this host may not give these IDs away, likely because it is root of a container; use --ids one";
    BecomeUser: EPERM =>
        "this needs CAP_SETUID and CAP_SETGID; become the user before you give up capabilities";
    BecomeUser: EINVAL =>
        "the container does not have this ID; write the maps first, or name another user";
    MapIds: EPERM if host::has_apparmor_restriction() => APPARMOR;
    MapIds: EACCES => module();
    MapIds: EPERM =>
        "write each map only once, map only your own ID, and write deny to setgroups before gid_map";
}

pub(super) const SECCOMP: &str = "a seccomp filter, as in a Docker container, likely refuses this; start that container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
pub(super) const NO_PROC: &str = "there is no /proc on this host; mount proc on /proc";
const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// The security module that refuses a call with EACCES.
pub(super) fn module() -> &'static str {
    match () {
        () if host::has_apparmor_restriction() => APPARMOR,
        () if host::is_confined() => PROFILE,
        () => SELINUX,
    }
}

/// Whether the call asked for a user namespace.
fn user(failed: &Failed) -> bool {
    failed.object.contains("CLONE_NEWUSER")
}

/// Whether an AppArmor profile may have refused the user namespace.
fn is_confined(failed: &Failed) -> bool {
    user(failed) && host::is_confined()
}
