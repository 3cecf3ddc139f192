//! The line between the runner and the child: a pair of sockets.

use std::io::{IoSlice, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::fcntl::OFlag;
use nix::sys::socket::sockopt::PassCred;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, sendmsg, setsockopt,
};
use nix::unistd::{Pid, pipe2, write};

use crate::Exit;
use crate::child::clone::work_and_exit;

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

/// The byte with which a process says that it becomes the command. It is the number of no signal.
pub(crate) const START: u8 = 127;

/// Waits in the child until the runner has done what this meeting is for, such as a network:
/// see [`Child::meet`]. Without a reason, there is no meeting.
///
/// [`Child::meet`]: crate::Child::meet
pub fn wait_for_runner<T>(reason: Option<T>) -> Result<()> {
    reason.map_or(Ok(()), |_| meet(&[]).context("wait for the runner"))
}

/// Gives the runner a terminal, and waits until it has it: see [`Child::take_terminal`].
///
/// [`Child::take_terminal`]: crate::Child::take_terminal
pub fn give_terminal(terminal: impl AsFd) -> Result<()> {
    let numbers = [terminal.as_fd().as_raw_fd()];
    meet(&[ControlMessage::ScmRights(&numbers)]).context("give the terminal to the runner")
}

/// Says that the child waits, and waits for the answer.
fn meet(extra: &[ControlMessage<'_>]) -> Result<()> {
    let Some(mut line) = LINE.get() else { return Ok(()) };
    send(line, READY, extra)?;
    // Without a byte, the runner is being killed, and this process with it.
    if line.read(&mut [0])? == 0 {
        work_and_exit(|| Ok(Exit::SETUP));
    }
    Ok(())
}

fn send(line: &UnixStream, byte: u8, extra: &[ControlMessage<'_>]) -> nix::Result<usize> {
    let line = line.as_raw_fd();
    sendmsg::<()>(line, &[IoSlice::new(&[byte])], extra, MsgFlags::MSG_NOSIGNAL, None)
}

/// The child's end; nothing in a process that no runner has cloned.
pub(crate) fn childs_end() -> Option<&'static UnixStream> {
    LINE.get()
}

/// A pipe to the runner. execve(2) closes it. If the process drops it, the command was not
/// executed, and the runner hears that.
#[must_use = "keep it until the command is executed"]
pub struct Told(OwnedFd);

impl Drop for Told {
    fn drop(&mut self) {
        // An error means that the runner is gone.
        let _ = write(&self.0, &[0]);
    }
}

/// Tells the runner that this process becomes the command: see [`Keep::executed`]. The message
/// has the other end of a pipe, and the ID of this process. The kernel turns the ID into the
/// ID that the runner sees; unix(7).
///
/// [`Keep::executed`]: crate::Keep::executed
pub fn tell_start() -> Result<Told> {
    let doing = "tell the runner which process is the command";
    let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).context(doing)?;
    if let Some(line) = LINE.get() {
        let (id, ends) = (UnixCredentials::new(), [theirs.as_raw_fd()]);
        let extra = [ControlMessage::ScmCredentials(&id), ControlMessage::ScmRights(&ends)];
        send(line, START, &extra).context(doing)?;
    }
    Ok(Told(ours))
}

/// The start of a command, as the runner hears of it.
pub(crate) struct Start {
    /// The process that becomes the command.
    pub(crate) command: Pid,
    /// Has something to read when the command is executed or has failed.
    pub(crate) pipe: OwnedFd,
}

/// Lets the runner's end receive the ID of a process; SO_PASSCRED in unix(7).
pub(crate) fn expect_start(line: &UnixStream) -> Result<()> {
    setsockopt(line, PassCred, &true).context("use the line to the child")
}

/// What came with the bytes of a message: the ID of a process, and a descriptor.
pub(crate) type Extra = (Option<Pid>, Option<OwnedFd>);

/// Reads from the runner's end, as read(2), and what comes with the bytes.
pub(crate) fn receive(line: &UnixStream, bytes: &mut [u8]) -> nix::Result<(usize, Extra)> {
    let mut space = cmsg_space!(UnixCredentials, RawFd);
    let mut into = [IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(line.as_raw_fd(), &mut into, Some(&mut space), flags)?;
    let (mut process, mut file) = (None, None);
    for extra in message.cmsgs()? {
        match extra {
            ControlMessageOwned::ScmCredentials(id) => process = Some(Pid::from_raw(id.pid())),
            ControlMessageOwned::ScmRights(numbers) => {
                for number in numbers {
                    #[allow(unsafe_code, reason = "nix returns received descriptors as numbers")]
                    // SAFETY: the kernel has just made the descriptor, and nothing else has it.
                    let received = unsafe { OwnedFd::from_raw_fd(number) };
                    file = Some(received);
                }
            }
            _ => {}
        }
    }
    Ok((message.bytes, (process, file)))
}

impl Start {
    pub(crate) fn of((process, pipe): Extra) -> Option<Start> {
        Some(Start { command: process?, pipe: pipe? })
    }

    /// Whether the command is executed. Waits until it is, or has failed.
    pub(crate) fn is_executed(&self) -> bool {
        nix::unistd::read(&self.pipe, &mut [0]) == Ok(0)
    }
}
