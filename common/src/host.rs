//! What can be seen of this host, and of this process's place in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{env, fs, io};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{chdir, chroot, fchdir};

use crate::open::text;

/// Whether a file of the kernel says `value`.
pub(crate) fn says(file: &str, value: &str) -> bool {
    text(file).is_ok_and(|said| said.trim() == value)
}

/// Ubuntu's restriction since 23.10.
pub(crate) fn has_apparmor_restriction() -> bool {
    says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
}

/// Whether the maps of this process's user namespace were never written.
pub(crate) fn is_unmapped() -> bool {
    says("/proc/self/uid_map", "")
}

/// Whether a seccomp filter is in force for this process; proc_pid_status(5).
pub(crate) fn is_filtered() -> bool {
    let status = text("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// Whether there are no programs where this process stands, as after a chroot
/// to a directory that is no root.
pub(crate) fn is_no_root() -> bool {
    !["/bin", "/usr/bin"].iter().any(|dir| Path::new(dir).is_dir())
}

/// Whether the current directory was removed.
pub(crate) fn is_nowhere() -> bool {
    env::current_dir().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether `/proc` is a proc, and no symbolic link to one.
pub(crate) fn has_proc() -> bool {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = open("/proc", flags, Mode::empty()).and_then(|proc| fstatfs(&proc));
    found.is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
}

/// Whether another root is mounted on top of this one: `..` leads there.
pub(crate) fn is_covered() -> bool {
    let place = |path| fs::metadata(path).map(|dir| (dir.dev(), dir.ino())).ok();
    place("/..") != place("/")
}

/// Whether the root of this process is not that of its mount namespace.
///
/// To be asked in a process with one thread: where the answer takes a walk, its
/// root and its current directory are others for that time.
pub(crate) fn in_chroot() -> bool {
    // Mountinfo lists what lies below the root: in a chroot to a directory
    // that nothing is mounted on, it has no mount at `/`;
    // proc_pid_mountinfo(5).
    let mounts = text("/proc/self/mountinfo");
    let at_root = |mounts: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    mounts.is_ok_and(|mounts| !mounts.is_empty() && !at_root(&mounts))
        || is_below_a_root().unwrap_or(false)
}

/// Whether there is something above the root of this process. Only root can
/// look, by walking out of a chroot and back; chroot(2).
fn is_below_a_root() -> io::Result<bool> {
    let place = |path| fs::metadata(path).map(|dir| (dir.dev(), dir.ino()));
    let way = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open("/", way, Mode::empty())?;
    let here = open(".", way, Mode::empty())?;
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
