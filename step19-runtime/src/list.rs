//! Lesson 19: what callers can ask about containers.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use common::Exit;
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::state::Container;

/// The state of a container, with the fields that runc adds.
fn describe(container: &Container) -> Result<Value> {
    let (state, status) = (container.state()?, container.status()?);
    let mut json = state.to_json(status);
    if json["pid"].is_null() {
        json["pid"] = 0.into();
    }
    json["rootfs"] = json!(state.rootfs);
    json["created"] = json!(state.created.unwrap_or_default());
    json["owner"] = json!(container.owner());
    Ok(json)
}

/// Prints the state of a container.
pub(crate) fn state(root: &Path, name: &str) -> Result<Exit> {
    let state = describe(&Container::open(root, name)?)?;
    Ok(common::print(&format!("{state:#}")))
}

/// Prints a list of all containers.
pub(crate) fn list(root: &Path, format: &str, names_only: bool) -> Result<Exit> {
    let all = Container::all(root)?;
    // Another process may remove one now.
    let states: Vec<Value> = all.iter().flat_map(describe).collect();
    let text =
        |state: &Value, field: &str| state[field].as_str().unwrap_or_default().to_owned();
    let lines: Vec<String> = match format {
        _ if names_only => states.iter().map(|it| text(it, "id")).collect(),
        "json" => vec![json!(states).to_string()],
        "table" => {
            let row = |[id, pid, status, bundle, created, owner]: [&str; 6]| {
                format!(
                    "{id:<20} {pid:<8} {status:<8} {bundle:<40} {created:<30} {owner}"
                )
            };
            let head = row(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
            let of = |it: &Value| {
                let [id, status, bundle, created, owner] =
                    ["id", "status", "bundle", "created", "owner"]
                        .map(|field| text(it, field));
                row([&id, &it["pid"].to_string(), &status, &bundle, &created, &owner])
            };
            [head].into_iter().chain(states.iter().map(of)).collect()
        }
        other => bail!("there is no --format {other}; give table or json"),
    };
    match &lines[..] {
        [] => Ok(Exit::SUCCESS),
        lines => Ok(common::print(&lines.join("\n"))),
    }
}

/// The directory of all containers: that of --root, or the usual one.
pub(crate) fn root(named: Option<&str>, verb: &str) -> Result<PathBuf> {
    match named {
        Some(root) => Ok(PathBuf::from(root)),
        // They are about no container.
        None if ["spec", "features"].contains(&verb) => Ok(PathBuf::new()),
        None => default_root(),
    }
}

/// Engines set one variable, if any. Root of a user namespace is a user of the host.
fn default_root() -> Result<PathBuf> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_host = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let name = env!("CARGO_PKG_NAME");
    let named = env::var_os("XDG_RUNTIME_DIR").filter(|it| !it.is_empty());
    if geteuid().is_root() && (is_host || named.is_none()) {
        return Ok(Path::new("/run").join(name));
    }
    let dir =
        named.context("find the containers: set XDG_RUNTIME_DIR, or give --root")?;
    Ok(PathBuf::from(dir).join(name))
}
