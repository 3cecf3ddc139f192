//! Lesson 18: how the kernel shares processors and disks among processes.
#![allow(non_camel_case_types, reason = "the names of the specification")]

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use libc::sched_attr;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::config::Linux;
use crate::memory::MemoryPolicy;
use crate::numbers::UpTo;
use crate::values::check_proc;

/// A policy and its values; sched(7). Times are in nanoseconds.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scheduler {
    policy: Option<Policy>,
    nice: i32,
    priority: u32,
    flags: Vec<Flag>,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Policies by number. The kernel has no others for processes.
#[rustfmt::skip]
#[derive(Clone, Copy, Deserialize)]
enum Policy {
    SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE = 5, SCHED_DEADLINE,
}

/// Flags, as bits; sched_setattr(2).
#[rustfmt::skip]
#[derive(Clone, Copy, Deserialize)]
enum Flag {
    SCHED_FLAG_RESET_ON_FORK = 1, SCHED_FLAG_RECLAIM = 2, SCHED_FLAG_DL_OVERRUN = 4,
    SCHED_FLAG_KEEP_POLICY = 8, SCHED_FLAG_KEEP_PARAMS = 16,
}

/// The priority on disks; ioprio_set(2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IoPriority {
    class: Class,
    #[serde(default)]
    priority: UpTo<7>,
}

#[rustfmt::skip]
#[derive(Clone, Copy, Deserialize)]
enum Class { IOPRIO_CLASS_RT = 1, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE }

/// The kernel that programs see.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Personality {
    domain: Domain,
    #[serde(default, rename = "flags")]
    _flags: Vec<NoFlag>,
}

/// The specification has no flags yet.
#[derive(Deserialize)]
enum NoFlag {}

/// PER_LINUX and PER_LINUX32 in linux/personality.h.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Domain {
    Linux = 0x0000,
    Linux32 = 0x0008,
}

/// Sets how soon the kernel ends a process when memory is short, for a process and those
/// that it starts; proc_pid_oom_score_adj(5).
pub(crate) fn set_oom_score(score: Option<i32>, process: Pid) -> Result<()> {
    let Some(score) = score.map(|it| it.to_string()) else { return Ok(()) };
    let file = format!("/proc/{process}/oom_score_adj");
    check_proc(Path::new("/proc"))?;
    // Without CAP_SYS_RESOURCE, a user may not even write the same number again.
    if fs::read_to_string(&file).is_ok_and(|now| now.trim() != score) {
        let set = fs::write(&file, &score);
        set.with_context(|| format!("set oomScoreAdj to {score}"))?;
    }
    Ok(())
}

impl IoPriority {
    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let set =
            common::set_io_priority(process, self.class as i32, self.priority.0 as i32);
        set.context("set process.ioPriority")
    }
}

impl Scheduler {
    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let policy = self.policy.context("process.scheduler has no policy; give one")?;
        let attributes = sched_attr {
            size: size_of::<sched_attr>() as u32,
            sched_policy: policy as u32,
            sched_flags: self.flags.iter().fold(0, |all, flag| all | *flag as u64),
            sched_nice: self.nice,
            sched_priority: self.priority,
            sched_runtime: self.runtime,
            sched_deadline: self.deadline,
            sched_period: self.period,
        };
        common::set_scheduler(process, &attributes).context("set process.scheduler")
    }
}

/// Sets what the kernel keeps for this process, which becomes the command: from where it
/// gets memory, and the kernel that it sees; personality(2).
pub(crate) fn set_own(linux: &Linux) -> Result<()> {
    linux.memory_policy.as_ref().map_or(Ok(()), MemoryPolicy::set)?;
    if let Some(Personality { domain, .. }) = &linux.personality {
        common::set_personality(*domain as _).context("set linux.personality")?;
    }
    Ok(())
}
