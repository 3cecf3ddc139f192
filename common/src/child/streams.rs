//! Keeps the caller's files on standard input, output and error out of the container: a
//! process outside copies between each file and a pipe.
//!
//! With the file itself, root inside could open it again in `/proc/self/fd` for another
//! purpose, change its mode, or reach the host's tree if it is a directory.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::wait::waitpid;
use nix::unistd::{close, isatty, pipe2, setsid};

use crate::Exit;
use crate::child::clone::spawn;
use crate::child::console::{PTMX, TTY, is_usual, put};
use crate::child::signals::{self, Patience};
use crate::child::terminal::Terminal;
use crate::child::wait::{is_ready, poll_on};
use crate::said::doing::Doing;
use crate::said::error::report;

const NAMES: [&str; 3] = ["standard input", "standard output", "standard error"];

/// The socket to the process that copies.
pub(crate) struct Copier {
    line: UnixStream,
}

/// A pipe in the place of a file of the caller.
struct Pipe {
    /// The device and the inode of the file.
    id: (u64, u64),
    is_output: bool,
    /// The descriptors of the file.
    numbers: Vec<usize>,
    file: File,
    /// For an input, it shows at the end what the container has left.
    reader: File,
    /// Nothing after the end of an input: then the container finds the end.
    writer: Option<File>,
    /// How many bytes of an input are written to the pipe.
    sent: usize,
}

impl Copier {
    /// Replaces each file on descriptors 0, 1 and 2 of this process with a pipe, and starts
    /// the process that copies. Does nothing if none of them is a file. Refuses a descriptor
    /// that is neither a file nor a pipe, a socket, a terminal or a usual device.
    pub(crate) fn start() -> Result<Option<Copier>> {
        let streams = (io::stdin(), io::stdout(), io::stderr());
        let streams = [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()];
        let mut pipes = Vec::<Pipe>::new();
        for (number, stream) in streams.into_iter().enumerate() {
            let Some((id, is_output)) = look(stream, number)? else { continue };
            // In `>file 2>&1` the order of the lines counts.
            match pipes.iter_mut().find(|pipe| is_output && pipe.is_output && pipe.id == id) {
                Some(pipe) => pipe.numbers.push(number),
                None => {
                    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make a pipe")?;
                    let file = stream.try_clone_to_owned().context("keep a file")?.into();
                    let (reader, writer) = (reader.into(), Some(writer.into()));
                    let numbers = vec![number];
                    pipes.push(Pipe { id, is_output, numbers, file, reader, writer, sent: 0 });
                }
            }
        }
        if pipes.is_empty() {
            return Ok(None);
        }
        let (line, theirs) = UnixStream::pair().context("open a line to the copier")?;
        let pid = spawn(|| {
            // Nothing here drops the runner's end.
            close(line.as_raw_fd()).context("close the line of the runner")?;
            // The only child of the runner is the container's.
            spawn(|| copy(&theirs, &mut pipes))?;
            Ok(Exit::SUCCESS)
        })?;
        // An error means that the caller ignores the end of children.
        let _ = waitpid(pid, None);
        for Pipe { is_output, numbers, reader, writer, .. } in &pipes {
            let end = writer.as_ref().filter(|_| *is_output).unwrap_or(reader);
            for number in numbers {
                put(end, *number).context("replace a file with a pipe")?;
            }
        }
        Ok(Some(Copier { line }))
    }

    /// Waits until all that the container has written is in the files. Returns the status of
    /// the container, or a failure in the place of a success. A signal ends the wait: a file
    /// of a network may hang.
    pub(crate) fn finish(mut self, exit: Exit) -> Exit {
        match self.answer() {
            Ok(COPIED) => exit,
            Ok(_) if exit == Exit::SUCCESS => Exit::SETUP,
            Ok(_) => exit,
            Err(error) => report(&error),
        }
    }

    /// Waits for the answer of the copier. After its end, there is none.
    fn answer(&mut self) -> Result<u8> {
        let doing = "wait for the copier";
        // An error means that it has ended.
        let _ = self.line.shutdown(Shutdown::Write);
        let mut patience = Patience::new()?;
        while !patience.sleep(Some(self.line.as_fd()), PollTimeout::NONE).context(doing)? {}
        let mut answer = [0];
        let _ = self.line.read(&mut answer);
        Ok(answer[0])
    }
}

/// The answer when all is in the files.
const COPIED: u8 = 1;

/// Looks at what the caller opened. Returns the device and inode of a regular file, and
/// whether the container writes to it.
fn look(stream: BorrowedFd<'_>, number: usize) -> Result<Option<((u64, u64), bool)>> {
    let name = NAMES[number];
    let doing = || format!("look at {name}");
    let file = fstat(stream).with_context(doing)?;
    let flags = fcntl(stream, FcntlArg::F_GETFL).with_context(doing)?;
    let flags = OFlag::from_bits_truncate(flags);
    match SFlag::from_bits_truncate(file.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => bail!(
            "{name} is a directory of the host, and the container could leave its root there; name a file"
        ),
        // It is only a name, and the container could not read or write there.
        _ if flags.contains(OFlag::O_PATH) => {}
        SFlag::S_IFREG => {
            let is_output = match flags & OFlag::O_ACCMODE {
                OFlag::O_RDONLY => false,
                OFlag::O_WRONLY => true,
                _ => number > 0,
            };
            return Ok(Some(((file.st_dev, file.st_ino), is_output)));
        }
        SFlag::S_IFIFO | SFlag::S_IFSOCK => return Ok(None),
        // In a session without a terminal, the container could not open its own.
        SFlag::S_IFCHR if file.st_rdev == TTY && Terminal::of_streams().is_none() => bail!(
            "{name} is /dev/tty, which the container has only if standard input and output both are the terminal; name the terminal as tty(1) prints it"
        ),
        // The other side of a terminal is one, too.
        SFlag::S_IFCHR
            if is_usual(file.st_rdev)
                || file.st_rdev != PTMX && isatty(stream).unwrap_or(false) =>
        {
            return Ok(None);
        }
        _ => {}
    }
    bail!(
        "{name} is no file, pipe, socket, terminal or device such as /dev/null, and the container could use it on the host"
    )
}

impl Pipe {
    /// Keeps only this side of the pipe, without waiting at it: the container can open it too,
    /// and fill or empty the pipe before a call here.
    fn take_side(&mut self) -> Result<()> {
        self.writer.take_if(|_| self.is_output);
        let ours = self.writer.as_ref().unwrap_or(&self.reader);
        fcntl(ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("use a pipe").map(drop)
    }

    /// Moves to the file what is in the pipe. Returns the number of bytes, or nothing at the
    /// end. Reports an error.
    fn drain(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let moved = match self.reader.read(buffer) {
            Ok(0) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(0)),
            Ok(count) => {
                self.file.write_all(&buffer[..count]).with_context(Doing::print).map(|()| count)
            }
            Err(error) => Err(error).context("read a pipe"),
        };
        moved.map(Some).inspect_err(|error| {
            report(error);
        })
    }

    /// Moves as much of the file to the pipe as it takes at once. Closes the pipe at the end of
    /// the file, and after an error, which this reports.
    fn feed(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(pipe) = &mut self.writer else { return Ok(()) };
        // Without room, the position in the file stays: other programs may share it.
        if !is_ready(&*pipe, PollFlags::POLLOUT)? {
            return Ok(());
        }
        let mut moved = || {
            let count = self.file.read(buffer).context("read standard input")?;
            let sent = match pipe.write(&buffer[..count]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                sent => sent.context("write standard input to a pipe")?,
            };
            go_back(&mut self.file, count - sent)?;
            self.sent += sent;
            Ok(count > 0)
        };
        if !moved().unwrap_or_else(|error: anyhow::Error| report(&error) == Exit::SUCCESS) {
            self.writer = None;
        }
        Ok(())
    }

    /// Lets the caller go on after the last byte that the container has read; lseek(2).
    fn give_back(&mut self, buffer: &mut [u8]) -> Result<()> {
        fcntl(&self.reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("empty a pipe")?;
        let mut unread = 0;
        while let Ok(count @ 1..) = self.reader.read(buffer) {
            unread += count;
        }
        // The container can also write to its pipe.
        go_back(&mut self.file, unread.min(self.sent))
    }
}

fn go_back(file: &mut File, count: usize) -> Result<()> {
    let back = i64::try_from(count).context("count what is left")?;
    file.seek(SeekFrom::Current(-back)).context("go back in standard input").map(drop)
}

/// Copies until the runner has finished or ended, and then what is left in the pipes.
fn copy(mut line: &UnixStream, pipes: &mut Vec<Pipe>) -> Result<Exit> {
    // The keys of the terminal are for the container, which may write until its end.
    setsid().context("begin a session")?;
    // The error of write(2) says the same.
    signals::ignore([Signal::SIGPIPE]);
    pipes.iter_mut().try_for_each(Pipe::take_side)?;
    let (mut buffer, mut failed) = (vec![0; 1 << 16], false);
    loop {
        let over = sleep(line, pipes)?;
        let (before, mut copied) = (pipes.len(), false);
        pipes.retain_mut(|pipe| {
            let moved = if pipe.is_output { pipe.drain(&mut buffer) } else { Ok(Some(0)) };
            copied |= matches!(moved, Ok(Some(1..)));
            failed |= moved.is_err();
            matches!(moved, Ok(Some(_)))
        });
        if over && !copied && before == pipes.len() {
            break;
        }
        pipes.iter_mut().try_for_each(|pipe| pipe.feed(&mut buffer))?;
    }
    for input in pipes.iter_mut().filter(|pipe| !pipe.is_output) {
        input.give_back(&mut buffer)?;
    }
    if !failed {
        // An error means that the runner is gone.
        let _ = line.write_all(&[COPIED]);
    }
    Ok(Exit::SUCCESS)
}

/// Sleeps until there is something to copy. Returns whether the runner has finished or ended.
fn sleep(line: &UnixStream, pipes: &[Pipe]) -> Result<bool> {
    let mut fds = vec![PollFd::new(line.as_fd(), PollFlags::POLLIN)];
    fds.extend(pipes.iter().filter_map(|pipe| match &pipe.writer {
        _ if pipe.is_output => Some(PollFd::new(pipe.reader.as_fd(), PollFlags::POLLIN)),
        Some(writer) => Some(PollFd::new(writer.as_fd(), PollFlags::POLLOUT)),
        None => None,
    }));
    poll_on(&mut fds)?;
    Ok(fds[0].any().unwrap_or(false))
}
