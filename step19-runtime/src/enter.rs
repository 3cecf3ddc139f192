//! Lesson 17: a second way into a container. Lesson 19: as engines use it.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{Exit, Relay, Root, Timeout};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Pid, getpid};

use crate::groups::Groups;
use crate::join::{self, find_namespaces, inner_groups};
use crate::start::{Line, listen, outlive_parent};
use crate::state::Container;
use crate::status::Status;
use crate::words::Words;
use crate::{
    affinity, capabilities, filter, newcomer, scheduler, terminal, users, wanted,
};

/// How long a process that enters may take for each of its answers. The container can
/// stop it, or freeze it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command in a container. Exits as it did, or, with --detach, when it is
/// executed.
pub(crate) fn exec(root: &Path, name: &str, words: &Words) -> Result<Exit> {
    let done = enter(root, name, words);
    done.with_context(|| format!("exec in the container {name}")).map_err(|error| {
        // As with runc: the command's own statuses are others.
        common::failure(Exit::of_code(255), common::one_line(&error))
    })
}

fn enter(root: &Path, name: &str, words: &Words) -> Result<Exit> {
    let given = words.get("process").map(newcomer::read).transpose()?;
    let passed = wanted::keep_passed(words)?;
    let container = Container::open(root, name)?;
    let (state, status) = container.look()?;
    match status {
        Status::Stopped => bail!("cannot exec a container that has stopped"),
        Status::Creating => bail!("cannot exec in a container that is creating; wait"),
        Status::Paused if !words.has("ignore-paused") => {
            bail!("cannot exec in a paused container; resume it first")
        }
        _ => {}
    }
    let mut config = container.config(&state)?;
    config.process = newcomer::process(given, config.process, words)?;
    let config = &config;
    let process = &config.process;
    let filter = config.linux.seccomp.as_ref().map(filter::compile).transpose()?;
    let (detached, console) =
        (words.has("detach"), words.get("console-socket").map(Path::new));
    terminal::check(process, console.is_some(), !detached)?;
    let groups = Groups::of(&state.groups)?;
    let joined = Groups::of(&inner_groups(&groups, words)?)?;
    let (first, mut tasks) = (joined.first()?, join::open_tasks(&joined)?);
    let id = Pid::from_raw(state.pid.context("container not running")?);
    let open = state.pidfd()?.context("container not running")?;
    let differ = find_namespaces(id)?;
    let sets = &process.capabilities.given(differ.contains(CloneFlags::CLONE_NEWUSER))?;
    // Its descriptors would be in the child, too.
    drop(container);
    let (errors, theirs) = UnixStream::pair().context("open a line for errors")?;
    let line = Line(File::from(OwnedFd::from(theirs)));

    let join = || {
        affinity::use_processors(&process.affinity.initial)?;
        // In there, /proc is the container's.
        process.choose_profile()?;
        // Later, a user may not write the file.
        scheduler::set_oom_score(process.oom_score_adj, getpid())?;
        common::leave_keyring()?;
        keep_out_of_reach()?;
        // One call: after the first, this process has no capability over others.
        let entered = setns(&open, differ);
        entered.with_context(|| format!("enter the namespaces of {id}"))?;
        keep_out_of_reach().map(|()| first)
    };
    let stages = |line: &mut Line| {
        join::join_groups(&mut tasks)?;
        affinity::use_processors(&process.affinity.r#final)?;
        common::close_descriptors_but(passed, &[line.0.as_raw_fd()])?;
        users::take_ids(differ.contains(CloneFlags::CLONE_NEWUSER))?;
        keep_out_of_reach()?;
        let root = Root::open("/")?;
        let terminal = terminal::open(process, &root, false)?;
        let home = users::home(config, &root)?;
        drop(root);
        common::wait_for_runner(Some(()))?;
        scheduler::set_own(&config.linux)?;
        users::set_umask(config);
        capabilities::drop_bounding(sets)?;
        if let Some(terminal) = terminal {
            common::use_terminal(&terminal)?;
        }
        users::give_streams(config);
        users::become_user(config)?;
        if detached {
            outlive_parent()?
        } else {
            common::end_with_parent()?
        }
        capabilities::act_as_command(sets)?;
        let command = process.find(home)?;
        capabilities::limit_command(config, sets, filter.as_ref())?;
        command.start()
    };
    let alone = process.terminal || detached;
    let none = CloneFlags::empty();
    let work = move || line.telling(stages);
    let timeout = Timeout { time: PATIENCE, groups: groups.paths() };
    let mut child = common::clone_after(alone, Some(timeout), join, none, work)?;
    let _relay = child.take_terminal(process.terminal, |terminal| match console {
        Some(path) => terminal::send(&terminal, path).map(|()| None),
        None => Relay::start(terminal).map(Some),
    })?;
    child.meet(Some(()), |(), new| {
        join::add(&joined, new, (&groups, id))?;
        process.set_limits(new)?;
        words
            .get("pid-file")
            .map_or(Ok(()), |file| wanted::write_pid(Path::new(file), new))
    })?;
    // The command has begun, or this is why not.
    let heard = listen(child.in_time(&errors));
    if heard.is_err() {
        child.end();
    }
    heard?;
    if detached { Ok(Exit::SUCCESS) } else { child.wait() }
}

/// Takes away what root inside could use of a process that enters: its memory and its
/// program. After setns(2), it is too late. With fs.suid_dumpable=1, a change of its user
/// gives that back; proc_sys_fs(5).
fn keep_out_of_reach() -> Result<()> {
    set_dumpable(false).context("keep the container from tracing this process")
}
