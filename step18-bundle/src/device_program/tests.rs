//! The kernel asks the program: processes in a group of v2 open devices and make nodes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::*;

/// A new group of v2. A host with groups of v1 has such groups, too, but no controllers.
fn group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let group = PathBuf::from(line.split(' ').nth(4)?)
        .join(format!("rules-{}", std::process::id()));
    fs::create_dir(&group).ok()?;
    Some(group)
}

#[test]
fn the_kernel_allows_what_the_last_rule_allows() {
    let Some(group) = testkit::is_root().then(group).flatten() else {
        testkit::skip("only root can make a group of v2");
        return;
    };
    let rules: Vec<Rule> = serde_json::from_value(json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "access": "rw" },
        { "allow": false, "type": "c", "major": 1, "minor": 5, "access": "r" },
        { "allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm" },
        { "allow": true, "type": "b", "major": 7, "minor": -1, "access": "m" },
        { "allow": true, "type": "c", "major": 5, "minor": 2, "access": "r" },
        { "allow": true, "type": "c", "major": 5, "access": "w" },
    ]))
    .expect("rules");
    let attached = common::attach_device_program(
        &program(&rules),
        File::open(&group).expect("open"),
    );
    let dir = testkit::tempdir();
    let script = format!(
        "cd {}; echo $$ >{}/cgroup.procs
        try() {{ \"$@\" 2>&- && echo yes || echo no; }}
        try sh -c ': </dev/null'; try sh -c ': </dev/zero'; try sh -c ': >/dev/zero'
        try sh -c ': <>/dev/zero'; try sh -c ': </dev/tty'
        try mknod a c 1 7; try mknod b c 1 3; try mknod c b 7 100; try mknod d b 8 0
        try sh -c ': <>/dev/ptmx'",
        dir.path().display(),
        group.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("start sh");
    fs::remove_dir(&group).expect("remove the group");
    attached.expect("attach the program");
    let said = testkit::stdout(&output).replace('\n', " ");
    assert_eq!(
        said,
        "yes no yes no no yes no yes no yes",
        "{}",
        testkit::stderr(&output)
    );
}
