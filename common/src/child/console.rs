//! Gives the caller's terminal a name in the container, and replaces devices of the host.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::termios::tcgetsid;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, ttyname};

use crate::Bind;

/// The names of terminals in a container. There is more than one only for a redirection to
/// another terminal.
const CONSOLES: [&str; 3] = ["/dev/console", "/dev/console1", "/dev/console2"];

/// The other devices that standard input, output and error may be, and their numbers.
const DEVICES: [(&str, u64); 6] = [
    ("/dev/null", makedev(1, 3)),
    ("/dev/zero", makedev(1, 5)),
    ("/dev/full", makedev(1, 7)),
    ("/dev/random", makedev(1, 8)),
    ("/dev/urandom", makedev(1, 9)),
    ("/dev/tty", TTY),
];

/// The device /dev/tty.
const TTY: u64 = makedev(5, 0);

/// Whether each container of lesson 10 has the device with this number.
pub(crate) fn is_usual(number: u64) -> bool {
    DEVICES.iter().any(|(_, known)| *known == number)
}

/// The terminals on standard input, output and error, the first as `/dev/console` of the
/// container. In the container's own /dev/pts, the terminal's host name is missing or
/// belongs to another terminal. They are read-only, so the owner and mode stay as they are.
pub fn console() -> Vec<Bind> {
    let names = [ttyname(io::stdin()), ttyname(io::stdout()), ttyname(io::stderr())];
    let mut binds = Vec::<Bind>::new();
    for host in names.into_iter().flatten() {
        // Each process has another terminal by the name /dev/tty.
        if host != Path::new("/dev/tty") && binds.iter().all(|bind| bind.host != host) {
            let inside = CONSOLES[binds.len()].into();
            binds.push(Bind { host, inside, read_only: true });
        }
    }
    binds
}

/// Opens each device on standard input, output and error again, by its name in the
/// container: ttyname(3) then finds the terminal, and the mount of the host, where root could
/// change the mode of the device, is out of reach. A device of another user, which this user
/// cannot open, stays.
///
/// # Errors
///
/// When a descriptor cannot be replaced; dup2(2).
pub fn use_devices() -> Result<()> {
    let doing = "use a device of the container";
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    if let Some(device) = in_container(&stdin) {
        dup2_stdin(device).context(doing)?;
    }
    if let Some(device) = in_container(&stdout) {
        dup2_stdout(device).context(doing)?;
    }
    if let Some(device) = in_container(&stderr) {
        dup2_stderr(device).context(doing)?;
    }
    Ok(())
}

/// Lets another user of the container open standard input, output and error again, by names such
/// as /dev/stderr. Call it before this process becomes that user.
///
/// A pipe gets the mode for it: only a process that has the pipe can name it. The host's mode of
/// a terminal stays. In its place is /dev/tty, which everybody can open.
///
/// # Errors
///
/// When a descriptor cannot be replaced; dup2(2).
pub fn open_to_users() -> Result<()> {
    let doing = "use /dev/tty of the container";
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    open_pipe(&stdin, Mode::S_IRGRP | Mode::S_IROTH);
    open_pipe(&stdout, Mode::S_IWGRP | Mode::S_IWOTH);
    open_pipe(&stderr, Mode::S_IWGRP | Mode::S_IWOTH);
    if let Some(device) = as_tty(&stdin) {
        dup2_stdin(device).context(doing)?;
    }
    if let Some(device) = as_tty(&stdout) {
        dup2_stdout(device).context(doing)?;
    }
    if let Some(device) = as_tty(&stderr) {
        dup2_stderr(device).context(doing)?;
    }
    Ok(())
}

/// The file system of pipes without a name; PIPEFS_MAGIC in statfs(2).
const PIPES: FsType = FsType(0x5049_5045);

/// Adds to the mode of a pipe without a name in a file system.
fn open_pipe(stream: &impl AsFd, more: Mode) {
    let Ok(found) = fstat(stream) else { return };
    let is_pipe = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFIFO.bits();
    if is_pipe && fstatfs(stream).is_ok_and(|it| it.filesystem_type() == PIPES) {
        // An error means that it is another user's.
        let _ = fchmod(stream, Mode::from_bits_truncate(found.st_mode) | more);
    }
}

/// The controlling terminal by the name /dev/tty, if the stream is that terminal.
fn as_tty(stream: &impl AsFd) -> Option<OwnedFd> {
    // Any other terminal is an error.
    tcgetsid(stream.as_fd()).ok()?;
    let flags = OFlag::from_bits_truncate(fcntl(stream, FcntlArg::F_GETFL).ok()?);
    let flags = flags & (OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_NONBLOCK);
    let device = open("/dev/tty", flags | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty());
    let device = device.ok()?;
    // A learner's /dev may have another file there.
    (fstat(&device).ok()?.st_rdev == TTY).then_some(device)
}

/// The same device, opened for the same purpose in the container.
fn in_container(stream: &impl AsFd) -> Option<OwnedFd> {
    let known = fstat(stream).ok()?;
    if known.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFCHR.bits() {
        return None;
    }
    let name = match DEVICES.iter().find(|(_, number)| *number == known.st_rdev) {
        Some((name, _)) => name,
        // A terminal of another devpts has the same number.
        None => CONSOLES.into_iter().find(|name| {
            fs::metadata(name).is_ok_and(|it| (it.dev(), it.ino()) == (known.st_dev, known.st_ino))
        })?,
    };
    let flags = OFlag::from_bits_truncate(fcntl(stream, FcntlArg::F_GETFL).ok()?);
    let flags = flags & (OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_NONBLOCK);
    let device = open(name, flags | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    // A learner's /dev may have another file there.
    (fstat(&device).ok()?.st_rdev == known.st_rdev).then_some(device)
}
