//! Mapping the IDs.

use nix::errno::Errno;

use super::{APPARMOR, Call, PROFILE, Row, SELINUX, always};
use crate::said::host;

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::WriteMaps,
        errno: Errno::EPERM,
        seen: always,
        remedy: "root of this host may not give these IDs away, likely because it is root of a container; use --ids one",
    },
    Row {
        call: Call::BecomeUser,
        errno: Errno::EPERM,
        seen: always,
        remedy: "this needs CAP_SETUID and CAP_SETGID; become the user before you give up capabilities",
    },
    Row {
        call: Call::BecomeUser,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the container does not have this ID; write the maps first, or name another user",
    },
    Row {
        call: Call::MapIds,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "there is no /proc on this host; mount proc on /proc",
    },
    Row {
        call: Call::MapIds,
        errno: Errno::EPERM,
        seen: |_| host::has_apparmor_restriction(),
        remedy: APPARMOR,
    },
    Row {
        call: Call::MapIds,
        errno: Errno::EACCES,
        seen: |_| host::has_apparmor_restriction(),
        remedy: APPARMOR,
    },
    Row {
        call: Call::MapIds,
        errno: Errno::EACCES,
        seen: |_| host::is_confined(),
        remedy: PROFILE,
    },
    Row { call: Call::MapIds, errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        call: Call::MapIds,
        errno: Errno::EPERM,
        seen: always,
        remedy: "write each map only once, map only your own ID, and write deny to setgroups before gid_map",
    },
];
