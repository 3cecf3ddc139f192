//! Lesson 18: a configuration to begin with.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use common::Exit;
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};

/// Capabilities that programs expect root to have, as in lesson 12.
const KEPT: [&str; 13] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL", "CAP_AUDIT_WRITE",
];

/// Writes config.json to a bundle that has none: a container as in lesson 13, for this
/// caller.
pub(crate) fn write(bundle: &Path) -> Result<Exit> {
    let path = bundle.join("config.json");
    let doing = || format!("write {}", path.display());
    let text = serde_json::to_string_pretty(&configuration())?;
    let file = File::options().write(true).create_new(true).open(&path);
    let mut file = file.with_context(doing)?;
    file.write_all(text.as_bytes()).with_context(doing)?;
    file.write_all(b"\n").with_context(doing)?;
    Ok(Exit::SUCCESS)
}

fn mount(place: &str, kind: &str, options: &[&str]) -> Value {
    json!({ "destination": place, "type": kind, "source": kind, "options": options })
}

fn configuration() -> Value {
    let is_root = geteuid().is_root();
    let (kinds, map) = match is_root {
        true => (vec![], None),
        // A user has only this one ID to give.
        false => (vec!["user"], Some([geteuid().as_raw(), getegid().as_raw()])),
    };
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"].into_iter().chain(kinds);
    let namespaces: Vec<Value> = kinds.map(|kind| json!({ "type": kind })).collect();
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if is_root {
        pts.push("gid=5");
    }
    let in_memory = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    let read = ["nosuid", "noexec", "nodev", "ro"];
    let mut config = json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": { "bounding": KEPT, "effective": KEPT, "permitted": KEPT },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "container",
        "mounts": [
            mount("/proc", "proc", &[]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &pts),
            mount("/dev/shm", "tmpfs", &in_memory),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &read),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"])
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                "/proc/sched_debug", "/proc/scsi", "/sys/firmware"
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
            ]
        }
    });
    let linux = &mut config["linux"];
    match map {
        None => linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] }),
        Some([uid, gid]) => {
            let map = |id| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
            (linux["uidMappings"], linux["gidMappings"]) = (map(uid), map(gid));
        }
    }
    config
}
