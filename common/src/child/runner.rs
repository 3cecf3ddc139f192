//! The runner: the process that the caller starts. It waits for the child, passes
//! signals to it, and lends it the terminal.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libc::c_int;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Exit;
use crate::child::line::{self, ENDED, READY, START, Start};
use crate::child::signals::{self, Received, Signals};
use crate::child::terminal::Terminal;
use crate::child::timeout::{InTime, Timeout};
use crate::child::wait::{ANY, Ended, Waited, has_something, is_ready, poll_for, wait_for};

/// The time after a SIGHUP until the runner first continues the command again.
const AFTER_A_HANGUP: Duration = Duration::from_secs(1);

/// The work of a runner while its child lives, besides passing signals on. If it fails, the
/// runner ends the child.
pub trait Keep {
    /// Descriptors to read. The numbers of [`Keep::read`] count them.
    fn outputs(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// Reads from an output that has something to read.
    fn read(&mut self, _number: usize) -> Result<()> {
        Ok(())
    }

    /// Hears that the process `command`, a child of `init`, has executed the command: after
    /// [`tell_start`]. It may have ended since.
    ///
    /// [`tell_start`]: crate::tell_start
    fn executed(&mut self, _init: Pid, _command: Pid) -> Result<()> {
        Ok(())
    }
}

/// A runner that only waits.
impl Keep for () {}

/// The child of the runner, which must be waited for.
#[must_use = "a child without a wait stays as a zombie"]
pub struct Child {
    pid: Pid,
    /// Open before there is a child, so that an error is the only one.
    signals: Signals,
    terminal: Option<Terminal>,
    /// Process 1 writes a byte for each event: the signal that stopped the command, or,
    /// with the bit [`ENDED`], the signal that ended it. When the runner ends, the child
    /// sees the line close.
    line: UnixStream,
    /// The child's end. The runner keeps it open: otherwise poll(2) would report a
    /// hang-up when the child of lessons 1 to 5 executes the command.
    their_line: Option<UnixStream>,
    /// Whether the child has closed its end. It does so a while before it has ended.
    line_closed: bool,
    /// For the answers of the child.
    timeout: Option<Timeout>,
    /// Set when the runner has sent SIGHUP to a command that waits for the terminal: the
    /// time until the runner continues it again.
    hung_up: Option<Duration>,
    /// The process of the command, until it is executed.
    start: Option<Start>,
    /// The signal that ended the command, as the child reports it.
    told_end: Option<c_int>,
    /// The last SIGINT, SIGQUIT or SIGTERM to the runner itself. SIGTERM may have become one
    /// of the others: see [`Run::stop_by`](crate::Run::stop_by).
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
        Child {
            pid,
            signals,
            terminal,
            line,
            their_line: Some(their_line),
            line_closed: false,
            timeout: None,
            hung_up: None,
            start: None,
            told_end: None,
            interrupt: None,
        }
    }

    /// This child with a limit on the time of its answers.
    pub(crate) fn within(self, timeout: Option<Timeout>) -> Child {
        Child { timeout, ..self }
    }

    /// A reader of a line from the child, with the limit on the time of its answers. After an error,
    /// call [`Child::end`].
    pub fn in_time<'a>(&'a self, line: &'a UnixStream) -> InTime<'a> {
        InTime { line, timeout: self.timeout.as_ref() }
    }

    /// Ends the child, and waits for its end. If a container freezes the child again and again, this
    /// returns early. The child ends when it is thawed.
    pub fn end(&mut self) {
        signals::send(self.pid, libc::SIGKILL);
        if self.timeout.as_ref().is_none_or(|it| it.lets_end(self.pid)) {
            let _ = self.wait_with(&mut ());
        }
    }

    /// Waits for the child at [`wait_for_runner`], does `work` with the reason and the child's
    /// ID, and lets it go on. Does nothing without a reason, such as a network: a meeting takes
    /// time. Does nothing if the child has ended before: [`Child::wait`] returns its status.
    /// If `work` fails, the child does not go on: this kills it.
    ///
    /// There can be several meetings, in the same order in the child.
    ///
    /// [`wait_for_runner`]: crate::wait_for_runner
    pub fn meet<T, D>(
        &mut self,
        reason: Option<T>,
        work: impl FnOnce(T, Pid) -> Result<D>,
    ) -> Result<Option<D>> {
        let Some(reason) = reason else { return Ok(None) };
        self.meet_at_line(|_, pid| work(reason, pid))
    }

    /// Takes the terminal that the child gives with [`give_terminal`], and does `work` with it,
    /// if it is `wanted`. Like [`Child::meet`].
    ///
    /// [`give_terminal`]: crate::give_terminal
    pub fn take_terminal<D>(
        &mut self,
        wanted: bool,
        work: impl FnOnce(OwnedFd) -> Result<D>,
    ) -> Result<Option<D>> {
        let work = |given: Option<OwnedFd>, _| {
            work(given.context("the child gave no terminal: call `give_terminal` in it")?)
        };
        if wanted { self.meet_at_line(work) } else { Ok(None) }
    }

    fn meet_at_line<D>(
        &mut self,
        work: impl FnOnce(Option<OwnedFd>, Pid) -> Result<D>,
    ) -> Result<Option<D>> {
        // The child of these lessons stays, and without this end the runner sees its end.
        self.their_line = None;
        let in_time = self.timeout.as_ref().map_or(Ok(()), |it| it.wait(&self.line));
        if in_time.is_err() {
            self.end();
        }
        in_time.context("wait for the child")?;
        let mut byte = [READY];
        let (count, (_, given)) =
            line::receive(&self.line, &mut byte).context("wait for the child")?;
        if count == 0 {
            return Ok(None);
        }
        ensure!(byte == [READY], "the child did not wait: call `wait_for_runner` in it");
        // Until the command runs, Ctrl-C is for the runner.
        self.terminal.as_mut().map(Terminal::take_back);
        let worked = work(given, self.pid);
        if worked.is_err() {
            self.end();
        } else {
            self.terminal.as_mut().map(|terminal| terminal.lend(self.pid));
            // An error means that a signal has ended the child.
            let _ = send(self.line.as_raw_fd(), &[READY], MsgFlags::MSG_NOSIGNAL);
        }
        worked.map(Some)
    }

    /// Waits in the runner until the child ends, and returns its status.
    ///
    /// The runner passes signals to the child, except SIGCHLD and the signals of a fault of its
    /// own, such as SIGSEGV and SIGABRT. If Ctrl-Z stops the command, the runner stops too, so
    /// that the caller's shell sees it. If the shell continues the runner, the runner continues
    /// the command. The runner also reaps every other child of its process.
    pub fn wait(self) -> Result<Exit> {
        self.wait_and(&mut ())
    }

    /// As [`Child::wait`], and does the work of `keep` meanwhile.
    pub fn wait_and(mut self, keep: &mut dyn Keep) -> Result<Exit> {
        line::expect_start(&self.line)?;
        self.wait_with(keep)
    }

    fn wait_with(&mut self, keep: &mut dyn Keep) -> Result<Exit> {
        let ended = self.watch(keep);
        // If the runner cannot wait for the child, it kills the child: the directories
        // of the container are removed next.
        if ended.is_err() && matches!(wait_for(self.pid), Ok(Waited::Nothing | Waited::Stopped(..)))
        {
            signals::send(self.pid, libc::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
        let killed = !matches!(ended, Ok(Ended { signal: None, .. }));
        let mut held = false;
        if let Some(terminal) = &mut self.terminal {
            held = terminal.take_back() == Some(self.pid);
            // A command that exits may want to keep its changes, as stty(1).
            if killed {
                terminal.restore_modes();
            }
        }
        Ok(self.exit(&ended?, held))
    }

    /// Sleeps and passes signals until the child ends, and returns the end.
    fn watch(&mut self, keep: &mut dyn Keep) -> Result<Ended> {
        loop {
            match wait_for(ANY)? {
                Waited::Ended(pid, ended) if pid == self.pid => {
                    let ended = self.add_signal(ended)?;
                    self.tell_start(keep)?;
                    return Ok(ended);
                }
                Waited::Stopped(pid, signal) if pid == self.pid => {
                    self.suspend(signal)?;
                }
                // The runner may be process 1 of a container itself.
                Waited::Ended(..) | Waited::Stopped(..) => {}
                Waited::Nothing => {
                    if let Some(signal) = self.idle(keep)? {
                        self.suspend(signal)?;
                    }
                    self.hand_on()?;
                }
            }
        }
    }

    /// Sleeps until a signal arrives, or the child reports a signal that stopped the
    /// command, or there is something to keep.
    fn idle(&mut self, keep: &mut dyn Keep) -> Result<Option<Signal>> {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![on(self.signals.as_fd())];
        fds.extend(keep.outputs().into_iter().map(on));
        let outputs = 1..fds.len();
        fds.extend(self.start.iter().map(|start| on(start.pipe.as_fd())));
        // A closed line would never let this process sleep.
        fds.extend(Some(on(self.line.as_fd())).filter(|_| !self.line_closed));
        let time = self.hung_up.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        poll_for(&mut fds, time)?;
        let ready: Vec<bool> = fds.iter().map(has_something).collect();
        let has_news = !self.line_closed && ready.last() == Some(&true);
        let heard = if has_news { self.hear()?.1 } else { None };
        // SIGCONT came to a reader first. The reader stopped the group again, and then
        // SIGCONT came to the command: no process reports that the reader has stopped.
        if let Some(time) = self.hung_up.as_mut().filter(|_| !has_news && !ready[0]) {
            *time *= 2;
            self.resume();
        }
        // Before the output: it is the command's then.
        if self.start.as_ref().map(|start| is_ready(&start.pipe, PollFlags::POLLIN)).transpose()?
            == Some(true)
        {
            self.tell_start(keep)?;
        }
        for (number, _) in ready[outputs].iter().enumerate().filter(|(_, ready)| **ready) {
            keep.read(number)?;
        }
        Ok(heard)
    }

    /// Tells that the command is executed, if it was started. Waits for that.
    fn tell_start(&mut self, keep: &mut dyn Keep) -> Result<()> {
        match self.start.take() {
            Some(start) if start.is_executed() => keep.executed(self.pid, start.command),
            _ => Ok(()),
        }
    }

    /// Reads the child's reports about the command. Returns their number, and the signal
    /// that stopped the command.
    fn hear(&mut self) -> Result<(usize, Option<Signal>)> {
        let mut told = [0; 64];
        let (count, extra) = line::receive(&self.line, &mut told).context("hear of process 1")?;
        self.line_closed = count == 0;
        self.start = self.start.take().or(Start::of(extra));
        let mut stopped = None;
        for &byte in &told[..count] {
            ensure!(byte != READY, "the child waits for the runner: call `meet` before `wait`");
            if byte == START {
                continue;
            }
            let number = c_int::from(byte & !ENDED);
            if byte & ENDED != 0 {
                self.told_end = Some(number);
            } else {
                // Several stops may have come together; the last is the present state.
                stopped = Signal::try_from(number).ok();
            }
        }
        Ok((count, stopped))
    }

    /// Adds to `ended` the signal that ended the command. Only process 1 reports it, and
    /// only when it exits. Remembers the signals to the runner since then.
    fn add_signal(&mut self, mut ended: Ended) -> Result<Ended> {
        while is_ready(&self.line, PollFlags::POLLIN)? && self.hear()?.0 > 0 {}
        ended.signal = ended.signal.or(self.told_end);
        if ended.signal.is_some() {
            while let Some(signal) = self.signals.next()? {
                self.remember(&signal);
            }
        }
        Ok(ended)
    }

    /// Remembers a signal that may be the one that ends the command.
    fn remember(&mut self, signal: &Received) {
        if matches!(signal.number, libc::SIGINT | libc::SIGQUIT | libc::SIGTERM) {
            self.interrupt = Some(*signal);
        }
    }

    /// The end of the runner. `held` says whether the command held the terminal.
    ///
    /// A shell continues its script after a Ctrl-C, unless the key ended the program that the
    /// shell waits for. So the runner ends by the same signal. It also sends the signal to the
    /// caller's group: that group was in the background, and did not get the key.
    fn exit(&self, ended: &Ended, held: bool) -> Exit {
        let key = ended.signal.and_then(|number| Signal::try_from(number).ok());
        let key = key.filter(|key| matches!(key, Signal::SIGINT | Signal::SIGQUIT));
        let Some(key) = key else {
            return ended.exit;
        };
        let may_be = |came: &Received| [key as c_int, libc::SIGTERM].contains(&came.number);
        match self.interrupt.filter(may_be) {
            Some(came) if came.by_kernel => ended.exit.by_key(key, false),
            // A process sent it to the runner, not a key.
            Some(_) => ended.exit,
            None if held => ended.exit.by_key(key, true),
            None => ended.exit,
        }
    }

    /// Passes on the signals that have arrived. Returns whether SIGCONT, which
    /// continues the command, was among them.
    fn hand_on(&mut self) -> Result<bool> {
        let mut continued = false;
        while let Some(signal) = self.signals.next()? {
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

    /// Without a terminal: stops the command and the runner, until another process
    /// continues the runner.
    fn stop(&mut self, stop: Signal) -> Result<()> {
        // In a separate session, the kernel ignores the other stop signals.
        send_group(self.pid, libc::SIGSTOP);
        signals::suffer(stop)?;
        self.resume();
        Ok(())
    }

    /// Stops the runner after the command has stopped. Continues when another process,
    /// such as the caller's shell with `fg` or `bg`, continues the runner.
    fn suspend(&mut self, signal: Signal) -> Result<()> {
        let Some(terminal) = &mut self.terminal else {
            return Ok(());
        };
        let reads_or_writes = matches!(signal, Signal::SIGTTIN | Signal::SIGTTOU);
        // A shell may bring a running job to the foreground without a SIGCONT: the
        // command then only needs the terminal.
        if reads_or_writes && terminal.lend(self.pid) {
            self.resume();
            return Ok(());
        }
        // A SIGCONT is already here; the stop signal below would delete it.
        if signals::pending().contains(Signal::SIGCONT) {
            return Ok(());
        }
        terminal.take_back();
        // Stop the whole job, so that its shell sees it. SIGSTOP would stop the
        // runner even without a shell that can continue it.
        let stop = if reads_or_writes { signal } else { Signal::SIGTSTP };
        kill(Pid::from_raw(0), stop).context("stop with the command")?;
        signals::suffer(stop)?;
        if self.hand_on()? {
            self.hung_up = None;
            return Ok(());
        }
        // The kernel did not stop the runner, as in an orphaned process group; setpgid(2).
        match signal {
            // The process that stopped the command will continue it.
            Signal::SIGSTOP => {}
            // No shell will bring the command to the foreground. The kernel ends
            // orphaned groups in the same way; otherwise this would never end.
            Signal::SIGTTIN | Signal::SIGTTOU => {
                let end = self.hung_up.map_or(Signal::SIGHUP, |_| Signal::SIGKILL);
                self.hung_up = Some(AFTER_A_HANGUP);
                send_group(self.pid, end as c_int);
                self.resume();
            }
            _ => self.resume(),
        }
        Ok(())
    }

    /// Continues the command, in the foreground if the runner is in the foreground.
    fn resume(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend(self.pid);
        }
        send_group(self.pid, libc::SIGCONT);
    }
}

/// Sends a signal to the process group that `child` leads, or to `child` if it does
/// not lead a group yet.
fn send_group(child: Pid, number: c_int) {
    if !signals::send(Pid::from_raw(-child.as_raw()), number) {
        signals::send(child, number);
    }
}
