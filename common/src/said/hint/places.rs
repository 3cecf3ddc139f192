//! The root, and the directories around it.

use nix::errno::Errno;

use super::clone::SECCOMP;
use super::{Call, Failed, Row, TAKEN, always};
use crate::said::host;

pub(super) const ROWS: &[Row] = &[
    Row { call: Call::EnterRoot, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { call: Call::OpenLayer, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { call: Call::MakeScratch, errno: Errno::ENOENT, seen: here_is_gone, remedy: GONE },
    Row { call: Call::EnterRoot, errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row { call: Call::OpenLayer, errno: Errno::ENOENT, seen: always, remedy: FETCH },
    Row { call: Call::EnterRoot, errno: Errno::ENOTDIR, seen: always, remedy: DIRECTORY },
    Row { call: Call::OpenLayer, errno: Errno::ENOTDIR, seen: always, remedy: DIRECTORY },
    Row { call: Call::EnterRoot, errno: Errno::EACCES, seen: always, remedy: WAY },
    Row { call: Call::OpenLayer, errno: Errno::EACCES, seen: always, remedy: WAY },
    Row {
        call: Call::EnterRoot,
        errno: Errno::EPERM,
        seen: always,
        remedy: "chroot needs CAP_SYS_CHROOT; map your ID to root of a user namespace first",
    },
    Row {
        call: Call::OpenPlace,
        errno: Errno::EPERM,
        seen: |_| host::is_filtered(),
        remedy: SECCOMP,
    },
    Row {
        call: Call::OpenPlace,
        errno: Errno::ENOSYS,
        seen: |_| host::is_filtered(),
        remedy: SECCOMP,
    },
    Row {
        call: Call::OpenPlace,
        errno: Errno::ENOSYS,
        seen: always,
        remedy: "this kernel has no openat2(2); start Linux 5.6 or later",
    },
    Row {
        call: Call::OpenPlace,
        errno: Errno::ENOTDIR,
        seen: always,
        remedy: "a file is there, but a directory is needed",
    },
    Row {
        call: Call::OpenPlace,
        errno: Errno::EISDIR,
        seen: always,
        remedy: "a directory is there, but a file is needed",
    },
    Row { call: Call::MakeScratch, errno: Errno::ENOENT, seen: always, remedy: SCRATCH },
    Row { call: Call::MakeScratch, errno: Errno::EACCES, seen: always, remedy: SCRATCH },
    Row { call: Call::MakeScratch, errno: Errno::EPERM, seen: always, remedy: SCRATCH },
    Row { call: Call::MakeScratch, errno: Errno::EROFS, seen: always, remedy: SCRATCH },
    Row { call: Call::LockScratch, errno: Errno::EACCES, seen: always, remedy: SCRATCH },
    Row { call: Call::MakeScratch, errno: Errno::EEXIST, seen: always, remedy: TAKEN },
    Row { call: Call::MakeScratch, errno: Errno::ENOTDIR, seen: always, remedy: SCRATCH },
    Row { call: Call::MakeState, errno: Errno::ENOENT, seen: always, remedy: RUNTIME },
    Row { call: Call::MakeState, errno: Errno::ENOTDIR, seen: always, remedy: RUNTIME },
    Row { call: Call::MakeState, errno: Errno::EACCES, seen: always, remedy: RUNTIME },
    Row { call: Call::MakeState, errno: Errno::EROFS, seen: always, remedy: RUNTIME },
];

const FETCH: &str = "fetch a root with `cargo xtask fetch-rootfs`, or name an existing directory";
const DIRECTORY: &str = "name a directory";
const WAY: &str = "let this user enter it and each directory above it (chmod +x)";
const SCRATCH: &str = "name a directory that this user can write to, with --scratch or TMPDIR";
const RUNTIME: &str = "set XDG_RUNTIME_DIR to a directory of this user";
const GONE: &str = "the current directory no longer exists; cd to an existing directory";

/// Whether a relative path failed because the current directory no longer exists.
fn here_is_gone(failed: &Failed) -> bool {
    failed.path.as_ref().is_some_and(|path| path.is_relative()) && host::is_nowhere()
}
