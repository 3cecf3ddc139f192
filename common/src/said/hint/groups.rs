//! Control groups.

use std::path::Path;

use nix::errno::Errno;
use nix::unistd::getuid;

use super::{Call, Row, always};

pub(super) const ROWS: &[Row] = &[
    Row {
        call: Call::UseGroups,
        errno: Errno::EROFS,
        seen: always,
        remedy: "the control groups are read-only here, as in a container; start the step outside of it",
    },
    Row { call: Call::UseGroups, errno: Errno::EACCES, seen: always, remedy: DELEGATE },
    // The group is above the root of a cgroup namespace.
    Row { call: Call::UseGroups, errno: Errno::ENOENT, seen: always, remedy: DELEGATE },
    Row {
        call: Call::EnableController,
        errno: Errno::ENOENT,
        seen: |_| getuid().is_root(),
        remedy: "this kernel does not have this controller in control groups v2; see /sys/fs/cgroup/cgroup.controllers",
    },
    Row {
        call: Call::EnableController,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "the group above does not pass this controller on; as root: systemctl edit user@.service, with the lines [Service] and Delegate=cpu memory pids; then log in again",
    },
    Row {
        call: Call::EnableController,
        errno: Errno::EBUSY,
        seen: always,
        remedy: "a group that passes controllers on cannot have processes, and another process has just joined it; try again",
    },
    Row {
        call: Call::LimitSwap,
        errno: Errno::ENOENT,
        seen: always,
        remedy: "this kernel does not limit swap; start the host with swapaccount=1 on its kernel command line",
    },
    Row {
        call: Call::WriteGroup,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "the kernel does not take this limit; name a smaller number",
    },
    Row {
        call: Call::MakeGroup,
        errno: Errno::EAGAIN,
        seen: always,
        remedy: "the group above allows no more groups; wait until other containers end, or raise its cgroup.max.descendants",
    },
    Row {
        call: Call::MakeCgroupNamespace,
        errno: Errno::EINVAL,
        seen: always,
        remedy: "this kernel has no control groups; use another kernel",
    },
    Row {
        call: Call::MakeCgroupNamespace,
        errno: Errno::ENOSPC,
        seen: always,
        remedy: "this host has reached the limit on cgroup namespaces; as root: sysctl user.max_cgroup_namespaces=10000",
    },
];

const DELEGATE: &str = "this user owns no control group here; begin the command with `systemd-run --user --scope -p Delegate=yes`, or start it as root";

/// The action behind a write to a file of a group.
pub(super) fn call(file: &Path) -> Call {
    match file.file_name().and_then(|name| name.to_str()) {
        Some("cgroup.subtree_control") => Call::EnableController,
        Some("memory.swap.max") => Call::LimitSwap,
        _ => Call::WriteGroup,
    }
}
