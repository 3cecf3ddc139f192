//! Lesson 17: a second way into a container.

use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result, bail, ensure};
use common::{Args, Capabilities, Exit};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_dumpable;

use crate::facts::{Facts, Process};
use crate::state::Container;
use crate::{capabilities, filter};

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
pub(crate) fn exec(args: &Args, container: &Container, facts: &Facts) -> Result<Exit> {
    let name = &container.name;
    ensure!(container.has_keeper()?, "enter the container {name}: it has ended");
    let Some(command) = facts.command else {
        bail!("enter the container {name}: it is starting; try again when --list says running")
    };
    let kept = Capabilities::of_bits(facts.capabilities);

    let child = common::clone(CloneFlags::empty(), || {
        keep_out_of_reach()?;
        join_group(facts)?;
        enter_namespaces(command)?;

        // Only a child is in the PID namespace.
        let command = common::fork(|| {
            common::end_with_parent()?;
            capabilities::drop_capabilities(kept)?;
            filter::filter_calls()?;
            common::fresh_environment();
            common::use_devices()?;
            common::exec(&args.command)
        })?;
        command.reap()
    })?;
    child.wait()
}

/// Takes away what root inside could use of a process that enters: its memory and its
/// program, and open files of the host. After setns(2), it is too late.
fn keep_out_of_reach() -> Result<()> {
    set_dumpable(false).context("keep the container from tracing this process")?;
    common::leave_keyring()?;
    common::close_descriptors()
}

/// Joins the control group of the container, if it has one: inside, there is no way to it.
fn join_group(facts: &Facts) -> Result<()> {
    let Some(group) = &facts.group else { return Ok(()) };
    let file = group.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("write 0 to {}", file.display()))
}

/// Enters all namespaces of a process that differ from those of this process, in a single
/// call: each needs the capabilities that the user namespace gives, and in that namespace,
/// root of the host has no capabilities outside of it; setns(2).
fn enter_namespaces(process: Process) -> Result<()> {
    let doing = || format!("enter the namespaces of the process {}", process.id);
    // Process 1 is not dumpable, and closed to an ordinary user. Its child, the command, is not.
    let Some(open) = process.open()? else { bail!("{}: it has ended", doing()) };
    let mut differ = CloneFlags::empty();
    for (kind, flag) in NAMESPACES {
        let of = |id: &str| fs::read_link(format!("/proc/{id}/ns/{kind}")).with_context(doing);
        if of(&process.id.to_string())? != of("self")? {
            differ |= flag;
        }
    }
    setns(open.as_fd(), differ).with_context(doing)
}
