//! Calls that make a mount before they attach it. nix does not have them.

use std::ffi::{CStr, c_int, c_uint};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Opens a file or directory, or copies its mount; open_tree(2), since Linux 5.2. A copy
/// has no place yet, and is gone when the descriptor is closed.
///
/// # Errors
///
/// As in open_tree(2).
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
///
/// # Errors
///
/// As in mount_setattr(2).
pub fn mount_setattr(at: impl AsFd, path: &CStr, flags: c_int, attr_set: u64) -> nix::Result<()> {
    let at = at.as_fd().as_raw_fd();
    let attributes = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let size = size_of_val(&attributes);
    #[allow(unsafe_code, reason = "nix has no mount_setattr(2)")]
    // SAFETY: `path` ends with a zero, and the kernel gets the size of `attributes`, which
    // it reads.
    let set = unsafe {
        let attributes = &raw const attributes;
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, attributes, size)
    };
    Errno::result(set).map(drop)
}

/// Attaches the mount `from` at the place `to`; move_mount(2), since Linux 5.2.
///
/// # Errors
///
/// As in move_mount(2).
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
