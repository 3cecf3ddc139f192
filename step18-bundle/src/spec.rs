//! Lesson 18: a configuration to begin with.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use common::Exit;
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

/// A container as in lesson 13, for root.
const FOR_ROOT: &str = include_str!("../spec.json");

/// Writes config.json to a bundle that has none, for this caller: root, or a user.
pub(crate) fn write(bundle: &Path, as_user: bool) -> Result<Exit> {
    let path = bundle.join("config.json");
    let doing = || format!("write {}", path.display());
    let mut config: Value = serde_json::from_str(FOR_ROOT)?;
    if as_user || !geteuid().is_root() {
        for_user(&mut config);
    }
    let text = format!("{config:#}\n");
    // The caller's umask may be zero.
    let file = File::options().write(true).create_new(true).mode(0o644).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(doing)?;
    Ok(Exit::SUCCESS)
}

/// A user has only one ID to give, no control group, and no group tty.
pub(crate) fn for_user(config: &mut Value) {
    let map = |id| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut config["linux"];
    linux["uidMappings"] = map(geteuid().as_raw());
    linux["gidMappings"] = map(getegid().as_raw());
    linux["resources"] = json!({});
    let namespaces = linux["namespaces"].as_array_mut();
    namespaces.into_iter().for_each(|list| list.push(json!({ "type": "user" })));
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let options = mount["options"].as_array_mut();
        options.into_iter().for_each(|list| list.retain(|it| it != "gid=5"));
    }
}
