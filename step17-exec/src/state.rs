//! Lesson 17: a directory for each container, with its name.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use common::{Args, Private, Purpose, open};
use nix::errno::Errno;

use crate::facts::Facts;

/// The directory of a container. Its keeper has locked it, flock(2). The kernel ends the lock
/// with the keeper, so this is true also if the keeper was killed.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    dir: File,
    home: Private,
}

/// The directory of all containers of this user.
fn home() -> Result<Private> {
    let remedy = "name another place with XDG_RUNTIME_DIR";
    common::runtime_directory("named-containers", Purpose { doing: "keep containers", remedy })
}

/// A name of eight digits.
fn random() -> Result<String> {
    let mut bytes = [0; 4];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    random.context("read /dev/urandom")?;
    Ok(format!("{:08x}", u32::from_ne_bytes(bytes)))
}

impl Container {
    /// Makes a container with this name, or with a random one. The directory gets its name
    /// last, when it is complete and locked.
    pub(crate) fn make(name: Option<&str>, facts: &Facts) -> Result<Container> {
        loop {
            let home = home()?;
            let wanted = name.map_or_else(random, |name| Ok(name.to_owned()))?;
            let doing = || format!("make the directory of the container {wanted}");
            let hidden = format!(".{}", random()?);
            match fs::create_dir(home.at(&hidden)) {
                // The last of the other containers has just removed the home.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                made => made.with_context(doing)?,
            }
            let Ok(dir) = open::directory(&home.dir, &*hidden) else { continue };
            // Another process may be sweeping: it removes what no keeper has locked.
            if dir.try_lock().is_err() || dir.metadata().with_context(doing)?.nlink() == 0 {
                continue;
            }
            let mut new = Container { name: hidden, dir, home };
            new.write(facts)?;
            new.reserve_end()?;
            // A directory that is not empty cannot be replaced.
            if fs::rename(new.home.at(&new.name), new.home.at(&wanted)).is_ok() {
                new.name = wanted;
                return Ok(new);
            }
            new.remove()?;
            match Container::find(&wanted)? {
                Some(other) if other.was_lost()? => other.remove()?,
                Some(_) if name.is_some() => {
                    bail!("the name {wanted} is taken; --remove {wanted}, or give another name")
                }
                _ => {}
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

    /// The container that the command line names.
    pub(crate) fn named(args: &Args) -> Result<(Container, Facts)> {
        let name = args.names.name.as_deref().unwrap_or_default();
        let found = Container::find(name)?;
        let found = found.with_context(|| format!("find the container {name}: --list has none"))?;
        let facts = found.facts()?;
        Ok((found, facts))
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
        self.dir.lock_shared().and_then(|()| self.dir.unlock()).context("wait for the keeper")
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
        let doing = || format!("remove the container {}", self.name);
        // The keeper has this lock already. Another process waits here for those that look.
        self.dir.lock().with_context(doing)?;
        // Another process may have removed it, and a new container may have the name.
        if self.has_name() {
            let hidden = self.home.at(format!(".{}", random()?));
            fs::rename(self.home.at(&self.name), &hidden).with_context(doing)?;
            fs::remove_dir_all(hidden).with_context(doing)?;
            self.home.leave();
        }
        Ok(())
    }
}
