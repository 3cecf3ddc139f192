//! Tests that run as root of a user namespace, with mounts of their own.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use nix::unistd::{getgid, getuid};

use crate::{is_root, skip_container};

/// The IDs of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ids {
    /// 0 is the caller. There is no other ID.
    One,
    /// 0 is the caller, and 1 to 65536 are the caller's subordinate IDs. For root: all
    /// IDs are their own.
    Many,
}

/// Names the test in the namespace.
const INSIDE: &str = "TEST_IN_NAMESPACE";

/// Waits until the namespace has its IDs: execve(2) then makes the program root.
const SCRIPT: &str = r#"exec 2>&1; echo ready; read -r go && exec "$@""#;

/// Whether this process runs the test in a new user namespace. If not, starts the test
/// `name` of `module` again in one, and waits for it. Use it as the first line of a test:
///
/// ```ignore
/// if !inside(Ids::Many, module_path!(), "the_name_of_the_test") { return; }
/// ```
///
/// A host without user namespaces, or a user without subordinate IDs, skips the test.
pub fn inside(ids: Ids, module: &str, name: &str) -> bool {
    let test = format!("{}::{name}", module.split_once("::").map_or("", |(_, path)| path));
    let test = test.trim_start_matches("::");
    let key = format!("{test} {ids:?}");
    if let Ok(there) = env::var(INSIDE) {
        return there == key;
    }
    let mut command = Command::new("unshare");
    command.args(["-U", "-m", "sh", "-c", SCRIPT, "sh"]);
    command.arg(env::current_exe().expect("a test has a path"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(INSIDE, &key).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().expect("start unshare");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("read from unshare");
    let mapped = if line == "ready\n" { map(&child, ids) } else { Err(String::new()) };
    // Without a line, it ends at once.
    let mut stdin = child.stdin.take().expect("a pipe");
    if mapped.is_ok() {
        stdin.write_all(b"go\n").expect("write to the shell");
    }
    drop(stdin);
    let mut said = String::new();
    out.read_to_string(&mut said).expect("read what the test says");
    let output = child.wait_with_output().expect("wait for the test");
    if let Err(why) = mapped {
        return skip_container(&format!("no user namespace: {why}{}", crate::stderr(&output)));
    }
    assert!(output.status.success() && said.contains(" 1 passed"), "{said}");
    // The name of the test can come before it on the line.
    let start = |line: &str| line.find("skipped ").or_else(|| line.find(&format!("{name}: ")));
    for line in said.lines().filter_map(|line| start(line).map(|at| &line[at..])) {
        // Not through `eprintln!`, whose output the test captures.
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    }
    false
}

/// Gives the child its IDs, as lesson 16 does.
fn map(child: &Child, ids: Ids) -> Result<(), String> {
    let pid = child.id();
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, text).map_err(|error| format!("write {path}: {error}"))
    };
    if ids == Ids::One || is_root() {
        let count = if ids == Ids::One { 1 } else { 65_537 };
        if !is_root() {
            write("setgroups", "deny")?;
        }
        write("uid_map", &format!("0 {uid} {count}"))?;
        return write("gid_map", &format!("0 {gid} {count}"));
    }
    let of_caller = common::Ids::of_caller().map_err(|why| common::one_line(&why))?;
    let ranges = [of_caller.uids, of_caller.gids];
    for ((tool, id), ranges) in [("newuidmap", uid), ("newgidmap", gid)].into_iter().zip(ranges) {
        let first = ranges[0].first.to_string();
        let arguments = [pid.to_string(), "0".into(), id.to_string()];
        let mapped = Command::new(tool).args(arguments).args(["1", "1", &first, "65536"]).output();
        let mapped = mapped.map_err(|error| format!("start {tool}: {error}"))?;
        if !mapped.status.success() {
            return Err(crate::stderr(&mapped));
        }
    }
    Ok(())
}
