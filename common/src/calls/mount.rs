//! Calls that make a mount before they attach it. nix does not have them.

use std::ffi::{CStr, c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;

/// Opens a file or directory, or copies its mount; open_tree(2), since Linux 5.2. A copy
/// has no place yet, and is gone when the descriptor is closed.
pub fn open_tree(at: impl AsFd, path: &CStr, flags: c_uint) -> nix::Result<OwnedFd> {
    let at = at.as_fd().as_raw_fd();
    #[allow(unsafe_code, reason = "nix has no open_tree(2)")]
    // SAFETY: `path` ends with a zero. The kernel returns a new descriptor, which nothing
    // else has.
    unsafe {
        let opened = libc::syscall(libc::SYS_open_tree, at, path.as_ptr(), flags);
        Errno::result(opened).map(|new| OwnedFd::from_raw_fd(new as c_int))
    }
}

/// Sets attributes of a mount, `MOUNT_ATTR_…`, and changes no other; mount_setattr(2), since
/// Linux 5.12.
pub fn mount_setattr(at: impl AsFd, path: &CStr, flags: c_int, attr_set: u64) -> nix::Result<()> {
    let attributes = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    change_mount(at, path, flags, &attributes)
}

/// Changes a mount as `attributes` say; mount_setattr(2), since Linux 5.12.
pub fn change_mount(
    at: impl AsFd,
    path: &CStr,
    flags: c_int,
    attributes: &libc::mount_attr,
) -> nix::Result<()> {
    let at = at.as_fd().as_raw_fd();
    let size = size_of_val(attributes);
    #[allow(unsafe_code, reason = "nix has no mount_setattr(2)")]
    // SAFETY: `path` ends with a zero, and the kernel gets the size of `attributes`, which
    // it reads.
    let set = unsafe {
        let attributes = &raw const *attributes;
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, attributes, size)
    };
    Errno::result(set).map(drop)
}

/// Opens a file system of the type `kind`, to configure it; fsopen(2), since Linux 5.2.
pub fn fsopen(kind: &CStr) -> nix::Result<OwnedFd> {
    /// FSOPEN_CLOEXEC in linux/mount.h.
    const CLOEXEC: c_uint = 1;
    #[allow(unsafe_code, reason = "nix has no fsopen(2)")]
    // SAFETY: `kind` ends with a zero. The kernel returns a new descriptor, which nothing
    // else has.
    unsafe {
        let opened = libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC);
        Errno::result(opened).map(|new| OwnedFd::from_raw_fd(new as c_int))
    }
}

/// Sets an option of a file system: a flag, if there is no value; fsconfig(2).
pub fn fsconfig(fs: impl AsFd, key: &CStr, value: Option<&CStr>) -> nix::Result<()> {
    /// FSCONFIG_SET_FLAG and FSCONFIG_SET_STRING in linux/mount.h.
    const FLAG: c_uint = 0;
    const STRING: c_uint = 1;
    let command = if value.is_some() { STRING } else { FLAG };
    configure(fs, command, Some(key), value)
}

/// Makes a mount of a file system that is configured; fsconfig(2), fsmount(2). It has no
/// place yet. `attributes` are `MOUNT_ATTR_…`.
pub fn fsmount(fs: impl AsFd, attributes: c_uint) -> nix::Result<OwnedFd> {
    /// FSCONFIG_CMD_CREATE and FSMOUNT_CLOEXEC in linux/mount.h.
    const CREATE: c_uint = 6;
    const CLOEXEC: c_uint = 1;
    configure(&fs, CREATE, None, None)?;
    let fs = fs.as_fd().as_raw_fd();
    #[allow(unsafe_code, reason = "nix has no fsmount(2)")]
    // SAFETY: the kernel returns a new descriptor, which nothing else has.
    unsafe {
        let made = libc::syscall(libc::SYS_fsmount, fs, CLOEXEC, attributes);
        Errno::result(made).map(|new| OwnedFd::from_raw_fd(new as c_int))
    }
}

fn configure(
    fs: impl AsFd,
    command: c_uint,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> nix::Result<()> {
    const NOTHING: c_int = 0;
    let fs = fs.as_fd().as_raw_fd();
    let (key, value) =
        (key.map_or(ptr::null(), CStr::as_ptr), value.map_or(ptr::null(), CStr::as_ptr));
    #[allow(unsafe_code, reason = "nix has no fsconfig(2)")]
    // SAFETY: each string ends with a zero, or is missing where the command takes none.
    let set = unsafe { libc::syscall(libc::SYS_fsconfig, fs, command, key, value, NOTHING) };
    Errno::result(set).map(drop)
}

/// Attaches the mount `from` at the place `to`; move_mount(2), since Linux 5.2.
pub fn move_mount(
    from: impl AsFd,
    from_path: &CStr,
    to: impl AsFd,
    to_path: &CStr,
    flags: c_uint,
) -> nix::Result<()> {
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    let (from_path, to_path) = (from_path.as_ptr(), to_path.as_ptr());
    #[allow(unsafe_code, reason = "nix has no move_mount(2)")]
    // SAFETY: both paths end with a zero.
    let moved = unsafe { libc::syscall(libc::SYS_move_mount, from, from_path, to, to_path, flags) };
    Errno::result(moved).map(drop)
}
