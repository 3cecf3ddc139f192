//! Lesson 18: names of the container, and values of the kernel for its namespaces.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use common::Root;
use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs, statfs};
use nix::unistd::sethostname;

use crate::config::{Config, Linux};
use crate::namespaces::{Kind, has};

/// Values in /proc/sys that a namespace has for itself: how their paths begin. Each
/// namespace has its name in /proc/self/ns beside it.
#[rustfmt::skip]
const VALUES: [(Kind, &str, &[&str]); 3] = [
    (Kind::Network, "net", &["net/"]),
    (Kind::Ipc, "ipc", &[
        "fs/mqueue/", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem",
        "kernel/shm", "kernel/auto_msgmni",
    ]),
    (Kind::Uts, "uts", &["kernel/domainname", "kernel/hostname"]),
];

/// Refuses values that the container does not have for itself.
pub(crate) fn check(linux: &Linux) -> Result<()> {
    for name in linux.sysctl.keys() {
        let file = file_of(name);
        let is_own = |(kind, _, begins): &(_, _, &[&str])| {
            has(linux, *kind) && begins.iter().any(|begin| file.starts_with(begin))
        };
        ensure!(
            VALUES.iter().any(is_own) && !file.contains(".."),
            "linux.sysctl: {name} would change the host; leave it out, or add a namespace"
        );
    }
    Ok(())
}

/// Refuses names that would be those of the host.
pub(crate) fn check_names(config: &Config) -> Result<()> {
    if let Some(field) = names(config).filter(|_| !has(&config.linux, Kind::Uts)) {
        bail!("{field} would change the host; leave it out, or add a UTS namespace");
    }
    Ok(())
}

/// The first field with a name of the container.
fn names(config: &Config) -> Option<&'static str> {
    let fields = [("hostname", &config.hostname), ("domainname", &config.domainname)];
    fields.into_iter().find(|(_, name)| !name.is_empty()).map(|it| it.0)
}

/// Refuses names and values for a namespace with a path, if the path leads to that of the
/// caller.
pub(crate) fn check_joined(config: &Config, joined: Kind, file: &File) -> Result<()> {
    let Some((_, own, begins)) = VALUES.iter().find(|(kind, ..)| *kind == joined) else {
        return Ok(());
    };
    let is_in = |name: &&String| begins.iter().any(|it| file_of(name).starts_with(it));
    let value = config.linux.sysctl.keys().find(is_in);
    let value = value.map(|name| format!("linux.sysctl: {name}"));
    let name = names(config).filter(|_| joined == Kind::Uts).map(str::to_owned);
    let Some(field) = value.or(name) else { return Ok(()) };
    let (own, file) = (fs::metadata(format!("/proc/self/ns/{own}"))?, file.metadata()?);
    ensure!(
        (own.dev(), own.ino()) != (file.dev(), file.ino()),
        "{field} would change the host: the path is that of the caller's namespace; \
         leave the field out, or name another namespace"
    );
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
    if !config.domainname.is_empty() {
        common::set_domainname(&config.domainname).context("set the domainname")?;
    }
    Ok(())
}

/// Sets values of the kernel for the namespaces of the container; sysctl(8).
pub(crate) fn set_values(config: &Config, root: &Root) -> Result<()> {
    let set = |name: &str, value: &str| -> Result<()> {
        let path = format!("/proc/sys/{}", file_of(name));
        // The root may have a directory in the place of /proc, with links to a proc.
        let place = match root.find_without_links(Path::new(&path)) {
            Err(Errno::ELOOP) => bail!("{path} is a link"),
            Err(Errno::ENOENT | Errno::ENOTDIR) => bail!("this kernel does not have it"),
            found => found?,
        };
        let is_proc = fstatfs(&place)?.filesystem_type() == PROC_SUPER_MAGIC;
        ensure!(is_proc, "/proc of the root is not a proc");
        Ok(fs::write(place.name(), value)?)
    };
    for (name, value) in &config.linux.sysctl {
        set(name, value).with_context(|| format!("set {name} to {value}"))?;
    }
    Ok(())
}

/// The file of a value: the first of `.` and `/` in its name is what separates its parts.
fn file_of(name: &str) -> String {
    let swap = |letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('.') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}
