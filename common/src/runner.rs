//! The runner: the process that the caller started. It waits for its child,
//! hands signals on to it, and lends it the terminal.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use libc::c_int;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Exit;
use crate::init::ENDED;
use crate::signals::{self, Received, Signals};
use crate::terminal::Terminal;
use crate::wait::{ANY, Ended, Waited, has_something, poll_on, wait_for};

/// The child of the runner, which must be waited for.
#[must_use = "a child that nobody waits for is left behind"]
pub struct Child {
    runner: Runner,
    /// Open before there is a child, so that an error is the only one.
    signals: Signals,
}

/// What the runner keeps while its child lives.
struct Runner {
    pid: Pid,
    terminal: Option<Terminal>,
    /// A byte on it is the signal that stopped the command, or with [`ENDED`]
    /// the one that ended it. Its end, the child's knowledge that the runner is
    /// gone.
    line: UnixStream,
    /// The child's end, kept so that ours never reads as hung up: the child
    /// closes its own when it executes the command.
    _their_line: UnixStream,
    /// Whether the command was told that it will never have the terminal.
    hung_up: bool,
    /// The signal that ended the command, by word of process 1.
    told_end: Option<c_int>,
    /// The last SIGINT or SIGQUIT that came to the runner itself.
    interrupt: Option<Received>,
}

impl Child {
    pub(crate) fn new(
        pid: Pid,
        terminal: Option<Terminal>,
        line: UnixStream,
        their_line: UnixStream,
        signals: Signals,
    ) -> Child {
        let runner = Runner {
            pid,
            terminal,
            line,
            _their_line: their_line,
            hung_up: false,
            told_end: None,
            interrupt: None,
        };
        Child { runner, signals }
    }

    /// Waits in the runner until the child ends, and says how.
    ///
    /// Meanwhile every signal sent to the runner is handed on to the child. A
    /// command stopped by Ctrl-Z stops the runner as well, so that the
    /// caller's shell notices, and goes on with it. Every other child of this
    /// process is reaped as well.
    ///
    /// # Errors
    ///
    /// When waiting itself fails; wait(2).
    pub fn wait(self) -> Result<Exit> {
        let Child { mut runner, mut signals } = self;
        runner.wait(&mut signals)
    }
}

impl Runner {
    /// As [`Child::wait`].
    fn wait(&mut self, signals: &mut Signals) -> Result<Exit> {
        let ended = self.watch(signals);
        // Nothing goes on in a container that nobody watches: its directories
        // are about to be removed.
        if ended.is_err() && matches!(wait_for(self.pid), Ok(Waited::Nothing | Waited::Stopped(..)))
        {
            signals::send(self.pid, libc::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
        let killed = !matches!(ended, Ok(Ended { signal: None, .. }));
        let mut held = false;
        if let Some(terminal) = &mut self.terminal {
            held = terminal.take_back() == Some(self.pid);
            // What ended by itself may have meant to change them, as stty(1).
            if killed {
                terminal.restore_modes();
            }
        }
        Ok(self.exit(&ended?, held))
    }

    /// Sleeps and hands on signals until the child ends, and says how.
    fn watch(&mut self, signals: &mut Signals) -> Result<Ended> {
        loop {
            match wait_for(ANY)? {
                Waited::Ended(pid, ended) if pid == self.pid => {
                    return self.learn_more(ended, signals);
                }
                Waited::Stopped(pid, signal) if pid == self.pid => {
                    self.suspend(signal, signals)?;
                }
                // The runner may be process 1 of a container itself.
                Waited::Ended(..) | Waited::Stopped(..) => {}
                Waited::Nothing => {
                    if let Some(signal) = self.idle(signals)? {
                        self.suspend(signal, signals)?;
                    }
                    self.hand_on(signals)?;
                }
            }
        }
    }

    /// Sleeps until a signal arrives or process 1 tells of one that stopped
    /// the command.
    fn idle(&mut self, signals: &Signals) -> Result<Option<Signal>> {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.line.as_fd(), PollFlags::POLLIN),
        ];
        poll_on(&mut fds)?;
        if has_something(&fds[1]) { self.hear() } else { Ok(None) }
    }

    /// Reads what process 1 has told of the command, and returns the signal
    /// that stopped it.
    fn hear(&mut self) -> Result<Option<Signal>> {
        let mut told = [0; 64];
        let count = self.line.read(&mut told).context("hear of process 1")?;
        let mut stopped = None;
        for &byte in &told[..count] {
            let number = c_int::from(byte & !ENDED);
            if byte & ENDED != 0 {
                self.told_end = Some(number);
            } else {
                // Several stops may have come together; the last is how it is now.
                stopped = Signal::try_from(number).ok();
            }
        }
        Ok(stopped)
    }

    /// What else is known about the end of the child: the signal that ended
    /// the command of process 1, which itself exits, and the signals that
    /// have come to the runner meanwhile.
    fn learn_more(&mut self, mut ended: Ended, signals: &mut Signals) -> Result<Ended> {
        if ended.signal.is_none() && ended.exit.code() > 128 {
            let mut fds = [PollFd::new(self.line.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).context("hear of process 1")?;
            if has_something(&fds[0]) {
                self.hear()?;
            }
            ended.signal = self.told_end;
        }
        if ended.signal.is_some() {
            while let Some(signal) = signals.next()? {
                self.remember(&signal);
            }
        }
        Ok(ended)
    }

    /// Remembers a signal that may be the one that ends the command.
    fn remember(&mut self, signal: &Received) {
        if matches!(signal.number, libc::SIGINT | libc::SIGQUIT) {
            self.interrupt = Some(*signal);
        }
    }

    /// How the runner is to end after its command, which held the terminal or
    /// did not.
    ///
    /// Shells go on with a script after a Ctrl-C unless the key ended what they
    /// waited for. So the runner then ends by the same signal, and hands it to
    /// the caller's group, which was not in the foreground.
    fn exit(&self, ended: &Ended, held: bool) -> Exit {
        let key = ended.signal.and_then(|number| Signal::try_from(number).ok());
        let key = key.filter(|key| matches!(key, Signal::SIGINT | Signal::SIGQUIT));
        let Some(key) = key else {
            return ended.exit;
        };
        match self.interrupt.filter(|came| came.number == key as c_int) {
            Some(came) if came.by_kernel => ended.exit.by_key(key, false),
            // Somebody sent it to the runner; nobody pressed a key.
            Some(_) => ended.exit,
            None if held => ended.exit.by_key(key, true),
            None => ended.exit,
        }
    }

    /// Hands on the signals that have arrived; says whether one of them was
    /// SIGCONT, which continues the command.
    fn hand_on(&mut self, signals: &mut Signals) -> Result<bool> {
        let mut continued = false;
        while let Some(signal) = signals.next()? {
            continued |= signal.number == libc::SIGCONT;
            self.remember(&signal);
            match (signal.number, signal.stop()) {
                (libc::SIGCHLD, _) => {}
                (_, Some(stop)) if self.terminal.is_none() => self.stop(stop)?,
                (libc::SIGCONT, _) => self.resume(),
                (number, _) if signal.is_for_group() => send_group(self.pid, number),
                (number, _) => drop(signals::send(self.pid, number)),
            }
        }
        Ok(continued)
    }

    /// Without a terminal of its own to be stopped by: stops the command and
    /// the runner, until somebody continues the runner.
    fn stop(&mut self, stop: Signal) -> Result<()> {
        // In a session of its own, the kernel heeds no other.
        send_group(self.pid, libc::SIGSTOP);
        signals::suffer(stop)?;
        self.resume();
        Ok(())
    }

    /// Stops the runner after its command was stopped, and goes on when
    /// somebody continues it: the caller's shell, with `fg` or `bg`.
    fn suspend(&mut self, signal: Signal, queue: &mut Signals) -> Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        let reads_or_writes = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        // Brought to the foreground without a SIGCONT, as shells do with a job
        // that is running: the command only lacks the terminal.
        if reads_or_writes && terminal.lend(self.pid) {
            self.resume();
            return Ok(());
        }
        // Continued already; the signal below would throw that SIGCONT away.
        if signals::pending().contains(Signal::SIGCONT) {
            return Ok(());
        }
        terminal.take_back();
        // This whole job stops, so that its shell notices. SIGSTOP would stop
        // us even where no shell is there to continue us.
        let stop = if reads_or_writes { signal } else { Signal::SIGTSTP };
        kill(Pid::from_raw(0), stop).context("stop with the command")?;
        signals::suffer(stop)?;
        if self.hand_on(queue)? {
            self.hung_up = false;
            return Ok(());
        }
        // Nobody stopped us, as in an orphaned process group; setpgid(2).
        match signal {
            // Whoever stopped the command will continue it.
            Signal::SIGSTOP => {}
            // It will never be brought to the foreground. The kernel ends
            // orphaned groups this way; asking again would never end.
            Signal::SIGTTIN | Signal::SIGTTOU => {
                let end = if self.hung_up { Signal::SIGKILL } else { Signal::SIGHUP };
                self.hung_up = true;
                send_group(self.pid, end as c_int);
                self.resume();
            }
            _ => self.resume(),
        }
        Ok(())
    }

    /// Continues the command, in the foreground if the runner is there.
    fn resume(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend(self.pid);
        }
        send_group(self.pid, libc::SIGCONT);
    }
}

/// Sends a signal to the process group that `child` leads, or to `child` as
/// long as it has not come to lead it.
fn send_group(child: Pid, number: c_int) {
    if !signals::send(Pid::from_raw(-child.as_raw()), number) {
        signals::send(child, number);
    }
}
