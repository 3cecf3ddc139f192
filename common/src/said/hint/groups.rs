//! Control groups.

use nix::errno::Errno;
use nix::unistd::getuid;

use super::{Call, Failed};

remedies! { |failed|
    UseGroups: EROFS =>
        "the control groups are read-only here, as in a container; start the step outside of it";
    // ENOENT: the group is above the root of a cgroup namespace.
    UseGroups: EACCES | ENOENT =>
        "this user owns no control group here; begin the command with `systemd-run --user --scope -p Delegate=yes`, or start it as root";
    EnableController: ENOENT if getuid().is_root() =>
        "this kernel does not have this controller in control groups v2; see /sys/fs/cgroup/cgroup.controllers";
    EnableController: ENOENT =>
        "the group above does not pass this controller on; as root: systemctl edit user@.service, with the lines [Service] and Delegate=cpu memory pids; then log in again";
    LimitSwap: ENOENT =>
        "this kernel does not limit swap; start the host with swapaccount=1 on its kernel command line";
    WriteGroup: EINVAL => "the kernel does not take this limit; name a smaller number";
    MakeCgroupNamespace: ENOSPC =>
        "this host has reached the limit on cgroup namespaces; as root: sysctl user.max_cgroup_namespaces=10000";
}

/// The action behind a write to a file of a group, and the file.
pub(super) fn call(doing: &str) -> Option<(Call, &str)> {
    let (_value, file) = doing.strip_prefix("write ")?.rsplit_once(" to ")?;
    let call = match file.rsplit('/').next()? {
        "cgroup.subtree_control" => Call::EnableController,
        "memory.swap.max" => Call::LimitSwap,
        _ => Some(Call::WriteGroup).filter(|_| file.starts_with("/sys/fs/cgroup/"))?,
    };
    Some((call, file))
}
