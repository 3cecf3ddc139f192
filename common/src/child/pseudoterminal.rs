//! A terminal of the container's own: a pseudoterminal, whose other side the runner has.
//! pts(4), pty(7).

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use libc::{c_int, winsize};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::child::clone::spawn;
use crate::child::console::{PTMX, put};
use crate::child::signals::{self, Signals};
use crate::child::wait::{is_ready, poll_on};
use crate::{Exit, Place};

/// Opens a new pseudoterminal by its ptmx. Returns the side of the runner, and that of the
/// command. Fails when the place is another file, or the kernel refuses a call; ioctl_tty(2).
pub fn open_pseudoterminal(ptmx: &Place) -> Result<(OwnedFd, OwnedFd)> {
    let doing = || format!("open {ptmx}");
    ensure!(fstat(ptmx).with_context(doing)?.st_rdev == PTMX, "{}: it is another file", doing());
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = open(&*ptmx.name(), flags, Mode::empty()).with_context(doing)?;
    let unlocked: c_int = 0;
    #[allow(unsafe_code, reason = "nix's openpty needs a mounted /dev/pts by its name")]
    // SAFETY: the first call reads `unlocked`. The second takes flags, and returns a new
    // descriptor, which nothing else has.
    let theirs = unsafe {
        let set = libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlocked);
        Errno::result(set).with_context(doing)?;
        let opened = libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER as _, flags.bits());
        OwnedFd::from_raw_fd(Errno::result(opened).with_context(doing)?)
    };
    Ok((ours, theirs))
}

/// Sets the size of a terminal, in characters.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let number = terminal.as_fd().as_raw_fd();
    #[allow(unsafe_code, reason = "nix has no TIOCSWINSZ")]
    // SAFETY: the kernel reads `size`.
    let set = unsafe { libc::ioctl(number, libc::TIOCSWINSZ as _, &raw const size) };
    Errno::result(set).map(drop)
}

/// Makes a terminal the controlling one of this session, and its standard streams.
pub fn use_terminal(terminal: &OwnedFd) -> Result<()> {
    let doing = "use the terminal";
    const NOT_BY_FORCE: c_int = 0;
    #[allow(unsafe_code, reason = "nix has no TIOCSCTTY")]
    // SAFETY: the call takes a number.
    let set = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as _, NOT_BY_FORCE) };
    Errno::result(set).context(doing)?;
    (0..3).try_for_each(|number| put(terminal, number)).context(doing)
}

/// Copies between a pseudoterminal and the caller's standard streams, in two processes of
/// the runner.
pub struct Relay {
    input: Pid,
    output: Pid,
    /// Shut down at the end of the command.
    line: UnixStream,
    /// The modes of the caller's terminal from before.
    modes: Option<Termios>,
}

impl Relay {
    /// Starts to copy. The caller's terminal, if it has one, no longer makes signals of keys:
    /// that of the container does.
    pub fn start(terminal: OwnedFd) -> Result<Relay> {
        let modes = tcgetattr(io::stdin()).ok();
        let mut terminal = File::from(terminal);
        copy_size(&terminal);
        let (line, theirs) = UnixStream::pair().context("open a line to the relay")?;
        let output = beside(|| give_output(&terminal, &theirs))?;
        let input = beside(|| {
            // Its end does not end the command.
            let _ = io::copy(&mut io::stdin().lock(), &mut terminal);
            Ok(())
        })?;
        if let Some(mut raw) = modes.clone() {
            cfmakeraw(&mut raw);
            tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).context("set the terminal")?;
        }
        Ok(Relay { input, output, line, modes })
    }
}

impl Drop for Relay {
    /// Waits until all output of the ended command is copied.
    fn drop(&mut self) {
        // An error means that the process has ended, here and below.
        let _ = self.line.shutdown(Shutdown::Write);
        let _ = waitpid(self.output, None);
        // The runner may have waited for it, and another process may have its number.
        if waitpid(self.input, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive) {
            signals::send(self.input, libc::SIGKILL);
            let _ = waitpid(self.input, None);
        }
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, modes);
        }
    }
}

/// Starts a process that dies with this one.
fn beside(work: impl FnOnce() -> Result<()>) -> Result<Pid> {
    spawn(|| {
        set_pdeathsig(Signal::SIGKILL).context("ask to die with the runner")?;
        work().map(|()| Exit::SUCCESS)
    })
}

/// Copies output, and each new size of the caller's terminal, until nobody has the other
/// side of the pseudoterminal, or the runner shuts down the line. Then copies what is left.
fn give_output(terminal: &File, line: &UnixStream) -> Result<()> {
    let mut signals = Signals::new()?;
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(terminal.as_fd(), PollFlags::POLLIN),
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
        ];
        poll_on(&mut fds)?;
        let [_, has_output, is_over] = fds.map(|fd| fd.any().unwrap_or(false));
        while let Some(signal) = signals.next()? {
            if signal.number == libc::SIGWINCH {
                copy_size(terminal);
            }
        }
        if has_output && give_some(terminal)? == 0 {
            return Ok(());
        }
        if is_over {
            return give_rest(terminal);
        }
    }
}

/// More bytes than the kernel keeps for a reader of a pseudoterminal: at most 8 KiB, the page
/// after them, and the 4 KiB of the line discipline.
const MOST_LEFT: usize = 1 << 16;

/// Copies what the ended command has written. A process that is left may have the other side of
/// the pseudoterminal for ever, and write to it, so its close and a silence mark no end. But
/// bytes come in order. And poll(2) of a terminal first waits for bytes that are on their way,
/// since Linux 4.5.
fn give_rest(terminal: &File) -> Result<()> {
    let mut left = MOST_LEFT;
    while left > 0 && is_ready(terminal, PollFlags::POLLIN)? {
        match give_some(terminal)? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// Copies what is there, as far as one read goes. Returns the number of bytes: none when the last
/// process has closed its side, EIO.
fn give_some(mut terminal: &File) -> Result<usize> {
    let mut bytes = [0; 4096];
    let count = terminal.read(&mut bytes).unwrap_or(0);
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(&bytes[..count]).and_then(|()| stdout.flush());
    written.context("write the output").map(|()| count)
}

/// Gives the pseudoterminal the size of the caller's terminal, if there is one.
fn copy_size(terminal: &File) {
    let mut size = winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    if !io::stdin().is_terminal() {
        return;
    }
    #[allow(unsafe_code, reason = "nix has no TIOCGWINSZ")]
    // SAFETY: the kernel writes only to `size`.
    let got = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCGWINSZ as _, &raw mut size) };
    // A terminal without a size says nothing.
    if got == 0 && size.ws_row > 0 {
        // The terminal may be gone.
        let _ = resize(terminal, size.ws_row, size.ws_col);
    }
}
