//! Lesson 19: what this runtime can do, in the form of the specification; features.md.

use common::{Capabilities, Exit};
use serde_json::{Value, json};

use crate::calls;
use crate::options::{ATTRIBUTES, PROPAGATION};

/// What a filter can do; each is an arm of `program::answer` or of `program::condition`.
#[rustfmt::skip]
const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
];
#[rustfmt::skip]
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE",
];
#[rustfmt::skip]
const HOOKS: [&str; 6] = [
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
    "poststop",
];
#[rustfmt::skip]
const NAMESPACES: [&str; 8] =
    ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// Prints what is done here.
pub(crate) fn print() -> Exit {
    let capabilities = Capabilities::default().others().map(|it| it.to_string());
    let capabilities: Vec<String> = capabilities.collect();
    let architectures = calls::ARCHITECTURES.map(|it| it.0);
    let flags =
        ["LOG", "SPEC_ALLOW", "TSYNC"].map(|it| format!("SECCOMP_FILTER_FLAG_{it}"));
    let not_done = json!({ "enabled": false });
    let features: Value = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": HOOKS,
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities,
            "cgroup": {
                "v1": true, "v2": true, "rdma": true,
                "systemd": false, "systemdUser": false,
            },
            "seccomp": {
                "enabled": true, "actions": ACTIONS, "operators": OPERATORS,
                "archs": architectures, "knownFlags": flags, "supportedFlags": flags,
            },
            "apparmor": { "enabled": true },
            "selinux": not_done,
            "intelRdt": not_done,
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    });
    common::print(&format!("{features:#}"))
}

/// The options of mounts that are not for one kind of file system.
fn mount_options() -> Vec<String> {
    let names = ATTRIBUTES.iter().map(|it| it.0).filter(|it| *it != "defaults");
    let names = names.chain(PROPAGATION.iter().map(|it| it.0)).chain(["bind", "idmap"]);
    let all = names.flat_map(|it| [it.to_owned(), format!("r{it}")]);
    all.chain(["defaults", "tmpcopyup"].map(str::to_owned)).collect()
}
