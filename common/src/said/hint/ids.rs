//! Mapping the IDs.

use nix::errno::Errno;

use super::{APPARMOR, Call, Failed, PROFILE, SELINUX};
use crate::said::host;

pub(super) fn remedy(failed: &Failed, errno: Errno) -> Option<&'static str> {
    Some(match (failed.call, errno) {
        (Call::MapIds | Call::WriteMaps, Errno::ENOENT) => NO_PROC,
        (Call::WriteMaps, Errno::EPERM) => {
            "root of this host may not give these IDs away, likely because it is root of a container; use --ids one"
        }
        (Call::BecomeUser, Errno::EPERM) => {
            "this needs CAP_SETUID and CAP_SETGID; become the user before you give up capabilities"
        }
        (Call::BecomeUser, Errno::EINVAL) => {
            "the container does not have this ID; write the maps first, or name another user"
        }
        (Call::MapIds, Errno::EPERM | Errno::EACCES) if host::has_apparmor_restriction() => {
            APPARMOR
        }
        (Call::MapIds, Errno::EACCES) if host::is_confined() => PROFILE,
        (Call::MapIds, Errno::EACCES) => SELINUX,
        (Call::MapIds, Errno::EPERM) => {
            "write each map only once, map only your own ID, and write deny to setgroups before gid_map"
        }
        _ => return None,
    })
}

pub(super) const NO_PROC: &str = "there is no /proc on this host; mount proc on /proc";
