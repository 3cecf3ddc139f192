//! `cargo xtask doctor`: finds out whether the lessons can run on this host.

mod engines;

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use common::{Capabilities, Exit, Group, IdRange, Ids, Root, Scratch};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{
    AccessFlags, Pid, access, chdir, chroot, getgid, getuid, pivot_root, sethostname,
};

use crate::say::print;
use crate::style::Style;

/// Try the system calls that the lessons need. Name the first call that fails, the
/// reason and the remedy
///
/// The exit status is 0 if every lesson can run on this host, else 1.
#[derive(clap::Args)]
pub(crate) struct Args {}

const NONE: Option<&str> = None;

/// The remedy for an unknown cause.
const UNKNOWN: &str =
    "; the remedy is unknown: read the kernel's log with `dmesg` as root, and docs/hosts.md";

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let works = climb();
        if works {
            print("\nEvery lesson can run here.\n")?;
        } else {
            print("\nThe lessons of the failed line cannot run here. Follow the remedy above.\n")?;
        }
        advise()?;
        Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether every rung holds. A rung tries in a child the same calls as the lesson.
fn climb() -> bool {
    let (uid, gid) = (getuid(), getgid());
    let scratch = match Scratch::new(None) {
        Ok(scratch) => scratch,
        Err(error) => return rung(8, "a scratch directory", Err(error)),
    };
    let climbed = common::clone(CloneFlags::CLONE_NEWUSER, || {
        rung(3, "a user namespace", Ok(()));
        if !rung(4, "root inside, the caller outside", map_ids(uid.as_raw(), gid.as_raw())) {
            return Ok(Exit::SETUP);
        }
        let namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET;
        let child = common::clone(namespaces, || {
            rung(5, "all other namespaces, PIDs too", Ok(()));
            Ok(if climb_inside(&scratch) { Exit::SUCCESS } else { Exit::SETUP })
        });
        child.and_then(common::Child::wait).or_else(|error| {
            rung(5, "all other namespaces, PIDs too", Err(error));
            Ok(Exit::SETUP)
        })
    });
    match climbed.and_then(common::Child::wait) {
        Ok(exit) => {
            exit == Exit::SUCCESS
                && rung(17, "a second way into a container", enter())
                && rung(18, "a program that no container can change", seal())
        }
        Err(error) => rung(3, "a user namespace", Err(error)),
    }
}

/// The rungs inside the new namespaces.
fn climb_inside(scratch: &Scratch) -> bool {
    let merged = &scratch.merged();
    rung(2, "mounts of its own", private_mounts())
        && rung(4, "a hostname of its own", hostname())
        && rung(7, "its own processes in proc", mount_proc(merged))
        && rung(7, "a file system in memory", mount_and_unmount("tmpfs", merged))
        && rung(8, "an overlay in the scratch directory", mount_overlay(scratch))
        && rung(8, "a lower directory deleted and made again", replace_lower(merged))
        && rung(10, "terminals of its own", mount_and_unmount("devpts", merged))
        && rung(10, "a /sys to read", mount_and_unmount("sysfs", merged))
        && rung(10, "a bind that is read-only", bind_read_only(merged))
        && rung(11, "groups of its own", cgroup_namespace(merged))
        && rung(13, "a filter on system calls", filter_calls())
        && rung(9, "no way back to the old root", leave_old_root(merged))
        && rung(6, "a root of its own", change_root())
        && rung(14, "the device lo brought up", start_loopback())
        && rung(12, "capabilities given up for good", drop_capabilities())
}

/// Prints whether a rung held, and returns it. A child ignores a failure to print: the last
/// lines of the parent then fail too, and the parent reports it.
fn rung(lesson: u32, what: &str, tried: Result<()>) -> bool {
    let style = Style::of_stdout();
    let (mark, why) = match &tried {
        Ok(()) => (style.green("ok  "), String::new()),
        Err(error) => {
            let why = common::one_line(error);
            // A known remedy follows the cause.
            let remedy = if why.contains("; ") { "" } else { UNKNOWN };
            (style.red("FAIL"), format!("      {why}{remedy}\n"))
        }
    };
    let _ = print(&format!("{mark}  {what} (from lesson {lesson} on)\n{why}"));
    tried.is_ok()
}

/// Prints that something works, or else a note with the reason.
fn works(what: &str, else_note: &str, tried: Result<()>) -> Result<()> {
    match tried {
        Ok(()) => print(&format!("{}  {what}\n", Style::of_stdout().green("ok  "))),
        Err(error) => print(&format!("note  {else_note}: {}\n", common::one_line(&error))),
    }
}

/// Prints notes for the learner about things that stop no lesson.
fn advise() -> Result<()> {
    if !getuid().is_root() {
        print("note  lesson 2 needs root; for this user it shows how the kernel refuses\n")?;
    }
    works(
        "limits (from lesson 11 on)",
        "lesson 11 runs here, but cannot set limits",
        Group::check(),
    )?;
    let ids = Ids::of_caller();
    let users = ids.as_ref().map_or(1, Ids::users);
    works(
        &format!("{users} users inside (from lesson 16 on)"),
        "lesson 16 runs here, but with one user",
        ids.and_then(|ids| map_subordinate_ids(&ids)),
    )?;
    works(
        "limits of a file (from lesson 18 on)",
        "lessons 18 and 19 run here, but cannot set limits, pause or update",
        groups(),
    )?;
    if !getuid().is_root() && env::var_os("XDG_RUNTIME_DIR").is_none_or(|it| it.is_empty()) {
        print("note  lesson 19 needs --root DIR here: XDG_RUNTIME_DIR is not set\n")?;
    }
    let lacks: Vec<String> = common::PACKAGES
        .iter()
        .filter(|(tool, package)| *package != "uidmap" && !common::has_tool(tool))
        .map(|(tool, package)| format!("{tool} (package {package})"))
        .collect();
    if !lacks.is_empty() {
        print(&format!(
            "note  lessons 14 and 15 run here, but not every kind of network: install {}\n",
            lacks.join(", ")
        ))?;
    }
    engines::advise()?;
    let rootfs = common::Args::default().rootfs();
    match fs::metadata(&rootfs) {
        Err(_) => print("note  the rootfs is missing; `cargo xtask fetch-rootfs` fetches it\n"),
        Ok(found) if found.uid() == getuid().as_raw() && found.gid() == getgid().as_raw() => Ok(()),
        Ok(found) => print(&format!(
            "note  {} belongs to user {} and group {}, so lesson 8 as user {} and group {} \
             cannot change its files; fetch your own root with --dest, and name it in \
             CONTAINER_ROOTFS\n",
            rootfs.display(),
            found.uid(),
            found.gid(),
            getuid(),
            getgid()
        )),
    }
}

fn map_ids(uid: u32, gid: u32) -> Result<()> {
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        fs::write(file, text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

/// Writes the maps of lesson 16 for a child.
fn map_subordinate_ids(ids: &Ids) -> Result<()> {
    let map = |own: u32, ranges: &[IdRange]| {
        let mut numbers = vec![0, own, 1];
        for IdRange { first, count } in ranges {
            // The first ID inside follows the last of the line before.
            let inside = numbers[numbers.len() - 3] + numbers[numbers.len() - 1];
            numbers.extend([inside, *first, *count]);
        }
        numbers.iter().map(u32::to_string).collect::<Vec<_>>()
    };
    let (uids, gids) = (map(ids.uid.as_raw(), &ids.uids), map(ids.gid.as_raw(), &ids.gids));
    let write = |child: Pid| {
        if !ids.uid.is_root() {
            let tool = |name, map: &[String]| {
                let mut tool = Command::new(name);
                tool.arg(child.to_string()).args(map);
                tool
            };
            return common::run_both(&mut tool("newuidmap", &uids), &mut tool("newgidmap", &gids));
        }
        for (name, map) in [("uid_map", &uids), ("gid_map", &gids)] {
            let file = format!("/proc/{child}/{name}");
            let text: String = map.chunks(3).map(|line| line.join(" ") + "\n").collect();
            fs::write(&file, text).with_context(|| format!("write {file}"))?;
        }
        Ok(())
    };
    common::in_child(CloneFlags::CLONE_NEWUSER, write, || Ok(()))
}

/// Enters the namespace of another process, as lesson 17 does.
fn enter() -> Result<()> {
    let enter_too = |child: Pid| {
        let open = common::pidfd_open(child).context("open the process")?;
        let enter = || setns(&open, CloneFlags::CLONE_NEWUSER).context("enter a namespace");
        common::in_child(CloneFlags::empty(), |_| Ok(()), enter)
    };
    common::in_child(CloneFlags::CLONE_NEWUSER, enter_too, || Ok(()))
}

/// Makes a copy of this program, as lesson 18 does: a mount, or a file in memory.
fn seal() -> Result<()> {
    let program = fs::File::open("/proc/self/exe").context("open this program")?;
    let flags = libc::OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as u32;
    if common::open_tree(&program, c"", flags | libc::OPEN_TREE_CLOEXEC).is_ok() {
        return Ok(());
    }
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(c"program", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        // Before Linux 6.3, each such file can be executed.
        Err(Errno::EINVAL) => memfd_create(c"program", flags),
        made => made,
    }
    .map(drop)
    .map_err(|error| {
        let remedy = "; as root: sysctl -w vm.memfd_noexec=0";
        let remedy = if error == Errno::EACCES { remedy } else { "" };
        anyhow::anyhow!("make a file in memory that can be executed: {}{remedy}", error.desc())
    })
}

/// Whether this caller may make control groups for lesson 18: root in v1, too.
fn groups() -> Result<()> {
    if !getuid().is_root() {
        return Group::check();
    }
    common::hierarchies()?.iter().try_for_each(|it| {
        let may = access(it.group(), AccessFlags::W_OK);
        may.with_context(|| format!("make a control group in {}", it.group().display()))
    })
}

fn private_mounts() -> Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .context("make the mounts private")
}

fn hostname() -> Result<()> {
    sethostname("doctor").context("set the hostname")
}

fn mount_proc(at: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), at, Some("proc"), flags, NONE).context("mount proc on /proc")?;
    umount(at).context("unmount proc")
}

fn mount_and_unmount(kind: &str, at: &Path) -> Result<()> {
    let doing = || format!("mount {kind} on {}", at.display());
    mount(Some(kind), at, Some(kind), MsFlags::MS_NOSUID, NONE).with_context(doing)?;
    umount(at).with_context(|| format!("unmount {kind}"))
}

fn cgroup_namespace(merged: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWCGROUP).context("make a cgroup namespace")?;
    mount_and_unmount("cgroup2", merged)
}

/// Binds the lower directory that the overlay shows over itself.
fn bind_read_only(merged: &Path) -> Result<()> {
    let doing = "bind a directory";
    let place = Root::open(merged)?.directory("/dir")?;
    let flags = libc::AT_RECURSIVE | libc::AT_EMPTY_PATH;
    let copy = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | flags as u32;
    let bind = common::open_tree(&place, c"", copy).context(doing)?;
    common::mount_setattr(&bind, c"", flags, libc::MOUNT_ATTR_RDONLY).context(doing)?;
    let empty = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    common::move_mount(&bind, c"", &place, c"", empty).context(doing)
}

/// Makes a lower layer, and mounts an overlay on it.
fn mount_overlay(scratch: &Scratch) -> Result<()> {
    let layer = scratch.merged().with_file_name("lower");
    fs::create_dir_all(layer.join("dir/inner")).context("make a lower layer")?;
    let lower = common::lowerdir(&[layer])?;
    let upper = scratch.upper_option()?;
    let work = scratch.work_option()?;
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
    let merged = scratch.merged();
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&*options))
        .with_context(|| format!("mount the overlay on {}", merged.display()))?;
    scratch.check(&merged)
}

/// Needs user extended attributes on the upper directory.
fn replace_lower(merged: &Path) -> Result<()> {
    let dir = merged.join("dir");
    fs::remove_dir_all(&dir).context("delete a lower directory")?;
    fs::create_dir(&dir).context("make a lower directory again")?;
    let empty = fs::read_dir(&dir).context("list the new directory")?.next().is_none();
    anyhow::ensure!(empty, "list the new directory: the deleted files are back");
    Ok(())
}

fn leave_old_root(merged: &Path) -> Result<()> {
    chdir(merged).with_context(|| format!("chdir to {}", merged.display()))?;
    pivot_root(".", ".").context("pivot_root to the new root")?;
    umount2(".", MntFlags::MNT_DETACH).context("unmount the old root")
}

fn change_root() -> Result<()> {
    chroot("/").context("chroot to the new root")?;
    chdir("/").context("chdir to the new root")
}

fn drop_capabilities() -> Result<()> {
    let none = Capabilities::default();
    for other in none.others() {
        common::drop_bounding(other)
            .with_context(|| format!("drop {other} from the bounding set"))?;
    }
    common::set_capabilities(none, none, none).context("set the capabilities")?;
    set_no_new_privs().context("set no_new_privs")
}

fn start_loopback() -> Result<()> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).context("open a socket")?;
    let flags = common::device_flags(&socket, "lo").context("get the flags of lo")?;
    let flags = flags | InterfaceFlags::IFF_UP;
    common::set_device_flags(&socket, "lo", flags).context("set the flags of lo")
}

/// Sets a filter that lets every call pass.
fn filter_calls() -> Result<()> {
    let allow = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    common::set_filter(&[allow]).context("set the seccomp filter")
}
