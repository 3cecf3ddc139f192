//! Control groups: where a container can have limits, no group is left of it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::procs::{Proc, end_of, gone, having, token, wait_until};
use testkit::{containers_work, is_one_line, is_root, limits_work, stderr, step};

const STEP: &str = "step11-cgroups";

/// A container with a limit, whose command waits for the end of its input.
fn waiting(token: &str) -> Child {
    let mut command = step(STEP);
    command.args(["--pids", "20", "cat", "-", token]).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a step")
}

/// The control group of a process, cgroups(7).
fn group_of(proc: &Proc) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", proc.0)).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    PathBuf::from("/sys/fs/cgroup").join(own.unwrap_or_default())
}

/// The groups of the commands that have `token` on their command line.
fn groups(token: &str) -> Vec<PathBuf> {
    let is_command = |proc: &Proc| proc.words().first().is_some_and(|word| word == "cat");
    having(token).iter().filter(|proc| is_command(proc)).map(group_of).collect()
}

fn with_limit() -> Command {
    let mut command = step(STEP);
    command.args(["--pids", "20", "true"]);
    command
}

#[test]
fn many_at_once_leave_no_group() {
    if !containers_work() || !limits_work() {
        return;
    }
    let token = token();
    // A container has a key, and an ordinary user 200; keyrings(7). Other tests run, too.
    let number = if is_root() { 200 } else { 150 };
    let mut children: Vec<Child> = (0..number).map(|_| waiting(&token)).collect();
    wait_until("all commands", || groups(&token).len() == children.len());
    let mut groups = groups(&token);
    groups.sort();
    groups.dedup();
    assert_eq!(groups.len(), children.len(), "each container has its own group");
    for child in &mut children {
        drop(child.stdin.take());
    }
    for child in &mut children {
        assert_eq!(end_of(child).code(), Some(1));
    }
    let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_next_runner_removes_the_groups_of_killed_runners() {
    if !containers_work() || !limits_work() {
        return;
    }
    let token = token();
    // This container stays, and its group with it.
    let mut first = waiting(&token);
    wait_until("a command", || groups(&token).len() == 1);
    let [kept] = &groups(&token)[..] else { panic!("no group") };
    let mut killed = Vec::new();
    for delay in 0..40 {
        let mut other = waiting(&token);
        killed.push(format!("containers-{}.0", other.id()));
        let until = Instant::now() + Duration::from_micros(delay * 200);
        while Instant::now() < until {}
        other.kill().expect("kill the runner");
        end_of(&mut other);
    }
    wait_until("the end of the killed groups", || {
        let output = with_limit().output().expect("start a step");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        !killed.iter().any(|name| kept.with_file_name(name).exists())
    });
    assert!(kept.exists(), "a group in use was removed");
    drop(first.stdin.take());
    assert_eq!(end_of(&mut first).code(), Some(1));
    gone(&token);
    assert!(!kept.exists());
}

/// A process that joins from outside does not keep the group.
#[test]
fn a_busy_group_is_emptied_and_removed() {
    if !containers_work() || !limits_work() {
        return;
    }
    let token = token();
    let mut child = waiting(&token);
    wait_until("a command", || groups(&token).len() == 1);
    let [group] = &groups(&token)[..] else { panic!("no group") };
    let mut joined = Command::new("sleep").arg("1000").spawn().expect("start sleep");
    fs::write(group.join("cgroup.procs"), joined.id().to_string()).expect("join the group");
    drop(child.stdin.take());
    assert_eq!(end_of(&mut child).code(), Some(1));
    assert!(!group.exists());
    assert_eq!(end_of(&mut joined).code(), None, "a signal ended it");
}

/// Root's group belongs to root.
#[test]
fn a_user_without_a_group_is_told_how_to_get_one() {
    if !is_root() || !containers_work() || !limits_work() {
        return;
    }
    let nobody = 65534;
    let output = with_limit().uid(nobody).gid(nobody).output().expect("start a step");
    assert_eq!(output.status.code(), Some(125));
    // The lines before it can warn of a root that belongs to root.
    let said = stderr(&output);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("systemd-run --user --scope"), "{said}");
    assert!(is_one_line(STEP, last), "{said}");
}
