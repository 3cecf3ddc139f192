//! Lesson 19: other limits for a container that runs.

use std::mem;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::freeze::own_groups;
use crate::groups::Groups;
use crate::json::plain;
use crate::newcomer::read;
use crate::resources::Resources;
use crate::state::Container;
use crate::stats::{self, text};
use crate::words::{Words, with_unit};

/// The options for limits, the place of each value in linux.resources, and the meaning.
#[rustfmt::skip]
pub(crate) const OPTIONS: [(&str, &str, &str, &str); 14] = [
    ("memory=", "memory", "limit", "bytes"),
    ("memory-reservation=", "memory", "reservation",
        "bytes that it keeps if others want them"),
    ("memory-swap=", "memory", "swap", "bytes, memory and swap together"),
    ("pids-limit=", "pids", "limit", "processes"),
    ("blkio-weight=", "blockIO", "weight", "the share of disks"),
    ("cpu-share=", "cpu", "shares", "the share of processors"),
    ("cpu-period=", "cpu", "period", "microseconds, in which the quota counts"),
    ("cpu-quota=", "cpu", "quota", "microseconds"),
    ("cpu-burst=", "cpu", "burst", "microseconds that it may save up"),
    ("cpu-rt-period=", "cpu", "realtimePeriod", "as cpu-period, for realtime"),
    ("cpu-rt-runtime=", "cpu", "realtimeRuntime", "as cpu-quota, for realtime"),
    ("cpuset-cpus=", "cpu", "cpus", "processors, such as 0-2"),
    ("cpuset-mems=", "cpu", "mems", "nodes of memory"),
    ("cpu-idle=", "cpu", "idle", "1 runs it only when others rest"),
];

/// Of these, an engine writes zero if they do not change.
#[rustfmt::skip]
const ZERO_LEAVES: [&str; 9] = [
    "limit", "reservation", "swap", "kernel", "kernelTCP", "weight", "shares",
    "quota", "period",
];

/// The limits of a file and those of the options, with what the kernel needs besides.
fn resources(
    mut wanted: Value,
    container: &Container,
    words: &Words,
    groups: &Groups,
) -> Result<Resources> {
    for (option, part, field, _) in OPTIONS {
        let option = option.trim_end_matches('=');
        let is_part =
            wanted.is_object() && (wanted[part].is_null() || wanted[part].is_object());
        ensure!(is_part, "read the resources: there is a part that is no object");
        if let Some(part) = wanted[part].as_object_mut() {
            part.retain(|name, it| *it != 0 || !ZERO_LEAVES.contains(&&**name));
        }
        let Some(word) = words.get(option) else { continue };
        wanted[part][field] = match option {
            "cpuset-cpus" | "cpuset-mems" => json!(word),
            _ => json!(number(word).with_context(|| format!("read --{option} {word}"))?),
        };
    }
    let has = |file: &str| text(groups, file).is_some();
    // Without a limit on memory, one on memory and swap together makes no sense.
    let memory = &mut wanted["memory"];
    let has_swap = has("memory.memsw.limit_in_bytes") || has("memory.swap.max");
    if memory["limit"] == -1 && memory["swap"].is_null() && has_swap {
        memory["swap"] = json!(-1);
    }
    let limit = memory["limit"].as_u64().filter(|_| memory["checkBeforeUpdate"] == true);
    let used = stats::number(groups, "memory.usage_in_bytes", "memory.current");
    if let (Some(limit), Some(used)) = (limit, used) {
        ensure!(
            used <= limit,
            "the container uses {used} bytes; give it a higher limit than {limit}"
        );
    }
    // Both are in one file of v2.
    if let Some(now) = text(groups, "cpu.max")
        && !wanted["cpu"]["period"].is_null()
        && wanted["cpu"]["quota"].is_null()
    {
        let quota = now.split(' ').next().and_then(|it| it.parse::<i64>().ok());
        wanted["cpu"]["quota"] = json!(quota.unwrap_or(-1));
    }
    let mut config: Value = read(container.at("config.json"))?;
    let own = config.pointer_mut("/linux/resources/devices").map(Value::take);
    let own = own.unwrap_or_default();
    ensure!(
        wanted["devices"].is_null() || wanted["devices"] == own,
        "new rules for devices are not done for a container that runs; leave devices out"
    );
    // As in config.json, a field that is null is missing.
    wanted.as_object_mut().into_iter().for_each(|it| it.retain(|_, it| !it.is_null()));
    serde_json::from_value(wanted).map_err(plain).context("read the resources")
}

/// A number, perhaps with k, m or g.
fn number(word: &str) -> Result<i64> {
    let units = [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30)];
    let number = with_unit(&word.to_ascii_lowercase(), &units);
    number.context("give a number, perhaps with k, m or g")
}

/// Changes the limits, or none of them.
pub(crate) fn update(container: Container, words: &Words) -> Result<()> {
    // Before the lock: an engine may still write the file.
    let wanted = words.get("resources").map_or_else(|| Ok(json!({})), read)?;
    let container = &container.lock()?;
    let groups = &own_groups(container)?;
    let limits = resources(wanted, container, words, groups)?.limits(groups.is_v2())?;
    let (mut left, mut done) = (limits, Vec::new());
    while !left.is_empty() {
        let (before, mut why) = (left.len(), None);
        for (file, value) in mem::take(&mut left) {
            let old = text(groups, &file);
            match groups.write(&file, &value) {
                Ok(()) => done.push((file, old)),
                Err(error) => {
                    why.get_or_insert(error);
                    left.push((file, value));
                }
            }
        }
        // The kernel may want another one first: in v1, the limit on memory is never
        // above that on memory and swap.
        if let Some(error) = why.filter(|_| left.len() == before) {
            for (file, old) in done.iter().rev() {
                // It was allowed before.
                let _ = groups.write(file, old.as_deref().unwrap_or_default());
            }
            return Err(error);
        }
    }
    Ok(())
}
