//! Lesson 11: limits on memory, processes and processor time.

use std::path::Path;

use anyhow::{Context, Result};
use common::{Group, Limits};
use nix::sched::{CloneFlags, unshare};

/// Makes a control group with the limits, if there are any; cgroups(7). It is removed
/// when the runner drops it.
pub(crate) fn make_group(limits: &Limits) -> Result<Option<Group>> {
    if *limits == Limits::default() {
        return Ok(None);
    }
    // A kernel without swap does not have the file memory.swap.max.
    let has_swap = Path::new("/proc/swaps").exists();
    let no_swap = limits.memory.filter(|_| has_swap).map(|_| "0".into());
    let group = Group::make()?;
    for (controller, file, value) in [
        ("memory", "memory.max", limits.memory.map(|bytes| bytes.to_string())),
        ("memory", "memory.swap.max", no_swap),
        ("pids", "pids.max", limits.pids.map(|number| number.to_string())),
        ("cpu", "cpu.max", limits.cpu.map(|quota| format!("{quota} 100000"))),
    ] {
        if let Some(value) = value {
            group.write("../cgroup.subtree_control", &format!("+{controller}"))?;
            group.write(file, &value)?;
        }
    }
    Ok(Some(group))
}

/// Joins the group. Then makes a cgroup namespace, in which it is the root of all groups.
pub(crate) fn join_group(group: Option<&Group>) -> Result<()> {
    if let Some(group) = group {
        group.write("cgroup.procs", "0")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("make a cgroup namespace")
}
