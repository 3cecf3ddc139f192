//! Lesson 19: what this runtime can do, in the form of the specification; features.md.

use anyhow::Result;
use common::{Capabilities, Exit};
use serde_json::{Value, json};

use crate::calls::ARCHITECTURES;
use crate::config::VERSIONS;
use crate::filter;
use crate::hooks::Hooks;
use crate::memory::{FLAGS, MODES};
use crate::options::{ATTRIBUTES, PROPAGATION};
use crate::program::{ACTIONS, OPERATORS};

#[rustfmt::skip]
const NAMESPACES: [&str; 8] =
    ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// Prints what is done here.
pub(crate) fn print() -> Result<Exit> {
    let capabilities = Capabilities::default().others().map(|it| it.to_string());
    let architectures = ARCHITECTURES.map(|it| it.0);
    let flags = filter::FLAGS.map(|it| it.0);
    let not_done = json!({ "enabled": false });
    let features: Value = json!({
        "ociVersionMin": VERSIONS[0],
        "ociVersionMax": VERSIONS[1],
        "hooks": Hooks::default().all().map(|it| it.0),
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities.collect::<Vec<_>>(),
            "cgroup": {
                "v1": true, "v2": true, "rdma": true,
                "systemd": false, "systemdUser": false,
            },
            "seccomp": {
                "enabled": true,
                "actions": ACTIONS.map(|it| it.0), "operators": OPERATORS.map(|it| it.0),
                "archs": architectures, "knownFlags": flags, "supportedFlags": flags,
            },
            "apparmor": { "enabled": true },
            "selinux": not_done,
            "intelRdt": not_done,
            "memoryPolicy": {
                "modes": MODES.map(|it| it.0), "flags": FLAGS.map(|it| it.0),
            },
            "netDevices": not_done,
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    });
    common::print(&format!("{features:#}"))
}

/// The options of mounts that are not for one kind of file system.
fn mount_options() -> Vec<String> {
    let names = |is_plain| {
        let of = move |it: &&(&str, [u64; 2])| (it.1 == [0, 0]) == is_plain;
        ATTRIBUTES.iter().filter(of).map(|it| it.0)
    };
    let plain = names(true).chain(["tmpcopyup"]);
    let names = names(false);
    let names = names.chain(PROPAGATION.iter().map(|it| it.0)).chain(["bind", "idmap"]);
    let all = names.flat_map(|it| [it.to_owned(), format!("r{it}")]);
    all.chain(plain.map(str::to_owned)).collect()
}
