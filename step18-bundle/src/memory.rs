//! Lesson 18: from which nodes of memory the command gets pages.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::program::named;

/// A policy, on a machine whose memory is near some processors; set_mempolicy(2).
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoryPolicy {
    mode: String,
    /// A list such as `0-2,5`.
    nodes: String,
    flags: Vec<String>,
}

/// Policies by number.
#[rustfmt::skip]
pub(crate) const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0), ("MPOL_PREFERRED", 1), ("MPOL_BIND", 2), ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4), ("MPOL_PREFERRED_MANY", 5), ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// Flags, as bits beside the number.
#[rustfmt::skip]
pub(crate) const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13), ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

impl MemoryPolicy {
    /// Sets it for this process, which becomes the command.
    pub(crate) fn set(&self) -> Result<()> {
        let mut mode = named(&MODES, "linux.memoryPolicy.mode", &self.mode)?;
        for flag in &self.flags {
            mode |= named(&FLAGS, "linux.memoryPolicy.flags", flag)?;
        }
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
        ensure!(last < 1024, "{last} is too great; give numbers below 1024");
        numbers.extend(first..=last);
    }
    Ok(numbers)
}
