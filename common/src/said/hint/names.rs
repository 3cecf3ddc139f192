//! Containers that have a name: their state, and the second way in.

use nix::errno::Errno;

use super::ids::NO_PROC;
use super::{Call, Failed};

pub(super) fn remedy(failed: &Failed, errno: Errno) -> Option<&'static str> {
    Some(match (failed.call, errno) {
        (Call::EnterNamespaces, Errno::EPERM | Errno::EACCES) => OWNER,
        (Call::EnterNamespaces, Errno::EINVAL) => {
            "this process likely has more than one thread; enter before you start others"
        }
        (Call::KeepState, Errno::ENOENT) => NO_PROC,
        (Call::KeepState, Errno::ENOSPC | Errno::EDQUOT) => FULL,
        (Call::KeepContainers, Errno::ENOSPC | Errno::EDQUOT) => {
            "the file system is full; free some space, or name another place with --root"
        }
        (Call::KeepContainers, Errno::EROFS | Errno::EACCES) => {
            "name a place that you can write to with --root"
        }
        (Call::RemoveContainer, Errno::EROFS) => {
            "mount the file system of the containers with rw, then remove it again"
        }
        _ => return None,
    })
}

const OWNER: &str = "only the user that started the container can enter it: enter all of its namespaces in a single call, by a process in it that this user may trace";
const FULL: &str =
    "the file system is full; free some space, or name another place with XDG_RUNTIME_DIR";
