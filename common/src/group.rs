//! Control groups: the place for a new group, and the end of a group. cgroups(7).

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{process, slice};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::unistd::{AccessFlags, access, getuid};

use crate::args::limits::number;
use crate::hierarchy::{end_groups, remove_group};
use crate::places::open::text;
use crate::said::doing::{Call, Doing};
use crate::{errno_of, note, one_line};

/// Where the groups are, hier(7).
const GROUPS: &str = "/sys/fs/cgroup";
/// The name of a group is this, the ID of the runner and a number: containers-12.0.
const PREFIX: &str = "containers-";
/// The group for the caller's processes, beside the groups of containers.
const CALLER: &str = "caller";

/// A control group for the container of this run. It is removed when this is dropped.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// Keeps other runners from removing a group without processes.
    _lock: File,
}

impl Group {
    /// Makes a group: for root in the root of all groups, for another user in the user's
    /// own group. First removes the groups of runners that were killed.
    ///
    /// A group can give the controller of memory to the groups in it only if it has no processes.
    /// So the processes of the user's group, such as the shell, first move to a group `caller` in
    /// it, beside the new group. See the rule "no internal processes" in cgroups(7). Fails when
    /// this host does not use control groups v2 alone, or the group does not belong to this user.
    pub fn make() -> Result<Group> {
        let place = place_for_groups()?;
        move_processes_out(&place)?;
        sweep(&place);
        let mut attempt = 0;
        loop {
            let path = place.join(format!("{PREFIX}{}.{attempt}", process::id()));
            attempt += 1;
            match fs::create_dir(&path) {
                // An old process with this ID left it, or a process in another PID
                // namespace uses it.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(|| making(&path))?,
            }
            // If not, another runner has just swept it.
            if let Some(lock) = lock(&path) {
                return Ok(Group { path, _lock: lock });
            }
        }
    }

    /// Whether this caller can make a group here; changes nothing. The error is the reason why
    /// not, with a remedy.
    pub fn check() -> Result<()> {
        place_for_groups().map(drop)
    }

    /// The directory of the group.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `value` to a file of the group, or with `../` of the group above. Fails when the
    /// kernel refuses the value or the controller is missing.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        write(&self.path.join(file), value)
    }

    /// Prints how many processes the kernel killed for their memory, if any.
    fn tell_kills(&self) {
        // The file is missing if no group here has the controller.
        let events = text(self.path.join("memory.events")).unwrap_or_default();
        let count = |name| events.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
        let (at_limit, killed) = (count("oom "), count("oom_kill "));
        // If the host runs out of memory, only `killed` counts.
        let why = match (at_limit, killed) {
            (_, "0") => return,
            ("0", _) => "the host ran out of memory",
            _ => "the container reached its limit on memory; raise --memory",
        };
        note(&format!("the kernel killed {killed} of the container's processes: {why}"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.tell_kills();
        // A process can join from outside.
        if let Err(error) = end_groups(slice::from_ref(&self.path)) {
            note(&format!("{}; the next start with a limit tries again", one_line(&error)));
        }
    }
}

/// Writes a file of the kernel, which must be there.
fn write(file: &Path, value: &str) -> Result<()> {
    let doing = || {
        let object = format_args!("{value} to {}", file.display());
        Doing::new(Call::write_group(file), "write ", object)
    };
    let open = File::options().write(true).open(file);
    open.and_then(|mut file| file.write_all(value.as_bytes())).with_context(doing)
}

/// The group in which this process makes new groups: for root, the root of all groups;
/// for another user, the user's own group.
fn place_for_groups() -> Result<PathBuf> {
    let found = statfs(GROUPS).map(|found| found.filesystem_type());
    ensure!(found == Ok(CGROUP2_SUPER_MAGIC), NO_V2);
    let mut place = PathBuf::from(GROUPS);
    if !getuid().is_root() {
        let groups = text("/proc/self/cgroup").context("read /proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).context(NO_V2)?;
        place.push(own);
        // An earlier runner has moved this process.
        if place.ends_with(CALLER) {
            place.pop();
        }
    }
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        access(&place.join(file), AccessFlags::W_OK).with_context(|| {
            Doing::new(Call::UseGroups, "make a control group in ", place.display())
        })?;
    }
    Ok(place)
}

const NO_V2: &str = "make a control group: /sys/fs/cgroup has no control groups v2 alone, and the limits need them; start the host with systemd.unified_cgroup_hierarchy=1 on its kernel command line, or leave the limits out";

fn making(group: &Path) -> String {
    format!("make the control group {}", group.display())
}

/// Moves the processes of a group to the group `caller` in it. The root of all groups
/// can keep its processes; only that group has no cgroup.events.
fn move_processes_out(group: &Path) -> Result<()> {
    if !group.join("cgroup.events").exists() {
        return Ok(());
    }
    let caller = group.join(CALLER);
    loop {
        let processes = text(group.join("cgroup.procs"))
            .with_context(|| format!("list the processes of {}", group.display()))?;
        if processes.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&caller).with_context(|| making(&caller))?;
        for process in processes.lines() {
            match write(&caller.join("cgroup.procs"), process) {
                // It has just ended.
                Err(error) if error.chain().find_map(errno_of) == Some(Errno::ESRCH) => {}
                written => written?,
            }
        }
    }
}

/// Locks a group, if it is there and no other process has locked it.
fn lock(path: &Path) -> Option<File> {
    let group = File::open(path).ok()?;
    group.try_lock().ok()?;
    let is_same = fs::metadata(path).ok()?.ino() == group.metadata().ok()?.ino();
    is_same.then_some(group)
}

/// Removes the groups of runners that were killed.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_ours)
            && let Some(_lock) = lock(&entry.path())
        {
            // What cannot be removed, or has processes, stays for the next run.
            let _ = remove_group(&entry.path());
        }
    }
}

/// Whether a group has the name of a group from this crate.
fn is_ours(name: &str) -> bool {
    let numbers = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
    numbers.is_some_and(|(process, attempt)| number(process).and(number(attempt)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_of_ours_is_ours() {
        for (name, ours) in [
            ("containers-12.0", true),
            ("containers-12", false),
            ("containers-12.x", false),
            ("containers-.0", false),
            ("caller", false),
            ("user.slice", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
