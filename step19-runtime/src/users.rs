//! Lesson 16: a container with more than one user. Lesson 18: the maps and the user of
//! the configuration.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::Root;
use libc::{S_IFIFO, S_IFMT};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::prctl::{set_dumpable, set_keepcaps};
use nix::sys::stat::{Mode, fstat, umask};
use nix::unistd::{
    Gid, Pid, Uid, fchown, getegid, geteuid, setgroups, setresgid, setresuid,
};
use serde::Deserialize;

use crate::config::Config;
use crate::numbers::{Id, UpTo};

/// A line of a map: the first ID inside, its ID outside, and a number of IDs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

/// The user of the command.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) uid: Id,
    pub(crate) gid: Id,
    umask: Option<UpTo<0o777>>,
    pub(crate) additional_gids: Vec<Id>,
}

fn lines(map: &[Mapping]) -> impl Iterator<Item = [u32; 3]> {
    map.iter().map(|it| [it.container_id, it.host_id, it.size])
}

/// Writes the two maps of the child, which waits for them; user_namespaces(7).
pub(crate) fn write_maps(maps: [&[Mapping]; 2], child: Pid) -> Result<()> {
    if maps[0].is_empty() {
        return Ok(());
    }
    let (uid, gid) = (geteuid(), getegid());
    let is_own = |(map, own)| lines(map).map(|it| [it[1], it[2]]).eq([[own, 1]]);
    let alone = maps.into_iter().zip([uid.as_raw(), gid.as_raw()]).all(is_own);
    // Root may give every ID, and a user only the own one. For others, there are tools.
    if uid.is_root() || alone {
        if !uid.is_root() {
            let denied = fs::write(format!("/proc/{child}/setgroups"), "deny");
            denied.context("write setgroups")?;
        }
        for (file, map) in ["uid_map", "gid_map"].iter().zip(maps) {
            let line = |[to, from, size]: [u32; 3]| format!("{to} {from} {size}\n");
            let text: String = lines(map).map(line).collect();
            let written = fs::write(format!("/proc/{child}/{file}"), text);
            written.with_context(|| format!("write the {file}"))?;
        }
        return Ok(());
    }
    let tool = |name, map| {
        let mut tool = Command::new(name);
        tool.arg(child.to_string());
        tool.args(lines(map).flatten().map(|number| number.to_string()));
        tool
    };
    common::run_both(&mut tool("newuidmap", maps[0]), &mut tool("newgidmap", maps[1]))
}

/// Makes a user namespace with these maps, for a mount.
pub(crate) fn in_maps(maps: [&[Mapping]; 2]) -> Result<OwnedFd> {
    ensure!(maps.iter().all(|map| !map.is_empty()), "there are no maps; give both");
    let mut user = None;
    let prepare = |child| {
        write_maps(maps, child)?;
        let file = File::open(format!("/proc/{child}/ns/user"));
        user = Some(file.context("open the user namespace")?.into());
        Ok(())
    };
    common::in_child(CloneFlags::CLONE_NEWUSER, prepare, || Ok(()))?;
    user.context("open the user namespace: there is none")
}

/// Becomes root in the child, by the maps. Leaves the groups of the caller, which have no
/// number inside.
pub(crate) fn take_ids(new_user: bool) -> Result<()> {
    if !new_user {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
    set_groups(&[])?;
    setresgid(gid, gid, gid).context("become group 0: linux.gidMappings needs it")?;
    setresuid(uid, uid, uid).context("become user 0: linux.uidMappings needs it")
}

/// Sets the supplementary groups. The user namespace of a user does not allow it, and
/// the groups stay; /proc/self/setgroups in user_namespaces(7).
fn set_groups(groups: &[Gid]) -> Result<()> {
    match setgroups(groups) {
        Err(Errno::EPERM) if groups.is_empty() => Ok(()),
        set => set.context("set the supplementary groups"),
    }
}

/// The variable HOME of the command, if the configuration does not say it: the directory
/// of the user in the root's own files.
pub(crate) fn home(config: &Config, root: &Root) -> Result<Option<String>> {
    if config.process.env.iter().any(|it| it.starts_with("HOME=")) {
        return Ok(None);
    }
    let user = common::User::find(&config.process.user.uid.0.to_string(), root)?;
    Ok(Some(format!("HOME={}", user.home.as_deref().unwrap_or("/root"))))
}

/// Sets the umask of the command; umask(2). A filter may refuse it later.
pub(crate) fn set_umask(config: &Config) {
    let mode = config.process.user.umask.map_or(0o022, |it| it.0);
    umask(Mode::from_bits_truncate(mode));
}

/// Gives the user the terminal of the container, or the pipes of its caller: programs
/// open them again by a name such as /dev/stdout.
pub(crate) fn give_streams(config: &Config) {
    for stream in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
        let is_pipe = fstat(stream).is_ok_and(|it| it.st_mode & S_IFMT == S_IFIFO);
        if config.process.terminal || is_pipe {
            // Root of a user namespace may have no right over it.
            let _ = fchown(stream, Some(Uid::from_raw(config.process.user.uid.0)), None);
        }
    }
}

/// Makes this process the user's; credentials(7). It keeps its permitted capabilities
/// until the next stage sets them.
pub(crate) fn become_user(config: &Config) -> Result<()> {
    let User { uid, gid, additional_gids, .. } = &config.process.user;
    let groups: Vec<Gid> = additional_gids.iter().map(|it| Gid::from_raw(it.0)).collect();
    set_groups(&groups)?;
    set_keepcaps(true).context("keep the capabilities")?;
    let (uid, gid) = (Uid::from_raw(uid.0), Gid::from_raw(gid.0));
    setresgid(gid, gid, gid).with_context(|| format!("become group {gid}"))?;
    setresuid(uid, uid, uid).with_context(|| format!("become user {uid}"))?;
    // With fs.suid_dumpable=1, others of this user could trace it now; proc_sys_fs(5).
    set_dumpable(false).context("keep others from tracing this process")
}
