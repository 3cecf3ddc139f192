//! Lesson 18: a terminal of the container's own. Lesson 19: its other side is the
//! engine's.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::Root;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;

use crate::mounts::{attach, copy};
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
        let console = copy(&theirs, false).context("copy the mount of the terminal")?;
        let place = root.place(Path::new("/dev/console"), false)?;
        attach(&console, &place).context("bind the terminal to /dev/console")?;
    }
    common::give_terminal(&ours)?;
    Ok(Some(theirs))
}

/// Refuses a terminal without a place for its other side, and a place without a terminal.
pub(crate) fn check(process: &Process, has_socket: bool, relays: bool) -> Result<()> {
    let Process { terminal, .. } = process;
    ensure!(
        !terminal || has_socket || relays,
        "process.terminal needs --console-socket; give it"
    );
    ensure!(
        *terminal || !has_socket,
        "--console-socket needs process.terminal; leave it out"
    );
    Ok(())
}

/// Sends the engine's side of a terminal to its socket; SCM_RIGHTS in unix(7).
pub(crate) fn send(terminal: &OwnedFd, socket: &Path) -> Result<()> {
    let doing = || format!("send the terminal to {}", socket.display());
    let (above, name) = socket.parent().zip(socket.file_name()).with_context(doing)?;
    // The path may be too long for a socket.
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let above = File::open(above).with_context(doing)?;
    let short = Path::new("/proc/self/fd").join(above.as_raw_fd().to_string()).join(name);
    let stream = UnixStream::connect(short).with_context(doing)?;
    let (text, numbers) = ([IoSlice::new(b"/dev/ptmx")], [terminal.as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&numbers)];
    let sent =
        sendmsg::<()>(stream.as_raw_fd(), &text, &rights, MsgFlags::MSG_NOSIGNAL, None);
    sent.map(drop).with_context(doing)
}
