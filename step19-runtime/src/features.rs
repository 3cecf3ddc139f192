//! Lesson 19: what this runtime can do, as the specification wants it; features.md.

use common::Exit;
use serde_json::json;

/// Prints what is done here.
pub(crate) fn print() -> Exit {
    let kinds = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];
    let hooks = [
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
        "poststop",
    ];
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": hooks,
        "linux": { "namespaces": kinds },
    });
    common::print(&format!("{features:#}"))
}
