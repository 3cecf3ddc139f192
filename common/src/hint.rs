//! What to do about a system call that a host refuses.

use std::fs;

use nix::errno::Errno;

/// A failure that is known: a piece of what was being done, the error, and
/// what else must be seen on this host for the remedy to be the right one.
struct Row {
    doing: &'static str,
    errno: Errno,
    seen: fn() -> bool,
    remedy: &'static str,
}

/// The remedy for a failed system call, when there is a known one.
///
/// `doing` is what an error line says before the cause, such as `mount proc on
/// /proc`. The first row that fits is taken. A remedy that could not be tried
/// says "likely".
pub fn hint(doing: &str, errno: Errno) -> Option<String> {
    let fits = |row: &&Row| doing.contains(row.doing) && row.errno == errno && (row.seen)();
    ROWS.iter().find(fits).map(|row| row.remedy.to_owned())
}

const APPARMOR: &str = "this host's AppArmor keeps capabilities from new user namespaces; as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
const CHROOT: &str =
    "this process is in a chroot, and the kernel makes no user namespace there; start it outside";
const LIMIT: &str = "a limit on namespaces is reached; as root: sysctl user.max_user_namespaces=10000, and likewise the other user.max_*_namespaces";
const SECCOMP: &str = "a seccomp filter is in force, as in a Docker container, and likely refuses this; there: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const SELINUX: &str = "a security module refuses it, likely SELinux; use an unconfined login";
const FETCH: &str = "fetch one with `cargo xtask fetch-rootfs`";

const ROWS: &[Row] = &[
    // Cloning into namespaces.
    Row { doing: "CLONE_NEWUSER", errno: Errno::EPERM, seen: in_chroot, remedy: CHROOT },
    Row {
        doing: "CLONE_NEWUSER",
        errno: Errno::EPERM,
        seen: || is(USERNS_CLONE, "0"),
        remedy: "this kernel keeps user namespaces to root; as root: sysctl kernel.unprivileged_userns_clone=1",
    },
    Row { doing: "CLONE_NEWUSER", errno: Errno::EPERM, seen: filtered, remedy: SECCOMP },
    Row {
        doing: "CLONE_NEWUSER",
        errno: Errno::EPERM,
        seen: always,
        remedy: "likely a security module or a policy of this host forbids user namespaces",
    },
    Row { doing: "CLONE_NEWUSER", errno: Errno::ENOSPC, seen: always, remedy: LIMIT },
    Row { doing: "CLONE_NEWUSER", errno: Errno::EUSERS, seen: always, remedy: LIMIT },
    Row { doing: "CLONE_NEWUSER", errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        doing: "CLONE_NEWUSER",
        errno: Errno::EINVAL,
        seen: always,
        remedy: "likely a kernel without user namespaces, such as WSL 1's; use WSL 2 or another kernel",
    },
    Row { doing: "clone a child with", errno: Errno::ENOSPC, seen: always, remedy: LIMIT },
    Row { doing: "clone a child with", errno: Errno::EPERM, seen: filtered, remedy: SECCOMP },
    Row {
        doing: "clone a child with",
        errno: Errno::EPERM,
        seen: always,
        remedy: "only root may make these namespaces by themselves; use sudo, or step 3, which makes them in a user namespace",
    },
    Row {
        doing: "clone a child",
        errno: Errno::EAGAIN,
        seen: always,
        remedy: "a limit on processes is reached: ulimit -u, or pids.max of the control group",
    },
    // Mapping the IDs.
    Row { doing: "/proc/self/", errno: Errno::EPERM, seen: apparmor, remedy: APPARMOR },
    Row { doing: "/proc/self/", errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row { doing: "/proc/self/", errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        doing: "/proc/self/",
        errno: Errno::EPERM,
        seen: always,
        remedy: "a map is written once, for the caller's own ID, and gid_map after setgroups says deny",
    },
    // Mounts.
    Row { doing: "mounts private", errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row {
        doing: "mounts private",
        errno: Errno::EACCES,
        seen: always,
        remedy: "likely an AppArmor profile such as Docker's; there: --security-opt apparmor=unconfined",
    },
    Row {
        doing: "mounts private",
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the root of this process is no mount point, so it is in a chroot; start it outside",
    },
    Row { doing: "mount", errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row {
        doing: "mount proc",
        errno: Errno::EPERM,
        seen: always,
        remedy: "parts of this host's /proc are hidden, as in a Docker container; there: --security-opt systempaths=unconfined",
    },
    Row {
        doing: "mount proc",
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the root has no directory /proc; make one in it",
    },
    Row {
        doing: "mount proc",
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "/proc in the root is no directory; make it one",
    },
    Row {
        doing: "mount the overlay",
        errno: Errno::EPERM,
        seen: always,
        remedy: "likely a kernel before 5.11, which mounts overlays for root alone; use a newer one",
    },
    Row {
        doing: "mount the overlay",
        errno: Errno::ENODEV,
        seen: always,
        remedy: "the kernel has no overlay file system loaded; as root: modprobe overlay",
    },
    Row {
        doing: "mount the overlay",
        errno: Errno::EINVAL,
        seen: always,
        remedy: "likely upper and work are on a file system that cannot hold them (overlayfs, eCryptfs, NFS), or a layer has mounts below it, as / has; name another directory with --scratch or TMPDIR",
    },
    Row {
        doing: "mount the overlay",
        errno: Errno::ELOOP,
        seen: always,
        remedy: "layers lie inside each other; name a directory elsewhere with --scratch or TMPDIR",
    },
    Row {
        doing: "mount the overlay",
        errno: Errno::EROFS,
        seen: always,
        remedy: "the scratch directory is on a file system that is read-only; name another with --scratch or TMPDIR",
    },
    // The root and the directories around it.
    Row { doing: "chroot to", errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row { doing: "as a layer", errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row {
        doing: "chroot to",
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "a root is a directory",
    },
    Row {
        doing: "as a layer",
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "a layer is a directory",
    },
    Row {
        doing: "chroot to",
        errno: Errno::EACCES,
        seen: always,
        remedy: "the directories down to it must let this user through",
    },
    Row {
        doing: "chroot to",
        errno: Errno::EPERM,
        seen: always,
        remedy: "chroot needs CAP_SYS_CHROOT, which root of the user namespace has once its ID is mapped",
    },
    Row {
        doing: "as a layer",
        errno: Errno::EACCES,
        seen: always,
        remedy: "the directories down to it must let this user through",
    },
    Row {
        doing: "",
        errno: Errno::ENOSPC,
        seen: always,
        remedy: "the file system is full; free some room, or name a directory elsewhere with --scratch or TMPDIR",
    },
];

const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

fn always() -> bool {
    true
}

/// Whether a file of the kernel says `value`.
fn is(file: &str, value: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == value)
}

/// Ubuntu's restriction since 23.10.
fn apparmor() -> bool {
    is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
}

/// Whether a seccomp filter is in force for this process; proc_pid_status(5).
fn filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Whether the root of this process is not that of its mount namespace: then
/// mountinfo, which lists what lies below the root, has no mount at `/`;
/// proc_pid_mountinfo(5).
pub fn in_chroot() -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_that_fits_is_taken() {
        let of = |doing, errno| hint(doing, errno).unwrap_or_default();
        assert!(of("chroot to /x", Errno::ENOENT).contains("fetch-rootfs"));
        assert!(of("mount proc on /proc", Errno::EPERM).contains("systempaths"));
        assert!(of("clone a child with CLONE_NEWNET", Errno::EPERM).contains("step 3"));
        assert!(
            of("clone a child with CLONE_NEWUSER", Errno::ENOSPC).contains("max_user_namespaces")
        );
        assert!(of("make /tmp/x", Errno::ENOSPC).contains("full"));
        assert_eq!(hint("chdir to /", Errno::EIO), None);
    }
}
