//! Lesson 16: the process of the command. Lesson 18: as the configuration wants it.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::{Exit, Root};
use nix::errno::Errno;
use nix::unistd::{Pid, chdir, getcwd};
use serde::Deserialize;

use crate::capabilities::Sets;
use crate::scheduler::{IoPriority, Scheduler, set_oom_score};
use crate::terminal::Size;
use crate::users::User;
use crate::values::check_proc;

/// The command, and what it starts with.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    pub(crate) console_size: Option<Size>,
    pub(crate) user: User,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) capabilities: Sets,
    rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) apparmor_profile: String,
    pub(crate) oom_score_adj: Option<i32>,
    scheduler: Option<Scheduler>,
    io_priority: Option<IoPriority>,
}

/// A limit of a process; getrlimit(2).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rlimit {
    #[serde(rename = "type")]
    kind: Limit,
    soft: u64,
    hard: u64,
}

/// The limits by number, from 0 on.
#[rustfmt::skip]
#[allow(non_camel_case_types, reason = "the names of the specification")]
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Limit {
    RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS,
    RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS,
    RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME,
}

impl Process {
    /// Refuses what makes no sense, or is not done here.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.args.is_empty(), "process.args is missing; give a command");
        ensure!(self.cwd.starts_with('/'), "process.cwd must begin with /; change it");
        for (at, one) in self.rlimits.iter().enumerate() {
            let twice = self.rlimits[..at].iter().any(|it| it.kind == one.kind);
            ensure!(!twice, "process.rlimits has {:?} twice; name it once", one.kind);
        }
        words("args", &self.args).and(words("env", &self.env)).map(drop)
    }

    /// Sets what the kernel keeps for the process `child`, which waits. Root of a user
    /// namespace could not raise these.
    pub(crate) fn set_limits(&self, child: Pid) -> Result<()> {
        for Rlimit { kind, soft, hard } in &self.rlimits {
            let set = common::set_limit(child, *kind as u32, *soft, *hard);
            set.with_context(|| format!("set the limit {kind:?}"))?;
        }
        set_oom_score(self.oom_score_adj, child)?;
        if let Some(priority) = &self.io_priority {
            priority.set(child)?;
        }
        self.scheduler.as_ref().map_or(Ok(()), |scheduler| scheduler.set(child))
    }

    /// Chooses the AppArmor profile for the command.
    pub(crate) fn choose_profile(&self) -> Result<()> {
        if self.apparmor_profile.is_empty() {
            return Ok(());
        }
        check_proc(Path::new("/proc"))?;
        let profile = &self.apparmor_profile;
        let file = "/proc/self/attr/apparmor/exec";
        let chosen = fs::write(file, format!("exec {profile}"));
        chosen.with_context(|| format!("choose the AppArmor profile {profile}"))
    }

    /// Makes the working directory, if it is missing.
    pub(crate) fn make_directory(&self, root: &Root) -> Result<()> {
        // What cannot be looked at may be open to the user of the command.
        if matches!(root.find(&self.cwd), Ok(None)) {
            root.directory(&self.cwd).context("make the working directory")?;
        }
        Ok(())
    }

    /// Goes to the working directory, and finds the program, as the user of the command.
    pub(crate) fn find(&self, home: Option<String>) -> Result<Ready> {
        let dir = &*self.cwd;
        chdir(dir).with_context(|| format!("go to the working directory {dir}"))?;
        leads_inside()?;
        let (args, mut env) = (words("args", &self.args)?, words("env", &self.env)?);
        env.extend(words("env", home.as_slice())?);
        let program = common::find_program(&args[0], &env)?;
        common::reset_signals()?;
        Ok(Ready { program, args, env })
    }
}

/// A command that only execve(2) is left for: a filter may refuse all other calls.
pub(crate) struct Ready {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Ready {
    /// Becomes the command.
    pub(crate) fn start(&self) -> Result<Exit> {
        common::become_program(&self.program, &self.args, &self.env)
    }
}

/// Whether the working directory is in the root: a descriptor of the host leads to
/// another one, as `/proc/self/fd/N`; CVE-2024-21626.
fn leads_inside() -> Result<()> {
    let is_inside = match getcwd() {
        Err(Errno::ENOENT) => false,
        found => found.context("find the working directory")?.is_absolute(),
    };
    ensure!(is_inside, "use process.cwd: it leads out of the root; change it");
    Ok(())
}

fn words(name: &str, words: &[String]) -> Result<Vec<CString>> {
    let words = words.iter().map(|word| CString::new(word.as_bytes()));
    words.collect::<Result<_, _>>().with_context(|| format!("read process.{name}"))
}
