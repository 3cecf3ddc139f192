//! Lesson 17: prints what a container in the background has written.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use anyhow::{Context, Result};
use common::{Args, Exit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::control;
use crate::facts::Facts;
use crate::log;
use crate::state::Container;

/// The time between two looks at a log, in milliseconds.
const LOOK_MS: u16 = 100;

/// Prints the log: until now, or until the end of the container.
pub(crate) fn print(args: &Args, container: &Container, facts: &Facts) -> Result<Exit> {
    common::end_on_closed_pipe();
    let keeper = control::open(facts.keeper)?;
    let mut reader = Reader {
        dir: container.at(""),
        timestamps: args.names.timestamps,
        number: None,
        file: None,
        line: Vec::new(),
        continues: [false; 2],
    };
    loop {
        // Before the last look at the files: the keeper writes until its end.
        let goes_on = args.names.follow && container.has_keeper()?;
        reader.print()?;
        let Some(keeper) = keeper.as_ref().filter(|_| goes_on) else {
            return Ok(Exit::SUCCESS);
        };
        let mut fds = [PollFd::new(keeper.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(LOOK_MS)).context("wait for the keeper")?;
    }
}

/// The place of a reader in the files of a log.
struct Reader {
    dir: PathBuf,
    timestamps: bool,
    number: Option<u64>,
    /// The file with this number. The keeper may have removed its name.
    file: Option<BufReader<File>>,
    /// The part of a line that the keeper has written.
    line: Vec<u8>,
    /// Whether the last line of standard output and of standard error goes on.
    continues: [bool; 2],
}

impl Reader {
    /// Prints all that is there.
    fn print(&mut self) -> Result<()> {
        loop {
            // The keeper begins a file after the last line of the file before it.
            let next = self.next()?;
            self.print_file()?;
            let Some(next) = next else { return Ok(()) };
            if self.number.is_some_and(|number| number + 1 < next) {
                common::note("some lines are missing here: the log has a limit");
            }
            match File::open(log::path(&self.dir, next)) {
                Ok(file) => {
                    self.file = Some(BufReader::new(file));
                    self.number = Some(next);
                }
                // The keeper has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context("open a file of the log"),
            }
        }
    }

    /// The first file after the present one.
    fn next(&self) -> Result<Option<u64>> {
        let entries = fs::read_dir(&self.dir).context("list the files of the log")?;
        let names = entries.flatten().flat_map(|entry| entry.file_name().into_string());
        let numbers = names.filter_map(|name| name.strip_prefix("log.")?.parse().ok());
        let is_later = |number: &u64| self.number.is_none_or(|present| present < *number);
        Ok(numbers.filter(is_later).min())
    }

    /// Prints the lines that the present file has.
    fn print_file(&mut self) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        loop {
            let count = file.read_until(b'\n', &mut self.line).context("read the log")?;
            if !self.line.ends_with(b"\n") {
                if count == 0 {
                    break;
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.print_line(&line).context("write to standard output")?;
        }
        self.file = Some(file);
        io::stdout().flush().context("write to standard output")
    }

    /// Prints a line: the time, the stream, F or P, and the text.
    fn print_line(&mut self, line: &[u8]) -> io::Result<()> {
        let mut fields = line.splitn(4, |&byte| byte == b' ');
        let mut field = || fields.next().unwrap_or_default();
        let (time, stream, tag, text) = (field(), field(), field(), field());
        let is_error = stream == b"stderr";
        let continues = &mut self.continues[usize::from(is_error)];
        let mut out: Vec<u8> = Vec::with_capacity(line.len());
        if self.timestamps && !*continues {
            out.extend(time);
            out.push(b' ');
        }
        *continues = tag == b"P";
        let without_end = text.strip_suffix(b"\n").unwrap_or(text);
        out.extend(if *continues { without_end } else { text });
        if is_error { io::stderr().write_all(&out) } else { io::stdout().write_all(&out) }
    }
}
