//! Lesson 19: the directory of a container, with what the next verbs need.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use common::{Purpose, open, private_directory};
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::config::check_name;
use crate::status::State;

/// The directory of a container, open. `create` and the verbs that change the container
/// lock it, flock(2).
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    /// The directory of all containers.
    pub(crate) all: Rc<File>,
    dir: File,
    is_locked: bool,
}

/// The socket on which the container waits for `start`. It is gone before the command.
pub(crate) const SOCKET: &str = "start";

/// Opens or makes the directory of all containers.
fn open_root(root: &Path) -> Result<Rc<File>> {
    let (doing, remedy) = ("keep containers", "name another place with --root");
    let above = common::trusted_directory(root.parent().unwrap_or(root))
        .with_context(|| format!("keep containers in {}", root.display()))?;
    let root = above.join(root.file_name().unwrap_or_default());
    Ok(private_directory(&root, Purpose { doing, remedy })?.dir.into())
}

/// Opens the directory of all containers, if there is one.
pub(crate) fn find_root(root: &Path) -> Result<Option<Rc<File>>> {
    // The file system may be read-only.
    let found = root.try_exists();
    let found = found.with_context(|| format!("look for {}", root.display()))?;
    found.then(|| open_root(root)).transpose()
}

impl Container {
    /// Makes a container that has nothing yet, and locks it.
    pub(crate) fn make(root: &Path, name: &str) -> Result<Container> {
        check_name(name)?;
        let all = open_root(root)?;
        match mkdirat(&all, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => bail!("make the container {name}: it already exists"),
            made => made.with_context(|| format!("make the container {name}"))?,
        }
        let made = Container::of(&all, name);
        made.with_context(|| format!("open the container {name}"))?.lock()
    }

    fn of(all: &Rc<File>, name: &str) -> nix::Result<Container> {
        let (dir, name) = (open::directory(all, name)?, name.to_owned());
        let found = Container { name, all: all.clone(), dir, is_locked: false };
        if found.is_ending() { Err(Errno::ENOENT) } else { Ok(found) }
    }

    /// The container with this name.
    pub(crate) fn open(root: &Path, name: &str) -> Result<Container> {
        let found = Container::find(root, name)?;
        // Engines look for these words.
        found.with_context(|| format!("find the container {name}: it does not exist"))
    }

    /// The container with this name, if there is one.
    pub(crate) fn find(root: &Path, name: &str) -> Result<Option<Container>> {
        check_name(name)?;
        let Some(all) = find_root(root)? else { return Ok(None) };
        match Container::of(&all, name) {
            Err(Errno::ENOENT) => Ok(None),
            found => {
                found.map(Some).with_context(|| format!("open the container {name}"))
            }
        }
    }

    /// The containers in a directory, by name.
    pub(crate) fn all(all: &Rc<File>) -> Result<Vec<Container>> {
        let entries = fs::read_dir(format!("/proc/self/fd/{}", all.as_raw_fd()));
        let entries = entries.context("list the containers")?.flatten();
        let names = entries.flat_map(|entry| entry.file_name().into_string());
        let mut names: Vec<String> = names.filter(|it| check_name(it).is_ok()).collect();
        names.sort();
        // Another process may have just removed it.
        Ok(names.iter().flat_map(|name| Container::of(all, name)).collect())
    }

    /// Waits until no other verb changes this container.
    pub(crate) fn lock(self) -> Result<Container> {
        self.dir.lock().with_context(|| format!("lock the container {}", self.name))?;
        ensure!(!self.is_gone(), "find the container {}: it does not exist", self.name);
        Ok(Container { is_locked: true, ..self })
    }

    /// As `lock`. But another verb may wait for a hook for ever: then goes on without.
    pub(crate) fn lock_soon(self) -> Result<Container> {
        for _ in 0..100 {
            if self.dir.try_lock().is_ok() {
                return self.lock();
            }
            sleep(Duration::from_millis(10));
        }
        ensure!(!self.is_ending(), "find the container {}: it does not exist", self.name);
        // Before there is a process, no hook runs, and groups are still made.
        if self.state()?.pid.is_some() { Ok(self) } else { self.lock() }
    }

    /// Whether another verb has removed it. There may be a new one with its name.
    fn is_gone(&self) -> bool {
        self.dir.metadata().map_or(true, |found| found.nlink() == 0)
    }

    /// Lets others change it. A child has the lock, too, until then.
    pub(crate) fn unlock(&self) -> Result<()> {
        self.dir.unlock().context("unlock the container")
    }

    /// Whether `create` still makes it. If `create` was killed, it has no lock.
    pub(crate) fn is_being_made(&self) -> bool {
        let other = || open::directory(&self.dir, ".");
        !self.is_locked && other().is_ok_and(|dir| dir.try_lock_shared().is_err())
    }

    /// A file in the directory, also if its path is too long for a socket.
    pub(crate) fn at(&self, file: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{file}", self.dir.as_raw_fd()).into()
    }

    /// What is known. Nothing of a container that `create` has only begun.
    pub(crate) fn state(&self) -> Result<State> {
        let doing = || format!("read the state of the container {}", self.name);
        match fs::read(self.at("state.json")) {
            Ok(text) => serde_json::from_slice(&text).with_context(doing),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(State { id: self.name.clone(), ..State::default() })
            }
            Err(error) => Err(error).with_context(doing),
        }
    }

    /// Writes the state. A reader sees the old one or this one.
    pub(crate) fn write(&self, state: &State) -> Result<()> {
        let doing = || format!("keep the state of the container {}", self.name);
        let text = serde_json::to_vec(state)?;
        fs::write(self.at("new"), text).with_context(doing)?;
        fs::rename(self.at("new"), self.at("state.json")).with_context(doing)
    }

    /// Removes the directory, as another verb may do. A file that stays keeps it.
    pub(crate) fn remove(&self) -> Result<()> {
        let doing = || format!("remove the container {}", self.name);
        let files = fs::read_dir(self.at("")).with_context(doing)?.flatten();
        files.for_each(|file| drop(fs::remove_file(file.path())));
        let remove = || unlinkat(&self.all, &*self.name, UnlinkatFlags::RemoveDir);
        let removed = if self.is_gone() { Ok(()) } else { remove() };
        if self.is_gone() { Ok(()) } else { removed.with_context(doing) }
    }
}
