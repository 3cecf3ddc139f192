//! Lesson 19: what a container uses.

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use common::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::freeze::own_groups;
use crate::groups::Groups;
use crate::state::Container;
use crate::words::Words;

/// A number of a group: its place in the answer, its controller, and its file in v1 and in v2
/// with the factor that makes nanoseconds of times. Some files have lines of names and
/// numbers, and the name follows the file; cgroups(7).
type Row = (&'static str, &'static str, [(&'static str, u64); 2]);

/// A hundredth of a second, the unit of cpuacct.stat.
const TICK: u64 = 10_000_000;

/// The places are those of runc.
#[rustfmt::skip]
const NUMBERS: [Row; 19] = [
    ("cpu/usage/total", "cpuacct", [("cpuacct.usage", 1), ("cpu.stat usage_usec", 1000)]),
    ("cpu/usage/user", "cpuacct", [("cpuacct.stat user", TICK), ("cpu.stat user_usec", 1000)]),
    ("cpu/usage/kernel", "cpuacct", [("cpuacct.stat system", TICK), ("cpu.stat system_usec", 1000)]),
    ("cpu/throttling/periods", "cpu", [("cpu.stat nr_periods", 1), ("cpu.stat nr_periods", 1)]),
    ("cpu/throttling/throttledPeriods", "cpu", [("cpu.stat nr_throttled", 1), ("cpu.stat nr_throttled", 1)]),
    ("cpu/throttling/throttledTime", "cpu", [("cpu.stat throttled_time", 1), ("cpu.stat throttled_usec", 1000)]),
    ("memory/cache", "memory", [("memory.stat cache", 1), ("memory.stat file", 1)]),
    ("memory/usage/limit", "memory", [("memory.limit_in_bytes", 1), ("memory.max", 1)]),
    ("memory/usage/usage", "memory", [("memory.usage_in_bytes", 1), ("memory.current", 1)]),
    ("memory/usage/max", "memory", [("memory.max_usage_in_bytes", 1), ("memory.peak", 1)]),
    ("memory/usage/failcnt", "memory", [("memory.failcnt", 1), ("memory.events max", 1)]),
    ("memory/swap/limit", "memory", [("memory.memsw.limit_in_bytes", 1), ("memory.swap.max", 1)]),
    ("memory/swap/usage", "memory", [("memory.memsw.usage_in_bytes", 1), ("memory.swap.current", 1)]),
    ("memory/swap/failcnt", "memory", [("memory.memsw.failcnt", 1), ("memory.swap.events max", 1)]),
    ("memory/kernel/usage", "memory", [("memory.kmem.usage_in_bytes", 1), ("memory.stat kernel", 1)]),
    ("memory/kernelTCP/usage", "memory", [("memory.kmem.tcp.usage_in_bytes", 1), ("memory.stat sock", 1)]),
    ("pids/current", "pids", [("pids.current", 1), ("pids.current", 1)]),
    ("pids/limit", "pids", [("pids.max", 1), ("pids.max", 1)]),
    ("pids/failcnt", "pids", [("pids.events max", 1), ("pids.events max", 1)]),
];

/// How often the kernel has ended a process of the group for want of memory.
const OOM: [&str; 2] = ["memory.oom_control oom_kill", "memory.events oom_kill"];

/// A number of the group, if this host has it. What has no limit has no number.
fn number(groups: &Groups, controller: &str, place: &str) -> Option<u64> {
    let (file, name) = place.split_once(' ').unwrap_or((place, ""));
    let text = fs::read_to_string(groups.group(controller).ok()?.join(file)).ok()?;
    let value = match name {
        "" => &text,
        name => {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?
        }
    };
    value.trim().parse().ok()
}

fn out_of_memory(groups: &Groups) -> u64 {
    number(groups, "memory", OOM[usize::from(groups.is_v2())]).unwrap_or(0)
}

/// What the container uses.
fn data(groups: &Groups) -> Value {
    let mut data =
        json!({ "cpu": {}, "memory": {}, "pids": {}, "blkio": {}, "hugetlb": {} });
    for (place, controller, files) in NUMBERS {
        let (file, unit) = files[usize::from(groups.is_v2())];
        let Some(number) = number(groups, controller, file) else { continue };
        let mut into = &mut data;
        for part in place.split('/') {
            into = &mut into[part];
        }
        *into = json!(number * unit);
    }
    data
}

/// Prints what the container uses: once with --stats, else again and again until it ends, with
/// a line whenever it wants more memory than it may use.
pub(crate) fn events(container: &Container, words: &Words) -> Result<Exit> {
    let groups = own_groups(container)?;
    let time = words.get("interval").map_or(Ok(5000), milliseconds)?;
    let time = PollTimeout::try_from(time).context("use --interval: it is too long")?;
    let process =
        container.pidfd()?.context("find what it uses: container not running")?;
    let mut killed = out_of_memory(&groups);
    let id = json!(container.name);
    loop {
        let line = format!(r#"{{"type":"stats","id":{id},"data":{}}}"#, data(&groups));
        let printed = common::print(&line);
        let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        if words.has("stats") || printed != Exit::SUCCESS || poll(&mut fds, time)? > 0 {
            return Ok(printed);
        }
        let now = out_of_memory(&groups);
        if now > killed {
            common::print(&format!(r#"{{"type":"oom","id":{id}}}"#));
        }
        killed = now;
    }
}

/// A time such as 5s or 100ms.
fn milliseconds(word: &str) -> Result<i32> {
    let digits = word.trim_end_matches(|it: char| it.is_ascii_alphabetic());
    let unit = match &word[digits.len()..] {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    let time = unit.and_then(|unit| digits.parse::<i32>().ok()?.checked_mul(unit));
    let time = time.filter(|time| *time > 0);
    time.with_context(|| format!("--interval {word}: give a time such as 5s or 100ms"))
}
