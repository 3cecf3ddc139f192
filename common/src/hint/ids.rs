//! Mapping the IDs.

use nix::errno::Errno;

use super::{APPARMOR, Call, Row, SELINUX, always};
use crate::host;

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::MapIds,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the caller has no /proc mounted; mount one",
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
    Row { call: Call::MapIds, errno: Errno::EACCES, seen: always, remedy: SELINUX },
    Row {
        call: Call::MapIds,
        errno: Errno::EPERM,
        seen: always,
        remedy: "a map is written once, for the caller's own ID, and gid_map after setgroups says deny",
    },
];
