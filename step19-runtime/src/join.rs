//! Lesson 19: the control groups and the namespaces of a process that enters.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, ensure};
use common::{errno_of, is_inside};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::unistd::{Pid, getpid};

use crate::groups::{Groups, write};
use crate::words::Words;

/// The namespaces of a process: the file in /proc/PID/ns, and the flag; namespaces(7).
const NAMESPACES: [(&str, CloneFlags); 8] = [
    ("user", CloneFlags::CLONE_NEWUSER),
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("net", CloneFlags::CLONE_NEWNET),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("time", CloneFlags::from_bits_retain(libc::CLONE_NEWTIME)),
];

/// The groups of the container, or groups in them: of --cgroup `[CONTROLLERS:]PATH`.
pub(crate) fn inner_groups(groups: &Groups, words: &Words) -> Result<Vec<PathBuf>> {
    let all = groups.paths();
    let mut paths = all.clone();
    for word in words.all("cgroup") {
        let (controllers, inner) = word.split_once(':').unwrap_or(("", word));
        let inner = inner.trim_start_matches('/');
        ensure!(
            is_inside(&Path::new("/").join(inner)),
            "{inner} is not a sub cgroup path"
        );
        let named = controllers.split(',').filter(|it| !it.is_empty());
        let named = named.map(|it| {
            groups.group(it).with_context(|| format!("unknown controller {it}"))
        });
        let named = named.collect::<Result<Vec<_>>>()?;
        for (path, whole) in paths.iter_mut().zip(&all) {
            if controllers.is_empty() || named.contains(&&**whole) {
                *path = whole.join(inner);
            }
        }
    }
    for file in paths.iter().map(|it| it.join("cgroup.procs")) {
        let shown = file.display();
        // As runc says it.
        let doing = || format!("adding pid {} to {shown}", getpid());
        ensure!(file.exists(), "{}: no such file here; make the group", doing());
    }
    Ok(paths)
}

/// Opens the files by which a process joins groups of v1: inside, there is no way to
/// them.
pub(crate) fn open_tasks(joined: &Groups) -> Result<Vec<(PathBuf, File)>> {
    let files = joined.of_version(false).map(|it| it.join("tasks"));
    let open = |file: PathBuf| {
        let opened = File::options().write(true).open(&file);
        let opened = opened.with_context(|| format!("open {}", file.display()))?;
        Ok((file, opened))
    };
    files.map(open).collect()
}

/// Adds this process, which has one thread, to the groups of v1. The kernel waits for
/// nothing: it waits long before it moves another process, or one with threads. Only the
/// child is ever in them. A process in them can be frozen, and then not even a signal
/// ends it.
pub(crate) fn join_groups(tasks: &mut [(PathBuf, File)]) -> Result<()> {
    tasks.iter_mut().try_for_each(|(path, file)| {
        let joined = file.write_all(b"0");
        joined.with_context(|| format!("write 0 to {}", path.display()))
    })
}

/// Adds the child to the group of v2, if it has not begun there.
pub(crate) fn add(
    joined: &Groups,
    child: Pid,
    (groups, process): (&Groups, Pid),
) -> Result<()> {
    let mut added = joined.add(child);
    // A group of v2 with controllers for inner groups takes no process. That of the
    // container's process does.
    let is_busy = |it: &Error| it.chain().find_map(errno_of) == Some(Errno::EBUSY);
    if added.as_ref().is_err_and(is_busy) {
        let process = process.to_string();
        let groups: Vec<_> = groups.of_version(true).cloned().collect();
        common::each_group(&groups, |other| {
            let file = other.join("cgroup.procs");
            let found = fs::read_to_string(&file).unwrap_or_default();
            if found.lines().any(|it| it == process) {
                added = write(&file, &child.to_string()).context("join its group");
            }
        });
    }
    added
}

/// The namespaces of the container that this process is not in.
pub(crate) fn find_namespaces(process: Pid) -> Result<CloneFlags> {
    let mut differ = CloneFlags::empty();
    for (kind, flag) in NAMESPACES {
        let of = |id: &str| fs::read_link(format!("/proc/{id}/ns/{kind}"));
        // An older kernel does not have all kinds.
        let Ok(own) = of("self") else { continue };
        let theirs = of(&process.to_string());
        if theirs.with_context(|| format!("find the namespaces of {process}"))? != own {
            differ |= flag;
        }
    }
    // Each container has its own mounts. Without them, it is another process by now.
    ensure!(differ.contains(CloneFlags::CLONE_NEWNS), "container not running");
    Ok(differ)
}
