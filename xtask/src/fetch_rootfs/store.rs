//! The place of a root: what is there, and how another takes its place in one
//! step.
//!
//! Beside a root `rootfs` lies a directory `.rootfs-cache` with the archives
//! that were downloaded or named, the record of what the root is, and whatever is in the
//! making. Whoever holds its lock is alone with both.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getuid;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::releases::Release;
use crate::say::note;

/// What a root is made of; shown as its record has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Alpine(Release),
    /// An archive that nothing is known about but its SHA-256.
    Archive(String),
    /// This machine's own programs, with libraries or in a busybox.
    Host {
        libraries: bool,
    },
}

const ARCHIVE: &str = "the archive with SHA-256 ";
const BUSYBOX: &str = "this machine's own busybox";
const LIBRARIES: &str = "this machine's own programs and their libraries";

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Root::Alpine(release) => write!(f, "{release}"),
            Root::Archive(digest) => write!(f, "{ARCHIVE}{digest}"),
            Root::Host { libraries: false } => f.write_str(BUSYBOX),
            Root::Host { libraries: true } => f.write_str(LIBRARIES),
        }
    }
}

impl Root {
    /// The name under which its archive is kept, if it is of one.
    pub(crate) fn archive(&self) -> Option<String> {
        match self {
            Root::Alpine(release) => Some(release.archive()),
            Root::Archive(digest) => Some(format!("{digest}.tar.gz")),
            Root::Host { .. } => None,
        }
    }

    fn of_record(record: &str) -> Option<Root> {
        match record {
            BUSYBOX => return Some(Root::Host { libraries: false }),
            LIBRARIES => return Some(Root::Host { libraries: true }),
            _ => {}
        }
        if let Some(digest) = record.strip_prefix(ARCHIVE) {
            return Some(Root::Archive(digest.to_owned()));
        }
        Release::of_words(record.strip_prefix("Alpine ")?).map(Root::Alpine)
    }
}

/// What is at the place of the root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Nothing, or an empty directory.
    Nothing,
    Root(Root),
    /// A directory with something in it that was not put there by us.
    Other,
}

/// A root's place, which nobody else works at.
pub(crate) struct Store {
    /// Where the root lies or will lie: absolute, and no symbolic link.
    dest: PathBuf,
    dir: PathBuf,
    _lock: Flock<File>,
}

/// The old root on its way out, on file systems that cannot exchange.
const ASIDE: &str = "aside";

impl Store {
    /// Takes the place `dest`, waiting for whoever is at work there, and clears
    /// away what a killed run has left.
    ///
    /// # Errors
    ///
    /// When no root may lie there, or this user cannot write there.
    pub(crate) fn open(dest: &Path) -> Result<Store> {
        let dest = real(dest)?;
        refuse(&dest)?;
        let (Some(above), Some(name)) = (dest.parent(), dest.file_name()) else {
            bail!("put a root in {}: that is no place for one", dest.display());
        };
        let mut cache = std::ffi::OsString::from(".");
        cache.push(name);
        cache.push("-cache");
        let dir = above.join(cache);
        let lock = lock(&dir, &dest)?;
        let store = Store { dest, dir, _lock: lock };
        store.sweep()?;
        Ok(store)
    }

    pub(crate) fn dest(&self) -> &Path {
        &self.dest
    }

    /// The file `name` beside the root.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What is at the root's place now.
    pub(crate) fn there(&self) -> Result<There> {
        let doing = || format!("look at {}", self.dest.display());
        let mut entries = match fs::read_dir(&self.dest) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
            entries => entries.with_context(doing)?,
        };
        if entries.next().is_none() {
            return Ok(There::Nothing);
        }
        let record = fs::read_to_string(self.file(&record_name(&self.dest)?));
        let root = record.ok().and_then(|record| Root::of_record(record.trim_end()));
        Ok(root.map_or(There::Other, There::Root))
    }

    /// An empty directory to make a root in.
    pub(crate) fn new_root(&self) -> Result<NewRoot<'_>> {
        let dir = tempfile::Builder::new().prefix("new-").tempdir_in(&self.dir);
        let doing = || format!("make a directory in {}", self.dir.display());
        let dir = dir.with_context(doing)?;
        Ok(NewRoot { store: self, dir: dir.keep() })
    }

    /// Why the old root could not be moved, and what to do when it is because it
    /// is another user's.
    fn refused(&self, error: std::io::Error) -> anyhow::Error {
        let theirs = fs::symlink_metadata(&self.dest).is_ok_and(|it| it.uid() != getuid().as_raw());
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EACCES | Errno::EPERM)) if theirs => {
                anyhow!(
                    "{}; it belongs to another user: remove it as that user (sudo rm -r {}), or name another with --dest",
                    errno.desc(),
                    self.dest.display()
                )
            }
            _ => error.into(),
        }
    }

    /// Removes what nobody needs any more; nobody else is here.
    fn sweep(&self) -> Result<()> {
        let aside = self.dir.join(ASIDE);
        if aside.exists() && !self.dest.exists() {
            let doing = || format!("put back {}", self.dest.display());
            fs::rename(&aside, &self.dest).with_context(doing)?;
        }
        let record = record_name(&self.dest).ok();
        // The archives of releases are of use to another root, too.
        let archive = match self.there()? {
            There::Root(root) => root.archive(),
            _ => None,
        };
        let doing = || format!("look into {}", self.dir.display());
        for entry in fs::read_dir(&self.dir).with_context(doing)? {
            let entry = entry.with_context(doing)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let of_root = [&record, &archive].iter().any(|kept| kept.as_deref() == Some(&*name));
            if !is_kept(&name) && !of_root {
                remove(&entry.path());
            }
        }
        Ok(())
    }
}

/// Whether a file beside the root is the archive of a release or its digest.
fn is_kept(name: &str) -> bool {
    let archive = name.strip_suffix(".sha512").or_else(|| name.strip_suffix(".sha256"));
    Release::of_archive(archive.unwrap_or(name)).is_some()
}

/// Removes a file or a tree. What cannot be removed is in nobody's way.
fn remove(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Err(_gone) => return,
        Ok(found) if found.is_dir() => common::remove_tree(path),
        Ok(_) => fs::remove_file(path).with_context(|| format!("remove {}", path.display())),
    };
    if let Err(error) = removed {
        note(&common::one_line(&error));
    }
}

/// The name of the record of the root `dir`, wherever that is moved: it goes
/// by the directory's birth, so that it is right from the moment at which the
/// root is in its place, and says nothing about another directory there.
fn record_name(dir: &Path) -> Result<String> {
    let found = fs::symlink_metadata(dir);
    let found = found.with_context(|| format!("look at {}", dir.display()))?;
    let birth = found.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
    Ok(match birth {
        Some(birth) => format!("root-{}", birth.as_nanos()),
        // A file system that does not tell.
        None => format!("root-inode-{}", found.ino()),
    })
}

/// A root in the making; removed unless it is put in its place.
pub(crate) struct NewRoot<'a> {
    store: &'a Store,
    dir: PathBuf,
}

impl NewRoot<'_> {
    /// The directory to make it in.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Puts the root in its place in one step, and removes what was there.
    pub(crate) fn put(self, root: &Root) -> Result<()> {
        let store = self.store;
        let record = store.file(&record_name(&self.dir)?);
        let written = fs::write(&record, format!("{root}\n"));
        written.with_context(|| format!("write {}", record.display()))?;
        let doing =
            || format!("put {} in the place of {}", self.dir.display(), store.dest.display());
        let aside = store.file(ASIDE);
        match renameat_with(CWD, &self.dir, CWD, &store.dest, RenameFlags::EXCHANGE) {
            Err(rustix::io::Errno::NOENT) => fs::rename(&self.dir, &store.dest),
            // A file system that cannot, or a kernel that knows nothing of it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                replace(&self.dir, &store.dest, &aside)
            }
            exchanged => exchanged.map_err(Into::into),
        }
        .map_err(|error| store.refused(error))
        .with_context(doing)?;
        remove(&aside);
        Ok(())
    }
}

impl Drop for NewRoot<'_> {
    /// Removes what was not put in its place, or what was there before.
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Puts `new` in the place of `old` in two steps. When this is killed between
/// them, the next run finds the old root aside and puts it back.
fn replace(new: &Path, old: &Path, aside: &Path) -> std::io::Result<()> {
    fs::rename(old, aside)?;
    fs::rename(new, old).inspect_err(|_| {
        // A failure here leaves it to the next run.
        let _ = fs::rename(aside, old);
    })
}

/// The directory beside the root, made where it is missing and locked.
fn lock(dir: &Path, dest: &Path) -> Result<Flock<File>> {
    let doing = || format!("lock {}", dir.display());
    loop {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                made.map_err(not_ours).with_context(|| format!("make {}", dir.display()))?;
            }
        }
        let found = fs::symlink_metadata(dir).with_context(doing)?;
        let ours = found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o022 == 0;
        ensure!(
            ours,
            "use {}: it is not a directory of this user alone; remove it, or name another directory with --dest",
            dir.display()
        );
        let file = File::open(dir).with_context(doing)?;
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((file, Errno::EWOULDBLOCK)) => {
                note(&format!(
                    "another fetch-rootfs is at work on {}; waiting for it",
                    dest.display()
                ));
                Flock::lock(file, FlockArg::LockExclusive)
            }
            held => held,
        };
        let held = held.map_err(|(_, errno)| errno).with_context(doing)?;
        // A directory that was removed meanwhile locks nothing.
        if held.metadata().with_context(doing)?.nlink() > 0 {
            return Ok(held);
        }
    }
}

/// Why a directory could not be made, and what to do when it is because this
/// user may not write there.
fn not_ours(error: std::io::Error) -> anyhow::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
            anyhow!("{}; name a directory of your own with --dest", errno.desc())
        }
        _ => error.into(),
    }
}

/// `dest` as an absolute path without symbolic links. The directories above
/// are made where they are missing.
fn real(dest: &Path) -> Result<PathBuf> {
    let doing = || format!("find {}", dest.display());
    let absolute = std::path::absolute(dest).with_context(doing)?;
    match fs::canonicalize(&absolute) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        real => return real.with_context(doing),
    }
    ensure!(
        fs::symlink_metadata(&absolute).is_err(),
        "put a root in {}: it is a symbolic link to nothing; remove it, or name another directory with --dest",
        dest.display()
    );
    let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        bail!("put a root in {}: its name says no directory; name one with --dest", dest.display());
    };
    let made = fs::create_dir_all(above);
    made.map_err(not_ours).with_context(|| format!("make {}", above.display()))?;
    Ok(fs::canonicalize(above).with_context(doing)?.join(name))
}

/// Refuses places that no root may take, whatever is there.
fn refuse(dest: &Path) -> Result<()> {
    let holds = |dir: Option<PathBuf>| {
        dir.and_then(|dir| fs::canonicalize(dir).ok()).is_some_and(|dir| dir.starts_with(dest))
    };
    let why = if dest == Path::new("/") {
        "it is the root of this machine"
    } else if holds(env::current_dir().ok()) {
        "the current directory is there"
    } else if holds(Some(common::workspace().to_owned())) {
        "the workspace is there"
    } else if holds(env::home_dir()) {
        "the home directory is there"
    } else if dest.exists() && !dest.is_dir() {
        "it is not a directory"
    } else {
        return Ok(());
    };
    bail!("put a root in {}: {why}; name another directory with --dest", dest.display())
}

/// Says no to replacing by force what nobody can want replaced: `/usr`, say.
pub(crate) fn refuse_to_replace(dest: &Path) -> Result<()> {
    ensure!(
        dest.parent() != Some(Path::new("/")),
        "replace {}: it lies directly below / and is no root that fetch-rootfs made; remove it first, or name another directory with --dest",
        dest.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, mark: &str) {
        let new = store.new_root().expect("a directory");
        fs::write(new.path().join(mark), "").expect("write");
        new.put(&Root::Archive(mark.to_owned())).expect("put in place");
    }

    #[test]
    fn a_record_goes_with_its_root() {
        let dir = tempfile::tempdir().expect("make a directory");
        let dest = dir.path().join("rootfs");
        let store = Store::open(&dest).expect("open");
        assert_eq!(store.there().expect("look"), There::Nothing);
        for mark in ["a", "b"] {
            put(&store, mark);
            let root = Root::Archive(mark.to_owned());
            assert_eq!(store.there().expect("look"), There::Root(root));
            assert!(dest.join(mark).exists());
        }
        assert!(!dest.join("a").exists(), "the old root is gone");
        // A directory that somebody else puts there is not taken for a root.
        fs::remove_dir_all(&dest).expect("remove");
        fs::create_dir(&dest).expect("make");
        assert_eq!(store.there().expect("look"), There::Nothing);
        fs::write(dest.join("x"), "").expect("write");
        assert_eq!(store.there().expect("look"), There::Other);
    }

    #[test]
    fn every_kind_of_root_is_read_back() {
        let release = Release::new("3.15.4", Some("x86")).expect("a release");
        let host = [false, true].map(|libraries| Root::Host { libraries });
        for root in [Root::Alpine(release), Root::Archive("ab".into())].into_iter().chain(host) {
            assert_eq!(Root::of_record(&root.to_string()), Some(root));
        }
        assert_eq!(Root::of_record("Alpine of some kind"), None);
    }

    #[test]
    fn an_old_root_that_was_set_aside_comes_back() {
        let dir = tempfile::tempdir().expect("make a directory");
        let dest = dir.path().join("rootfs");
        let store = Store::open(&dest).expect("open");
        put(&store, "old");
        let (aside, new) = (store.file(ASIDE), store.file("new-x"));
        fs::create_dir(&new).expect("make");
        // Killed between the two steps.
        fs::rename(&dest, &aside).expect("set aside");
        drop(store);
        let _store = Store::open(&dest).expect("open");
        assert!(dest.join("old").exists() && !aside.exists() && !new.exists());
        // The second step fails, as the new root is gone.
        assert!(replace(&new, &dest, &aside).is_err());
        assert!(dest.join("old").exists() && !aside.exists());
        // Both steps.
        fs::create_dir(&new).expect("make");
        replace(&new, &dest, &aside).expect("replace");
        assert!(!dest.join("old").exists() && aside.join("old").exists());
    }

    #[test]
    fn a_directory_of_the_machines_is_not_replaced() {
        assert!(refuse_to_replace(Path::new("/usr")).is_err());
        assert!(refuse_to_replace(Path::new("/usr/rootfs")).is_ok());
    }

    #[test]
    fn only_archives_and_their_digests_are_kept() {
        let name = "alpine-minirootfs-3.15.4-x86_64.tar.gz";
        assert!(is_kept(name) && is_kept(&format!("{name}.sha512")));
        for other in ["new-abc", ASIDE, "root-1-2", &format!("{name}.part")] {
            assert!(!is_kept(other), "{other}");
        }
    }
}
