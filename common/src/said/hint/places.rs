//! The root, the directories around it, and containers that have a name.

use std::path::Path;

use nix::errno::Errno;

use super::clone::{NO_PROC, SECCOMP};
use super::{Call, Failed, TAKEN};
use crate::said::host;

remedies! { |failed|
    EnterRoot | OpenLayer | MakeScratch: ENOENT if here_is_gone(failed) =>
        "the current directory no longer exists; cd to an existing directory";
    EnterRoot | OpenLayer: ENOENT =>
        "fetch a root with `cargo xtask fetch-rootfs`, or name an existing directory";
    EnterRoot | OpenLayer: ENOTDIR => "name a directory";
    EnterRoot | OpenLayer: EACCES =>
        "let this user enter it and each directory above it (chmod +x)";
    EnterRoot: EPERM =>
        "chroot needs CAP_SYS_CHROOT; map your ID to root of a user namespace first";
    OpenPlace: EPERM | ENOSYS if host::is_filtered() => SECCOMP;
    OpenPlace: ENOSYS => "this kernel has no openat2(2); start Linux 5.6 or later";
    OpenPlace: ENOTDIR => "a file is there, but a directory is needed";
    OpenPlace: EISDIR => "a directory is there, but a file is needed";
    MakeScratch: EEXIST => TAKEN;
    MakeScratch: ENOENT | ENOTDIR | EACCES | EPERM | EROFS => SCRATCH;
    LockScratch: EACCES => SCRATCH;
    EnterNamespaces: EPERM | EACCES =>
        "only the user that started the container can enter it: enter all of its namespaces in a single call, by a process in it that this user may trace";
    KeepState: ENOENT => NO_PROC;
    KeepState: ENOSPC | EDQUOT =>
        "the file system is full; free some space, or name another place with XDG_RUNTIME_DIR";
    KeepContainers: ENOSPC | EDQUOT =>
        "the file system is full; free some space, or name another place with --root";
    KeepContainers: EROFS | EACCES => "name a place that you can write to with --root";
    RemoveContainer: EROFS =>
        "mount the file system of the containers with rw, then remove it again";
}

const SCRATCH: &str = "name a directory that this user can write to, with --scratch or TMPDIR";

/// Whether a relative path failed because the current directory no longer exists.
fn here_is_gone(failed: &Failed) -> bool {
    Path::new(&failed.object).is_relative() && host::is_nowhere()
}
