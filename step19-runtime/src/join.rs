//! Lesson 19: the control groups and the namespaces of a process that enters.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::is_inside;
use nix::sched::CloneFlags;
use nix::unistd::{Pid, getpid};

use crate::groups::Groups;
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
    Ok(paths)
}

/// Joins control groups: inside, there is no way to them.
pub(crate) fn join_groups(
    groups: &Groups,
    paths: &[PathBuf],
    process: Pid,
) -> Result<()> {
    for path in paths {
        let file = path.join("cgroup.procs");
        let doing = || format!("adding pid {} to {}", getpid(), file.display());
        ensure!(file.exists(), "{}: no such file here; make the group", doing());
        let join = |file: &Path| File::options().write(true).open(file)?.write_all(b"0");
        let mut joined = join(&file);
        // A group of v2 with controllers for inner groups takes no process. That of the
        // container's process does.
        if groups.is_v2()
            && joined.as_ref().is_err_and(|it| it.kind() == ErrorKind::ResourceBusy)
        {
            common::each_group(&groups.paths(), |other| {
                let file = other.join("cgroup.procs");
                let found = fs::read_to_string(&file).unwrap_or_default();
                if found.lines().any(|it| it == process.to_string()) {
                    joined = join(&file);
                }
            });
        }
        joined.with_context(doing)?;
    }
    Ok(())
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
