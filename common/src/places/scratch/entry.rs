//! Names in the scratch directory: those of a network, and the IDs of the container.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf, absolute};
use std::process::{self, Command};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, UnlinkatFlags, pipe2, read, setsid, symlinkat, unlinkat};

use super::Scratch;
use crate::Exit;
use crate::child::clone::spawn;
use crate::child::inherit::close_from;

pub(super) const LINK: &str = "netns";
const SOCKET: &str = "socket";
/// The name of a file that says which IDs the container had.
pub(super) const IDS: &str = "ids";
/// All of these names.
pub(super) const NAMES: [&str; 3] = [LINK, SOCKET, IDS];

/// A link or a socket in the scratch directory. It is removed when this is dropped.
pub struct Entry {
    path: PathBuf,
    dir: File,
    name: &'static str,
    watcher: Option<Watcher>,
}

/// A process that removes a name after the end of the runner, also if the runner was killed.
struct Watcher {
    process: Pid,
    /// The only open end of a pipe to it.
    line: OwnedFd,
}

impl Scratch {
    /// Makes a link to the network namespace of `child`.
    ///
    /// pasta(1) ends when this name is removed. It does not see the end of a namespace in `/proc`.
    /// If the runner is killed, another process removes the name. Fails when the link or the
    /// process cannot be made.
    pub fn link_network(&self, child: Pid) -> Result<Entry> {
        let path = self.dir.name.join(LINK);
        let doing = || format!("make the link {}", path.display());
        let mut entry = self.entry(LINK, absolute(&path).with_context(doing)?)?;
        entry.watcher = Some(watch(&entry).with_context(doing)?);
        let target = format!("/proc/{child}/ns/net");
        symlinkat(target.as_str(), &entry.dir, entry.name).with_context(doing)?;
        Ok(entry)
    }

    /// A name for a socket. The path is short, because unix(7) allows 107 bytes. It leads through
    /// this process: a program in another user namespace gets [`Entry::in_dir`] in its place.
    /// Fails when a socket of that name cannot be removed.
    pub fn socket(&self) -> Result<Entry> {
        let (runner, dir) = (process::id(), self.dir.file.as_raw_fd());
        self.entry(SOCKET, format!("/proc/{runner}/fd/{dir}/{SOCKET}").into())
    }

    /// In a named directory, a killed runner may have left the name.
    fn entry(&self, name: &'static str, path: PathBuf) -> Result<Entry> {
        let doing = || format!("make {}", path.display());
        let dir = self.dir.file.try_clone().with_context(doing)?;
        remove(&dir, name).with_context(doing)?;
        Ok(Entry { path, dir, name, watcher: None })
    }
}

fn remove(dir: impl AsFd, name: &str) -> nix::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

impl Entry {
    /// Its path, for another program.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `program` start in the directory of this name, and returns the name.
    pub fn in_dir(&self, program: &mut Command) -> &'static str {
        program.current_dir(format!("/proc/self/fd/{}", self.dir.as_raw_fd()));
        self.name
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Another process may have removed a named directory.
        let _ = remove(&self.dir, self.name);
        if let Some(Watcher { process, line }) = self.watcher.take() {
            drop(line);
            // It shares the lock of the directory. An error means that it has ended.
            let _ = waitpid(process, None);
        }
    }
}

/// Starts it. It keeps the lock of the directory until the name is gone: a later runner may make
/// the same name in a named directory.
fn watch(entry: &Entry) -> Result<Watcher> {
    let (reader, line) = pipe2(OFlag::O_CLOEXEC)?;
    let process = spawn(|| {
        // A signal to the group of the caller does not end it. It has blocked the others.
        setsid()?;
        close_from(0, &[reader.as_raw_fd(), entry.dir.as_raw_fd()])?;
        read(&reader, &mut [0])?;
        remove(&entry.dir, entry.name)?;
        Ok(Exit::SUCCESS)
    })?;
    Ok(Watcher { process, line })
}
