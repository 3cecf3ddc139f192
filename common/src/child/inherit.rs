//! Keeps the caller's open files, environment and keys out of the container.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Context, Result, bail};
use libc::c_char;
use nix::errno::Errno;
use nix::unistd::close;

use crate::child::line;

/// Closes every descriptor from `first` on, except those in `keep`. It calls close_range(2), or
/// close(2) for each descriptor before Linux 5.9.
pub(crate) fn close_from(mut first: RawFd, keep: &[RawFd]) -> Result<()> {
    let close = |first: RawFd, last: libc::c_uint| {
        #[allow(unsafe_code, reason = "nix has no close_range(2)")]
        // SAFETY: the callers do not use a descriptor in the range again: the runner calls this
        // before it opens any, and the child when it needs only `keep`.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        Errno::result(closed).map(drop)
    };
    let lowest = first;
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|it| *it >= first).collect();
    kept.sort_unstable();
    for end in kept.into_iter().chain([RawFd::MAX]) {
        let closed = if end > first { close(first, end as libc::c_uint - 1) } else { Ok(()) };
        match closed {
            // An older kernel, or a seccomp filter that does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                close_each(lowest, keep);
                break;
            }
            closed => closed.context("close the descriptors of the caller")?,
        }
        first = end.saturating_add(1);
    }
    Ok(())
}

/// Closes every descriptor from 3 on, except the socket to the runner.
pub fn close_descriptors() -> Result<()> {
    close_descriptors_but(0, &[])
}

/// As [`close_descriptors`], but keeps the first descriptors from 3 on, as many as the caller
/// wants to pass on, and those of `keep`.
pub fn close_descriptors_but(passed: u16, keep: &[RawFd]) -> Result<()> {
    let line = line::childs_end().map(AsRawFd::as_raw_fd);
    let keep: Vec<RawFd> = keep.iter().copied().chain(line).collect();
    close_from(3 + RawFd::from(passed), &keep)
}

/// Closes each descriptor that `/proc` lists, and all low numbers. The child may
/// have no `/proc`, but low numbers are enough then: the runner has closed the
/// caller's descriptors, and the kernel uses the lowest free number first.
fn close_each(first: RawFd, keep: &[RawFd]) {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let listed = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = listed.chain(first..LOW).collect();
    for number in numbers.into_iter().filter(|it| *it >= first && !keep.contains(it)) {
        // Most numbers are not open.
        let _ = close(number);
    }
}

/// More descriptors than a runner opens: a few, and one for each layer.
const LOW: RawFd = 1024;

/// Overwrites every environment variable except TERM in its place in memory:
/// proc_pid_environ(5) shows that memory to other processes.
pub(crate) fn wipe_environment() {
    #[allow(unsafe_code, reason = "std can only forget a variable, and leaves its bytes")]
    // SAFETY: environ(7) is a list of strings in writable memory that ends with
    // a null. This process has one thread and no reference to the strings.
    unsafe {
        unsafe extern "C" {
            static environ: *const *mut c_char;
        }
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            let variable = CStr::from_ptr(*next).to_bytes();
            if !variable.starts_with(b"TERM=") {
                (*next).write_bytes(0, variable.len());
            }
            next = next.add(1);
        }
    }
}

/// Gives this process a new, empty session keyring: no namespace hides the caller's keys.
/// KEYCTL_JOIN_SESSION_KEYRING in keyctl(2), session-keyring(7). Fails when this user has as many
/// keys as the kernel allows.
pub fn leave_keyring() -> Result<()> {
    /// Not in libc.
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    const NO_NAME: *const c_char = std::ptr::null();
    #[allow(unsafe_code, reason = "nix has no keyctl(2)")]
    // SAFETY: a null pointer asks for a keyring without a name.
    let joined = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, NO_NAME) };
    match Errno::result(joined) {
        // A kernel without keys, or a filter that refuses keys to the command, too.
        Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(Errno::EDQUOT) => bail!(
            "make a session keyring: this user has as many keys as kernel.keys.maxkeys allows; wait for other containers to end, or raise that with sysctl"
        ),
        joined => joined.map(drop).context("make a session keyring"),
    }
}
