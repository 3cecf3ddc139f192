//! Lesson 17: the output of a container in the background.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, pipe2};

/// When a file of the log is longer than this, in bytes, the next line begins another
/// file. A line without an end goes on there at twice that length. Two files are kept.
const LIMIT: u64 = 4 << 20;
const NAMES: [&str; 2] = ["stdout", "stderr"];
/// The bytes of a read, and the number of reads that empty a pipe.
const READ: usize = 1 << 14;
const MOST_READS: usize = 16;

/// The log that a keeper writes. Each line has the time, the stream, F or P, and the
/// text; P means that the line goes on. Kubernetes has logs of this format.
#[derive(Debug)]
pub(crate) struct Log {
    pipes: Vec<File>,
    /// Standard error of the caller, until the command runs.
    caller: Option<File>,
    dir: PathBuf,
    number: u64,
    file: Option<File>,
    length: u64,
    /// Whether the last line of each stream goes on.
    continues: [bool; 2],
    /// The bytes that did not fit on the disk.
    lost: usize,
}

/// A file of the log. The numbers grow.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("log.{number}"))
}

impl Log {
    /// Puts pipes in the place of standard output and error, and /dev/null in the place
    /// of standard input.
    pub(crate) fn begin() -> Result<Log> {
        let caller = io::stderr().as_fd().try_clone_to_owned()?;
        let (out, out_end) = pipe2(OFlag::O_CLOEXEC)?;
        let (err, err_end) = pipe2(OFlag::O_CLOEXEC)?;
        dup2_stdin(File::open("/dev/null")?)?;
        dup2_stdout(out_end)?;
        dup2_stderr(err_end)?;
        for pipe in [&out, &err] {
            // The container can open its pipe, and empty it before a read here.
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let (pipes, caller) = (vec![out.into(), err.into()], Some(caller.into()));
        let dir = PathBuf::new();
        let (file, continues) = (None, [false; 2]);
        Ok(Log { pipes, caller, dir, number: 0, file, length: 0, continues, lost: 0 })
    }

    /// From now on, the output goes to files in the directory `dir`.
    pub(crate) fn write_to(&mut self, dir: PathBuf) {
        (self.dir, self.caller) = (dir, None);
    }

    /// The ends of the pipes to read.
    pub(crate) fn pipes(&self) -> Vec<BorrowedFd<'_>> {
        self.pipes.iter().map(File::as_fd).collect()
    }

    /// Moves to the log what a pipe holds now.
    pub(crate) fn read(&mut self, number: usize) {
        let mut bytes = vec![0; READ];
        // An error means that the pipe is empty.
        let count = self.pipes[number].read(&mut bytes).unwrap_or(0);
        let bytes = &bytes[..count];
        match &mut self.caller {
            // The caller may have closed it.
            Some(caller) => drop(caller.write_all(bytes)),
            None if count > 0 => self.write(number, bytes),
            None => {}
        }
    }

    /// Moves to the log what is left after the end. Others may still write: a container
    /// can give its pipe away.
    pub(crate) fn finish(&mut self) {
        for number in 0..self.pipes.len() {
            for _ in 0..MOST_READS {
                self.read(number);
            }
        }
    }

    /// Writes a line for each line in `bytes`. What does not fit on the disk is lost; the
    /// container goes on.
    fn write(&mut self, number: usize, bytes: &[u8]) {
        let time = common::utc(SystemTime::now());
        let mut lines = Vec::with_capacity(2 * bytes.len());
        if self.lost > 0 {
            let lost = format!("{} bytes are lost: the disk was full", self.lost);
            lines.extend(format!("{time} stderr F {lost}\n").into_bytes());
        }
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let tag = if line.ends_with(b"\n") { "F" } else { "P" };
            lines.extend(format!("{time} {} {tag} ", NAMES[number]).into_bytes());
            lines.extend(line.strip_suffix(b"\n").unwrap_or(line));
            lines.push(b'\n');
        }
        let appended = self.append(&lines);
        self.continues[number] = !bytes.ends_with(b"\n");
        match appended {
            Ok(()) => self.lost = 0,
            Err(_full) => self.lost += bytes.len(),
        }
    }

    /// Writes lines to the newest file, or not at all.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let at_line = !self.continues.contains(&true);
        if self.length > if at_line { LIMIT } else { 2 * LIMIT } {
            (self.file, self.length, self.number) = (None, 0, self.number + 1);
            if let Some(old) = self.number.checked_sub(2) {
                fs::remove_file(path(&self.dir, old))?;
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            file => file.insert(File::create(path(&self.dir, self.number))?),
        };
        let written = file.write_all(lines);
        match written {
            Ok(()) => self.length += lines.len() as u64,
            // A reader must not find a part of a line.
            Err(_) => file.set_len(self.length)?,
        }
        written
    }
}
