//! Mapping the IDs.

use nix::errno::Errno;

use super::{APPARMOR, Call, PROFILE, Row, SELINUX, always};
use crate::said::host;

pub(super) const ROWS: &[Row] = &[
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
