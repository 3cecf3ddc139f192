//! The other programs that start containers.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::{Value, json};

use super::Contender;
use crate::file;
use crate::say::{note, quoted};

/// A program, its Debian package, and its differences from the last lesson.
pub(super) struct Peer {
    pub(super) program: &'static str,
    package: &'static str,
    pub(super) remark: &'static str,
}

pub(super) const PEERS: [Peer; 4] = [
    Peer {
        program: "bwrap",
        package: "bubblewrap",
        remark: "no overlay, no filter, no /sys; all capabilities dropped",
    },
    Peer {
        program: "unshare",
        package: "util-linux",
        remark: "no overlay, no /dev; the command is process 1 itself, with every capability",
    },
    Peer {
        program: "crun",
        package: "crun",
        remark: "no overlay, no filter, no /sys; an OCI bundle",
    },
    Peer {
        program: "runc",
        package: "runc",
        remark: "no overlay, no filter, no /sys; an OCI bundle, as root control groups; in Go",
    },
];

/// The peers that are installed.
pub(super) fn find(root: &Path, program: &Path, place: &Path) -> Result<Vec<Contender>> {
    let bundle = place.join("bundle");
    file::write(&bundle.join("config.json"), oci_config(root, program).to_string())?;
    let (root, bundle, state) = (quoted(root), quoted(&bundle), quoted(place.join("state")));
    let program = quoted(program);

    let mut found = Vec::new();
    for Peer { program: name, package, remark } in PEERS {
        let Some(version) = installed(name, package) else { continue };
        let command = match name {
            "bwrap" => {
                format!(
                    "bwrap --unshare-all --bind {root} / --dev /dev --proc /proc --tmpfs /tmp --cap-drop ALL {program} --version"
                )
            }
            "unshare" => format!(
                "unshare -Ur --mount --uts --ipc --net --pid --fork --root={root} --mount-proc {program} --version"
            ),
            "crun" => {
                format!("crun --cgroup-manager=disabled --root {state} run -b {bundle} crun-bench")
            }
            _ => format!("{name} --root {state} run -b {bundle} {name}-bench"),
        };
        let name = format!("{name} {version}");
        found.push(Contender { name, remark: remark.to_owned(), command });
    }
    Ok(found)
}

/// The version of a program: the first word of `--version` that begins with a digit,
/// without what a distribution has added. Prints a note if the program is missing.
pub(super) fn installed(program: &str, package: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok();
    let text =
        output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let mut words = text.split_whitespace();
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if version.is_none() {
        note(&format!("{program} is not installed; install the Debian package {package}"));
    }
    version?.split('+').next().map(str::to_owned)
}

/// A container like that of the last lesson, as the OCI runtime specification describes it.
/// It has no overlay, /sys or filter, fewer capabilities, and protects fewer files of /proc.
fn oci_config(root: &Path, program: &Path) -> Value {
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let namespaces = ["pid", "network", "ipc", "uts", "user", "mount"];
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let kept = ["CHOWN", "DAC_OVERRIDE", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"];
    let kept: Vec<_> = kept.iter().map(|name| format!("CAP_{name}")).collect();
    let mounts = [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/tmp", "tmpfs"),
    ];
    let mounts =
        mounts.map(|(at, kind)| json!({ "destination": at, "type": kind, "source": kind }));
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": root },
        "process": {
            "cwd": "/",
            "args": [program, "--version"],
            "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 },
            "capabilities": { "bounding": kept, "effective": kept, "permitted": kept },
            "noNewPrivileges": true,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": namespaces,
            "uidMappings": map(uid),
            "gidMappings": map(gid),
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    })
}
