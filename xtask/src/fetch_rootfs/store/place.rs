//! Finds the place of a root, and checks it.

use std::collections::VecDeque;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use common::{is_trusted, others_can_rename_in};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, mkdirat};

use crate::fetch_rootfs::folder::Folder;

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
pub(crate) fn find(dest: &Path) -> Result<(Folder, OsString)> {
    let doing = || format!("find {}", dest.display());
    let no_root = |why: &str| {
        anyhow!("put a root in {}: {why}; name another directory with --dest", dest.display())
    };
    let mut left = VecDeque::from(names(&std::path::absolute(dest).with_context(doing)?));
    let mut path = PathBuf::from("/");
    // Every directory from `/` to `path`, open.
    let mut open = vec![look_at(AT_FDCWD, "/".as_ref()).with_context(doing)?];
    let mut links = 0;
    // The number of names after the last symbolic link. If at least so many are left,
    // the present name is from the target of the link.
    let mut after_link = usize::MAX;
    while let (Some(name), Some(dir)) = (left.pop_front(), open.last()) {
        if name == ".." {
            path.pop();
            open.truncate(1.max(open.len() - 1));
            continue;
        }
        let here = path.join(&name);
        let found = match look_at(dir, &name) {
            Err(Errno::ENOENT) if after_link == 0 => {
                return Err(no_root("it is a symbolic link to a missing file"));
            }
            Err(Errno::ENOENT) if left.len() >= after_link => {
                return Err(no_root(&format!(
                    "a symbolic link leads to {}, which is missing",
                    here.display()
                )));
            }
            Err(Errno::ENOENT) if left.back().is_some_and(|last| last == "..") => {
                return Err(no_root("the path does not end with a name"));
            }
            Err(Errno::ENOENT) if left.is_empty() => {
                path = here;
                break;
            }
            Err(Errno::ENOENT) => {
                match mkdirat(dir, &*name, Mode::from_bits_truncate(0o777)) {
                    Err(Errno::EEXIST) => {}
                    made => made
                        .map_err(not_ours)
                        .with_context(|| format!("make {}", here.display()))?,
                }
                left.push_front(name);
                continue;
            }
            found => found.with_context(doing)?,
        };
        let status = found.metadata().with_context(doing)?;
        if !status.is_symlink() {
            path = here;
            open.push(found);
            continue;
        }
        if !is_trusted(status.uid()) {
            return Err(match left.is_empty() {
                true => no_root("it is another user's symbolic link"),
                false => no_root(&format!("{} is a symbolic link of another user", here.display())),
            });
        }
        if others_can_rename_in(&dir.metadata().with_context(doing)?) {
            return Err(no_root(&format!(
                "{} is a symbolic link, and other users can rename files in its directory",
                here.display()
            )));
        }
        links += 1;
        ensure!(links <= LINKS, "{}: {}", doing(), Errno::ELOOP.desc());
        after_link = after_link.min(left.len());
        // By its descriptor: another link may have its name now.
        let target = PathBuf::from(readlinkat(&found, "").with_context(doing)?);
        if target.is_absolute() {
            path = "/".into();
            open.truncate(1);
        }
        names(&target).into_iter().rev().for_each(|name| left.push_front(name));
    }
    if let Some(why) = reason_against(&path) {
        return Err(no_root(why));
    }
    // The last name is the root: its directory is open only if it exists.
    open.truncate(path.components().count() - 1);
    let above = open.pop().with_context(doing)?;
    let name = path.file_name().unwrap_or_default().to_owned();
    path.pop();
    Ok((Folder::new(path, above), name))
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
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let is_name =
        |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).map(|part| part.as_os_str().to_owned()).collect()
}

/// The reason why no root may be at a place, if there is a reason.
fn reason_against(dest: &Path) -> Option<&'static str> {
    let holds = |dir: Option<PathBuf>| {
        dir.and_then(|dir| fs::canonicalize(dir).ok()).is_some_and(|dir| dir.starts_with(dest))
    };
    if dest == Path::new("/") {
        Some("it is the root of this machine")
    } else if holds(env::current_dir().ok()) {
        Some("the current directory is there")
    } else if holds(Some(common::workspace().to_owned())) {
        Some("the workspace is there")
    } else if holds(env::home_dir()) {
        Some("the home directory is there")
    } else if fs::symlink_metadata(dest).is_ok_and(|found| !found.is_dir()) {
        Some("it is not a directory")
    } else {
        None
    }
}

/// Refuses to replace a directory of this machine, such as `/usr`.
pub(crate) fn refuse_to_replace(dest: &Path) -> Result<()> {
    ensure!(
        dest.parent() != Some(Path::new("/")),
        "replace {}: it is directly below /, and fetch-rootfs did not make it; remove it first, or name another directory with --dest",
        dest.display()
    );
    Ok(())
}

/// The error about a directory that cannot be made. It has a remedy if this user
/// cannot write there.
pub(crate) fn not_ours(errno: Errno) -> anyhow::Error {
    match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => {
            anyhow!("{}; name a directory that you can write to with --dest", errno.desc())
        }
        _ => errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_directory_of_the_machines_is_not_replaced() {
        assert!(refuse_to_replace(Path::new("/usr")).is_err());
        assert!(refuse_to_replace(Path::new("/usr/rootfs")).is_ok());
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
            let (above, name) = find(&dir.path().join(dest))?;
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
