//! Lesson 19: what callers can ask about containers.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{self, Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use common::Exit;
use nix::unistd::{Uid, User, geteuid};
use serde::Serialize;

use crate::state::{Container, find_root};
use crate::status::Status;
use crate::words::Words;

/// The state of a container, with the fields that runc adds, and in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    oci_version: String,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

/// The name of the user who has made a container, or the number.
fn owner(container: &Container) -> String {
    let uid = fs::metadata(container.at("")).map_or(0, |found| found.uid());
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or(uid.to_string(), |user| user.name)
}

fn describe(container: &Container) -> Result<Shown> {
    let (state, status) = container.look()?;
    Ok(Shown {
        oci_version: state.oci_version,
        id: state.id,
        pid: state.pid.filter(|_| status != Status::Stopped).unwrap_or(0),
        status: status.word(),
        bundle: state.bundle,
        rootfs: state.rootfs,
        created: state.created.unwrap_or_default(),
        annotations: state.annotations,
        owner: owner(container),
    })
}

/// Prints the state of a container.
pub(crate) fn state(root: &Path, name: &str) -> Result<Exit> {
    let state = describe(&Container::open(root, name)?)?;
    common::print(&serde_json::to_string_pretty(&state)?)
}

/// Prints a list of all containers.
pub(crate) fn list(root: &Path, words: &Words) -> Result<Exit> {
    let all = find_root(root)?.map_or(Ok(Vec::new()), |all| Container::all(&all))?;
    // Another process may remove one now.
    let states: Vec<Shown> = all.iter().flat_map(describe).collect();
    let lines: Vec<String> = match words.get("format").unwrap_or("table") {
        _ if words.has("quiet") => states.into_iter().map(|it| it.id).collect(),
        "json" => vec![serde_json::to_string(&states)?],
        "table" => {
            let row = |[id, pid, status, bundle, created, owner]: [&str; 6]| {
                format!(
                    "{id:<20} {pid:<8} {status:<8} {bundle:<40} {created:<30} {owner}"
                )
            };
            let head = row(["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
            let of = |it: &Shown| {
                let (pid, bundle) = (it.pid.to_string(), it.bundle.to_string_lossy());
                let bundle = common::printable(&bundle);
                row([&it.id, &pid, it.status, &bundle, &it.created, &it.owner])
            };
            [head].into_iter().chain(states.iter().map(of)).collect()
        }
        other => bail!("there is no --format {other}; give table or json"),
    };
    match &lines[..] {
        [] => Ok(Exit::SUCCESS),
        lines => common::print(&lines.join("\n")),
    }
}

/// The directory of all containers: that of --root, or the usual one.
pub(crate) fn root(named: Option<&str>, verb: &str) -> Result<PathBuf> {
    match named {
        Some(root) => path::absolute(root).context("read --root"),
        // They are about no container.
        None if ["spec", "features"].contains(&verb) => Ok(PathBuf::new()),
        None => default_root(),
    }
}

/// Below /run for root, and below XDG_RUNTIME_DIR for a user. Root of a user namespace is
/// a user of the host.
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
