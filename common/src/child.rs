//! A child process: cloned, held to its parent's life, waited for.
//!
//! ```text
//! main ──clone──> child ──exec──> command            steps 01 to 05
//! main ──clone──> child ──fork──> run ──exec──> command    from 06 on
//! ```

use std::ffi::CStr;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use libc::{c_char, c_int};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, close, getpgid, getpgrp, setsid};

use crate::Exit;
use crate::error::report;
use crate::scratch;
use crate::signals::{self, Received, Signals};
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
    child: Pid,
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

/// On the line, the mark of a signal that ended the command.
const ENDED: u8 = 0x80;

/// Clones a child into new namespaces, where it runs `child` and exits with
/// what that returns; an error is reported and becomes the exit status.
///
/// The child dies with the runner, whatever ends it. When standard input and
/// output are a terminal, it leads a process group of its own in the
/// foreground, otherwise a session of its own. So what is sent to the caller's
/// group comes to the runner, which hands it on, and not to the command a
/// second time; and a `kill 0` in the container does not reach the caller.
///
/// To be called from a process with one thread, such as every step is. The
/// kernel would not mind others, but the child has none of them, and waits for
/// ever when one held a lock of the allocator. A program with threads starts a
/// step.
///
/// # Errors
///
/// When the kernel refuses the process or one of its namespaces; clone(2),
/// namespaces(7).
pub fn clone(namespaces: CloneFlags, child: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    let terminal = Terminal::of_streams();
    signals::reset()?;
    signals::block()?;
    let (ours, theirs) = UnixStream::pair().context("open a line to the child")?;
    let pid = raw_clone(namespaces)
        .with_context(|| format!("clone a child{}", with_flags(namespaces)))?;
    if pid.as_raw() == 0 {
        leave(|| {
            drop(ours);
            if !die_with_runner(&theirs)? {
                // It has said why itself, or was killed.
                return Ok(Exit::SETUP);
            }
            match &terminal {
                Some(terminal) => terminal.lead(),
                None => drop(setsid().context("begin a session")?),
            }
            // The first and only value: `clone` is called once a process.
            let _ = LINE.set(theirs);
            child()
        });
    }
    let runner = Runner {
        child: pid,
        terminal,
        line: ours,
        _their_line: theirs,
        hung_up: false,
        told_end: None,
        interrupt: None,
    };
    Ok(Child { pid, runner: Some(runner) })
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
/// When the kernel has no room for another process or refuses one of these, or
/// the overlay on this run's [`Scratch`](crate::Scratch) is read-only.
pub fn fork(child: impl FnOnce() -> Result<Exit>) -> Result<Child> {
    scratch::check_root()?;
    close_all_but(LINE.get().map(AsRawFd::as_raw_fd))?;
    wipe_environment();
    // Root inside may not override it: this process executed its program in
    // the user namespace of the host, where root inside has no capability.
    set_dumpable(false).context("keep the command from tracing process 1")?;
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
        let ended = runner.watch();
        // Nothing goes on in a container that nobody watches: its directories
        // are about to be removed.
        if ended.is_err() && matches!(wait_for(self.pid), Ok(Waited::Nothing | Waited::Stopped(..)))
        {
            signals::send(self.pid, libc::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
        let killed = !matches!(ended, Ok(Ended { signal: None, .. }));
        let mut held = false;
        if let Some(terminal) = &mut runner.terminal {
            held = terminal.take_back() == Some(self.pid);
            // What ended by itself may have meant to change them, as stty(1).
            if killed {
                terminal.restore_modes();
            }
        }
        Ok(runner.exit(&ended?, held))
    }

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

impl Runner {
    /// Sleeps and hands on signals until the child ends, and says how.
    fn watch(&mut self) -> Result<Ended> {
        let mut signals = Signals::new()?;
        loop {
            match wait_for(ANY)? {
                Waited::Ended(pid, ended) if pid == self.child => {
                    return self.learn_more(ended, &mut signals);
                }
                Waited::Stopped(pid, signal) if pid == self.child => {
                    self.suspend(signal, &mut signals)?;
                }
                // The runner may be process 1 of a container itself.
                Waited::Ended(..) | Waited::Stopped(..) => {}
                Waited::Nothing => {
                    if let Some(signal) = self.idle(&signals)? {
                        self.suspend(signal, &mut signals)?;
                    }
                    self.hand_on(&mut signals)?;
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

    /// How the step is to end after its command, which held the terminal or
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
                (number, _) if signal.is_for_group() => send_group(self.child, number),
                (number, _) => drop(signals::send(self.child, number)),
            }
        }
        Ok(continued)
    }

    /// Without a terminal of its own to be stopped by: stops the command and
    /// the runner, until somebody continues the runner.
    fn stop(&mut self, stop: Signal) -> Result<()> {
        // In a session of its own, the kernel heeds no other.
        send_group(self.child, libc::SIGSTOP);
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
        if reads_or_writes && terminal.lend(self.child) {
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
                send_group(self.child, end as c_int);
                self.resume();
            }
            _ => self.resume(),
        }
        Ok(())
    }

    /// Continues the command, in the foreground if the runner is there.
    fn resume(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.lend(self.child);
        }
        send_group(self.child, libc::SIGCONT);
    }
}

/// Sends a signal to the process group that `child` leads, or to `child` as
/// long as it has not come to lead it.
fn send_group(child: Pid, number: c_int) {
    if !signals::send(Pid::from_raw(-child.as_raw()), number) {
        signals::send(child, number);
    }
}

/// Any child, in the words of waitpid(2).
const ANY: Pid = Pid::from_raw(-1);

/// What has become of a child.
enum Waited {
    Nothing,
    Stopped(Pid, Signal),
    Ended(Pid, Ended),
}

/// How a process has ended.
struct Ended {
    exit: Exit,
    /// The number of the signal that ended it; a real-time signal has no name
    /// in nix.
    signal: Option<c_int>,
}

/// Looks whether a child has ended or was stopped; waitpid(2).
fn wait_for(child: Pid) -> Result<Waited> {
    let mut status = 0;
    let flags = libc::WNOHANG | libc::WUNTRACED;
    #[allow(unsafe_code, reason = "nix's waitpid fails when a real-time signal ended the child")]
    // SAFETY: the kernel writes to `status` alone.
    let pid = unsafe { libc::waitpid(child.as_raw(), &raw mut status, flags) };
    let pid = Errno::result(pid).map(Pid::from_raw).context("wait for a child")?;
    Ok(if pid.as_raw() == 0 {
        Waited::Nothing
    } else if libc::WIFSTOPPED(status) {
        let signal = Signal::try_from(libc::WSTOPSIG(status)).unwrap_or(Signal::SIGSTOP);
        Waited::Stopped(pid, signal)
    } else {
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        Waited::Ended(pid, Ended { exit: Exit::of(status), signal })
    })
}

/// Makes the kernel kill this process when its parent ends, prctl(2); says
/// whether the parent is still there.
fn die_with_runner(line: &UnixStream) -> Result<bool> {
    set_pdeathsig(Signal::SIGKILL).context("ask to die with the runner")?;
    // It may have ended before the line above. getppid(2) is no help: a parent
    // outside of the PID namespace reads as 0, dead or alive.
    let mut fds = [PollFd::new(line.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).context("look for the runner")?;
    let gone = fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    Ok(!gone)
}

/// Whether poll(2) has found something to read.
fn has_something(fd: &PollFd<'_>) -> bool {
    fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
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
    const NONE: libc::c_long = 0;
    let flags = libc::c_long::from(flags.bits() | libc::SIGCHLD);
    // One architecture has the stack before the flags; clone(2).
    let (first, second) = if cfg!(target_arch = "s390x") { (NONE, flags) } else { (flags, NONE) };
    #[allow(unsafe_code, reason = "nix's clone wants a stack and a function")]
    // SAFETY: the child gets a copy of this process, as after fork(2). The
    // process has one thread, so no lock is held by another. Zero is valid for
    // the stack and for the pointers that the flags do not ask for.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, NONE, NONE, NONE) };
    Errno::result(pid).map(|pid| Pid::from_raw(pid as libc::pid_t))
}

/// Closes every descriptor from 3 on, save `keep`; close_range(2), or one by one
/// before Linux 5.9.
pub(crate) fn close_all_but(keep: Option<RawFd>) -> Result<()> {
    let close = |first: RawFd, last: libc::c_uint| {
        #[allow(unsafe_code, reason = "nix has no close_range(2)")]
        // SAFETY: the callers own no descriptor in the range that they will
        // use again: the runner calls this before it opens any, process 1 once
        // it needs none but `keep`.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        Errno::result(closed).map(drop)
    };
    let closed = match keep {
        Some(keep) if keep > 3 => close(3, keep as libc::c_uint - 1),
        _ => Ok(()),
    };
    let first = keep.map_or(3, |keep| keep + 1);
    match closed.and_then(|()| close(first, libc::c_uint::MAX)) {
        // An older kernel, or a filter that does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => close_each_but(keep),
        closed => closed.context("close the descriptors of the caller")?,
    }
    Ok(())
}

/// As [`close_all_but`], one by one: those that are listed, and the low numbers
/// in any case. Process 1 may have no `/proc`; but the runner has closed all
/// of the caller's, and the kernel gives away the lowest number first.
fn close_each_but(keep: Option<RawFd>) {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let listed = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = listed.chain(3..LOW).collect();
    for number in numbers.into_iter().filter(|&number| number >= 3 && Some(number) != keep) {
        // Most of them are not open.
        let _ = close(number);
    }
}

/// More than a runner has open, which is a few and one for each layer.
const LOW: RawFd = 1024;

/// Overwrites every variable of the environment but TERM where it stands:
/// proc_pid_environ(5) shows that place to whoever may look.
fn wipe_environment() {
    #[allow(unsafe_code, reason = "std can only forget a variable, and leaves its bytes")]
    // SAFETY: environ(7) is a list of strings in writable memory, with a null
    // at its end. This process has one thread and holds no reference to them.
    unsafe {
        unsafe extern "C" {
            static environ: *const *mut c_char;
        }
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            let variable = CStr::from_ptr(*next).to_bytes();
            if !variable.starts_with(b"TERM=") {
                (*next).write_bytes(0, variable.len());
            }
            next = next.add(1);
        }
    }
}

/// ` with CLONE_NEWUTS | …`, or nothing for an ordinary fork.
fn with_flags(flags: CloneFlags) -> String {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() {
        return String::new();
    }
    format!(" with {}", names.join(" | "))
}
