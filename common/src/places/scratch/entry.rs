//! Names in the scratch directory: those of a network, and the IDs of the container.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf, absolute};
use std::process::{self, Command};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{Pid, UnlinkatFlags, symlinkat, unlinkat};

use super::Scratch;

const LINK: &str = "netns";
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
}

impl Scratch {
    /// Makes a link to the network namespace of `child`.
    ///
    /// pasta(1) ends when this name is removed. It does not see the end of a namespace in
    /// `/proc`. If a runner is killed, a later one removes the scratch directory.
    ///
    /// # Errors
    ///
    /// When the link cannot be made.
    pub fn link_network(&self, child: Pid) -> Result<Entry> {
        let path = self.dir.name.join(LINK);
        let doing = || format!("make the link {}", path.display());
        let entry = self.entry(LINK, absolute(&path).with_context(doing)?)?;
        let target = format!("/proc/{child}/ns/net");
        symlinkat(target.as_str(), &entry.dir, entry.name).with_context(doing)?;
        Ok(entry)
    }

    /// A name for a socket. The path is short, because unix(7) allows 107 bytes. It leads through
    /// this process: a program in another user namespace gets [`Entry::in_dir`] in its place.
    ///
    /// # Errors
    ///
    /// When a socket of that name cannot be removed.
    pub fn socket(&self) -> Result<Entry> {
        let (runner, dir) = (process::id(), self.dir.file.as_raw_fd());
        self.entry(SOCKET, format!("/proc/{runner}/fd/{dir}/{SOCKET}").into())
    }

    /// In a named directory, a killed runner may have left the name.
    fn entry(&self, name: &'static str, path: PathBuf) -> Result<Entry> {
        let doing = || format!("make {}", path.display());
        let dir = self.dir.file.try_clone().with_context(doing)?;
        remove(&dir, name).with_context(doing)?;
        Ok(Entry { path, dir, name })
    }
}

fn remove(dir: &File, name: &str) -> nix::Result<()> {
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
    }
}
