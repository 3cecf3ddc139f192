//! Lesson 18: limits of the configuration become values for files of a group.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::resources::{FIELDS, KEYS, Kind, Resources};

/// A file of a group, and the value for it.
pub(crate) type Limit = (String, String);

impl Resources {
    /// The values, in the order in which they are written.
    pub(crate) fn limits(&self, is_v2: bool) -> Result<Vec<Limit>> {
        let mut all = Value::Object(self.others.clone());
        if is_v2 {
            without_memory(&mut all["memory"])?;
        }
        let mut found = Vec::new();
        find("", "", &all, is_v2, &mut found)?;
        found.sort_by_key(|(row, _)| *row);
        let mut limits: Vec<Limit> = found.into_iter().map(|(_, limit)| limit).collect();
        let can_be = is_v2 || self.unified.is_empty();
        ensure!(can_be, "linux.resources.unified needs control groups v2; leave it out");
        limits.extend(self.unified.clone());
        match limits.iter().find(|(file, _)| file.contains('/')) {
            Some((file, _)) => {
                bail!("linux.resources: {file} is not a file of a group; leave it out")
            }
            None => Ok(limits),
        }
    }
}

/// Finds the limits that a value has, each with its row of the table. What the table does
/// not have is an error.
fn find(
    path: &str,
    device: &str,
    value: &Value,
    is_v2: bool,
    found: &mut Vec<(usize, Limit)>,
) -> Result<()> {
    let goes_on = |with: &str| {
        let begin = format!("{path}{with}");
        FIELDS.iter().any(|field| field.0.starts_with(&begin))
    };
    match value {
        Value::Null => {}
        Value::Object(map) if goes_on("/") => {
            for (name, value) in map {
                let is_device = goes_on("/*");
                let device = if is_device { name } else { device };
                // The name of a field has no such letters.
                let part = name.replace(['/', '['], "?");
                let path = format!("{path}/{}", if is_device { "*" } else { &part });
                find(&path, device, value, is_v2, found)?;
            }
        }
        Value::Array(list) if goes_on("[") => {
            for entry in list {
                let key = |(name, kind): &(_, Kind)| {
                    Some((*name, kind.text(entry.get(name)?, is_v2)??))
                };
                let (keys, words): (Vec<&str>, Vec<_>) =
                    KEYS.iter().filter_map(key).unzip();
                let mut rest = entry.as_object().cloned().unwrap_or_default();
                rest.retain(|name, it| !it.is_null() && !keys.contains(&&**name));
                let part = format!("[{}]", keys.join(":"));
                let is_right = goes_on(&format!("{part}/")) && !rest.is_empty();
                ensure!(is_right, "the field {path} cannot have {entry}; complete it");
                let device = words.join(":");
                find(&format!("{path}{part}"), &device, &rest.into(), is_v2, found)?;
            }
        }
        _ => {
            let row = FIELDS.iter().position(|field| field.0 == path);
            let unknown = || format!("the field {path} is not done here; leave it out");
            let row = row.with_context(unknown)?;
            found.extend(limit(row, device, value, is_v2)?.map(|limit| (row, limit)));
        }
    }
    Ok(())
}

/// What is to be written for a field, if there is something.
fn limit(row: usize, device: &str, value: &Value, is_v2: bool) -> Result<Option<Limit>> {
    let (path, kind, v1, v2) = &FIELDS[row];
    let here = if is_v2 { v2 } else { v1 };
    let wrong = || format!("the field {path} cannot be {value}; change it");
    let text = kind.text(value, is_v2).with_context(wrong)?;
    let Some(text) = text.filter(|_| *here != "-") else { return Ok(None) };
    ensure!(!here.is_empty(), "this host has no {path}; leave it out");
    let (file, begin) = here.split_once(' ').unwrap_or((here, ""));
    let [file, begin] = [file, begin].map(|it| it.replace('*', device));
    Ok(Some((file, begin + &text)))
}

impl Kind {
    /// The value as text, if it can be one. In it, nothing if there is nothing to write.
    fn text(&self, value: &Value, is_v2: bool) -> Option<Option<String>> {
        let max = || "max".to_owned();
        Some(match self {
            Kind::Text => Some(value.as_str()?.to_owned()).filter(|it| !it.is_empty()),
            Kind::True => value.as_bool()?.then_some("1".to_owned()),
            Kind::UpTo(most) => Some(value.as_u64().filter(|it| it <= most)?.to_string()),
            Kind::Time | Kind::Processors | Kind::Disks if value.as_u64()? == 0 => None,
            Kind::Processors if is_v2 => {
                let power = (value.as_u64()?.clamp(2, 262_144) as f64).log2();
                let weight = 10f64.powf((power * (power + 125.0) - 126.0) / 612.0);
                Some(weight.ceil().to_string())
            }
            Kind::Disks if is_v2 => {
                let over = value.as_u64()?.clamp(10, 1000) - 10;
                Some((1 + over * 9999 / 990).to_string())
            }
            Kind::Time | Kind::Processors | Kind::Disks => {
                Some(value.as_u64()?.to_string())
            }
            Kind::Quota if value.as_i64()? == 0 => None,
            Kind::Quota | Kind::Limit if is_v2 && value.as_i64()? < 0 => Some(max()),
            Kind::Processes if value.as_i64()? <= 0 => Some(max()),
            _ => Some(value.as_i64()?.to_string()),
        })
    }
}

/// The limit on swap is that on memory and swap together, but in v2 that on swap alone.
fn without_memory(memory: &mut Value) -> Result<()> {
    let number = |name| memory[name].as_i64().filter(|it| *it >= 0);
    let Some(swap) = number("swap") else { return Ok(()) };
    let limit = number("limit").context("memory.swap needs memory.limit; give both")?;
    let swap = swap - limit;
    ensure!(swap >= 0, "memory.swap is below memory.limit; it counts both, so raise it");
    memory["swap"] = json!(swap);
    Ok(())
}
