//! Finds the place of a root, and checks it.

use std::env;
use std::ffi::{OsStr, OsString};
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
    let refused = |why: &str| client.refusal(dest, why);
    let top = look_at(AT_FDCWD, "/".as_ref()).with_context(doing)?;
    // Every directory from `/` to here.
    let mut open = vec![Folder::new("/".into(), top)];
    // The names that are left, the last one first, and whether each is from a link.
    let steps =
        |path: &Path, of_link: bool| names(path).into_iter().rev().map(move |name| (name, of_link));
    let mut left: Vec<_> = steps(&std::path::absolute(dest).with_context(doing)?, false).collect();
    let mut links = 0;
    let place = loop {
        let here = open.last().with_context(doing)?;
        let Some((name, of_link)) = left.pop() else {
            break here.path().to_owned();
        };
        if name == ".." {
            open.truncate(1.max(open.len() - 1));
            continue;
        }
        let path = here.join(&name);
        let shown = path.display();
        let found = match look_at(here, &name) {
            Err(Errno::ENOENT) if of_link => {
                bail!(refused(&format!("a symbolic link leads to {shown}, which is missing")))
            }
            Err(Errno::ENOENT) if left.is_empty() => break path,
            Err(Errno::ENOENT) if left.first().is_some_and(|(last, _)| last == "..") => {
                bail!(refused("the path does not end with a name"))
            }
            Err(Errno::ENOENT) => {
                make_directory(here, &name, Mode::from_bits_truncate(0o777), client)?;
                left.push((name, of_link));
                continue;
            }
            found => found.with_context(doing)?,
        };
        let status = found.metadata().with_context(doing)?;
        if !status.is_symlink() {
            open.push(Folder::new(path, found));
            continue;
        }
        if !is_trusted(status.uid()) {
            bail!(refused(&format!("{shown} is a symbolic link of another user")));
        }
        if others_can_rename_in(&here.metadata()?) {
            let others = "other users can rename files in its directory";
            bail!(refused(&format!("{shown} is a symbolic link, and {others}")));
        }
        links += 1;
        ensure!(links <= LINKS, "{}: {}", doing(), Errno::ELOOP.desc());
        // By its descriptor: another link may have its name now.
        let target = PathBuf::from(readlinkat(&found, "").with_context(doing)?);
        if target.is_absolute() {
            open.truncate(1);
        }
        left.extend(steps(&target, true));
    };
    if let Some(why) = reason_against(&place) {
        bail!(refused(why));
    }
    // The last name is the root: its directory is open only if it exists.
    open.truncate(place.components().count() - 1);
    let above = open.pop().with_context(doing)?;
    Ok((above, place.file_name().unwrap_or_default().to_owned()))
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
