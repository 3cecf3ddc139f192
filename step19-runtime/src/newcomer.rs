//! Lesson 19: the process that enters a container: that of a file, or the container's own
//! with changes.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::config::plain;
use crate::process::Process;
use crate::state::Container;
use crate::words::Words;

/// The caller's own files: what is a pipe there has its data coming.
const OWN: [&str; 3] = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];

/// Reads a file of an engine, or standard input for `-`. Does not wait for what another
/// user may have put in the place of the file.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<Value> {
    let path = path.as_ref();
    let doing = || format!("read {}", path.display());
    let file: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(stdin()),
        false if OWN.iter().any(|own| path.starts_with(own)) => {
            Box::new(File::open(path).with_context(doing)?)
        }
        false => Box::new(common::open::regular(path).with_context(doing)?),
    };
    serde_json::from_reader(file.take(16 << 20)).with_context(doing)
}

/// The process of a file, which stands alone, or else the one that the options describe.
pub(crate) fn process(
    given: Option<Value>,
    container: &Container,
    words: &Words,
) -> Result<Process> {
    let value = given.map_or_else(|| changed(container, words), Ok)?;
    ensure!(value["args"][0].is_string(), "read process.args: give a command");
    let process: Process =
        serde_json::from_value(value).map_err(plain).context("read the process")?;
    process.check()?;
    Ok(process)
}

/// The process of the container, with the changes that the caller wants.
fn changed(container: &Container, words: &Words) -> Result<Value> {
    let mut process = read(container.at("config.json"))?["process"].take();
    process["args"] = json!(words.rest);
    process["terminal"] = json!(words.has("tty"));
    let number = |word: &str| {
        let number = word.parse::<u32>();
        number.with_context(|| format!("use the ID {word}: give a number"))
    };
    for (option, field) in [("cwd", "cwd"), ("apparmor", "apparmorProfile")] {
        words.get(option).into_iter().for_each(|it| process[field] = json!(it));
    }
    if words.has("no-new-privs") {
        process["noNewPrivileges"] = json!(true);
    }
    let user = words.get("user").into_iter().flat_map(|it| it.splitn(2, ':'));
    for (field, word) in ["uid", "gid"].into_iter().zip(user) {
        process["user"][field] = json!(number(word)?);
    }
    for gid in words.all("additional-gids") {
        push(&mut process["user"]["additionalGids"], json!(number(gid)?));
    }
    for variable in words.all("env") {
        let other = |it: &Value| {
            it.as_str().and_then(|it| it.split('=').next()) != variable.split('=').next()
        };
        process["env"].as_array_mut().into_iter().for_each(|list| list.retain(other));
        push(&mut process["env"], json!(variable));
    }
    for capability in words.all("cap") {
        for set in ["bounding", "effective", "permitted"] {
            push(&mut process["capabilities"][set], json!(capability));
        }
    }
    Ok(process)
}

/// Adds to a list, which may be missing.
fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}
