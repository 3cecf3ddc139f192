//! Lesson 17: a second way into a container.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use common::{Args, Capabilities, Exit, IdRange, Ids, Root};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Uid};

use crate::facts::Facts;
use crate::process::{self, Process};
use crate::state::Container;
use crate::{capabilities, filter, users};

/// The namespaces of a process: the file in /proc/PID/ns, and the flag; namespaces(7).
const NAMESPACES: [(&str, CloneFlags); 7] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
];

/// Runs a command in a running container, and exits as it did.
pub(crate) fn exec(args: &Args, container: &Container, facts: Facts) -> Result<Exit> {
    let name = &container.name;
    ensure!(container.has_keeper()?, "enter the container {name}: it has ended");
    let (Some(command), Some(process)) = (facts.command, facts.process) else {
        bail!("enter the container {name}: it is starting; wait until it runs")
    };
    let process = with_changes(process, args);
    let kept = Capabilities::of_bits(facts.capabilities);
    let group = facts.group.as_deref();

    let child = common::clone(CloneFlags::empty(), || {
        keep_out_of_reach()?;
        join_group(group)?;
        // The command and not process 1, which is not dumpable: it is closed to the
        // caller.
        let Some(open) = command.open()? else {
            bail!("enter the container: its command has ended")
        };
        let ids = read_ids(command.id)?;
        enter_namespaces(command.id, open)?;
        capabilities::drop_capabilities(kept.and(&users::TO_SWITCH)?)?;
        filter::filter_calls()?;

        // Only a child of this process is in the PID namespace.
        let command = common::fork(|| {
            common::fresh_environment();
            common::use_devices()?;
            let user = users::find_user(
                process.user.as_deref(),
                &Root::open(Path::new("/"))?,
                ids.as_ref(),
            )?;
            users::become_user(&user, ids.as_ref(), kept)?;
            common::end_with_parent()?;
            process::start(&process, &user)
        })?;
        capabilities::drop_capabilities(kept.and(&users::TO_SIGNAL)?)?;
        command.reap()
    })?;
    child.wait()
}

/// The process of the container's command, with the changes that the caller wants.
fn with_changes(mut process: Process, args: &Args) -> Process {
    process.command.clone_from(&args.command);
    process.environment.extend(args.env.iter().cloned());
    process.user = args.user.clone().or(process.user);
    process.directory = args.workdir.clone().unwrap_or(process.directory);
    process
}

/// Takes away what root inside could use of a process that enters: its memory and its
/// program, and open files of the host. After setns(2), it is too late.
fn keep_out_of_reach() -> Result<()> {
    set_dumpable(false).context("keep the container from tracing this process")?;
    common::leave_keyring()?;
    common::close_descriptors()
}

/// Joins the control group of the container, if it has one: inside, there is no way to
/// it.
fn join_group(group: Option<&Path>) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    let file = group.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("write 0 to {}", file.display()))
}

/// Reads the maps of a container with several users; user_namespaces(7).
fn read_ids(process: i32) -> Result<Option<Ids>> {
    let read = |kind| {
        let file = format!("/proc/{process}/{kind}_map");
        let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let mut ranges = text.lines().filter_map(|line| {
            let numbers = line.split_whitespace().flat_map(str::parse);
            let numbers: Vec<u32> = numbers.collect();
            Some(IdRange { first: *numbers.get(1)?, count: *numbers.get(2)? })
        });
        let own = ranges.next().with_context(|| format!("read {file}: it is empty"))?;
        Ok::<_, anyhow::Error>((own.first, ranges.collect::<Vec<_>>()))
    };
    let ((uid, uids), (gid, gids)) = (read("uid")?, read("gid")?);
    let ids = Ids { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), uids, gids };
    Ok(Some(ids).filter(|ids| !ids.uids.is_empty()))
}

/// Enters the namespaces of a process, if they are not those of this process. One call,
/// because after the first, this process has no capability over the others: setns(2).
fn enter_namespaces(process: i32, open: OwnedFd) -> Result<()> {
    let mut differ = CloneFlags::empty();
    for (kind, flag) in NAMESPACES {
        let of = |id: &str| fs::read_link(format!("/proc/{id}/ns/{kind}"));
        let theirs = of(&process.to_string());
        let theirs = theirs.with_context(|| format!("find the namespaces of {process}"))?;
        if theirs != of("self").context("find the namespaces of this process")? {
            differ |= flag;
        }
    }
    let entered = setns(open, differ);
    entered.with_context(|| format!("enter the namespaces of the process {process}"))
}
