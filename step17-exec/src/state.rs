//! Lesson 17: a directory for each container, with its name.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use common::{Private, Purpose, open};
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};

use crate::facts::Facts;

/// The directory of a container. Its keeper has locked it, flock(2). The kernel ends the
/// lock with the keeper, so this is true also if the keeper was killed.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) dir: File,
    home: Private,
}

/// The error for a name that a container has.
const TAKEN: ErrorKind = ErrorKind::DirectoryNotEmpty;

/// The directory of all containers of this user.
fn home() -> Result<Private> {
    let (doing, remedy) = ("keep containers", "name another place with XDG_RUNTIME_DIR");
    common::runtime_directory("named-containers", Purpose { doing, remedy })
}

/// A name of eight digits.
fn random() -> Result<String> {
    let mut bytes = [0; 4];
    let file = File::open("/dev/urandom");
    let read = file.and_then(|mut file| file.read_exact(&mut bytes));
    read.context("read /dev/urandom")?;
    Ok(format!("{:08x}", u32::from_ne_bytes(bytes)))
}

impl Container {
    /// Makes a container with this name, or with a random one.
    pub(crate) fn make(name: Option<&str>, facts: &Facts) -> Result<Container> {
        // The files of an open directory have names there.
        let names = fs::symlink_metadata("/proc/self/fd");
        names.context("make the directory of a container")?;
        loop {
            let wanted = name.map_or_else(random, |name| Ok(name.to_owned()))?;
            let mut new = Container::make_hidden()?;
            new.write(facts)?;
            new.reserve_end()?;
            match fs::rename(new.home.at(&new.name), new.home.at(&wanted)) {
                Ok(()) => {
                    new.name = wanted;
                    return Ok(new);
                }
                // A directory that is not empty cannot be replaced.
                Err(error) if error.kind() == TAKEN => new.remove()?,
                renamed => renamed.context("make the directory of a container")?,
            }
            match Container::find(&wanted)? {
                Some(other) if other.was_lost()? => other.remove()?,
                Some(_) if name.is_some() => {
                    bail!("the name {wanted} is taken; --remove it, or give another name")
                }
                _ => {}
            }
        }
    }

    /// Makes a directory that is on no list, and locks it.
    fn make_hidden() -> Result<Container> {
        loop {
            let home = home()?;
            let name = format!(".{}", random()?);
            let made = mkdirat(&home.dir, &*name, Mode::S_IRWXU);
            let dir = match made.and_then(|()| open::directory(&home.dir, &*name)) {
                // The last of the others has just removed the home, or another process
                // sweeps.
                Err(Errno::ENOENT | Errno::EEXIST) => continue,
                dir => dir.context("make the directory of a container")?,
            };
            // A process that sweeps removes what no keeper has locked.
            let is_locked = dir.try_lock().is_ok();
            if is_locked && dir.metadata().is_ok_and(|found| found.nlink() > 0) {
                return Ok(Container { name, dir, home });
            }
        }
    }

    /// The container with this name.
    pub(crate) fn find(name: &str) -> Result<Option<Container>> {
        let home = home()?;
        match open::directory(&home.dir, name) {
            Err(Errno::ENOENT) => {
                home.leave();
                Ok(None)
            }
            dir => {
                let dir = dir.with_context(|| format!("open the container {name}"))?;
                Ok(Some(Container { name: name.to_owned(), dir, home }))
            }
        }
    }

    /// All containers, by name. Removes what killed keepers have left.
    pub(crate) fn all() -> Result<Vec<Container>> {
        let home = home()?;
        let entries = fs::read_dir(home.at("")).context("list the containers")?;
        let mut names: Vec<String> =
            entries.flatten().flat_map(|entry| entry.file_name().into_string()).collect();
        names.sort();
        let mut all = Vec::new();
        for name in names {
            match Container::find(&name)? {
                Some(lost) if lost.was_lost()? => lost.remove()?,
                Some(found) if !name.starts_with('.') => all.push(found),
                _ => {}
            }
        }
        home.leave();
        Ok(all)
    }

    /// A file in the directory, also after the directory has lost its name.
    pub(crate) fn at(&self, file: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{file}", self.dir.as_raw_fd()).into()
    }

    /// Whether the keeper was killed, and nothing of the container is of use.
    fn was_lost(&self) -> Result<bool> {
        let detached = || self.facts().is_ok_and(|facts| facts.detached);
        Ok(!self.has_keeper()? && (self.name.starts_with('.') || !detached()))
    }

    /// Whether this is still the directory with its name.
    pub(crate) fn has_name(&self) -> bool {
        let place = |found: Metadata| (found.dev(), found.ino());
        let named = fs::symlink_metadata(self.home.at(&self.name)).map(place);
        named.ok().is_some_and(|named| self.dir.metadata().map(place).ok() == Some(named))
    }

    /// Removes the directory. It loses its name first, so that nobody sees a part of it.
    pub(crate) fn remove(self) -> Result<()> {
        let removed = self.rename_and_remove();
        removed.with_context(|| format!("remove the container {}", self.name))
    }

    fn rename_and_remove(&self) -> Result<()> {
        // The keeper has this lock already. Another process waits here for those that
        // look.
        self.dir.lock()?;
        // Another process may have removed it, and a new container may have the name.
        if self.has_name() {
            let hidden = self.home.at(format!(".{}", random()?));
            fs::rename(self.home.at(&self.name), &hidden)?;
            fs::remove_dir_all(hidden)?;
            self.home.leave();
        }
        Ok(())
    }
}
