//! Lesson 18: limits of the configuration become values for files of a group.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::resources::{FIELDS, Kind, Resources};

/// A file of a group, and the value for it.
pub(crate) type Limit = (String, String);

/// A value of JSON, with its name in what is above it.
type Named<'a> = (&'a str, &'a Value);
/// The path of a field, what has it, and its value.
type Found<'a> = (String, Named<'a>, &'a Value);

impl Resources {
    /// The values, in the order in which they are written.
    pub(crate) fn limits(&self, is_v2: bool) -> Result<Vec<Limit>> {
        let mut all = Value::Object(self.others.clone());
        if is_v2 {
            without_memory(&mut all["memory"])?;
        }
        let (mut found, mut limits) = (Vec::new(), Vec::new());
        find(String::new(), ("", &all), ("", &all), &mut found);
        let unknown = found.iter().find(|it| !is_known(it)).map(|it| &it.0);
        if let Some(path) = unknown.filter(|it| !it.is_empty()) {
            bail!("the field {path} is not done here; leave it out");
        }
        for (path, kind, v1, v2) in FIELDS {
            let here = if is_v2 { v2 } else { v1 };
            for (_, above, value) in found.iter().filter(|it| it.0 == path) {
                let text = kind.text(value, is_v2);
                let wrong = || format!("the field {path} cannot be {value}");
                let (Some(text), true) = (text.with_context(wrong)?, here != "-") else {
                    continue;
                };
                ensure!(!here.is_empty(), "this host has no {path}; leave it out");
                let (file, value) = here.split_once(' ').unwrap_or((here, "#"));
                limits.push((fill(file, "", *above)?, fill(value, &text, *above)?));
            }
        }
        let can_be = is_v2 || self.unified.is_empty();
        ensure!(can_be, "linux.resources.unified needs control groups v2; leave it out");
        limits.extend(self.unified.clone());
        match limits.iter().find(|(file, _)| file.contains('/')) {
            Some((file, _)) => bail!("linux.resources: {file} is not a file of a group"),
            None => Ok(limits),
        }
    }
}

/// Finds all fields that have a value, or could have fields.
fn find<'a>(path: String, above: Named<'a>, this: Named<'a>, found: &mut Vec<Found<'a>>) {
    match this.1 {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let part = if path == "/rdma" { "*" } else { name };
                // The name of a field has no such letters.
                let path = format!("{path}/{}", part.replace(['/', '['], "?"));
                find(path, this, (name, value), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                find(format!("{path}[]"), this, ("", value), found);
            }
        }
        value => found.push((path, above, value)),
    }
}

/// Whether a field of the table is this one, is beside it, or could be in it.
fn is_known((path, above, value): &Found) -> bool {
    let is_known = |field: &str, template: &str| {
        let is_beside = |(parent, name): (&str, &str)| {
            let other = path.strip_prefix(parent).and_then(|it| it.strip_prefix('/'));
            let is_used = |other| template.contains(&format!("{{{other}}}"));
            other.is_some_and(is_used) && !above.1[name].is_null()
        };
        let rest = field.strip_prefix(path.as_str());
        let goes_on = rest.is_some_and(|it| it.starts_with(['/', '[']));
        rest == Some("")
            || goes_on && (value.is_object() || value.is_array())
            || field.rsplit_once('/').is_some_and(is_beside)
    };
    FIELDS.iter().any(|(field, _, template, _)| is_known(field, template))
}

/// Writes a field, and fields beside it, in a template.
fn fill(template: &str, field: &str, (key, above): Named) -> Result<String> {
    let part = |(at, part): (usize, &str)| match part {
        _ if at % 2 == 0 => Some(part.replace('#', field)),
        "*" => Some(key.to_owned()),
        "major" | "minor" => above[part].as_u64().map(|it| it.to_string()),
        _ => above[part].as_str().map(str::to_owned),
    };
    let parts: Option<_> = template.split(['{', '}']).enumerate().map(part).collect();
    parts.with_context(|| format!("read {above}: it needs more fields: {template}"))
}

impl Kind {
    /// The value as text, if it can be one. In it, nothing if there is nothing to write.
    fn text(&self, value: &Value, is_v2: bool) -> Option<Option<String>> {
        let max = || "max".to_owned();
        Some(match self {
            Kind::Text => Some(value.as_str()?.to_owned()).filter(|it| !it.is_empty()),
            Kind::True => value.as_bool()?.then_some("1".to_owned()),
            Kind::UpTo(most) => Some(value.as_u64().filter(|it| it <= most)?.to_string()),
            Kind::Time | Kind::Share(..) if value.as_u64()? == 0 => None,
            Kind::Share(from, to) if is_v2 => {
                let over = value.as_u64()?.clamp(*from, *to) - from;
                Some((1 + over * 9999 / (to - from)).to_string())
            }
            Kind::Time | Kind::Share(..) => Some(value.as_u64()?.to_string()),
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
