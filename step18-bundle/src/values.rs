//! Lesson 18: names of the container, and values of the kernel for its namespaces.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::Root;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::sethostname;

use crate::config::{Config, Linux};
use crate::namespaces::{Kind, has};

/// Values in /proc/sys that a namespace has for itself, by the begin of their path.
const VALUES: [(&str, Kind); 10] = [
    ("net/", Kind::Network),
    ("fs/mqueue/", Kind::Ipc),
    ("kernel/msgmax", Kind::Ipc),
    ("kernel/msgmnb", Kind::Ipc),
    ("kernel/msgmni", Kind::Ipc),
    ("kernel/sem", Kind::Ipc),
    ("kernel/shm", Kind::Ipc),
    ("kernel/auto_msgmni", Kind::Ipc),
    ("kernel/domainname", Kind::Uts),
    ("kernel/hostname", Kind::Uts),
];

/// Refuses values that the container does not have for itself.
pub(crate) fn check(linux: &Linux) -> Result<()> {
    for name in linux.sysctl.keys() {
        let file = file_of(name);
        let kind = VALUES.iter().find(|(prefix, _)| file.starts_with(prefix));
        ensure!(
            kind.is_some_and(|(_, kind)| has(linux, *kind)) && !file.contains(".."),
            "linux.sysctl: {name} would change the host; leave it out, or add its namespace"
        );
    }
    Ok(())
}

/// Whether a directory is a proc: root inside may have mounted another file system there.
pub(crate) fn check_proc(path: &Path) -> Result<()> {
    let found = statfs(path).map(|found| found.filesystem_type());
    ensure!(found == Ok(PROC_SUPER_MAGIC), "use {}: it is not a proc", path.display());
    Ok(())
}

/// Sets the names of the UTS namespace; uts_namespaces(7).
pub(crate) fn set_names(config: &Config) -> Result<()> {
    if !config.hostname.is_empty() {
        sethostname(&config.hostname).context("set the hostname")?;
    }
    match &*config.domainname {
        "" => Ok(()),
        name => common::set_domainname(name).context("set the domainname"),
    }
}

/// Sets values of the kernel for the namespaces of the container; sysctl(8).
pub(crate) fn set_values(config: &Config, root: &Root) -> Result<()> {
    for (name, value) in &config.linux.sysctl {
        let doing = || format!("set {name} to {value}");
        let place =
            root.find(&format!("/proc/sys/{}", file_of(name))).with_context(doing)?;
        let place =
            place.context("find it: this kernel does not have it").with_context(doing)?;
        let found = fstatfs(&place).with_context(doing)?;
        ensure!(
            found.filesystem_type() == PROC_SUPER_MAGIC,
            "{}: /proc of the root is not a proc",
            doing()
        );
        fs::write(place.name(), value).with_context(doing)?;
    }
    Ok(())
}

/// The file of a value: the first of `.` and `/` in its name is what separates its parts.
fn file_of(name: &str) -> String {
    let other = |c| {
        if c == '.' {
            '/'
        } else if c == '/' {
            '.'
        } else {
            c
        }
    };
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'.') => name.chars().map(other).collect(),
        _ => name.to_owned(),
    }
}
