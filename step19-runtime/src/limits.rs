//! Lesson 18: limits of the configuration become values for files of a group.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::resources::{FIELDS, Kind, Resources};

/// A file of a group, and the value for it.
pub(crate) type Limit = (String, String);

/// A value of JSON, with its name in what is above it.
type Named<'a> = (&'a str, &'a Value);

impl Resources {
    /// The values, in the order in which they are written.
    pub(crate) fn limits(&self, is_v2: bool) -> Result<Vec<Limit>> {
        let mut all = Value::Object(self.others.clone());
        if is_v2 {
            without_memory(&mut all["memory"])?;
        }
        let (mut found, mut limits) = (Vec::new(), Vec::new());
        find(String::new(), ("", &all), ("", &all), &mut found)?;
        for (path, kind, v1, v2) in FIELDS {
            let template = if is_v2 { v2 } else { v1 };
            for (_, above, value) in found.iter().filter(|it| it.0 == path) {
                let text = kind.text(value, is_v2);
                let text =
                    text.with_context(|| format!("the field {path} cannot be {value}"))?;
                let (Some(text), true) = (text, template != "-") else { continue };
                ensure!(
                    !template.is_empty(),
                    "the field {path} is not in this version of control groups; leave it out"
                );
                let (file, value) = template.split_once(' ').unwrap_or((template, "#"));
                limits.push((fill(file, "", *above)?, fill(value, &text, *above)?));
            }
        }
        ensure!(
            is_v2 || self.unified.is_empty(),
            "linux.resources.unified needs control groups v2 alone; leave it out"
        );
        limits.extend(self.unified.clone());
        match limits.iter().find(|(file, _)| file.contains('/')) {
            Some((file, _)) => bail!("linux.resources: {file} is not a file of a group"),
            None => Ok(limits),
        }
    }
}

/// Finds the fields of the table: the path of each, what has it, and its value.
fn find<'a>(
    path: String,
    above: Named<'a>,
    this: Named<'a>,
    found: &mut Vec<(String, Named<'a>, &'a Value)>,
) -> Result<()> {
    let goes_on = |end| FIELDS.iter().any(|it| it.0.starts_with(&format!("{path}{end}")));
    match this.1 {
        Value::Null => {}
        _ if FIELDS.iter().any(|it| it.0 == path) => found.push((path, above, this.1)),
        Value::Object(map) if goes_on("/") => {
            for (name, value) in map {
                let part = if goes_on("/*") { "*" } else { name };
                find(format!("{path}/{part}"), this, (name, value), found)?;
            }
        }
        Value::Array(list) if goes_on("[]") => {
            for value in list {
                let before = found.len();
                find(format!("{path}[]"), this, ("", value), found)?;
                ensure!(
                    found.len() > before,
                    "the field {path} has an entry without a value"
                );
            }
        }
        _ => {
            let is_beside = |(parent, name)| {
                let word = format!("{{{name}}}");
                let has =
                    |path: &str| path.rsplit_once('/').is_some_and(|it| it.0 == parent);
                FIELDS.iter().any(|it| has(it.0) && it.2.contains(&word))
            };
            let known = path.rsplit_once('/').is_some_and(is_beside);
            ensure!(known, "the field {path} is not done here; leave it out");
        }
    }
    Ok(())
}

/// Writes a field, and fields beside it, in a template.
fn fill(template: &str, field: &str, (key, above): Named) -> Result<String> {
    let part = |(at, part): (usize, &str)| match part {
        _ if at % 2 == 0 => Some(part.replace('#', field)),
        "*" => Some(key.to_owned()),
        "major" | "minor" => above[part].as_u64().map(|it| it.to_string()),
        _ => above[part].as_str().map(str::to_owned),
    };
    let parts = template.split(['{', '}']).enumerate().map(part);
    parts
        .collect::<Option<_>>()
        .with_context(|| format!("{above} needs more fields: {template}"))
}

impl Kind {
    /// The value as text, if it can be one. Nothing in it lets the kernel's own value stay.
    fn text(&self, value: &Value, is_v2: bool) -> Option<Option<String>> {
        let max = "max".to_owned();
        Some(match self {
            Kind::Text => Some(value.as_str()?.to_owned()).filter(|it| !it.is_empty()),
            Kind::True => value.as_bool()?.then_some("1".to_owned()),
            Kind::UpTo(most) => Some(value.as_u64().filter(|it| it <= most)?.to_string()),
            Kind::Time => {
                Some(value.as_u64()?).filter(|it| *it > 0).map(|it| it.to_string())
            }
            Kind::Processes if value.as_i64()? <= 0 => Some(max),
            Kind::Quota if value.as_i64()? == 0 => None,
            Kind::Quota | Kind::Limit if is_v2 && value.as_i64()? < 0 => Some(max),
            Kind::Signed | Kind::Limit | Kind::Quota | Kind::Processes => {
                Some(value.as_i64()?.to_string())
            }
            Kind::Share(..) if value.as_u64()? == 0 => None,
            Kind::Share(from, to) if is_v2 => {
                let over = value.as_u64()?.clamp(*from, *to) - from;
                Some((1 + over * 9999 / (to - from)).to_string())
            }
            Kind::Share(..) => Some(value.as_u64()?.to_string()),
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
