//! Makes processes: clones the child into namespaces, and forks.
//!
//! ```text
//! runner ──clone──> child ──exec──> command            steps 01 to 05
//! runner ──clone──> child ──fork──> process ──exec──> command    from 06 on
//! ```

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sched::CloneFlags;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, close, setsid};

use crate::Exit;
use crate::child::inherit::leave_keyring;
use crate::child::line;
use crate::child::runner::Child;
use crate::child::signals::{self, Signals};
use crate::child::terminal::Terminal;
use crate::child::timeout::Timeout;
use crate::child::wait::is_ready;
use crate::child::within::given_in_child;
use crate::said::doing::{Call, Doing};
use crate::said::error::report;

/// Clones a child into new namespaces. The child calls `work`, and exits with the
/// status that `work` returns. If `work` fails, the child prints the error, and exits
/// with the status of the error.
///
/// The child dies with the runner. If standard input and output are a terminal, the child leads a
/// new process group, which is in the foreground if the runner was. Otherwise it leads a new
/// session. So a signal to the caller's group reaches only the runner, and the command gets it
/// once, from the runner. And `kill 0` in the container does not reach the caller.
///
/// In a user namespace of its own, the child has a session keyring of its own, too.
///
/// Call it only in a process with one thread, as the runner is. The child has
/// none of the other threads. If another thread held a lock of the allocator, the
/// child would wait for ever. A program with threads can start a step.
pub fn clone(namespaces: CloneFlags, work: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    clone_in_group(false, None, namespaces, work)
}

/// As [`clone()`]. With `session`, the child always leads a new session, and can have a terminal of
/// its own. It begins in `group`, an open control group of v2, unless the kernel refuses that: a
/// filter of a container may not allow clone3(2). So look whether it is in there.
pub fn clone_in_group(
    session: bool,
    group: Option<OwnedFd>,
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<Exit>,
) -> Result<Child> {
    let terminal = Terminal::of_streams().filter(|_| !session);
    start(terminal, namespaces, work, |child| clone_into(namespaces, group, child))
}

/// As [`clone_in_group`], but first a process between the runner and the child calls `join`, such as
/// to join namespaces. The new namespaces are made from there. The child is the runner's: see
/// CLONE_PARENT in clone(2). `join` can return the group.
///
/// With a timeout, others may stop or freeze both processes. If the process between is late, this
/// ends it and fails. If the child is late, [`Child::meet`] and [`Child::take_terminal`] do.
pub fn clone_after(
    session: bool,
    timeout: Option<Timeout>,
    join: impl FnOnce() -> Result<Option<OwnedFd>>,
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<Exit>,
) -> Result<Child> {
    let terminal = Terminal::of_streams().filter(|_| !session);
    let limit = timeout.as_ref();
    let child = start(terminal, namespaces, work, |child| {
        let between = |line: RawFd| {
            let group = join()?;
            let pid = clone_into(namespaces | CloneFlags::CLONE_PARENT, group, || {
                // Nothing in the child drops it, and the runner reads to its end.
                close(line).context("close the line of another process")?;
                child()
            })?;
            Ok(pid.as_raw().to_ne_bytes().to_vec())
        };
        let number = given_in_child(CloneFlags::empty(), limit, |_| Ok(()), between)?;
        let number = number.try_into().map_err(|_| anyhow!("clone a child: no number"))?;
        Ok(Pid::from_raw(libc::pid_t::from_ne_bytes(number)))
    })?;
    Ok(child.within(timeout))
}

fn clone_into(
    namespaces: CloneFlags,
    group: Option<OwnedFd>,
    child: impl FnOnce() -> Result<Exit>,
) -> Result<Pid> {
    let begun = group.and_then(|group| clone_into_group(namespaces, &group).ok());
    let pid = begun.map_or_else(|| raw_clone(namespaces), Ok);
    let pid = pid.with_context(|| cloning(namespaces))?;
    if pid.as_raw() == 0 {
        work_and_exit(child);
    }
    Ok(pid)
}

/// Makes a child with `cloned`, which gets the work of the child.
fn start(
    terminal: Option<Terminal>,
    namespaces: CloneFlags,
    work: impl FnOnce() -> Result<Exit>,
    cloned: impl FnOnce(Box<dyn FnOnce() -> Result<Exit> + '_>) -> Result<Pid>,
) -> Result<Child> {
    signals::reset()?;
    signals::block()?;
    let (ours, theirs) = UnixStream::pair().context("open a line to the child")?;
    let mut signals = Signals::new()?;
    let pid = cloned(Box::new(|| {
        // Nothing in the child drops the runner's end.
        close(ours.as_raw_fd()).context("close the line of the runner")?;
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
        line::keep(theirs.try_clone().context("keep the line to the runner")?);
        work()
    }))?;
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
    Ok(!is_ready(line, PollFlags::empty()).context("look for the runner")?)
}

/// Starts a process that calls `work`, and exits with the status that `work` returns; fork(2).
/// If `work` fails, the process prints the error, and exits with the status of the error.
pub fn spawn(work: impl FnOnce() -> Result<Exit>) -> Result<Pid> {
    let pid = raw_clone(CloneFlags::empty())
        .with_context(|| Doing::new(Call::Fork, "fork the command", ""))?;
    if pid.as_raw() == 0 {
        work_and_exit(work);
    }
    Ok(pid)
}

/// The context of a failed clone(2).
pub(crate) fn cloning(namespaces: CloneFlags) -> Doing {
    let names: Vec<&str> = namespaces.iter_names().map(|(name, _)| name).collect();
    let words = if names.is_empty() { "clone a child" } else { "clone a child with " };
    Doing::new(Call::Clone, words, names.join(" | "))
}

/// Calls the work of a child, and ends the process with its status.
pub(crate) fn work_and_exit(work: impl FnOnce() -> Result<Exit>) -> ! {
    // This process has a copy of the parent's frames, and a panic must not unwind
    // into them. The panic has already printed its message.
    let exit = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => report(&error),
        Err(_panic) => Exit::SETUP,
    };
    #[allow(unsafe_code, reason = "nix has no _exit(2)")]
    // SAFETY: ends the process; nothing of it runs afterwards.
    unsafe {
        libc::_exit(i32::from(exit.code()))
    }
}

/// clone(2) without shared memory or a new stack: fork(2) with flags.
///
/// Not clone3(2), which the seccomp filters of containers refuse.
pub(crate) fn raw_clone(flags: CloneFlags) -> nix::Result<Pid> {
    const NONE: libc::c_long = 0;
    let flags = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    // s390x has the stack before the flags; clone(2).
    let (first, second) = if cfg!(target_arch = "s390x") { (NONE, flags) } else { (flags, NONE) };
    #[allow(unsafe_code, reason = "nix's clone wants a stack and a function")]
    // SAFETY: the child gets a copy of this process, as after fork(2). The
    // process has one thread, so no other thread holds a lock. Zero is valid for
    // the stack and for the pointers that the flags do not ask for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, NONE, NONE, NONE) };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}

/// As [`raw_clone`], but the child begins in a control group of v2; CLONE_INTO_CGROUP in clone3(2),
/// since Linux 5.7. To move it there later, the kernel waits until every processor has paused.
pub(crate) fn clone_into_group(flags: CloneFlags, group: &OwnedFd) -> nix::Result<Pid> {
    /// The C library has it only as a number that is too large for its type.
    const CLONE_INTO_CGROUP: u64 = 1 << 33;
    // With CLONE_PARENT, the signal is that of this process.
    let signal = if flags.contains(CloneFlags::CLONE_PARENT) { 0 } else { libc::SIGCHLD as u64 };
    let arguments = libc::clone_args {
        flags: flags.bits() as u64 | CLONE_INTO_CGROUP,
        exit_signal: signal,
        cgroup: group.as_raw_fd() as u64,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
    };
    #[allow(unsafe_code, reason = "nix has no clone3(2)")]
    // SAFETY: as in `raw_clone`. The kernel reads `arguments`, whose size it gets.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}
