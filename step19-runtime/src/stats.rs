//! Lesson 19: what a container uses.

use std::fs;

use anyhow::{Context, Result};
use common::{Exit, pidfd_wait};
use nix::poll::PollTimeout;
use serde_json::{Value, json};

use crate::freeze::own_groups;
use crate::groups::Groups;
use crate::state::Container;
use crate::words::{Words, with_unit};

/// A number of a group: its place in the answer, and its file in v1 and in v2. Some files
/// have lines of names and numbers, and the name follows the file. The last word is the
/// unit in nanoseconds, of times; cgroups(7). The places are those of runc.
#[rustfmt::skip]
const NUMBERS: [(&str, &str, &str); 16] = [
    ("cpu/usage/total", "cpuacct.usage", "cpu.stat usage_usec 1000"),
    ("cpu/usage/user", "cpuacct.stat user 10000000", "cpu.stat user_usec 1000"),
    ("cpu/usage/kernel", "cpuacct.stat system 10000000", "cpu.stat system_usec 1000"),
    ("cpu/throttling/periods", "cpu.stat nr_periods", "cpu.stat nr_periods"),
    ("cpu/throttling/throttledPeriods", "cpu.stat nr_throttled", "cpu.stat nr_throttled"),
    ("cpu/throttling/throttledTime", "cpu.stat throttled_time",
        "cpu.stat throttled_usec 1000"),
    ("memory/cache", "memory.stat cache", "memory.stat file"),
    ("memory/usage/limit", "memory.limit_in_bytes", "memory.max"),
    ("memory/usage/usage", "memory.usage_in_bytes", "memory.current"),
    ("memory/usage/max", "memory.max_usage_in_bytes", "memory.peak"),
    ("memory/usage/failcnt", "memory.failcnt", "memory.events max"),
    ("memory/swap/limit", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("memory/swap/usage", "memory.memsw.usage_in_bytes", "memory.swap.current"),
    ("memory/kernel/usage", "memory.kmem.usage_in_bytes", "memory.stat kernel"),
    ("pids/current", "pids.current", "pids.current"),
    ("pids/limit", "pids.max", "pids.max"),
];

/// What a file of a group has. Its name begins with that of the controller.
pub(crate) fn text(groups: &Groups, file: &str) -> Option<String> {
    let group = groups.group(file.split('.').next()?).ok()?;
    Some(fs::read_to_string(group.join(file)).ok()?.trim_end().to_owned())
}

/// A number of the group, if this host has it. What has no limit has no number.
pub(crate) fn number(groups: &Groups, v1: &str, v2: &str) -> Option<u64> {
    let mut words = (if groups.is_v2() { v2 } else { v1 }).split(' ');
    let text = text(groups, words.next()?)?;
    let name = words.next().map_or(String::new(), |it| format!("{it} "));
    let value = text.lines().find_map(|line| line.strip_prefix(&name))?;
    let unit = words.next().map_or(Some(1), |it| it.parse().ok())?;
    value.parse::<u64>().ok()?.checked_mul(unit)
}

/// What the container uses.
fn data(groups: &Groups) -> Value {
    let mut data =
        json!({ "cpu": {}, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {} });
    for (place, v1, v2) in NUMBERS {
        if let Some(number) = number(groups, v1, v2) {
            let place = place.split('/').fold(&mut data, |part, name| &mut part[name]);
            *place = json!(number);
        }
    }
    data
}

/// Prints what the container uses: once with --stats, else again and again until it ends,
/// with a line whenever it wants more memory than it may use.
pub(crate) fn events(container: &Container, words: &Words) -> Result<Exit> {
    let groups = own_groups(container)?;
    let word = words.get("interval").unwrap_or("5s");
    let time = with_unit(word, &[("ms", 1), ("s", 1000), ("m", 60_000)]);
    let time = time.filter(|it| *it > 0).and_then(|it| PollTimeout::try_from(it).ok());
    let time = time.with_context(|| {
        format!("read --interval {word}: give a time such as 5s or 100ms")
    })?;
    let process =
        container.pidfd()?.context("find what it uses: container not running")?;
    // How often the kernel has ended a process for want of memory.
    let oom = || number(&groups, "memory.oom_control oom_kill", "memory.events oom_kill");
    let id = json!(container.name);
    loop {
        let before = oom();
        let data = data(&groups);
        common::print(&format!(r#"{{"type":"stats","id":{id},"data":{data}}}"#))?;
        if words.has("stats") || pidfd_wait(&process, time)? {
            return Ok(Exit::SUCCESS);
        }
        if oom() > before {
            common::print(&format!(r#"{{"type":"oom","id":{id}}}"#))?;
        }
    }
}
