//! Gives the caller's terminal a name in the container, and replaces devices of the host.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
pub(crate) const TTY: u64 = makedev(5, 0);

/// The device /dev/ptmx.
pub(crate) const PTMX: u64 = makedev(5, 2);

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

/// Opens each device on standard input, output and error again, by its name in the container:
/// ttyname(3) then finds the terminal, and the mount of the host, where root could change the mode
/// of the device, is out of reach. A device of another user, which this user cannot open, stays.
pub fn use_devices() -> Result<()> {
    replace(|stream| in_container(&stream)).context("use a device of the container")
}

/// Replaces standard input, output and error, where `other` has another file.
fn replace(other: impl Fn(BorrowedFd<'_>) -> Option<OwnedFd>) -> nix::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for (number, stream) in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().enumerate()
    {
        other(stream).map_or(Ok(()), |file| put(file, number))?;
    }
    Ok(())
}

/// Puts a file on standard input, output or error, by their numbers 0, 1 and 2; dup2(2).
pub(crate) fn put(file: impl AsFd, number: usize) -> nix::Result<()> {
    match number {
        0 => dup2_stdin(file),
        1 => dup2_stdout(file),
        _ => dup2_stderr(file),
    }
}

/// Lets another user of the container open standard input, output and error again, by names such
/// as /dev/stderr. Call it before this process becomes that user.
///
/// A pipe gets the mode for it: only a process that has the pipe can name it. The host's mode of
/// a terminal stays. In its place is /dev/tty, which everybody can open.
pub fn open_to_users() -> Result<()> {
    open_pipe(&io::stdin(), Mode::S_IRGRP | Mode::S_IROTH);
    open_pipe(&io::stdout(), Mode::S_IWGRP | Mode::S_IWOTH);
    open_pipe(&io::stderr(), Mode::S_IWGRP | Mode::S_IWOTH);
    replace(|stream| as_tty(&stream)).context("use /dev/tty of the container")
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
    for_same_purpose(stream, "/dev/tty", TTY)
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
    for_same_purpose(stream, name, known.st_rdev)
}

/// The device with this name and number, opened as the stream is.
fn for_same_purpose(stream: &impl AsFd, name: &str, number: u64) -> Option<OwnedFd> {
    let flags = OFlag::from_bits_truncate(fcntl(stream, FcntlArg::F_GETFL).ok()?);
    let flags = flags & (OFlag::O_ACCMODE | OFlag::O_APPEND | OFlag::O_NONBLOCK);
    let device = open(name, flags | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    // A learner's /dev may have another file there.
    (fstat(&device).ok()?.st_rdev == number).then_some(device)
}
