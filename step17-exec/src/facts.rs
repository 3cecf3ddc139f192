//! Lesson 17: what is known of a container.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::process::Process;
use crate::state::Container;

/// What a container is. What is missing does not exist yet.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Facts {
    pub(crate) root: String,
    pub(crate) ports: Vec<String>,
    /// Seconds since 1970.
    pub(crate) since: u64,
    pub(crate) detached: bool,
    pub(crate) keeper: Option<Running>,
    pub(crate) init: Option<Running>,
    pub(crate) command: Option<Running>,
    pub(crate) process: Option<Process>,
    pub(crate) capabilities: u64,
    pub(crate) group: Option<PathBuf>,
}

/// A process of the host. The kernel gives its ID to another process after its end, but
/// that has another start.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Running {
    pub(crate) id: i32,
    /// The time of its start since the boot, in ticks of the clock.
    start: u64,
}

impl Running {
    /// Reads the start of a process: field 22 of proc_pid_stat(5).
    pub(crate) fn of(id: Pid) -> Option<Running> {
        let stat = common::open::text(format!("/proc/{id}/stat")).ok()?;
        // The name of the program, field 2, may contain anything.
        let start = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()?;
        Some(Running { id: id.as_raw(), start })
    }

    /// Opens the process, if it runs; pidfd_open(2). The descriptor always means this
    /// process.
    pub(crate) fn open(self) -> Result<Option<OwnedFd>> {
        let id = Pid::from_raw(self.id);
        let open = match common::pidfd_open(id) {
            // Also if only a thread has the number: EINVAL, or ENOENT with newer kernels.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Ok(None),
            open => open.with_context(|| format!("open the process {id}"))?,
        };
        // Only now it is certain which process it is.
        Ok(Running::of(id).filter(|now| now.start == self.start).map(|_| open))
    }
}

/// A file of JSON with the facts, and a file with the exit status.
const FACTS: &str = "facts.json";
const END: &str = "end";
/// More than the first of them can have, in bytes.
const MOST: u64 = 1 << 20;

/// The exit status in a file with the end. It is missing before the end, and if the
/// keeper was killed.
pub(crate) fn status_in(end: &File) -> Option<u8> {
    let mut status = [0; 4];
    end.read_exact_at(&mut status, 0).ok()?;
    str::from_utf8(&status).ok()?.trim().parse().ok()
}

impl Container {
    /// Whether the keeper lives: it has the lock.
    pub(crate) fn has_keeper(&self) -> Result<bool> {
        match self.dir.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).context("ask for a lock"),
            Ok(()) => self.dir.unlock().map(|()| false).context("unlock a container"),
        }
    }

    /// Waits for the end of the keeper.
    pub(crate) fn wait(&self) -> Result<()> {
        let ended = self.dir.lock_shared().and_then(|()| self.dir.unlock());
        ended.context("wait for the keeper")
    }

    /// Reads the facts.
    pub(crate) fn facts(&self) -> Result<Facts> {
        let mut text = Vec::new();
        let file = File::open(self.at(FACTS));
        file.and_then(|file| file.take(MOST).read_to_end(&mut text))
            .with_context(|| format!("read the state of the container {}", self.name))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("read the state of the container {}", self.name))
    }

    /// Writes the facts to a new file, which then replaces the other at once.
    pub(crate) fn write(&self, facts: &Facts) -> Result<()> {
        let text = serde_json::to_vec_pretty(facts).context("write the facts")?;
        let new = self.at("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(new, self.at(FACTS)))
            .with_context(|| format!("write the state of the container {}", self.name))
    }

    /// Takes the room for the end: at the end, the disk may be full.
    pub(crate) fn reserve_end(&self) -> Result<()> {
        let reserved = fs::write(self.at(END), "    \n");
        reserved.with_context(|| format!("write the end of the container {}", self.name))
    }

    /// Writes the exit status over the blanks.
    pub(crate) fn write_end(&self, status: u8) -> Result<()> {
        let file = File::options().write(true).open(self.at(END));
        let text = format!("{status:>4}");
        let written = file.and_then(|file| file.write_all_at(text.as_bytes(), 0));
        written.with_context(|| format!("write the end of the container {}", self.name))
    }

    /// Opens the file with the end. It can be read after its directory is removed.
    pub(crate) fn open_end(&self) -> Result<File> {
        let opened = File::open(self.at(END));
        opened.with_context(|| format!("read the end of the container {}", self.name))
    }
}
