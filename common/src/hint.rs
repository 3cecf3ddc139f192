//! What to do about a system call that a host refuses.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{env, fs, io};

use anyhow::Result;
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, Statfs, TMPFS_MAGIC, statfs,
};
use nix::unistd::{chdir, chroot};

use crate::Exit;
use crate::open::text;

/// A failure that is known: how the words for what was being done begin, the
/// error, and what else must be seen on this host for the remedy to be the
/// right one.
struct Row {
    doing: &'static str,
    errno: Errno,
    /// Gets the words for what was being done.
    seen: fn(&str) -> bool,
    remedy: &'static str,
}

/// The remedy for a failed system call, when there is a known one.
///
/// `doing` is what an error line says before the cause, such as `mount proc on
/// /proc`. The first row that fits is taken. A remedy that could not be tried
/// says "likely".
pub fn hint(doing: &str, errno: Errno) -> Option<String> {
    // Not anywhere in it: it ends with a name that may hold any words.
    let fits = |row: &&Row| doing.starts_with(row.doing) && row.errno == errno && (row.seen)(doing);
    ROWS.iter().find(fits).map(|row| row.remedy.to_owned())
}

const APPARMOR: &str = "this host's AppArmor keeps capabilities from new user namespaces; as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or better the profile of docs/hosts.md";
const CHROOT: &str =
    "this process is in a chroot, and the kernel makes no user namespace there; start it outside";
const LIMIT: &str = "a limit on namespaces is reached; as root: sysctl user.max_user_namespaces=10000, and likewise the other user.max_*_namespaces";
const SECCOMP: &str = "a seccomp filter is in force, as in a Docker container, and likely refuses this; there: --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const PROCESSES: &str =
    "a limit on processes is reached: ulimit -u, or pids.max of the control group";
const SELINUX: &str = "a security module refuses it, likely SELinux; use an unconfined login";
const FETCH: &str = "fetch one with `cargo xtask fetch-rootfs`, or name a directory that is there";
pub(crate) const NO_ROOT: &str = "the root has neither /bin nor /usr/bin, so it is likely no root at all; fetch one with `cargo xtask fetch-rootfs --force`, or name another directory";
const DIRECTORY: &str = "name a directory";
const WAY: &str = "the directories down to it must let this user through";
const SCRATCH: &str =
    "name a directory in which this user can make others, with --scratch or TMPDIR";
const TAKEN: &str = "something else has that name; name another directory with --scratch or TMPDIR";
const FULL: &str = "the file system is full; free some room, or name a directory elsewhere with --scratch or TMPDIR";
const GONE: &str = "the current directory was removed; go to one that is there";

const CLONE: &str = "clone a child";
const IDS: &str = "write /proc/self/";
const PRIVATE: &str = "make the mounts private";
const PROC: &str = "mount proc";
const OVERLAY: &str = "mount the overlay on ";
const ROOT: &str = "chroot to ";
const LAYER: &str = "open the layer ";
const MAKE_SCRATCH: &str = "make the scratch directory ";
const LOCK_SCRATCH: &str = "lock the scratch directory ";

const ROWS: &[Row] = &[
    // Cloning into namespaces.
    Row {
        doing: CLONE,
        errno: Errno::EPERM,
        seen: |doing| user(doing) && in_chroot(),
        remedy: CHROOT,
    },
    Row {
        doing: CLONE,
        errno: Errno::EPERM,
        seen: |doing| user(doing) && unmapped(),
        remedy: "this process has no ID in its user namespace, as in lesson 3's container, and the kernel makes no other there; start it outside",
    },
    Row {
        doing: CLONE,
        errno: Errno::EPERM,
        seen: |doing| user(doing) && is(USERNS_CLONE, "0"),
        remedy: "this kernel keeps user namespaces to root; as root: sysctl kernel.unprivileged_userns_clone=1",
    },
    Row { doing: CLONE, errno: Errno::EPERM, seen: |_| filtered(), remedy: SECCOMP },
    Row {
        doing: CLONE,
        errno: Errno::EPERM,
        seen: user,
        remedy: "likely a security module or a policy of this host forbids user namespaces",
    },
    Row {
        doing: CLONE,
        errno: Errno::EPERM,
        seen: always,
        remedy: "only root may make these namespaces by themselves; use sudo, or step 3, which makes them in a user namespace",
    },
    Row { doing: CLONE, errno: Errno::ENOSPC, seen: always, remedy: LIMIT },
    Row { doing: CLONE, errno: Errno::EUSERS, seen: always, remedy: LIMIT },
    Row { doing: CLONE, errno: Errno::EACCES, seen: user, remedy: SELINUX },
    Row {
        doing: CLONE,
        errno: Errno::EINVAL,
        seen: user,
        remedy: "likely a kernel without user namespaces, such as WSL 1's; use WSL 2 or another kernel",
    },
    Row { doing: CLONE, errno: Errno::EAGAIN, seen: always, remedy: PROCESSES },
    Row { doing: "fork the command", errno: Errno::EAGAIN, seen: always, remedy: PROCESSES },
    // Mapping the IDs.
    Row {
        doing: IDS,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the caller has no /proc mounted; mount one",
    },
    Row { doing: IDS, errno: Errno::EPERM, seen: apparmor, remedy: APPARMOR },
    Row { doing: IDS, errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row { doing: IDS, errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        doing: IDS,
        errno: Errno::EPERM,
        seen: always,
        remedy: "a map is written once, for the caller's own ID, and gid_map after setgroups says deny",
    },
    // Mounts.
    Row { doing: PRIVATE, errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row {
        doing: PRIVATE,
        errno: Errno::EACCES,
        seen: always,
        remedy: "likely an AppArmor profile such as Docker's; there: --security-opt apparmor=unconfined",
    },
    Row {
        doing: PRIVATE,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the root of this process is no mount point, so it is in a chroot; start it outside",
    },
    Row { doing: "mount ", errno: Errno::EACCES, seen: apparmor, remedy: APPARMOR },
    Row {
        doing: PROC,
        errno: Errno::EPERM,
        seen: always,
        remedy: "parts of this host's /proc are hidden, as in a Docker container; there: --security-opt systempaths=unconfined",
    },
    Row { doing: PROC, errno: Errno::ENOENT, seen: |_| in_no_root(), remedy: NO_ROOT },
    Row {
        doing: PROC,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the root has no directory /proc; make one in it",
    },
    Row {
        doing: PROC,
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "/proc in the root is no directory; make it one",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::EPERM,
        seen: always,
        remedy: "likely a kernel before 5.11, which mounts overlays for root alone; use a newer one",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::ENODEV,
        seen: always,
        remedy: "the kernel has no overlay file system loaded; as root: modprobe overlay",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::EINVAL,
        seen: |doing| upper_is_on(doing, &[OVERLAYFS_SUPER_MAGIC]),
        remedy: "the scratch directory is on an overlay itself, as in a container; name one that is not, with --scratch or TMPDIR",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::EINVAL,
        seen: |doing| upper_is_on(doing, GOOD),
        remedy: "likely a layer has mounts below it, as / has, is no place for files, as /proc, or lies on an overlay on an overlay; name another",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "likely the scratch directory is on a file system that cannot hold upper and work, such as eCryptfs, NFS or FUSE; name another directory with --scratch or TMPDIR",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::ELOOP,
        seen: always,
        remedy: "a layer is named twice, or one lies inside another; name each once, and the scratch directory outside of them all",
    },
    Row {
        doing: OVERLAY,
        errno: Errno::EROFS,
        seen: always,
        remedy: "the scratch directory is on a file system that is read-only; name another with --scratch or TMPDIR",
    },
    Row { doing: OVERLAY, errno: Errno::ENOTDIR, seen: always, remedy: TAKEN },
    Row {
        doing: OVERLAY,
        errno: Errno::EACCES,
        seen: always,
        remedy: "likely the scratch directory or a layer belongs to another user or group, or lies below a directory that does not let this user through; name another",
    },
    Row {
        doing: "delete a lower directory",
        errno: Errno::EIO,
        seen: always,
        remedy: "files on the file system of the scratch directory have no user attributes, as on a tmpfs before Linux 6.6; name a directory on a disk with TMPDIR",
    },
    Row { doing: OVERLAY, errno: Errno::ENOSPC, seen: upper_is_full, remedy: FULL },
    Row {
        doing: "mount ",
        errno: Errno::ENOSPC,
        seen: always,
        remedy: "likely the limit on mounts in a namespace is reached; as root: sysctl fs.mount-max",
    },
    // The root and the directories around it.
    Row { doing: ROOT, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { doing: LAYER, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { doing: MAKE_SCRATCH, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { doing: ROOT, errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row { doing: LAYER, errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row { doing: ROOT, errno: Errno::ENOTDIR, seen: always, remedy: DIRECTORY },
    Row { doing: LAYER, errno: Errno::ENOTDIR, seen: always, remedy: DIRECTORY },
    Row { doing: ROOT, errno: Errno::EACCES, seen: always, remedy: WAY },
    Row { doing: LAYER, errno: Errno::EACCES, seen: always, remedy: WAY },
    Row {
        doing: ROOT,
        errno: Errno::EPERM,
        seen: always,
        remedy: "chroot needs CAP_SYS_CHROOT, which root of the user namespace has once its ID is mapped",
    },
    Row { doing: MAKE_SCRATCH, errno: Errno::ENOENT, seen: always, remedy: SCRATCH },
    Row { doing: MAKE_SCRATCH, errno: Errno::EACCES, seen: always, remedy: SCRATCH },
    Row { doing: MAKE_SCRATCH, errno: Errno::EPERM, seen: always, remedy: SCRATCH },
    Row { doing: MAKE_SCRATCH, errno: Errno::EROFS, seen: always, remedy: SCRATCH },
    Row { doing: LOCK_SCRATCH, errno: Errno::EACCES, seen: always, remedy: SCRATCH },
    Row { doing: MAKE_SCRATCH, errno: Errno::EEXIST, seen: always, remedy: TAKEN },
    Row { doing: MAKE_SCRATCH, errno: Errno::ENOTDIR, seen: always, remedy: SCRATCH },
    Row {
        doing: "write to standard output",
        errno: Errno::ENOSPC,
        seen: always,
        remedy: "the file system it goes to is full; free some room",
    },
    Row { doing: "", errno: Errno::ENOSPC, seen: always, remedy: FULL },
    Row {
        doing: "",
        errno: Errno::EMFILE,
        seen: always,
        remedy: "a limit on open files is reached; raise it with ulimit -n",
    },
    Row {
        doing: "",
        errno: Errno::ELOOP,
        seen: always,
        remedy: "a symbolic link on the way leads back to itself",
    },
    Row {
        doing: "",
        errno: Errno::ENAMETOOLONG,
        seen: always,
        remedy: "a name can have 255 bytes, a path 4095",
    },
];

const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// File systems that can hold an upper directory; XFS by its number, since nix
/// has its name for glibc alone.
const GOOD: &[FsType] = &[BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, FsType(0x5846_5342)];

fn always(_doing: &str) -> bool {
    true
}

/// Whether a user namespace was asked for.
fn user(doing: &str) -> bool {
    doing.contains("CLONE_NEWUSER")
}

/// Whether a file of the kernel says `value`.
fn is(file: &str, value: &str) -> bool {
    text(file).is_ok_and(|said| said.trim() == value)
}

/// Ubuntu's restriction since 23.10.
fn apparmor(_doing: &str) -> bool {
    is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
}

/// Whether the maps of this process's user namespace were never written.
fn unmapped() -> bool {
    is("/proc/self/uid_map", "")
}

/// Whether a seccomp filter is in force for this process; proc_pid_status(5).
fn filtered() -> bool {
    let status = text("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Whether there are no programs where this process stands, as after a chroot
/// to a directory that is no root.
pub(crate) fn in_no_root() -> bool {
    !["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).is_dir())
}

/// Whether a name that is not absolute was looked up where nothing is left.
fn here_is_gone(doing: &str) -> bool {
    let gone = env::current_dir().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    gone && !doing.contains(" /")
}

/// Whether the directory for an overlay is on a file system of one of `kinds`.
/// What is mounted where lies beside what is written to.
fn upper_is_on(doing: &str, kinds: &[FsType]) -> bool {
    upper_fs(doing).is_some_and(|found| kinds.contains(&found.filesystem_type()))
}

/// Whether that has no block or no inode left.
fn upper_is_full(doing: &str) -> bool {
    // Btrfs counts no inodes.
    let full = |of: Statfs| of.blocks_available() == 0 || of.files() > 0 && of.files_free() == 0;
    upper_fs(doing).is_some_and(full)
}

/// What the directory of an overlay that could not be mounted lies on.
fn upper_fs(doing: &str) -> Option<Statfs> {
    let (dir, _why) = doing.strip_prefix(OVERLAY)?.rsplit_once(": ")?;
    statfs(dir).ok()
}

/// Whether the root of this process is not that of its mount namespace.
fn in_chroot() -> bool {
    // Mountinfo lists what lies below the root: in a chroot to a directory
    // that nothing is mounted on, it has no mount at `/`;
    // proc_pid_mountinfo(5).
    let mounts = text("/proc/self/mountinfo");
    let at_root = |mounts: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    mounts.is_ok_and(|mounts| !mounts.is_empty() && !at_root(&mounts)) || way_out()
}

/// Whether there is something above the root of this process. Only root can
/// look, by walking out of a chroot; chroot(2).
fn way_out() -> bool {
    let walk = || -> Result<Exit> {
        let place = |path| fs::metadata(path).map(|dir| (dir.dev(), dir.ino()));
        chdir("/")?;
        let root = place(".")?;
        chroot("proc")?;
        Ok(if place("..")? == root { Exit::SUCCESS } else { OUT })
    };
    // A child's walk changes nothing here.
    let walked = crate::clone(CloneFlags::empty(), || Ok(walk().unwrap_or(Exit::SUCCESS)));
    walked.and_then(crate::Child::wait).is_ok_and(|exit| exit == OUT)
}

/// How the child of [`way_out`] ends when it is out.
const OUT: Exit = Exit::SETUP;

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
        // A name is no cause.
        assert_eq!(of("chroot to /proc/self/fd/9", Errno::EACCES), WAY);
        assert_eq!(of("chroot to /mount proc", Errno::ENOENT), FETCH);
    }
}
