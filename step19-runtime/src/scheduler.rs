//! Lesson 18: how the kernel shares processors and disks among processes.

use anyhow::{Context, Result, bail};
use libc::sched_attr;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::config::Personality;

/// A policy and its values; sched(7). Times are in nanoseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scheduler {
    policy: Policy,
    #[serde(default)]
    nice: i32,
    #[serde(default)]
    priority: u32,
    #[serde(default)]
    flags: Vec<Flag>,
    #[serde(default)]
    runtime: u64,
    #[serde(default)]
    deadline: u64,
    #[serde(default)]
    period: u64,
}

/// Policies by number. The kernel has no others for processes.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(clippy::enum_variant_names, reason = "the names of the specification")]
enum Policy {
    SchedOther = 0,
    SchedFifo = 1,
    SchedRr = 2,
    SchedBatch = 3,
    SchedIdle = 5,
    SchedDeadline = 6,
}

/// Flags, as bits; sched_setattr(2).
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(clippy::enum_variant_names, reason = "the names of the specification")]
enum Flag {
    SchedFlagResetOnFork = 0x01,
    SchedFlagReclaim = 0x02,
    SchedFlagDlOverrun = 0x04,
    SchedFlagKeepPolicy = 0x08,
    SchedFlagKeepParams = 0x10,
}

/// The priority on disks; ioprio_set(2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IoPriority {
    class: Class,
    #[serde(default)]
    priority: i32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(clippy::enum_variant_names, reason = "the names of the specification")]
enum Class {
    IoprioClassRt = 1,
    IoprioClassBe = 2,
    IoprioClassIdle = 3,
}

impl IoPriority {
    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let set = common::set_io_priority(process, self.class as i32, self.priority);
        set.context("set process.ioPriority")
    }
}

impl Scheduler {
    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let attributes = sched_attr {
            size: size_of::<sched_attr>() as u32,
            sched_policy: self.policy as u32,
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

/// The number of a personality, if there is one: PER_LINUX and PER_LINUX32 in
/// linux/personality.h.
pub(crate) fn persona(wanted: Option<&Personality>) -> Result<Option<libc::c_ulong>> {
    match wanted.map(|it| &*it.domain) {
        None => Ok(None),
        Some("LINUX") => Ok(Some(0x0000)),
        Some("LINUX32") => Ok(Some(0x0008)),
        Some(other) => bail!("linux.personality.domain is {other}; give LINUX or LINUX32"),
    }
}

/// Makes the command see the kernel of the configuration; personality(2).
pub(crate) fn set_personality(wanted: Option<&Personality>) -> Result<()> {
    match persona(wanted)? {
        None => Ok(()),
        Some(persona) => common::set_personality(persona).context("set the personality"),
    }
}
