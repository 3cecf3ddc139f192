//! Process 1 of the container, from lesson 6 on: it makes the process that
//! becomes the command, hands signals on to it, and reaps orphans.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags};
use nix::sched::CloneFlags;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Pid, getpgid, getpgrp};

use crate::bind::NO_PROC;
use crate::clone::{leave, raw_clone};
use crate::doing::Doing;
use crate::inherit::{close_all_but, wipe_environment};
use crate::signals::{self, Signals};
use crate::wait::{ANY, Waited, poll_on, wait_for};
use crate::{Exit, host, scratch};

/// In the child: its end of the line to the runner.
static LINE: OnceLock<UnixStream> = OnceLock::new();

/// On the line, the mark of a signal that ended the command.
pub(crate) const ENDED: u8 = 0x80;

/// Keeps the child's end of the line to the runner, as long as the child lives.
pub(crate) fn keep(line: UnixStream) {
    // The first and only value: `clone` is called once a process.
    let _ = LINE.set(line);
}

/// The process that becomes the command, to process 1.
#[must_use = "a process that nobody waits for is left behind"]
pub struct Run {
    pid: Pid,
}

/// Forks a child that runs `child` and exits with what that returns; an error
/// is reported and becomes the exit status. fork(2).
///
/// From here on this process is the one that the container sees in `/proc/1`:
/// what the runner had open and the caller had in its environment is gone
/// before there is anybody to look. Of the environment, TERM is left.
///
/// Nor may the container trace it, change its memory or follow its links in
/// `/proc/1`: whoever could, could undo that it dies with the runner. See
/// PR_SET_DUMPABLE in prctl(2), and "Ptrace access mode checking" in ptrace(2).
///
/// # Errors
///
/// When the kernel has no room for another process or refuses one of these, the
/// overlay on this run's [`Scratch`](crate::Scratch) is read-only, or the root's
/// `/proc` led the mount of proc elsewhere.
pub fn fork(child: impl FnOnce() -> Result<Exit>) -> Result<Run> {
    scratch::check_root()?;
    // Proc was then mounted on the old root, and unmounted in its place.
    ensure!(host::has_proc() || !host::is_covered(), "leave the old root: {NO_PROC}");
    close_all_but(LINE.get().map(AsRawFd::as_raw_fd))?;
    wipe_environment();
    // Root inside cannot override it: this program was executed in the caller's
    // user namespace, and root inside has no capability there.
    set_dumpable(false).context("keep the command from tracing process 1")?;
    let pid = raw_clone(CloneFlags::empty()).context(Doing::Fork)?;
    if pid.as_raw() == 0 {
        leave(child);
    }
    Ok(Run { pid })
}

impl Run {
    /// Waits as process 1 of a PID namespace until the child ends, and says
    /// how.
    ///
    /// Process 1 inherits every orphan and must reap it, and no signal from
    /// its namespace has a default action for it: what the runner sends is
    /// handed on to the child, what the container sends is dropped.
    /// pid_namespaces(7).
    ///
    /// # Errors
    ///
    /// When waiting itself fails; wait(2).
    pub fn reap(self) -> Result<Exit> {
        let line = LINE.get();
        if let Some(line) = line {
            // A runner that is stopped reads nothing, and nobody else may have
            // to wait for it.
            line.set_nonblocking(true).context("open a line to the runner")?;
        }
        let tell = |byte| {
            if let Some(mut line) = line {
                // Without a runner to read it, nobody is left to tell.
                let _ = line.write(&[byte]);
            }
        };
        let mut signals = Signals::new()?;
        loop {
            match wait_for(ANY)? {
                Waited::Nothing => {
                    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                    poll_on(&mut fds)?;
                    while let Some(signal) = signals.next()? {
                        if signal.sender.as_raw() != 0 || signal.number == libc::SIGCHLD {
                            continue;
                        }
                        // Process 1 leads the group that the runner and the
                        // terminal send to, and the command is in it unless it
                        // leads one of its own.
                        let beside = getpgid(Some(self.pid)) == Ok(getpgrp());
                        if !(beside && signal.is_for_group() && !signal.early) {
                            signals::send(self.pid, signal.number);
                        }
                    }
                }
                Waited::Stopped(pid, signal) if pid == self.pid => tell(signal as u8),
                Waited::Ended(pid, ended) if pid == self.pid => {
                    if let Some(signal) = ended.signal {
                        tell(ENDED | signal as u8);
                    }
                    return Ok(ended.exit);
                }
                _orphan => {}
            }
        }
    }
}
