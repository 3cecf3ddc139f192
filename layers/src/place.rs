//! Finds the place of a root, and checks it.

use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::{is_trusted, others_can_rename_in};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, mkdirat};

use crate::{Client, Folder};

/// The maximum number of symbolic links in the path. The kernel has the same limit.
const LINKS: usize = 40;

/// Finds the place `dest`, and makes the missing directories above it. Returns the
/// directory above the root, without symbolic links in its path, and the root's
/// name in it.
///
/// It goes from one open directory to the next, and follows only links that no other
/// user can have put there. So another user leads it to another place only by
/// renaming directories before it starts.
///
/// # Errors
///
/// When no root may be there, or a symbolic link of another user leads there.
pub(crate) fn find(dest: &Path, client: Client) -> Result<(Folder, OsString)> {
    let doing = || format!("find {}", dest.display());
    let top = Folder::new("/".into(), look_at(AT_FDCWD, "/".as_ref()).with_context(doing)?);
    let mut way = Way { dest, client, open: vec![top], left: VecDeque::new(), links: 0 };
    way.lead_through(&std::path::absolute(dest).with_context(doing)?, false);
    let place = way.walk()?;
    if let Some(why) = reason_against(&place) {
        return Err(client.refusal(dest, why));
    }
    // The last name is the root: its directory is open only if it exists.
    way.open.truncate(place.components().count() - 1);
    let above = way.open.pop().with_context(doing)?;
    Ok((above, place.file_name().unwrap_or_default().to_owned()))
}

/// The way to a place.
struct Way<'a> {
    dest: &'a Path,
    client: Client,
    /// Every directory from `/` to here.
    open: Vec<Folder>,
    left: VecDeque<Name>,
    /// The number of symbolic links so far.
    links: usize,
}

/// A name on the way.
struct Name {
    name: OsString,
    /// Whether it is from the target of a symbolic link.
    of_link: bool,
}

impl Way<'_> {
    /// Puts the components of a path before the names that are left.
    fn lead_through(&mut self, path: &Path, of_link: bool) {
        for name in names(path).into_iter().rev() {
            self.left.push_front(Name { name, of_link });
        }
    }

    /// Goes to the end of the way, and returns its path. There, a file may be missing.
    fn walk(&mut self) -> Result<PathBuf> {
        while let Some(name) = self.left.pop_front() {
            if name.name == ".." {
                self.open.truncate(1.max(self.open.len() - 1));
                continue;
            }
            match look_at(self.here()?, &name.name) {
                Err(Errno::ENOENT) if self.left.is_empty() && !name.of_link => {
                    return Ok(self.here()?.join(name.name));
                }
                Err(Errno::ENOENT) => self.make(name)?,
                found => self.enter(&name.name, found.with_context(|| self.doing())?)?,
            }
        }
        Ok(self.here()?.path().to_owned())
    }

    /// Makes a missing directory, and goes there next.
    fn make(&mut self, name: Name) -> Result<()> {
        let above = self.here()?;
        if name.of_link {
            let missing = above.join(&name.name);
            let missing = missing.display();
            bail!(
                self.refusal(format_args!("a symbolic link leads to {missing}, which is missing"))
            );
        }
        if self.left.back().is_some_and(|last| last.name == "..") {
            bail!(self.refusal("the path does not end with a name"));
        }
        make_directory(above, &name.name, Mode::from_bits_truncate(0o777), self.client)?;
        self.left.push_front(name);
        Ok(())
    }

    /// Goes into a directory, or follows a symbolic link.
    fn enter(&mut self, name: &OsStr, found: File) -> Result<()> {
        let doing = || self.doing();
        let above = self.here()?;
        let path = above.join(name);
        let status = found.metadata().with_context(doing)?;
        if !status.is_symlink() {
            self.open.push(Folder::new(path, found));
            return Ok(());
        }
        let why = if !is_trusted(status.uid()) {
            Some(" of another user")
        } else if others_can_rename_in(&above.metadata()?) {
            Some(", and other users can rename files in its directory")
        } else {
            None
        };
        if let Some(why) = why {
            bail!(self.refusal(format_args!("{} is a symbolic link{why}", path.display())));
        }
        self.links += 1;
        ensure!(self.links <= LINKS, "{}: {}", self.doing(), Errno::ELOOP.desc());
        // By its descriptor: another link may have its name now.
        let target = PathBuf::from(readlinkat(&found, "").with_context(|| self.doing())?);
        if target.is_absolute() {
            self.open.truncate(1);
        }
        self.lead_through(&target, true);
        Ok(())
    }

    fn here(&self) -> Result<&Folder> {
        self.open.last().with_context(|| self.doing())
    }

    fn doing(&self) -> String {
        format!("find {}", self.dest.display())
    }

    fn refusal(&self, why: impl Display) -> anyhow::Error {
        self.client.refusal(self.dest, why)
    }
}

/// Makes the directory `name`, unless it exists.
pub(crate) fn make_directory(
    above: &Folder,
    name: &OsStr,
    mode: Mode,
    client: Client,
) -> Result<()> {
    match mkdirat(above, name, mode) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => Err(anyhow!(
            "{}; name a directory that you can write to with {}",
            errno.desc(),
            client.option
        )),
        Err(errno) => Err(errno.into()),
    }
    .with_context(|| format!("make {}", above.join(name).display()))
}

/// Opens a directory, a symbolic link or a file, only to look at it and into it.
fn look_at(at: impl AsFd, name: &OsStr) -> nix::Result<File> {
    let look = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // With O_DIRECTORY, the kernel mounts a file system that waits to be mounted,
    // autofs(5).
    let opened = match openat(&at, name, look | OFlag::O_DIRECTORY, Mode::empty()) {
        Err(Errno::ENOTDIR | Errno::ELOOP) => openat(&at, name, look, Mode::empty()),
        opened => opened,
    };
    opened.map(File::from)
}

/// The components of a path, without `/` and `.`.
pub fn names(path: &Path) -> Vec<OsString> {
    let is_name =
        |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).map(|part| part.as_os_str().to_owned()).collect()
}

/// The reason why no root may be at a place, if there is a reason.
fn reason_against(dest: &Path) -> Option<&'static str> {
    let holds = |dir: Option<PathBuf>| {
        dir.and_then(|dir| fs::canonicalize(dir).ok()).is_some_and(|dir| dir.starts_with(dest))
    };
    let reasons = [
        (dest == Path::new("/"), "it is the root of this machine"),
        (holds(env::current_dir().ok()), "the current directory is there"),
        (holds(Some(common::workspace().to_owned())), "the workspace is there"),
        (holds(env::home_dir()), "the home directory is there"),
        (fs::symlink_metadata(dest).is_ok_and(|found| !found.is_dir()), "it is not a directory"),
    ];
    reasons.into_iter().find_map(|(is_true, why)| is_true.then_some(why))
}

/// The reason why no directory of another program at a place is replaced, if there is a
/// reason.
pub(crate) fn reason_to_keep(dest: &Path, above: &Folder) -> Result<Option<String>> {
    if dest.parent() == Some(Path::new("/")) {
        return Ok(Some("it is directly below /".to_owned()));
    }
    // Another user can give this name to any directory of this user.
    let others = others_can_rename_in(&above.metadata()?);
    let why = || format!("other users can rename files in {}", above.path().display());
    Ok(others.then(why))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::store::tests::CLIENT;

    #[test]
    fn a_directory_of_the_machines_is_not_replaced() {
        let above = Folder::new("/".into(), File::open("/").expect("open"));
        let is_kept = |dest: &str| reason_to_keep(Path::new(dest), &above).expect("look").is_some();
        assert!(is_kept("/usr") && !is_kept("/usr/rootfs"));
    }

    #[test]
    fn a_way_through_links_ends_at_the_real_place() {
        let dir = testkit::tempdir();
        let real = fs::canonicalize(dir.path()).expect("a path");
        fs::create_dir_all(real.join("a/b")).expect("make");
        for (link, target) in
            [("b", Path::new("a/b")), ("abs", &real.join("b")), ("round", Path::new("round"))]
        {
            symlink(target, real.join(link)).expect("link");
        }
        let found = |dest: &str| {
            let (above, name) = find(&dir.path().join(dest), CLIENT)?;
            assert!(above.folder(".").is_ok() && above.path().is_dir());
            Ok::<_, anyhow::Error>(above.join(name))
        };
        for (dest, place) in [
            ("b", "a/b"),
            ("abs/", "a/b"),
            ("abs/new", "a/b/new"),
            // The directory above the target of the link.
            ("abs/../new/root", "a/new/root"),
            ("a/b/..", "a"),
        ] {
            assert_eq!(found(dest).expect(dest), real.join(place), "{dest}");
        }
        assert!(real.join("a/new").is_dir() && !real.join("a/b/new").exists());
        assert!(found("round").is_err() && found("missing/..").is_err());
        // A missing target of a link is not made.
        for (link, target) in [("gone", "a/missing"), ("far", "gone/.")] {
            symlink(target, real.join(link)).expect("link");
            for dest in [link, &format!("{link}/new"), &format!("{link}/new/root")] {
                let error = found(dest).expect_err(dest).to_string();
                assert!(error.contains("missing"), "{error}");
            }
        }
        assert!(!real.join("missing").exists() && !real.join("a/missing").exists());
        // Another user can rename a link of this user, and give it any name.
        for (mode, is_refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
            fs::set_permissions(&real, Permissions::from_mode(mode)).expect("chmod");
            for dest in ["b", "abs/new"] {
                assert_eq!(found(dest).is_err(), is_refused, "{dest} {mode:o}");
            }
        }
    }
}
