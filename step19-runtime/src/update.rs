//! Lesson 19: other limits for a container that runs.

use std::fs::{self, File};
use std::io::{Read, stdin};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::config::plain;
use crate::freeze::own_groups;
use crate::groups::Groups;
use crate::resources::Resources;
use crate::state::Container;
use crate::words::Words;

/// The options, and the place of each value in linux.resources.
const FLAGS: [(&str, &str, &str); 13] = [
    ("blkio-weight=", "blockIO", "weight"),
    ("cpu-burst=", "cpu", "burst"),
    ("cpu-period=", "cpu", "period"),
    ("cpu-quota=", "cpu", "quota"),
    ("cpu-rt-period=", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime=", "cpu", "realtimeRuntime"),
    ("cpu-share=", "cpu", "shares"),
    ("cpuset-cpus=", "cpu", "cpus"),
    ("cpuset-mems=", "cpu", "mems"),
    ("memory=", "memory", "limit"),
    ("memory-reservation=", "memory", "reservation"),
    ("memory-swap=", "memory", "swap"),
    ("pids-limit=", "pids", "limit"),
];

/// The options of `update`.
pub(crate) fn options() -> Vec<&'static str> {
    FLAGS.iter().map(|it| it.0).chain(["resources|r="]).collect()
}

/// The limits of a file, or of standard input for `-`, and those of the options.
fn read(words: &Words) -> Result<Resources> {
    let mut text = String::from("{}");
    if let Some(name) = words.get("resources") {
        let doing = || format!("read the resources {name}");
        let file: Box<dyn Read> = match name {
            "-" => Box::new(stdin()),
            name => Box::new(File::open(name).with_context(doing)?),
        };
        text.clear();
        file.take(16 << 20).read_to_string(&mut text).with_context(doing)?;
    }
    let mut found: Map<String, Value> =
        serde_json::from_str(&text).context("read the resources")?;
    for (option, part, field) in FLAGS {
        let option = option.trim_end_matches('=');
        let Some(word) = words.get(option) else { continue };
        let wrong = || format!("--{option} {word}: give a number");
        found.entry(part).or_insert_with(|| json!({}))[field] = match option {
            "cpuset-cpus" | "cpuset-mems" => json!(word),
            _ => json!(number(word).with_context(wrong)?),
        };
    }
    let resources = serde_json::from_value(Value::Object(found));
    let mut resources: Resources =
        resources.map_err(plain).context("read the resources")?;
    // An engine writes zero for what does not change.
    for (part, field) in [
        ("memory", "limit"),
        ("memory", "reservation"),
        ("memory", "swap"),
        ("pids", "limit"),
    ] {
        let part = resources.others.get_mut(part).and_then(Value::as_object_mut);
        part.into_iter()
            .for_each(|part| part.retain(|name, it| name != field || *it != 0));
    }
    Ok(resources)
}

/// A number, perhaps with k, m or g.
fn number(word: &str) -> Option<i64> {
    let bits = match word.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => return word.parse().ok(),
    };
    word[..word.len() - 1].parse::<i64>().ok()?.checked_mul(1 << bits)
}

/// Adds what the change does not say, and the kernel needs.
fn complete(resources: &mut Resources, groups: &Groups) {
    let others = &mut resources.others;
    let has_swap = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
    let has_swap = has_swap.iter().any(|file| old(groups, file).is_some());
    // Without a limit on memory, one on memory and swap together makes no sense.
    if let Some(memory) =
        others.get_mut("memory").filter(|it| it["limit"] == -1 && has_swap)
        && memory["swap"].is_null()
    {
        memory["swap"] = json!(-1);
    }
    // Both are in one file of v2.
    if let Some(cpu) = others.get_mut("cpu")
        && let Some(now) = old(groups, "cpu.max")
        && cpu["quota"].is_null() != cpu["period"].is_null()
        && let Some((quota, period)) = now.split_once(' ')
    {
        if cpu["quota"].is_null() {
            cpu["quota"] = json!(quota.parse().unwrap_or(-1));
        } else {
            cpu["period"] = json!(period.parse().unwrap_or(100_000));
        }
    }
}

/// The value in a file of a group.
fn old(groups: &Groups, file: &str) -> Option<String> {
    let controller = file.split('.').next()?;
    let text = fs::read_to_string(groups.group(controller).ok()?.join(file)).ok()?;
    Some(text.trim_end().to_owned())
}

/// Changes the limits, or none of them.
pub(crate) fn update(container: &Container, words: &Words) -> Result<()> {
    let groups = &own_groups(container)?;
    let mut resources = read(words)?;
    complete(&mut resources, groups);
    let limits = resources.limits(groups.is_v2())?;
    let (mut left, mut done) = (limits.iter().collect::<Vec<_>>(), Vec::new());
    while !left.is_empty() {
        let (mut refused, mut why) = (Vec::new(), None);
        for limit @ (file, value) in left.iter().copied() {
            let before = old(groups, file);
            match groups.write(file, value) {
                Ok(()) => done.push((file, before)),
                Err(error) => {
                    refused.push(limit);
                    why.get_or_insert(error);
                }
            }
        }
        // The kernel may want another one first: in v1, the limit on memory must not be above
        // that on memory and swap, neither before nor after.
        if let Some(error) = why.filter(|_| refused.len() == left.len()) {
            for (file, before) in done.into_iter().rev() {
                // It was allowed before.
                let _ = groups.write(file, &before.unwrap_or_default());
            }
            return Err(error);
        }
        left = refused;
    }
    Ok(())
}
