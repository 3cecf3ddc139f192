//! Looks at this host, and at this process's place in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{env, fs, io};

use nix::sys::statfs::{PROC_SUPER_MAGIC, Statfs, statfs};
use nix::unistd::{chdir, chroot, fchdir};

use crate::places::open::{self, text};

/// Whether a file of the kernel contains `value`.
pub(crate) fn says(file: &str, value: &str) -> bool {
    text(file).is_ok_and(|said| said.trim() == value)
}

/// Ubuntu's restriction since 23.10.
pub(crate) fn has_apparmor_restriction() -> bool {
    says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
}

/// Whether an AppArmor profile is in force for this process; proc(5).
pub(crate) fn is_confined() -> bool {
    text("/proc/self/attr/current").is_ok_and(|profile| confines(&profile))
}

/// Whether this label is a profile's that is in force. A label of SELinux has no mode.
fn confines(label: &str) -> bool {
    label.trim_end_matches(['\n', '\0']).ends_with(" (enforce)")
}

/// Whether this process's user namespace has no ID maps yet.
pub(crate) fn is_unmapped() -> bool {
    says("/proc/self/uid_map", "")
}

/// Whether this process has a seccomp filter; proc_pid_status(5).
pub(crate) fn is_filtered() -> bool {
    let status = text("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Whether the root has no directory of programs, as after a chroot to a wrong directory.
pub(crate) fn is_no_root() -> bool {
    !["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).is_dir())
}

/// Whether the current directory no longer exists.
pub(crate) fn is_nowhere() -> bool {
    env::current_dir().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether `/proc` is a mounted proc, and not a symbolic link.
pub(crate) fn has_proc() -> bool {
    let is_proc = |found: Statfs| found.filesystem_type() == PROC_SUPER_MAGIC;
    statfs("/proc").is_ok_and(is_proc) && !Path::new("/proc").is_symlink()
}

/// The reason why no command can start: no proc is mounted on `/proc`. With the remedy.
pub(crate) fn no_proc() -> &'static str {
    if Path::new("/proc").is_symlink() {
        "no proc is mounted on /proc, which is a symbolic link in the root; make it a directory there"
    } else {
        "no proc is mounted on /proc; mount it after you enter the root, and before you leave the old one"
    }
}

/// Whether another root is mounted on top of this one: `..` leads there.
pub(crate) fn is_covered() -> bool {
    let place = |path| fs::metadata(path).map(|dir| (dir.dev(), dir.ino())).ok();
    place("/..") != place("/")
}

/// Whether the root of this process differs from the root of its mount namespace.
///
/// Call it only in a process with one thread: it may change the root and the
/// current directory for a short time.
pub(crate) fn in_chroot() -> bool {
    // Mountinfo lists the mounts below the root. In a chroot to a directory
    // that is not a mount point, it has no mount at `/`; proc_pid_mountinfo(5).
    let mounts = text("/proc/self/mountinfo");
    let at_root = |mounts: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    mounts.is_ok_and(|mounts| !mounts.is_empty() && !at_root(&mounts))
        || is_below_a_root().unwrap_or(false)
}

/// Whether the root of this process has a directory above it. Only root can look:
/// it leaves the chroot and comes back; chroot(2).
fn is_below_a_root() -> io::Result<bool> {
    let place = |path| fs::metadata(path).map(|dir| (dir.dev(), dir.ino()));
    let (root, here) = (open::place(Path::new("/"))?, open::place(Path::new("."))?);
    chdir("/")?;
    let before = place(".")?;
    let above = match chroot("proc") {
        Ok(()) => {
            // The current directory is still above the new root.
            let above = place("..");
            fchdir(&root)?;
            chroot(".")?;
            above
        }
        Err(errno) => Err(errno.into()),
    };
    fchdir(&here)?;
    Ok(above? != before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_in_force_confines() {
        let labels = [
            ("docker-default (enforce)\n", true),
            ("a profile//&another (enforce)", true),
            ("docker-default (complain)\n", false),
            ("unconfined\n", false),
            ("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0", false),
            ("", false),
        ];
        for (label, confined) in labels {
            assert_eq!(confines(label), confined, "{label}");
        }
    }
}
