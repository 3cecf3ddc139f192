//! The root, and the directories around it.

use nix::errno::Errno;

use super::clone::SECCOMP;
use super::{Call, Failed, TAKEN};
use crate::said::host;

pub(super) fn remedy(failed: &Failed, errno: Errno) -> Option<&'static str> {
    Some(match (failed.call, errno) {
        (Call::EnterRoot | Call::OpenLayer | Call::MakeScratch, Errno::ENOENT)
            if here_is_gone(failed) =>
        {
            GONE
        }
        (Call::EnterRoot | Call::OpenLayer, Errno::ENOENT) => FETCH,
        (Call::EnterRoot | Call::OpenLayer, Errno::ENOTDIR) => DIRECTORY,
        (Call::EnterRoot | Call::OpenLayer, Errno::EACCES) => WAY,
        (Call::EnterRoot, Errno::EPERM) => {
            "chroot needs CAP_SYS_CHROOT; map your ID to root of a user namespace first"
        }
        (Call::OpenPlace, Errno::EPERM | Errno::ENOSYS) if host::is_filtered() => SECCOMP,
        (Call::OpenPlace, Errno::ENOSYS) => {
            "this kernel has no openat2(2); start Linux 5.6 or later"
        }
        (Call::OpenPlace, Errno::ENOTDIR) => "a file is there, but a directory is needed",
        (Call::OpenPlace, Errno::EISDIR) => "a directory is there, but a file is needed",
        (Call::MakeScratch, Errno::ENOENT | Errno::EACCES | Errno::EPERM | Errno::EROFS) => SCRATCH,
        (Call::LockScratch, Errno::EACCES) => SCRATCH,
        (Call::MakeScratch, Errno::EEXIST) => TAKEN,
        (Call::MakeScratch, Errno::ENOTDIR) => SCRATCH,
        (Call::MakeState(remedy), _) => remedy,
        _ => return None,
    })
}

const FETCH: &str = "fetch a root with `cargo xtask fetch-rootfs`, or name an existing directory";
const DIRECTORY: &str = "name a directory";
const WAY: &str = "let this user enter it and each directory above it (chmod +x)";
const SCRATCH: &str = "name a directory that this user can write to, with --scratch or TMPDIR";
const GONE: &str = "the current directory no longer exists; cd to an existing directory";

/// Whether a relative path failed because the current directory no longer exists.
fn here_is_gone(failed: &Failed) -> bool {
    failed.path.as_ref().is_some_and(|path| path.is_relative()) && host::is_nowhere()
}
