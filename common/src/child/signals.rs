//! Signals of the runner and the child: they read them from a descriptor, and pass
//! them to the command.

use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libc::c_int;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, raise, sigaction, sigprocmask,
};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::Exit;
use crate::child::wait::{has_something, poll_for};
use crate::said::error::failure;

/// Signals of a fault in the process itself. The kernel ends a process that blocks them.
const FAULTS: [Signal; 7] = {
    use Signal::*;
    [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP]
};

/// Gives two signals their default action: SIGPIPE, which Rust ignores, and
/// SIGCHLD, because wait(2) does not work if the caller ignored it.
///
/// The command ignores every other signal that the caller ignores, as after
/// nohup(1): execve(2) keeps that. It also keeps SIGPIPE if the caller ignores it.
pub(crate) fn reset() -> Result<()> {
    let pipe = (!PIPE_IGNORED.load(Ordering::Relaxed)).then_some(Signal::SIGPIPE);
    for signal in pipe.into_iter().chain([Signal::SIGCHLD]) {
        act(signal, SigHandler::SigDfl).with_context(|| format!("reset the action of {signal}"))?;
    }
    Ok(())
}

/// Whether the caller ignores SIGPIPE.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before `main` and before Rust's own start, which ignores SIGPIPE and does not remember the
/// caller's action. The C library calls the functions in the section `.init_array` first.
#[used]
#[allow(unsafe_code, reason = "Rust has no code before its own start")]
// SAFETY: the section is a list of such functions.
#[unsafe(link_section = ".init_array")]
static BEFORE_RUST: extern "C" fn() = {
    extern "C" fn look() {
        PIPE_IGNORED.store(is_ignored(Signal::SIGPIPE), Ordering::Relaxed);
    }
    look
};

/// Whether this process ignores a signal. The code needs nothing of Rust's start.
pub(crate) fn is_ignored(signal: Signal) -> bool {
    #[allow(unsafe_code, reason = "nix's sigaction changes the action")]
    // SAFETY: nothing changes; the kernel writes only to `action`, for which zeros are valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal as c_int, std::ptr::null(), &raw mut action);
        action.sa_sigaction == libc::SIG_IGN
    }
}

/// Ignores signals that can be ignored.
pub(crate) fn ignore<const N: usize>(signals: [Signal; N]) {
    for signal in signals {
        // Fails only for SIGKILL and SIGSTOP; sigaction(2).
        let _ = act(signal, SigHandler::SigIgn);
    }
}

/// Drops blocked signals that have arrived: a signal that a process ignores is not kept.
pub(crate) fn forget(signals: [Signal; 3]) -> nix::Result<()> {
    for signal in signals {
        let before = act(signal, SigHandler::SigIgn)?;
        act(signal, before.handler())?;
    }
    Ok(())
}

fn act(signal: Signal, handler: SigHandler) -> nix::Result<SigAction> {
    debug_assert!(matches!(handler, SigHandler::SigDfl | SigHandler::SigIgn));
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[allow(unsafe_code, reason = "sigaction(2) can install handlers")]
    // SAFETY: both actions run no code of this program.
    unsafe {
        sigaction(signal, &action)
    }
}

/// Lets a program end without a message when its reader closes the pipe, as in
/// `cargo xtask diff 5 | head`. Rust ignores SIGPIPE, and `println!` then panics.
pub fn end_on_closed_pipe() {
    // Fails only for SIGKILL and SIGSTOP; sigaction(2).
    let _ = act(Signal::SIGPIPE, SigHandler::SigDfl);
}

/// The signals that the caller blocked.
static CALLERS_MASK: OnceLock<SigSet> = OnceLock::new();

/// Blocks the signals that [`Signals`] reads, until [`restore_signals`] or [`reset_signals`].
pub(crate) fn block() -> Result<()> {
    block_set(SigmaskHow::SIG_SETMASK, &taken())
}

/// Blocks SIGXFSZ, as [`block`]: a write that makes a file too long fails, and says
/// why.
pub(crate) fn block_long_file() -> Result<()> {
    block_set(SigmaskHow::SIG_BLOCK, &SigSet::from_iter([Signal::SIGXFSZ]))
}

fn block_set(how: SigmaskHow, signals: &SigSet) -> Result<()> {
    let mut before = SigSet::empty();
    // The methods of nix's `SigSet` miss errors: they look for -1, but pthread_sigmask(3) returns
    // an error number.
    sigprocmask(how, Some(signals), Some(&mut before)).context("block signals")?;
    // Only the first call sees the caller's mask.
    let _ = CALLERS_MASK.set(before);
    Ok(())
}

/// Restores the caller's mask for the command: the runner and its children block signals.
pub(crate) fn restore_signals() -> Result<()> {
    set_mask(&CALLERS_MASK.get().copied().unwrap_or(SigSet::empty()))
}

/// Gives each signal its default action and blocks none, whatever the caller ignores and blocks:
/// the command of an engine takes each signal, and a shell cannot trap a signal that it ignored at
/// its start. Fails as sigprocmask(2).
pub fn reset_signals() -> Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        #[allow(unsafe_code, reason = "nix has no real-time signals")]
        // SAFETY: the default action runs no code of this program. An error means that the action
        // of this signal cannot change; signal(7).
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    set_mask(&SigSet::empty())
}

fn set_mask(mask: &SigSet) -> Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(mask), None).context("unblock signals")
}

/// The signals that [`Signals`] reads.
fn taken() -> SigSet {
    let mut taken = SigSet::all();
    FAULTS.into_iter().for_each(|fault| taken.remove(fault));
    taken
}

/// Reads the blocked signals from a descriptor; signalfd(2).
pub(crate) struct Signals {
    fd: SignalFd,
    /// The signals that arrived before or during the start of the command: the
    /// command may have got them too.
    early: SigSet,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&taken(), flags).context("open a signal descriptor")?;
        Ok(Signals { fd, early: pending() })
    }

    /// Says that the command is being started now.
    pub(crate) fn command_started(&mut self) {
        self.early = pending();
    }

    /// The next signal that has arrived, or nothing.
    pub(crate) fn next(&mut self) -> Result<Option<Received>> {
        let info = loop {
            match self.fd.read_signal().context("read a signal")? {
                None => return Ok(None),
                // SIGXFSZ of a write of this process.
                Some(info) if info.ssi_pid == process::id() => {}
                Some(info) => break info,
            }
        };
        let number = info.ssi_signo as c_int;
        let named = Signal::try_from(number).ok();
        let early = named.is_some_and(|named| self.early.contains(named));
        if let Some(named) = named {
            // The kernel keeps only one pending signal of each kind: this one.
            self.early.remove(named);
        }
        Ok(Some(Received {
            number,
            sender: Pid::from_raw(info.ssi_pid as libc::pid_t),
            // sigaction(2): the kernel's own signals have a positive code.
            by_kernel: info.ssi_code > 0,
            early,
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A signal that has arrived.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    /// Its number; nix has no names for real-time signals.
    pub(crate) number: c_int,
    /// The sender: 0 for the kernel and for a process outside of this PID namespace.
    pub(crate) sender: Pid,
    /// Whether the kernel sent it, as it does for the terminal.
    pub(crate) by_kernel: bool,
    /// Whether it came before or during the start of the command.
    pub(crate) early: bool,
}

impl Received {
    /// Whether a terminal or a shell sends this signal to a whole group. SIGHUP counts
    /// only from the kernel: a process also sends it to make another process reload.
    pub(crate) fn is_for_group(&self) -> bool {
        let others = [libc::SIGINT, libc::SIGQUIT, libc::SIGWINCH, libc::SIGCONT];
        let hangup = self.number == libc::SIGHUP && self.by_kernel;
        hangup || self.stop().is_some() || others.contains(&self.number)
    }

    /// Its name, if it stops a job and can be blocked.
    pub(crate) fn stop(&self) -> Option<Signal> {
        let stops = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
        stops.into_iter().find(|stop| *stop as c_int == self.number)
    }
}

/// Sends a signal. Returns whether the process exists. A process that has just
/// ended needs no signal, so this is not an error.
pub(crate) fn send(to: Pid, number: c_int) -> bool {
    #[allow(unsafe_code, reason = "nix's kill has no real-time signals")]
    // SAFETY: kill(2) takes two numbers and touches no memory.
    let sent = unsafe { libc::kill(to.as_raw(), number) };
    sent == 0
}

/// Lets a signal act on this process only, as if it were not blocked.
pub(crate) fn suffer(signal: Signal) -> Result<()> {
    let only = SigSet::from_iter([signal]);
    let done = raise(signal)
        .and_then(|()| sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None))
        .and_then(|()| sigprocmask(SigmaskHow::SIG_BLOCK, Some(&only), None));
    done.with_context(|| format!("take {signal}"))
}

/// The blocked signals that have arrived.
pub(crate) fn pending() -> SigSet {
    let mut set = *SigSet::empty().as_ref();
    #[allow(unsafe_code, reason = "nix has no sigpending(2)")]
    // SAFETY: the kernel writes to `set`, which is a valid set before and after.
    unsafe {
        libc::sigpending(&raw mut set);
        SigSet::from_sigset_t_unchecked(set)
    }
}

/// The number of the signal `name`: as in signal(7), such as `SIGTERM` or `TERM`, `SIGRTMIN+3`, or
/// the number itself. Fails when no signal has this name.
pub fn signal_number(name: &str) -> Result<c_int> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match short.strip_prefix("RTMIN+") {
        Some(more) => more.parse().ok().and_then(|more: c_int| more.checked_add(libc::SIGRTMIN())),
        None => short
            .parse()
            .ok()
            .or_else(|| format!("SIG{short}").parse().ok().map(|signal: Signal| signal as c_int)),
    };
    let number = number.filter(|number| (1..=libc::SIGRTMAX()).contains(number));
    number.with_context(|| {
        format!("read the signal {:?}: there is none of this name", name.get(..40).unwrap_or(name))
    })
}

/// Signals that ask a program to end.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The time that a wait still has after such a signal. A tool that works ends in this time:
/// then it leaves nothing half done, at the start and at the end of a container.
const AFTER_A_SIGNAL: Duration = Duration::from_secs(1);

/// The error after a signal, with the exit status for it.
fn ended_by(signal: Signal) -> anyhow::Error {
    failure(Exit::by_signal(signal), format!("{signal} has ended the wait"))
}

/// The signals that ask this process to end, without those that the caller ignores.
fn asking() -> SigSet {
    ENDING.into_iter().filter(|it| !is_ignored(*it)).collect()
}

/// Lets long work end when a signal asks this process to end, and this process has blocked the
/// signal: call it again and again. Fails after such a signal, with the exit status for it.
pub fn stop_if_asked() -> Result<()> {
    let come = pending();
    match asking().iter().find(|signal| come.contains(*signal)) {
        Some(signal) => Err(ended_by(signal)),
        None => Ok(()),
    }
}

/// The patience of a runner that waits for another process. A signal that asks the runner to
/// end also ends the wait. The signal stays pending: it ends the next wait, too.
pub(crate) struct Patience {
    signals: SignalFd,
    ending: SigSet,
    /// The signal that has arrived, and the end of the wait.
    end: Option<(Signal, Instant)>,
}

impl Patience {
    pub(crate) fn new() -> Result<Patience> {
        // The kernel keeps a blocked signal even if the caller ignores it.
        let ending = asking();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&ending, flags).context("open a signal descriptor")?;
        Ok(Patience { signals, ending, end: None })
    }

    /// Sleeps until `fd` has something to read or is closed, or for `time`, or until a signal
    /// arrives. Returns whether to read from `fd`. Fails a while after a signal that asks the
    /// runner to end, with the exit status for it.
    pub(crate) fn sleep(&mut self, fd: Option<BorrowedFd<'_>>, time: PollTimeout) -> Result<bool> {
        let time = match self.end {
            None => time,
            Some((signal, end)) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ended_by(signal));
                }
                // A wait with a time of its own is shorter, and repeats.
                if time.is_none() { left.try_into().unwrap_or(PollTimeout::MAX) } else { time }
            }
        };
        let on = if self.end.is_none() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), on)];
        fds.extend(fd.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        poll_for(&mut fds, time)?;
        if has_something(&fds[0]) {
            let come = pending();
            let signal = self.ending.iter().find(|signal| come.contains(*signal));
            self.end = signal.map(|signal| (signal, Instant::now() + AFTER_A_SIGNAL));
        }
        Ok(fds.get(1).and_then(PollFd::any).unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_and_a_number() {
        for (name, number) in [
            ("SIGTERM", libc::SIGTERM),
            ("QUIT", libc::SIGQUIT),
            ("sigint", libc::SIGINT),
            ("9", libc::SIGKILL),
            ("SIGRTMIN+3", libc::SIGRTMIN() + 3),
        ] {
            assert_eq!(signal_number(name).expect(name), number);
        }
        for name in ["", "SIG", "0", "-9", "65", "SIGNO", "RTMIN+99", "RTMIN+2147483647"] {
            assert!(signal_number(name).is_err(), "{name}");
        }
    }
}
