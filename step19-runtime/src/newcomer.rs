//! Lesson 19: the process that enters a container: that of a file, or the container's own with
//! changes.

use std::fs::{self, File};
use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::config::plain;
use crate::process::Process;
use crate::state::Container;
use crate::words::Words;

/// The options of `exec`.
pub(crate) const OPTIONS: [&str; 16] = [
    "process|p=", "detach|d", "pid-file=", "console-socket=", "preserve-fds=",
    "ignore-paused", "cgroup=", "tty|t", "user|u=", "additional-gids|g=", "cwd=",
    "env|e=", "cap|c=", "no-new-privs", "apparmor=", "no-subreaper",
];

/// The process of a file, if there is one, or else the one that the other options describe.
pub(crate) fn process(
    given: Option<Value>,
    container: &Container,
    words: &Words,
) -> Result<Process> {
    let value = given.map_or_else(|| changed(container, words), Ok)?;
    ensure!(value["args"][0].is_string(), "read process.args: give a command");
    let process: Process =
        serde_json::from_value(value).map_err(plain).context("read process")?;
    process.check()?;
    Ok(process)
}

/// Reads the process of an engine. It stands alone: no other option changes it.
pub(crate) fn read(name: &str) -> Result<Value> {
    let doing = || format!("read the process {name}");
    let file = File::open(name).with_context(doing)?;
    serde_json::from_reader(file.take(16 << 20)).with_context(doing)
}

/// The process of the container, with the changes that the caller wants.
fn changed(container: &Container, words: &Words) -> Result<Value> {
    let text = fs::read(container.at("config.json")).context("read the configuration")?;
    let mut config: Value =
        serde_json::from_slice(&text).context("read the configuration")?;
    let mut process = config["process"].take();
    ensure!(!words.rest.is_empty(), "the command is missing; give it, or --process FILE");
    process["args"] = json!(words.rest);
    process["terminal"] = json!(words.has("tty"));
    for (option, field) in [("cwd", "cwd"), ("apparmor", "apparmorProfile")] {
        if let Some(word) = words.get(option) {
            process[field] = json!(word);
        }
    }
    if words.has("no-new-privs") {
        process["noNewPrivileges"] = json!(true);
    }
    let number = |word: &str| {
        let number = word.parse::<u32>();
        number.with_context(|| format!("use the ID {word}: give a number"))
    };
    if let Some(user) = words.get("user") {
        let (uid, gid) =
            user.split_once(':').map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        process["user"]["uid"] = json!(number(uid)?);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(number(gid)?);
        }
    }
    for gid in words.all("additional-gids") {
        push(&mut process["user"]["additionalGids"], json!(number(gid)?));
    }
    for variable in words.all("env") {
        let name = |text: &str| text.split('=').next() == variable.split('=').next();
        let before = process["env"].as_array_mut();
        before
            .into_iter()
            .for_each(|list| list.retain(|it| !it.as_str().is_some_and(name)));
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
