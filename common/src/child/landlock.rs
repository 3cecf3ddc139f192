//! Rules on files that hold for a process and its children; landlock(7).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// The rights in linux/landlock.h. Without the second, no process could rename a file to
/// another directory; the kernel has it since Linux 5.19.
const EXECUTE: u64 = 1 << 0;
const REFER: u64 = 1 << 13;

/// Lets this process and its children execute only files below the root directory. Whatever
/// name leads elsewhere, the kernel does not execute the file.
///
/// From now on, they cannot mount either. Fails when the kernel has no Landlock since 5.19, or
/// this process has neither no_new_privs nor CAP_SYS_ADMIN; landlock_restrict_self(2).
pub(crate) fn execute_only_in_root() -> nix::Result<()> {
    /// The numbers in linux/landlock.h.
    const PATH_BENEATH: libc::c_long = 1;
    const NO_FLAGS: libc::c_long = 0;
    let handled = EXECUTE | REFER;
    let root = open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    /// landlock_path_beneath_attr in linux/landlock.h.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        parent: libc::c_int,
    }
    let rule = PathBeneath { allowed: handled, parent: root.as_raw_fd() };
    #[allow(unsafe_code, reason = "nix has no Landlock")]
    // SAFETY: the kernel only reads `handled`, whose size it gets, and `rule`, which has the
    // layout of its structure. Both live longer than the calls. The descriptor is new, and
    // nothing else has it.
    unsafe {
        let (create, size) = (libc::SYS_landlock_create_ruleset, size_of_val(&handled));
        let made = libc::syscall(create, &raw const handled, size, NO_FLAGS);
        let rules = OwnedFd::from_raw_fd(Errno::result(made)? as libc::c_int);
        let (add, number) = (libc::SYS_landlock_add_rule, rules.as_raw_fd());
        let added = libc::syscall(add, number, PATH_BENEATH, &raw const rule, NO_FLAGS);
        Errno::result(added)?;
        let set = libc::syscall(libc::SYS_landlock_restrict_self, number, NO_FLAGS);
        Errno::result(set).map(drop)
    }
}
