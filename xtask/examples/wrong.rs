//! Containers with one fault each: a test checks that the lessons' scripts find the
//! fault. A symbolic link to this program has the name of the fault.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use common::{Args, Exit, Scratch};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::unistd::{chdir, chroot, getgid, getuid};

const NONE: Option<&str> = None;

/// The fault of a program.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    SwallowsTheStatus,
    TalksOnStdout,
    LeaksMounts,
    ForgetsUts,
    ForgetsTheGidMap,
    ForgetsPid,
    ForgetsChdir,
    PassesTheEnvironment,
    RunsAsProcess1,
    DoesNotReap,
    ShowsTheHostsProc,
    WritesToTheLower,
    LeavesTheScratch,
    SharesTheScratch,
}

use Fault::*;

const FAULTS: [(&str, u32, Fault); 14] = [
    ("swallows-the-status", 1, SwallowsTheStatus),
    ("talks-on-stdout", 1, TalksOnStdout),
    ("leaks-mounts", 2, LeaksMounts),
    ("forgets-uts", 3, ForgetsUts),
    ("forgets-the-gid-map", 4, ForgetsTheGidMap),
    ("forgets-pid", 5, ForgetsPid),
    ("forgets-chdir", 6, ForgetsChdir),
    ("passes-the-environment", 6, PassesTheEnvironment),
    ("runs-as-process-1", 6, RunsAsProcess1),
    ("does-not-reap", 6, DoesNotReap),
    ("shows-the-hosts-proc", 7, ShowsTheHostsProc),
    ("writes-to-the-lower", 8, WritesToTheLower),
    ("leaves-the-scratch", 8, LeavesTheScratch),
    ("shares-the-scratch", 8, SharesTheScratch),
];

fn main() -> ExitCode {
    let called = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let named = |(name, ..): &&(&str, u32, Fault)| called.file_name() == Some(OsStr::new(name));
    let Some(&(_, lesson, fault)) = FAULTS.iter().find(named) else {
        let _ = writeln!(io::stderr(), "wrong: {} is not the name of a fault", called.display());
        return ExitCode::FAILURE;
    };
    let mut step = common::step!();
    if lesson >= 6 {
        step = step.takes_rootfs();
    }
    if lesson >= 8 {
        step = step.takes_layers();
    }
    step.run(|args| container(args, lesson, fault))
}

/// Does the same as the steps up to `lesson`, except for the fault.
fn container(args: &Args, lesson: u32, fault: Fault) -> Result<Exit> {
    let mut namespaces = CloneFlags::empty();
    if lesson >= 2 {
        namespaces |= CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET;
        namespaces.set(CloneFlags::CLONE_NEWUTS, fault != ForgetsUts);
    }
    namespaces.set(CloneFlags::CLONE_NEWUSER, lesson >= 3);
    namespaces.set(CloneFlags::CLONE_NEWPID, lesson >= 5 && fault != ForgetsPid);
    let uid_map = format!("0 {} 1", getuid());
    let gid_map = format!("0 {} 1", getgid());
    let scratch = if lesson < 8 {
        None
    } else if fault == SharesTheScratch {
        Some(Scratch::new(Some(&env::temp_dir().join("shared")))?)
    } else {
        Some(args.scratch()?)
    };
    let rootfs = scratch.as_ref().map_or_else(|| args.rootfs(), Scratch::merged);
    if fault == WritesToTheLower {
        fs::write(args.rootfs().join("written"), "by a container")?;
    }
    if fault == TalksOnStdout {
        writeln!(io::stdout(), "starting a container")?;
    }

    let child = common::clone(namespaces, || {
        if lesson >= 2 && fault != LeaksMounts {
            mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
        }
        if lesson >= 4 {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", &uid_map)?;
            if fault != ForgetsTheGidMap {
                fs::write("/proc/self/gid_map", &gid_map)?;
            }
        }
        if let Some(scratch) = &scratch {
            let lower = common::lowerdir(&args.lower())?;
            let upper = scratch.upper_option()?;
            let work = scratch.work_option()?;
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
            mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::empty(), Some(&*options))?;
        }
        if lesson >= 6 {
            enter(&rootfs, lesson, fault)?;
        }
        let run = || {
            if lesson >= 6 && fault != PassesTheEnvironment {
                common::fresh_environment();
            }
            common::exec(&args.command)
        };
        if fault == DoesNotReap {
            return wait_for_the_command_alone(args);
        }
        if lesson < 6 || fault == RunsAsProcess1 {
            return run();
        }
        common::fork(run)?.reap()
    })?;
    let exit = child.wait()?;
    if fault == LeavesTheScratch {
        mem::forget(scratch);
    }
    Ok(if fault == SwallowsTheStatus { Exit::SUCCESS } else { exit })
}

/// Makes `rootfs` the root. From lesson 7 on, it has a /proc.
fn enter(rootfs: &Path, lesson: u32, fault: Fault) -> Result<()> {
    if fault == ShowsTheHostsProc {
        let recursive = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some("/proc"), &rootfs.join("proc"), NONE, recursive, NONE)?;
    }
    chroot(rootfs).with_context(|| format!("chroot to {}", rootfs.display()))?;
    if fault != ForgetsChdir {
        chdir("/")?;
    }
    if lesson >= 7 && fault != ShowsTheHostsProc {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, NONE)?;
    }
    Ok(())
}

/// A process 1 that waits for one child only and passes no signal on.
fn wait_for_the_command_alone(args: &Args) -> Result<Exit> {
    common::fresh_environment();
    let mut words = args.command.iter().map(|word| OsStr::from_bytes(word.to_bytes()));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).status().context("run the command")?;
    Ok(Exit::SUCCESS)
}
