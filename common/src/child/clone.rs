//! Makes processes: clones the child into namespaces, and forks.
//!
//! ```text
//! runner ──clone──> child ──exec──> command            steps 01 to 05
//! runner ──clone──> child ──fork──> process ──exec──> command    from 06 on
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, setsid};

use crate::Exit;
use crate::child::inherit::leave_keyring;
use crate::child::line;
use crate::child::process::{clone_into_group, raw_clone, work_and_exit};
use crate::child::runner::Child;
use crate::child::signals;
use crate::child::signals::Signals;
use crate::child::terminal::Terminal;
use crate::child::within;
use crate::said::doing::Doing;
use crate::said::host;

/// Clones a child into new namespaces. The child calls `work`, and exits with the
/// status that `work` returns. If `work` fails, the child prints the error, and exits
/// with the status of the error.
///
/// The child dies with the runner. If standard input and output are a terminal,
/// the child leads a new process group, which is in the foreground if the runner was.
/// Otherwise it leads a new session. So a signal to the caller's group reaches only
/// the runner, and the command gets it once, from the runner. And `kill 0` in the
/// container does not reach the caller.
///
/// In a user namespace of its own, the child has a session keyring of its own, too.
///
/// Call it only in a process with one thread, as the runner is. The child has
/// none of the other threads. If another thread held a lock of the allocator, the
/// child would wait for ever. A program with threads can start a step.
pub fn clone(namespaces: CloneFlags, work: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    start(Terminal::of_streams(), namespaces, work, || clone_into(namespaces, None))
}

/// As [`clone()`], but first a process between the runner and the child calls `join`, such as to
/// join namespaces. The new namespaces are made from there. The child is the runner's: see
/// CLONE_PARENT in clone(2). With `session`, it always leads a new session, and can have a
/// terminal of its own.
///
/// `join` can return an open control group of v2. The child begins in it, unless the kernel
/// refuses that: a filter of a container may not allow clone3(2). So look whether it is in there.
pub fn clone_after(
    session: bool,
    join: impl FnOnce() -> Result<Option<OwnedFd>>,
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<Exit>,
) -> Result<Child> {
    let terminal = Terminal::of_streams().filter(|_| !session);
    start(terminal, namespaces, work, || {
        let (reader, writer) = UnixStream::pair().context("open a line to a child")?;
        let between = raw_clone(CloneFlags::empty()).context(Doing::Fork)?;
        if between.as_raw() == 0 {
            drop(reader);
            let namespaces = namespaces | CloneFlags::CLONE_PARENT;
            let cloned = join().and_then(|group| clone_into(namespaces, group));
            if cloned.as_ref().is_ok_and(|pid| pid.as_raw() == 0) {
                return cloned;
            }
            let number = cloned.map(|pid| pid.as_raw().to_ne_bytes().to_vec());
            work_and_exit(|| within::answer(writer, number));
        }
        drop(writer);
        let number = within::hear(&reader);
        // An error means that the caller ignores the end of children.
        let _ = waitpid(between, None);
        let number = number?.try_into().map_err(|_| anyhow!("clone a child: no number"))?;
        Ok(Pid::from_raw(libc::pid_t::from_ne_bytes(number)))
    })
}

fn clone_into(namespaces: CloneFlags, group: Option<OwnedFd>) -> Result<Pid> {
    let begun = group.and_then(|group| clone_into_group(namespaces, &group).ok());
    begun.map_or_else(|| raw_clone(namespaces), Ok).map_err(|errno| {
        let user = namespaces.contains(CloneFlags::CLONE_NEWUSER);
        let in_chroot = user && errno == Errno::EPERM && host::in_chroot();
        anyhow::Error::from(errno).context(Doing::Clone { namespaces, in_chroot })
    })
}

/// Makes a child with `cloned`, which returns 0 in the child.
fn start(
    terminal: Option<Terminal>,
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<Exit>,
    cloned: impl FnOnce() -> Result<Pid>,
) -> Result<Child> {
    signals::reset()?;
    signals::block()?;
    let (ours, theirs) = UnixStream::pair().context("open a line to the child")?;
    let mut signals = Signals::new()?;
    let pid = cloned()?;
    if pid.as_raw() == 0 {
        work_and_exit(|| {
            drop(ours);
            if !die_with_runner(&theirs)? {
                // The runner reported the reason, or a signal killed it.
                return Ok(Exit::SETUP);
            }
            match &terminal {
                Some(terminal) => terminal.lead(),
                None => drop(setsid().context("begin a session")?),
            }
            if namespaces.contains(CloneFlags::CLONE_NEWUSER) {
                leave_keyring()?;
            }
            line::keep(theirs);
            work()
        });
    }
    signals.command_started();
    Ok(Child::new(pid, terminal, ours, theirs, signals))
}

/// Makes the kernel kill this process when its parent ends: for a child of the child, which
/// is in another PID namespace. Ends it if the runner has already ended; prctl(2).
///
/// Call it after the last change of the user: the kernel forgets the request then.
pub fn end_with_parent() -> Result<()> {
    match line::childs_end() {
        Some(line) if !die_with_runner(line)? => work_and_exit(|| Ok(Exit::SETUP)),
        _ => Ok(()),
    }
}

/// Makes the kernel kill this process when its parent ends, prctl(2). Returns
/// false if the parent has already ended.
fn die_with_runner(line: &UnixStream) -> Result<bool> {
    set_pdeathsig(Signal::SIGKILL).context("ask to die with the runner")?;
    // The runner may have ended before the line above. getppid(2) does not help:
    // it returns 0 for a parent outside of the PID namespace, dead or alive.
    let mut fds = [PollFd::new(line.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).context("look for the runner")?;
    Ok(!fds[0].any().unwrap_or(false))
}
