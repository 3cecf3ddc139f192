//! Lesson 18: namespaces that are new, and those of other containers.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use common::{Child, Exit};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_dumpable;
use nix::unistd::geteuid;
use serde::Deserialize;

use crate::config::{Config, Linux};

/// A namespace of the container: a new one, or the one that a file names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    path: PathBuf,
}

/// The kinds; namespaces(7).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[repr(i32)]
pub(crate) enum Kind {
    Mount = libc::CLONE_NEWNS,
    Uts = libc::CLONE_NEWUTS,
    Ipc = libc::CLONE_NEWIPC,
    Network = libc::CLONE_NEWNET,
    Pid = libc::CLONE_NEWPID,
    Cgroup = libc::CLONE_NEWCGROUP,
    Time = libc::CLONE_NEWTIME,
    User = libc::CLONE_NEWUSER,
}

/// How far a clock of the container is from the host's; time_namespaces(7).
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Offset {
    secs: i64,
    nanosecs: u32,
}

impl Kind {
    /// The flag of clone(2). nix does not have CLONE_NEWTIME.
    fn flag(self) -> CloneFlags {
        CloneFlags::from_bits_retain(self as i32)
    }
}

/// Whether the container has a new namespace of this kind.
pub(crate) fn is_new(linux: &Linux, kind: Kind) -> bool {
    linux.namespaces.iter().any(|it| it.kind == kind && it.path.as_os_str().is_empty())
}

/// Whether the list has a namespace of this kind: a new one, or one with a path.
pub(crate) fn has(linux: &Linux, kind: Kind) -> bool {
    linux.namespaces.iter().any(|it| it.kind == kind)
}

/// Refuses lists that make no sense.
pub(crate) fn check(linux: &Linux) -> Result<()> {
    for (at, one) in linux.namespaces.iter().enumerate() {
        let twice = linux.namespaces[..at].iter().any(|it| it.kind == one.kind);
        ensure!(!twice, "linux.namespaces has {:?} twice; name it once", one.kind);
    }
    let has_mount = is_new(linux, Kind::Mount);
    ensure!(has_mount, "linux.namespaces has no new mount namespace; add one");
    let new_user = is_new(linux, Kind::User);
    let has_maps = [&linux.uid_mappings, &linux.gid_mappings].map(|it| !it.is_empty());
    // Engines write them also beside a path. That namespace has its own.
    ensure!(
        [new_user, has(linux, Kind::User)].map(|it| [it; 2]).contains(&has_maps),
        "linux.uidMappings and linux.gidMappings go with a new user namespace; give all"
    );
    let new_time = is_new(linux, Kind::Time);
    // The time namespace comes first, and a user may only make it in the other one.
    let may_both = geteuid().is_root() || !new_time || !new_user;
    ensure!(may_both, "new time and user namespaces together need root; leave one out");
    let can_be = new_time || linux.time_offsets.is_empty();
    ensure!(can_be, "linux.timeOffsets needs a new time namespace; add it");
    crate::values::check(linux)
}

/// Clones the child into the new namespaces. The cgroup namespace comes later. To join
/// one, and for a time namespace, another process comes first, which takes time.
pub(crate) fn clone(
    config: &Config,
    session: bool,
    group: Option<OwnedFd>,
    work: impl FnOnce() -> Result<Exit>,
) -> Result<Child> {
    let linux = &config.linux;
    let new = linux.namespaces.iter().filter(|it| it.path.as_os_str().is_empty());
    let all: CloneFlags = new.clone().map(|it| it.kind.flag()).collect();
    let flags = all - Kind::Cgroup.flag() - Kind::Time.flag();
    if new.count() == linux.namespaces.len() && !is_new(linux, Kind::Time) {
        return common::clone_in_group(session, group, flags, work);
    }
    common::clone_after(session, None, || join(config).map(|()| group), flags, work)
}

/// Joins the namespaces that have a path; setns(2). Then makes a time namespace.
fn join(config: &Config) -> Result<()> {
    let linux = &config.linux;
    let named = linux.namespaces.iter().filter(|it| !it.path.as_os_str().is_empty());
    let mut files = Vec::new();
    for Namespace { kind, path } in named {
        // A FIFO would wait for a writer.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let doing = || format!("open the namespace {}", path.display());
        let file = file.with_context(doing)?;
        crate::values::check_joined(config, *kind, &file)?;
        files.push((*kind, path, file));
    }
    if !files.is_empty() {
        // Otherwise processes in there could trace this one, and then the child.
        set_dumpable(false).context("keep others from tracing this process")?;
    }
    // The kernel asks for rights over each namespace: those that the caller has now, or
    // those of root in the user namespace.
    let (user, mut left): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(kind, ..)| *kind == Kind::User);
    if !user.is_empty() {
        left.retain(|(kind, _, file)| setns(file, kind.flag()).is_err());
    }
    for (kind, path, file) in user.into_iter().chain(left) {
        let joined = setns(file, kind.flag());
        joined.with_context(|| format!("join the namespace {}", path.display()))?;
    }
    if is_new(linux, Kind::Time) {
        unshare(Kind::Time.flag()).context("make a time namespace")?;
        for (clock, Offset { secs, nanosecs }) in &linux.time_offsets {
            let line = format!("{clock} {secs} {nanosecs}");
            let set = fs::write("/proc/self/timens_offsets", &line);
            set.with_context(|| format!("set the clock {line}"))?;
        }
    }
    Ok(())
}

/// Makes a cgroup namespace. In it, the group of this process is the root of all groups.
pub(crate) fn hide_groups(linux: &Linux) -> Result<()> {
    if is_new(linux, Kind::Cgroup) {
        unshare(Kind::Cgroup.flag()).context("make a cgroup namespace")?;
    }
    Ok(())
}
