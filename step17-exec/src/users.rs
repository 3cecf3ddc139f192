//! Lesson 16: a container with more than one user.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::{Capabilities, IdRange, Ids, Root, User};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Pid, setgroups, setresgid, setresuid};

/// The capability by which process 1 sends a signal to another user's process.
pub(crate) const TO_SIGNAL: [&str; 1] = ["KILL"];
/// Those by which its child becomes another user and gives up capabilities, and the same.
pub(crate) const TO_SWITCH: [&str; 4] = ["SETGID", "SETUID", "SETPCAP", TO_SIGNAL[0]];

/// The lines of a map: 0 inside is the caller, and 1 and the following are the caller's
/// subordinate IDs. A line is the first ID inside, its ID outside, and a number of IDs;
/// user_namespaces(7).
fn lines(own: u32, ranges: &[IdRange]) -> Vec<[u32; 3]> {
    let mut lines = vec![[0, own, 1]];
    let mut inside = 1;
    for IdRange { first, count } in ranges {
        lines.push([inside, *first, *count]);
        inside += count;
    }
    lines
}

/// Writes the two maps of the child, which waits for them.
pub(crate) fn write_maps(ids: &Ids, child: Pid) -> Result<()> {
    let uids = lines(ids.uid.as_raw(), &ids.uids);
    let gids = lines(ids.gid.as_raw(), &ids.gids);
    // Root may give away every ID. For a user, these tools do it: they are set-user-ID
    // root, and look into /etc/subuid and /etc/subgid first.
    if ids.uid.is_root() {
        let text = |map: Vec<[u32; 3]>| {
            let lines = map.iter().map(|[at, id, count]| format!("{at} {id} {count}\n"));
            lines.collect::<String>()
        };
        let file = |name| format!("/proc/{child}/{name}");
        fs::write(file("uid_map"), text(uids)).context("write the uid_map")?;
        return fs::write(file("gid_map"), text(gids)).context("write the gid_map");
    }
    let tool = |name, map: Vec<[u32; 3]>| {
        let mut tool = Command::new(name);
        tool.arg(child.to_string());
        tool.args(map.iter().flatten().map(u32::to_string));
        tool
    };
    common::run_both(&mut tool("newuidmap", uids), &mut tool("newgidmap", gids))
}

/// Waits in the child for the maps: by them it is root. Leaves the caller's groups, which
/// have no number inside; setgroups(2).
pub(crate) fn take_ids(ids: &Ids) -> Result<()> {
    common::wait_for_runner(Some(ids))?;
    setgroups(&[]).context("leave the groups of the caller")
}

/// Does work in a process with the IDs of a container, in a user namespace of its own.
/// Only such a process can change what they own.
pub(crate) fn in_map(ids: &Ids, work: &dyn Fn() -> Result<()>) -> Result<()> {
    common::in_child(CloneFlags::CLONE_NEWUSER, |child| write_maps(ids, child), work)
}

/// Finds the user of the command in the root's own files. Without a name, it is root.
#[rustfmt::skip]
pub(crate) fn find_user(
    word: Option<&str>, root: &Root, ids: Option<&Ids>,
) -> Result<User> {
    let Some(word) = word else { return Ok(User::root()) };
    let mut user = User::find(word, root)?;
    let Some(ids) = ids else {
        ensure!(
            user.uid.is_root() && user.gid.as_raw() == 0,
            "find the user {word}: the container has only user 0 and group 0; \
             it needs subordinate IDs for others, and no --ids one"
        );
        // The kernel refuses setgroups(2).
        user.groups.clear();
        return Ok(user);
    };
    let (users, groups) = (ids.users(), ids.groups());
    ensure!(
        user.uid.as_raw() < users,
        "find the user {word}: user {} is none of the container's, which are 0 to {}; \
         name one of these",
        user.uid,
        users - 1
    );
    for group in &user.groups {
        ensure!(
            group.as_raw() < groups,
            "find the user {word}: group {group} is none of the container's, which are \
             0 to {}; name one of these",
            groups - 1
        );
    }
    Ok(user)
}

/// Makes this process the user's; credentials(7). Only root keeps the capabilities
/// `kept`.
#[rustfmt::skip]
pub(crate) fn become_user(
    user: &User, ids: Option<&Ids>, kept: Capabilities,
) -> Result<()> {
    if !user.uid.is_root() {
        common::open_to_users()?;
    }
    for other in kept.others() {
        common::drop_bounding(other)
            .with_context(|| format!("drop {other} from the bounding set"))?;
    }
    if ids.is_some() {
        setgroups(&user.groups).context("set the supplementary groups")?;
    }
    setresgid(user.gid, user.gid, user.gid).context("set the group ID")?;
    // From root to another user, the kernel takes away all capabilities.
    setresuid(user.uid, user.uid, user.uid).context("set the user ID")?;
    let none = Capabilities::default();
    let kept = if user.uid.is_root() { kept } else { none };
    common::set_capabilities(kept, kept, none).context("set the capabilities")?;
    // The kernel may have undone this. Until execve(2), this process has the code and
    // memory of process 1, and another process of the user must not trace it.
    set_dumpable(false).context("keep others from tracing this process")
}
