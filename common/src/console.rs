//! Gives the caller's terminal a name in the container.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, ttyname};

use crate::Bind;

/// The terminal's name in a container.
const CONSOLE: &str = "/dev/console";

/// The terminal on standard input as `/dev/console` of the container, if standard
/// input is a terminal. In the container's own /dev/pts, the terminal's host name
/// is missing or belongs to another terminal.
pub fn console() -> Option<Bind> {
    let host = ttyname(io::stdin()).ok()?;
    Some(Bind { host, inside: CONSOLE.into(), read_only: false })
}

/// Opens standard input, output and error again as `/dev/console`, so that
/// ttyname(3) finds the name. Does nothing without a console, or if another user
/// owns the terminal.
///
/// # Errors
///
/// When a descriptor cannot be replaced; dup2(2).
pub fn use_console() -> Result<()> {
    let Ok(found) = fs::metadata(CONSOLE) else { return Ok(()) };
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let Ok(console) = open(CONSOLE, flags, Mode::empty()) else { return Ok(()) };
    let is_console = |stream: nix::Result<libc::stat>| {
        stream.is_ok_and(|it| (it.st_dev, it.st_ino) == (found.dev(), found.ino()))
    };
    let doing = "use the terminal by the name of /dev/console";
    if is_console(fstat(io::stdin())) {
        dup2_stdin(&console).context(doing)?;
    }
    if is_console(fstat(io::stdout())) {
        dup2_stdout(&console).context(doing)?;
    }
    if is_console(fstat(io::stderr())) {
        dup2_stderr(&console).context(doing)?;
    }
    Ok(())
}
