//! Lesson 18: a terminal of the container's own. Lesson 19: its other side is the
//! engine's.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::Root;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect,
    sendmsg, socket,
};
use serde::Deserialize;

use crate::mounts::bind;
use crate::options::Change;
use crate::process::Process;

/// The size of the terminal, in characters.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    height: u16,
    width: u16,
}

/// Makes a pseudoterminal of the container, and perhaps the device /dev/console for it.
/// Gives the other side to the runner. Nothing if the configuration wants none.
pub(crate) fn open(
    process: &Process,
    root: &Root,
    console: bool,
) -> Result<Option<OwnedFd>> {
    if !process.terminal {
        return Ok(None);
    }
    let ptmx = root.find("/dev/pts/ptmx")?;
    let ptmx = ptmx.context("open /dev/pts/ptmx: mount a devpts on /dev/pts")?;
    let (ours, theirs) = common::open_pseudoterminal(&ptmx)?;
    if let Some(Size { height, width }) = process.console_size {
        common::resize(&theirs, height, width).context("set process.consoleSize")?;
    }
    if console {
        let place = root.place(Path::new("/dev/console"), false)?;
        bind(&theirs, &place, Change::default())
            .context("bind the terminal to /dev/console")?;
    }
    common::give_terminal(&ours)?;
    Ok(Some(theirs))
}

/// Refuses a terminal without a place for its other side, and a place without a terminal.
pub(crate) fn check(process: &Process, has_socket: bool, relays: bool) -> Result<()> {
    let wants_one = process.terminal;
    ensure!(
        !wants_one || has_socket || relays,
        "process.terminal needs --console-socket; give it"
    );
    ensure!(
        wants_one || !has_socket,
        "--console-socket needs process.terminal; leave it out"
    );
    Ok(())
}

/// How long an engine may take to accept. The container is locked meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends the engine's side of a terminal to its socket; SCM_RIGHTS in unix(7).
pub(crate) fn send(terminal: &OwnedFd, place: &Path) -> Result<()> {
    let send = || -> Result<()> {
        // The path may be too long for a socket.
        let (_open, short) = common::directory_of(place)?;
        let address = UnixAddr::new(&short)?;
        let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let stream = UnixStream::from(socket(AddressFamily::Unix, kind, flags, None)?);
        // connect(2), too, waits at most for this time; SO_SNDTIMEO in socket(7).
        stream.set_write_timeout(Some(PATIENCE))?;
        match connect(stream.as_raw_fd(), &address) {
            Err(Errno::EAGAIN) => bail!("nobody accepts it there"),
            connected => connected?,
        }
        let (text, numbers) = ([IoSlice::new(b"/dev/ptmx")], [terminal.as_raw_fd()]);
        let (rights, flags) =
            ([ControlMessage::ScmRights(&numbers)], MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(stream.as_raw_fd(), &text, &rights, flags, None)?;
        Ok(())
    };
    send().with_context(|| format!("send the terminal to {}", place.display()))
}
