//! The child as process 1 of the container, from lesson 6 on. It forks the process
//! that becomes the command, passes signals to it, and reaps orphans.

use std::io::Write;
use std::os::fd::AsFd;
use std::process;

use anyhow::{Context, Result, ensure};
use libc::c_int;
use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Pid, getpgid, getpgrp};

use crate::Exit;
use crate::child::clone::spawn;
use crate::child::inherit::{close_descriptors, wipe_environment};
use crate::child::line::{self, ENDED};
use crate::child::signals::{self, Signals};
use crate::child::terminal::Terminal;
use crate::child::wait::{ANY, Waited, poll_on, wait_for};
use crate::said::host;

/// The process that becomes the command: a child of process 1.
#[must_use = "a process without a wait stays as a zombie"]
pub struct Run {
    pid: Pid,
    /// The signal that stops the command.
    stop: c_int,
}

/// Forks the process of the command, fork(2). The new process calls `work`, and exits
/// with the status that `work` returns. If `work` fails, it prints the error, and exits
/// with the status of the error.
///
/// The caller of this function is process 1, and the command can see it in `/proc/1`.
/// So this function first closes the runner's descriptors, and overwrites the caller's
/// environment except TERM.
///
/// The container must not trace this process, change its memory or follow its links in `/proc/1`.
/// Otherwise the command could cancel the request of process 1 to die with the runner. See
/// PR_SET_DUMPABLE in prctl(2), and "Ptrace access mode checking" in ptrace(2). Fails when the
/// kernel refuses a call, or when `/proc` in the root is a symbolic link, so that proc was mounted
/// in another place.
pub fn fork(work: impl FnOnce() -> Result<Exit>) -> Result<Run> {
    // Otherwise proc was mounted on the old root, and then unmounted in its place: the old root
    // still covers this one.
    ensure!(host::has_proc() || !host::is_covered(), "leave the old root: {}", host::no_proc());
    close_descriptors()?;
    wipe_environment();
    // Root inside cannot override this: the program was executed in the caller's
    // user namespace, where root inside has no capability.
    set_dumpable(false).context("keep the command from tracing process 1")?;
    Ok(Run { pid: spawn(work)?, stop: libc::SIGTERM })
}

impl Run {
    /// Sets the signal that the command gets when the runner gets SIGTERM, by its number.
    pub fn stop_by(mut self, signal: c_int) -> Run {
        self.stop = signal;
        self
    }

    /// Waits as process 1 of a PID namespace until the command ends, and returns its status.
    ///
    /// Process 1 inherits every orphan and must reap it. Signals from its own
    /// namespace have no default action for it. It passes the runner's signals to
    /// the command, and drops the container's signals. pid_namespaces(7).
    ///
    /// A process outside of the PID namespace can call this too, after setns(2): no process
    /// inside can send it a signal.
    pub fn reap(self) -> Result<Exit> {
        let line = line::childs_end();
        if let Some(line) = line {
            // A stopped runner reads nothing, and process 1 must not wait for it.
            line.set_nonblocking(true).context("open a line to the runner")?;
        }
        let tell = |byte| {
            if let Some(mut line) = line {
                // An error means that the runner is gone.
                let _ = line.write(&[byte]);
            }
        };
        let is_init = process::id() == 1;
        let mut signals = Signals::new()?;
        loop {
            match wait_for(ANY)? {
                Waited::Nothing => {
                    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
                    poll_on(&mut fds)?;
                    while let Some(signal) = signals.next()? {
                        let from_inside = is_init && signal.sender.as_raw() != 0;
                        if from_inside || signal.number == libc::SIGCHLD {
                            continue;
                        }
                        if signal.number == libc::SIGTERM {
                            signals::send(self.pid, self.stop);
                            continue;
                        }
                        // The runner and the terminal send to the group that process 1 leads. The
                        // command is in that group, unless it leads its own group.
                        let beside = getpgid(Some(self.pid)) == Ok(getpgrp());
                        if !(beside && signal.is_for_group() && !signal.early) {
                            signals::send(self.pid, signal.number);
                        }
                    }
                }
                Waited::Stopped(pid, signal)
                    if pid == self.pid && !Terminal::pass_on(pid, signal) =>
                {
                    tell(signal as u8);
                }
                Waited::Ended(pid, ended) if pid == self.pid => {
                    if let Some(signal) = ended.signal {
                        tell(ENDED | signal as u8);
                    }
                    return Ok(ended.exit);
                }
                // An orphan, or the command goes on.
                _ => {}
            }
        }
    }
}
