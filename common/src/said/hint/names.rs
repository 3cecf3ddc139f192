//! Containers that have a name: their state, and the second way in.

use nix::errno::Errno;

use super::{Call, Row, always};

pub(super) const ROWS: &[Row] = &[
    Row { call: Call::EnterNamespaces, errno: Errno::EPERM, seen: always, remedy: OWNER },
    Row { call: Call::EnterNamespaces, errno: Errno::EACCES, seen: always, remedy: OWNER },
    Row {
        call: Call::EnterNamespaces,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "this process likely has more than one thread; enter before you start others",
    },
    Row { call: Call::KeepState, errno: Errno::ENOSPC, seen: always, remedy: FULL },
    Row { call: Call::KeepState, errno: Errno::EDQUOT, seen: always, remedy: FULL },
];

const OWNER: &str = "only the user that started the container can enter it: enter all of its namespaces in a single call, by a process in it that this user may trace";
const FULL: &str =
    "the file system is full; free some space, or name another place with XDG_RUNTIME_DIR";
