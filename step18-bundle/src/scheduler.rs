//! Lesson 18: how the kernel shares processors and disks among processes.

use anyhow::{Context, Result, bail};
use libc::sched_attr;
use nix::unistd::Pid;
use serde::Deserialize;

use crate::config::Personality;

/// A policy and its values; sched(7). Times are in nanoseconds.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scheduler {
    policy: String,
    nice: i32,
    priority: u32,
    flags: Vec<String>,
    runtime: u64,
    deadline: u64,
    period: u64,
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
enum Class {
    #[serde(rename = "IOPRIO_CLASS_RT")]
    RealTime = 1,
    #[serde(rename = "IOPRIO_CLASS_BE")]
    BestEffort = 2,
    #[serde(rename = "IOPRIO_CLASS_IDLE")]
    Idle = 3,
}

impl IoPriority {
    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let set = common::set_io_priority(process, self.class as i32, self.priority);
        set.context("set process.ioPriority")
    }
}

impl Scheduler {
    /// Refuses what the kernel does not have.
    pub(crate) fn check(&self) -> Result<()> {
        self.attributes().map(drop)
    }

    /// Sets it for a process.
    pub(crate) fn set(&self, process: Pid) -> Result<()> {
        let set = common::set_scheduler(process, &self.attributes()?);
        set.with_context(|| format!("set the scheduler {}", self.policy))
    }

    fn attributes(&self) -> Result<sched_attr> {
        let policy = match &*self.policy {
            "SCHED_OTHER" => libc::SCHED_OTHER,
            "SCHED_FIFO" => libc::SCHED_FIFO,
            "SCHED_RR" => libc::SCHED_RR,
            "SCHED_BATCH" => libc::SCHED_BATCH,
            "SCHED_IDLE" => libc::SCHED_IDLE,
            "SCHED_DEADLINE" => libc::SCHED_DEADLINE,
            other => bail!("process.scheduler.policy is {other}, which is not done here"),
        };
        let mut flags = 0;
        for flag in &self.flags {
            flags |= match &**flag {
                "SCHED_FLAG_RESET_ON_FORK" => libc::SCHED_FLAG_RESET_ON_FORK,
                "SCHED_FLAG_RECLAIM" => libc::SCHED_FLAG_RECLAIM,
                "SCHED_FLAG_DL_OVERRUN" => libc::SCHED_FLAG_DL_OVERRUN,
                "SCHED_FLAG_KEEP_POLICY" => libc::SCHED_FLAG_KEEP_POLICY,
                "SCHED_FLAG_KEEP_PARAMS" => libc::SCHED_FLAG_KEEP_PARAMS,
                other => bail!("process.scheduler.flags has {other}, which is not done here"),
            };
        }
        Ok(sched_attr {
            size: size_of::<sched_attr>() as u32,
            sched_policy: policy as u32,
            sched_flags: flags as u64,
            sched_nice: self.nice,
            sched_priority: self.priority,
            sched_runtime: self.runtime,
            sched_deadline: self.deadline,
            sched_period: self.period,
        })
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
