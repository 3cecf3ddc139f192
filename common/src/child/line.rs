//! The line between the runner and the child: a pair of sockets.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::Exit;
use crate::child::process::work_and_exit;

/// In the child: its end of the socket to the runner.
static LINE: OnceLock<UnixStream> = OnceLock::new();

/// The bit that marks a signal as the end of the command, in a byte on the socket.
pub(crate) const ENDED: u8 = 0x80;

/// Keeps the child's end of the socket open as long as the child lives.
pub(crate) fn keep(line: UnixStream) {
    // The first and only value: a process calls `clone` once.
    let _ = LINE.set(line);
}

/// The byte with which the child says that it waits, and the runner's answer. It is the number
/// of no signal.
pub(crate) const READY: u8 = 0;

/// Waits in the child until the runner has done what this meeting is for, such as a network:
/// see [`Child::meet`]. Without a reason, there is no meeting.
///
/// [`Child::meet`]: crate::Child::meet
///
/// # Errors
///
/// When the socket to the runner fails.
pub fn wait_for_runner<T>(reason: Option<T>) -> Result<()> {
    let Some(mut line) = LINE.get().filter(|_| reason.is_some()) else { return Ok(()) };
    let doing = "wait for the runner";
    line.write_all(&[READY]).context(doing)?;
    // Without a byte, the runner is being killed, and this process with it.
    if line.read(&mut [0]).context(doing)? == 0 {
        work_and_exit(|| Ok(Exit::SETUP));
    }
    Ok(())
}

/// Gives the runner a terminal, and waits until it has it: see [`Child::take_terminal`].
///
/// [`Child::take_terminal`]: crate::Child::take_terminal
///
/// # Errors
///
/// When the socket to the runner fails.
pub fn give_terminal(terminal: impl AsFd) -> Result<()> {
    let Some(mut line) = LINE.get() else { return Ok(()) };
    let doing = "give the terminal to the runner";
    let numbers = [terminal.as_fd().as_raw_fd()];
    let (byte, rights) = ([IoSlice::new(&[READY])], [ControlMessage::ScmRights(&numbers)]);
    sendmsg::<()>(line.as_raw_fd(), &byte, &rights, MsgFlags::MSG_NOSIGNAL, None).context(doing)?;
    if line.read(&mut [0]).context(doing)? == 0 {
        work_and_exit(|| Ok(Exit::SETUP));
    }
    Ok(())
}

/// The child's end; nothing in a process that no runner has cloned.
pub(crate) fn childs_end() -> Option<&'static UnixStream> {
    LINE.get()
}
