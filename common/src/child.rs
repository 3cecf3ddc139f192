//! A child process: cloned, held to its parent's life, waited for.
//!
//! ```text
//! main ──clone──> child ──exec──> command            steps 01 to 05
//! main ──clone──> child ──fork──> run ──exec──> command    from 06 on
//! ```

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::Exit;
use crate::error::report;
use crate::signals::{self, Signals};
use crate::terminal::Terminal;

/// In the child: its end of the line to the runner.
static LINE: OnceLock<UnixStream> = OnceLock::new();

/// A child process that has been started and must be waited for.
#[must_use = "a child that nobody waits for is left behind"]
pub struct Child {
    pid: Pid,
    /// Only in the runner, which alone can hold a terminal.
    runner: Option<Runner>,
}

/// What the runner keeps while its child lives.
struct Runner {
    blocked: SigSet,
    ignored: SigSet,
    terminal: Option<Terminal>,
    /// A byte on it is the signal that stopped the command. Its end, the
    /// child's knowledge that the runner is gone.
    line: UnixStream,
    /// The child's end, kept so that ours never reads as hung up: the child
    /// closes its own when it executes the command.
    _their_line: UnixStream,
}

/// Clones a child into new namespaces, where it runs `child` and exits with
/// what that returns; an error is reported and becomes the exit status.
///
/// The child dies with the runner, whatever ends it. When standard input is a
/// terminal, the child leads a process group of its own in the foreground.
///
/// # Errors
///
/// When the kernel refuses the process or one of its namespaces; clone(2),
/// namespaces(7).
pub fn clone(namespaces: CloneFlags, child: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    let terminal = Terminal::of_stdin();
    let ignored = signals::reset()?;
    let blocked = signals::block(terminal.is_none())?;
    let (ours, theirs) = UnixStream::pair().context("open a line to the child")?;
    let pid = raw_clone(namespaces)
        .with_context(|| format!("clone a child{}", with_flags(namespaces)))?;
    if pid.as_raw() == 0 {
        leave(|| {
            drop(ours);
            die_with_runner(&theirs)?;
            if let Some(terminal) = &terminal {
                terminal.lead();
            }
            // The first and only value: `clone` is called once a process.
            let _ = LINE.set(theirs);
            child()
        });
    }
    let runner = Runner { blocked, ignored, terminal, line: ours, _their_line: theirs };
    Ok(Child { pid, runner: Some(runner) })
}

/// Forks a child that runs `child` and exits with what that returns; an error
/// is reported and becomes the exit status. fork(2).
///
/// # Errors
///
/// When the kernel has no room for another process.
pub fn fork(child: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    let pid = raw_clone(CloneFlags::empty()).context("fork the command")?;
    if pid.as_raw() == 0 {
        leave(child);
    }
    Ok(Child { pid, runner: None })
}

impl Child {
    /// Waits in the runner until the child ends, and says how.
    ///
    /// Meanwhile every signal sent to the runner is handed on to the child. A
    /// command stopped by Ctrl-Z stops the runner as well, so that the
    /// caller's shell notices, and goes on with it.
    ///
    /// # Errors
    ///
    /// When waiting itself fails; wait(2).
    pub fn wait(mut self) -> Result<Exit> {
        let Some(mut runner) = self.runner.take() else {
            return self.reap();
        };
        let shared_group = runner.terminal.is_none();
        let signals = Signals::new(&runner.blocked, runner.ignored, shared_group)?;
        let exit = loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            let status = waitpid(self.pid, Some(flags)).context("wait for the child")?;
            if let Some(exit) = Exit::of(status) {
                break exit;
            }
            if let WaitStatus::Stopped(_, signal) = status {
                runner.suspend(self.pid, signal, &signals)?;
            }
            if let Some(signal) = runner.idle(&signals)? {
                runner.suspend(self.pid, signal, &signals)?;
            }
            while let Some(signal) = signals.next()? {
                if signal.ssi_signo == Signal::SIGCONT as u32 && runner.terminal.is_some() {
                    runner.resume(self.pid);
                } else {
                    signals.hand_on(&signal, self.pid);
                }
            }
        };
        if let Some(terminal) = &mut runner.terminal {
            terminal.take_back();
            terminal.restore_modes();
        }
        Ok(exit)
    }

    /// Waits as process 1 of a PID namespace until the child ends, and says
    /// how.
    ///
    /// Process 1 inherits every orphan and must reap it, and no signal from
    /// its namespace has a default action for it: what the runner sends is
    /// handed on to the child. pid_namespaces(7).
    ///
    /// # Errors
    ///
    /// When waiting itself fails; wait(2).
    pub fn reap(self) -> Result<Exit> {
        // What the runner had open reaches into the host, and /proc/1/fd shows
        // it to the container.
        let line = LINE.get();
        close_all_but(line.map(AsRawFd::as_raw_fd))?;
        // The mask was set by the runner and has not changed.
        let blocked = SigSet::thread_get_mask().context("read the signal mask")?;
        // Process 1 is in the command's process group, or both are in the
        // caller's: either way Ctrl-C has reached the command by itself.
        let signals = Signals::new(&blocked, SigSet::empty(), true)?;
        loop {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            match waitpid(None, Some(flags)).context("wait for a child")? {
                WaitStatus::StillAlive => {
                    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                    poll_on(&mut fds)?;
                    while let Some(signal) = signals.next()? {
                        signals.hand_on(&signal, self.pid);
                    }
                }
                WaitStatus::Stopped(pid, signal) if pid == self.pid => {
                    if let Some(mut line) = line {
                        // Without a runner to read it, nobody is left to tell.
                        let _ = line.write(&[signal as u8]);
                    }
                }
                status if status.pid() == Some(self.pid) => {
                    if let Some(exit) = Exit::of(status) {
                        return Ok(exit);
                    }
                }
                _orphan => {}
            }
        }
    }
}

impl Runner {
    /// Sleeps until a signal arrives or process 1 tells of one that stopped
    /// the command.
    fn idle(&mut self, signals: &Signals) -> Result<Option<Signal>> {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
        ];
        poll_on(&mut fds)?;
        let told = fds[1].revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
        if !told {
            return Ok(None);
        }
        let mut signal = [0];
        let read = self.line.read(&mut signal).context("hear of process 1")?;
        let signal = Signal::try_from(i32::from(signal[0])).ok();
        Ok(signal.filter(|_| read == 1))
    }

    /// Stops the runner after its command was stopped, and goes on when
    /// somebody continues it: the caller's shell, with `fg` or `bg`.
    fn suspend(&mut self, child: Pid, signal: Signal, signals: &Signals) -> Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        let reads_or_writes = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        // Brought to the foreground without a SIGCONT, as shells do with a job
        // that is running: the command only lacks the terminal.
        if reads_or_writes && terminal.lend(child) {
            continue_group(child);
            return Ok(());
        }
        terminal.take_back();
        if signal == Signal::SIGSTOP {
            raise(signal).context("stop with the command")?;
        } else {
            // Unblocked, the signal takes effect: it stops this whole job, or
            // nothing when no shell is there that could continue it.
            let mut stop = SigSet::empty();
            stop.add(signal);
            kill(Pid::from_raw(0), signal).context("stop with the command")?;
            stop.thread_unblock().context("stop with the command")?;
            stop.thread_block().context("go on with the command")?;
            let mut continued = false;
            while let Some(signal) = signals.next()? {
                continued |= signal.ssi_signo == Signal::SIGCONT as u32;
                signals.hand_on(&signal, child);
            }
            if reads_or_writes && !continued {
                // Nobody will ever bring it to the foreground. The kernel ends
                // orphaned process groups this way; setpgid(2).
                let _ = kill(group(child), Signal::SIGHUP);
            }
        }
        self.resume(child);
        Ok(())
    }

    /// Continues the command, in the foreground if the runner is there.
    fn resume(&mut self, child: Pid) {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend(child);
        }
        continue_group(child);
    }
}

/// Continues every process of the child's process group.
fn continue_group(child: Pid) {
    // Fails only when all of them have ended.
    let _ = kill(group(child), Signal::SIGCONT);
}

/// The process group that `child` leads, in the words of kill(2).
fn group(child: Pid) -> Pid {
    Pid::from_raw(-child.as_raw())
}

/// Makes the kernel kill this process when its parent ends; prctl(2).
fn die_with_runner(line: &UnixStream) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("ask to die with the runner")?;
    // It may have ended before the line above. getppid(2) is no help: a parent
    // outside of the PID namespace reads as 0, dead or alive.
    let mut fds = [PollFd::new(line.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).context("look for the runner")?;
    let gone = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    anyhow::ensure!(!gone, "the runner ended before its child had begun");
    Ok(())
}

/// Sleeps until one of the descriptors has something; poll(2).
fn poll_on(fds: &mut [PollFd<'_>]) -> Result<()> {
    match poll(fds, PollTimeout::NONE) {
        // A signal that is not blocked, such as SIGCONT after a stop.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).context("wait for a signal"),
    }
}

/// Runs what a child is for and ends the process with it.
fn leave(child: impl FnOnce() -> Result<Exit>) -> ! {
    // A panic must not unwind into the parent's frames, which this process has
    // a copy of. Its message is out already.
    let exit = match catch_unwind(AssertUnwindSafe(child)) {
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
fn raw_clone(flags: CloneFlags) -> nix::Result<Pid> {
    let flags = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    #[allow(unsafe_code, reason = "nix's clone wants a stack and a function")]
    // SAFETY: the child gets a copy of this process, as after fork(2). The
    // process has one thread, so no lock is held by another. Zero for the
    // stack and for the pointers that the flags do not ask for is valid in
    // every order of the arguments that architectures have.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}

/// Closes every descriptor from 3 on, save `keep`; close_range(2).
pub(crate) fn close_all_but(keep: Option<RawFd>) -> Result<()> {
    let close = |first: RawFd, last: libc::c_uint| {
        #[allow(unsafe_code, reason = "nix has no close_range(2)")]
        // SAFETY: the callers own no descriptor in the range that they will
        // use again: the runner calls this before it opens any, process 1 once
        // it needs none but `keep`.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        Errno::result(closed).context("close the descriptors of the caller")
    };
    if let Some(keep) = keep {
        if keep > 3 {
            close(3, keep as libc::c_uint - 1)?;
        }
        close(keep + 1, libc::c_uint::MAX)?;
    } else {
        close(3, libc::c_uint::MAX)?;
    }
    Ok(())
}

/// ` with CLONE_NEWUTS | …`, or nothing for an ordinary fork.
fn with_flags(flags: CloneFlags) -> String {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" with {}", names.join(" | "))
}
