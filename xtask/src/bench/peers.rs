//! The other programs that start containers.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::unistd::{getgid, getuid};
use serde_json::{Value, json};

use super::Contender;
use crate::file;
use crate::say::{note, quoted};

/// A step, or another program that does the same: its name, what it does more or less than
/// the step, and its command line.
///
/// The name begins with the program. In the command line, `$SELF` is the program, and
/// `$STATE` a directory of its own. The caller of [`contender`] gives the other words.
pub(super) type Peer = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
pub(super) const PEERS: [Peer; 4] = [
    ("bwrap", "no overlay, no filter, no /sys; all capabilities dropped",
     "$SELF --unshare-all --bind $ROOT / --dev /dev --proc /proc --tmpfs /tmp --cap-drop ALL /program --version"),
    ("unshare", "no overlay, no /dev; the command is process 1 itself, with every capability",
     "$SELF -Ur --mount --uts --ipc --net --pid --fork --root=$ROOT --mount-proc /program --version"),
    ("crun", "no overlay, no filter, no /sys; an OCI bundle",
     "$SELF --cgroup-manager=disabled --root $STATE run -b $PLACE/bundle crun-bench"),
    ("runc", "no overlay, no filter, no /sys; an OCI bundle, as root control groups; in Go",
     "$SELF --root $STATE run -b $PLACE/bundle runc-bench"),
];

/// A container like that of the last lesson, as the OCI runtime specification describes it.
/// It has no overlay, /sys or filter, fewer capabilities, and protects fewer files of /proc.
const CONFIG: &str = include_str!("peers.json");

/// The peers that are installed. They run /program in the root.
pub(super) fn find(root: &Path, place: &Path) -> Result<Vec<Contender>> {
    let mut config: Value = serde_json::from_str(CONFIG).context("read the configuration")?;
    config["root"]["path"] = json!(root);
    config["linux"]["uidMappings"][0]["hostID"] = json!(getuid().as_raw());
    config["linux"]["gidMappings"][0]["hostID"] = json!(getgid().as_raw());
    file::write(&place.join("bundle/config.json"), config.to_string())?;
    let words = [("$ROOT", quoted(root)), ("$PLACE", quoted(place))];
    Ok(PEERS.into_iter().filter_map(|peer| contender(peer, &words)).collect())
}

/// A peer with the values of the words in its command line, if its program is installed.
pub(super) fn contender(peer: Peer, words: &[(&str, String)]) -> Option<Contender> {
    let (name, remark, command) = peer;
    let program = name.split([' ', ',']).next().unwrap_or(name);
    let (path, name) = if program.starts_with("step") {
        (format!("$STEPS/{program}"), name.to_owned())
    } else {
        let version = installed(program)?;
        (program.to_owned(), name.replacen(program, &format!("{program} {version}"), 1))
    };
    let command = command.replace("$SELF", &path).replace("$STATE", &format!("$PLACE/{program}"));
    Some(Contender { name, remark: remark.to_owned(), command: fill(&command, words) })
}

/// A command line with the values of its words. hyperfine starts a shell only if the
/// command line does.
pub(super) fn fill(command: &str, words: &[(&str, String)]) -> String {
    let filled = words.iter().fold(command.to_owned(), |it, (word, value)| it.replace(word, value));
    if filled.contains(" && ") { format!("sh -c {}", quoted(filled)) } else { filled }
}

/// The version of a program: the first word of `--version` that begins with a digit,
/// without what a distribution has added. Prints a note if the program is missing.
fn installed(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok();
    let text =
        output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let mut words = text.split_whitespace();
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if version.is_none() {
        let package = match program {
            "bwrap" => "bubblewrap",
            "nsenter" | "unshare" => "util-linux",
            same => same,
        };
        note(&format!("{program} is not installed; install the Debian package {package}"));
    }
    version?.split('+').next().map(str::to_owned)
}
