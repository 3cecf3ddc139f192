//! The place of a root: reads the present root, and replaces it in one step.
//!
//! Beside a root `rootfs` is a directory `.rootfs-cache`. It has the archives that
//! were downloaded or named, the record of the root, and unfinished files. A marker
//! says that fetch-rootfs made it. A process that holds its lock is the only
//! process that changes the root and the cache.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::unistd::getgid;
use rustix::fs::{
    CWD, Gid, Mode, OFlags, RenameFlags, ResolveFlags, fchmod, fchown, mkdirat, openat, openat2,
    renameat, renameat_with,
};
use rustix::io::Errno;

use super::cache::{
    ASIDE, Kind, MARKER, NEW, RECORD, are_ours, discard, is_ours, keep, kind, lock, record_name,
};
use super::folder::Folder;
use super::place;
use super::root::Root;

/// The contents of the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing, or an empty directory.
    Nothing,
    Root(Root),
    /// A directory with files that fetch-rootfs did not make.
    Other,
}

/// The directory that was found at the place. Only this may be replaced.
pub(crate) struct Seen {
    pub(crate) there: There,
    dir: Option<Folder>,
}

/// The place of a root, which this process has locked.
pub(crate) struct Store {
    /// The absolute path of the root, without symbolic links.
    dest: PathBuf,
    /// The directory in which that is.
    above: OwnedFd,
    /// Beside the root, and locked.
    cache: Folder,
}

impl Store {
    /// Locks the place `dest`, after the end of another run there. Removes the
    /// files that a killed run has left.
    ///
    /// # Errors
    ///
    /// When no root may be there, this user cannot write there, or the directory
    /// beside it is not ours.
    pub(crate) fn open(dest: &Path) -> Result<Store> {
        let dest = place::find(dest)?;
        let (Some(above), Some(name)) = (dest.parent(), dest.file_name()) else {
            bail!("put a root in {}: a root cannot be there", dest.display());
        };
        let mut cache = OsString::from(".");
        cache.push(name);
        cache.push("-cache");
        let cache = above.join(cache);
        let above = directory(above).with_context(|| format!("open {}", above.display()))?;
        let cache = lock(&above, cache, &dest)?;
        let store = Store { dest, above, cache };
        store.claim()?;
        store.sweep()?;
        Ok(store)
    }

    pub(crate) fn dest(&self) -> &Path {
        &self.dest
    }

    /// The directory beside the root.
    pub(crate) fn cache(&self) -> &Folder {
        &self.cache
    }

    /// The present contents of the place.
    pub(crate) fn look(&self) -> Result<Seen> {
        let dir = match Folder::open(&self.above, self.dest.clone()) {
            Err(Errno::NOENT) => return Ok(Seen { there: There::Nothing, dir: None }),
            Err(errno @ Errno::ACCESS) => {
                bail!("put a root in {}: {}", self.dest.display(), self.theirs(errno))
            }
            dir => dir.with_context(|| format!("look at {}", self.dest.display()))?,
        };
        let there = if dir.is_empty()? {
            There::Nothing
        } else {
            let record = self.cache.read(&record_name(&dir)?).unwrap_or_default();
            let root = Root::of_record(String::from_utf8_lossy(&record).trim_end());
            root.map_or(There::Other, There::Root)
        };
        Ok(Seen { there, dir: Some(dir) })
    }

    /// Refuses to replace another user's directory, or a directory that is never a
    /// root.
    pub(crate) fn may_replace(&self, seen: &Seen) -> Result<()> {
        if let Some(dir) = &seen.dir
            && !is_ours(dir)?
        {
            bail!("put a root in {}: {}", self.dest.display(), self.theirs(Errno::ACCESS));
        }
        if seen.there == There::Other {
            place::refuse_to_replace(&self.dest)?;
        }
        Ok(())
    }

    fn theirs(&self, errno: Errno) -> anyhow::Error {
        anyhow!(
            "{}; it belongs to another user: remove it as that user or as root (sudo rm -r {}), or name another directory with --dest",
            nix::errno::Errno::from_raw(errno.raw_os_error()).desc(),
            self.dest.display()
        )
    }

    /// An empty directory to make a root in.
    pub(crate) fn new_root(&self) -> Result<NewRoot<'_>> {
        let doing = || format!("make a directory in {}", self.cache.path().display());
        mkdirat(&self.cache, NEW, Mode::RWXU).with_context(doing)?;
        let dir = self.cache.folder(NEW).with_context(doing)?;
        // All in it gets its group, and no container could change what has
        // another than the caller's, as in a directory that is set-group-ID.
        fchown(&dir, None, Some(Gid::from_raw(getgid().as_raw()))).with_context(doing)?;
        fchmod(&dir, Mode::RWXU).with_context(doing)?;
        Ok(NewRoot { store: self, dir })
    }

    /// Checks that the cache is ours: it has our marker, or is from a former
    /// version, which had no marker, or is empty.
    fn claim(&self) -> Result<()> {
        let birth = self.cache.birth()?;
        match self.cache.read(MARKER) {
            Some(text) if text.split(|&byte| byte == b'\n').any(|it| it == birth.as_bytes()) => {
                return Ok(());
            }
            Some(_) => self.adopt()?,
            None => ensure!(
                are_ours(&self.cache.names()?),
                "use {}: fetch-rootfs did not make it; move or remove it, or name another directory with --dest",
                self.cache.path().display()
            ),
        }
        let text = format!(
            "Made by `cargo xtask fetch-rootfs`, which removes here what it no longer needs.\n{birth}\n"
        );
        self.cache.write(MARKER, text.as_bytes())
    }

    /// After a copy of both, renames the record for the copied root.
    fn adopt(&self) -> Result<()> {
        let names = self.cache.names()?;
        let mut records = names.iter().filter_map(|name| name.to_str());
        let mut records = records.by_ref().filter(|name| name.starts_with(RECORD));
        let (Some(record), None) = (records.next(), records.next()) else {
            return Ok(());
        };
        if let Ok(root) = Folder::open(&self.above, self.dest.clone())
            && is_ours(&root)?
        {
            let renamed = self.cache.rename(record, &record_name(&root)?);
            renamed.with_context(|| format!("rename {}", self.cache.join(record).display()))?;
        }
        Ok(())
    }

    /// Removes entries that are no longer needed. No other run is active.
    fn sweep(&self) -> Result<()> {
        if self.cache.has(ASIDE) {
            // Does nothing where the new root is in its place.
            let _ = rename(&self.cache, ASIDE, &self.above, self.name());
        }
        let seen = self.look()?;
        let record = seen.dir.as_ref().map(record_name).transpose()?;
        // Other roots can use the archives of releases, too.
        let archive = match seen.there {
            There::Root(root) => root.archive(),
            _ => None,
        };
        for name in self.cache.names()? {
            let of_root = [&record, &archive].iter().any(|it| it.as_deref() == name.to_str());
            match kind(&name) {
                Some(Kind::Left) => drop(self.cache.remove(&name)),
                Some(Kind::Record | Kind::Archive) if of_root => {}
                Some(Kind::Record | Kind::Archive | Kind::Passing) => discard(&self.cache, &name),
                Some(Kind::Release | Kind::Marker) | None => {}
            }
        }
        Ok(())
    }

    /// The name of the root in the directory above.
    fn name(&self) -> &OsStr {
        self.dest.file_name().unwrap_or_default()
    }

    /// Puts the new root in the place of what was seen there, which then lies
    /// where the new one was.
    fn replace(&self, seen: &Seen) -> Result<()> {
        let name = self.name();
        let changed = || anyhow!("another program changed it; end that program, and try again");
        let refused = |errno| match (errno, &seen.dir) {
            (Errno::ACCESS | Errno::PERM, Some(dir)) if !is_ours(dir).unwrap_or(true) => {
                self.theirs(errno)
            }
            (Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR | Errno::NOENT, _) => changed(),
            _ => errno.into(),
        };
        let Some(old) = &seen.dir else {
            return rename(&self.cache, NEW, &self.above, name).map_err(refused);
        };
        let there = Folder::open(&self.above, self.dest.clone()).map_err(refused)?;
        ensure!(there.is(old)?, changed());
        let exchange = || renameat_with(&self.cache, NEW, &self.above, name, RenameFlags::EXCHANGE);
        match exchange() {
            // A file system that cannot, or a kernel that knows nothing of it.
            Err(Errno::INVAL | Errno::NOSYS) => return self.replace_in_two_steps(seen, refused),
            exchanged => exchanged.map_err(refused)?,
        }
        if self.is_what_was_seen(NEW, seen) {
            return Ok(());
        }
        if exchange().is_err() {
            return Err(keep(&self.cache, NEW, changed()));
        }
        Err(changed())
    }

    /// If this process is killed between the steps, the next run finds the old root
    /// aside and puts it back.
    fn replace_in_two_steps(
        &self,
        seen: &Seen,
        refused: impl Fn(Errno) -> anyhow::Error,
    ) -> Result<()> {
        let name = self.name();
        rename(&self.above, name, &self.cache, ASIDE).map_err(&refused)?;
        let put = if self.is_what_was_seen(ASIDE, seen) {
            rename(&self.cache, NEW, &self.above, name)
        } else {
            Err(Errno::EXIST)
        };
        if let Err(errno) = put {
            return Err(match rename(&self.cache, ASIDE, &self.above, name) {
                Ok(()) => refused(errno),
                Err(_) => keep(&self.cache, ASIDE, refused(errno)),
            });
        }
        // From now on it is no longer wanted back.
        renameat(&self.cache, ASIDE, &self.cache, NEW).map_err(refused)
    }

    fn is_what_was_seen(&self, name: &str, seen: &Seen) -> bool {
        let (Ok(moved), Some(old)) = (self.cache.folder(name), &seen.dir) else {
            return false;
        };
        let empty = seen.there != There::Nothing || moved.is_empty().unwrap_or(false);
        empty && moved.is(old).unwrap_or(false)
    }
}

/// Renames without replacing anything. Where a file system cannot promise that,
/// a directory takes the place of an empty directory at most; rename(2).
fn rename(
    from: impl AsFd,
    old: &(impl AsRef<OsStr> + ?Sized),
    to: impl AsFd,
    new: &(impl AsRef<OsStr> + ?Sized),
) -> rustix::io::Result<()> {
    let (old, new) = (Path::new(old), Path::new(new));
    match renameat_with(&from, old, &to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => renameat(&from, old, &to, new),
        renamed => renamed,
    }
}

/// A root in the making; removed unless it is put in its place.
pub(crate) struct NewRoot<'a> {
    store: &'a Store,
    dir: Folder,
}

impl NewRoot<'_> {
    /// The directory to make it in.
    pub(crate) fn dir(&self) -> &Folder {
        &self.dir
    }

    /// Replaces the directory that was seen at the place with the new root in one
    /// step, and removes the old directory.
    pub(crate) fn put(self, root: &Root, seen: &Seen) -> Result<()> {
        let store = self.store;
        store.cache.write(&record_name(&self.dir)?, format!("{root}\n").as_bytes())?;
        let new = self.dir.path().display();
        let doing = || format!("put {new} in the place of {}", store.dest.display());
        store.replace(seen).with_context(doing)?;
        if let Some(old) = &seen.dir {
            discard(&store.cache, record_name(old)?.as_ref());
        }
        Ok(())
    }
}

impl Drop for NewRoot<'_> {
    /// Removes an unfinished root, or the old root.
    fn drop(&mut self) {
        discard(&self.store.cache, NEW.as_ref());
    }
}

/// The directory `path`, in which there is no symbolic link.
fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A kernel before 5.6, or a seccomp filter that knows nothing later.
        Err(Errno::NOSYS | Errno::PERM) => openat(CWD, path, flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
