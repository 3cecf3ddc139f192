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
        _ => return None,
    })
}

const OWNER: &str = "only the user that started the container can enter it: enter all of its namespaces in a single call, by a process in it that this user may trace";
const FULL: &str =
    "the file system is full; free some space, or name another place with XDG_RUNTIME_DIR";
