//! Lesson 18: from which nodes of memory the command gets pages.
#![allow(non_camel_case_types, reason = "the names of the specification")]

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// A policy, on a machine whose memory is near some processors; set_mempolicy(2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemoryPolicy {
    mode: Mode,
    /// A list such as `0-2,5`.
    #[serde(default)]
    nodes: String,
    #[serde(default)]
    flags: Vec<Flag>,
}

/// Policies by number.
#[rustfmt::skip]
#[derive(Clone, Copy, Deserialize)]
enum Mode {
    MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_LOCAL,
    MPOL_PREFERRED_MANY, MPOL_WEIGHTED_INTERLEAVE,
}

/// Flags, as bits beside the number.
#[rustfmt::skip]
#[derive(Clone, Copy, Deserialize)]
enum Flag {
    MPOL_F_NUMA_BALANCING = 1 << 13, MPOL_F_RELATIVE_NODES = 1 << 14,
    MPOL_F_STATIC_NODES = 1 << 15,
}

impl MemoryPolicy {
    /// Sets it for this process, which becomes the command.
    pub(crate) fn set(&self) -> Result<()> {
        let mode =
            self.flags.iter().fold(self.mode as u32, |all, flag| all | *flag as u32);
        let mut nodes = [0; 16];
        for node in numbers(&self.nodes).context("read linux.memoryPolicy.nodes")? {
            nodes[node / 64] |= 1 << (node % 64);
        }
        common::set_memory_policy(mode, &nodes).context("set linux.memoryPolicy")
    }
}

/// The numbers of a list such as `0-2,5`; cpuset(7).
pub(crate) fn numbers(list: &str) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let wrong = || format!("{part} is no number, and no range such as 0-2");
        let read = |word: &str| word.trim().parse::<usize>().with_context(wrong);
        let (first, last) = (read(first)?, read(last)?);
        ensure!(last < 1024, "{last} is too large; give numbers below 1024");
        numbers.extend(first..=last);
    }
    Ok(numbers)
}
