//! Where a root may lie.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, ffi::OsString};

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::is_trusted;
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};

/// How many symbolic links may lead to a root; as many as the kernel follows.
const LINKS: usize = 40;

/// `dest` as an absolute path without symbolic links, when a root may lie
/// there. The directories above are made where they are missing.
///
/// # Errors
///
/// When no root may lie there, whatever is there, or a symbolic link of
/// another user leads there.
pub(crate) fn find(dest: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(dest).with_context(|| finding(dest))?;
    // Without a slash at the end, which would follow a symbolic link.
    let mut path: PathBuf = absolute.components().collect();
    for _ in 0..LINKS {
        match link(&path, dest)? {
            Some(target) => path = target,
            None => {
                let real = real(&path, dest)?;
                refuse(&real)?;
                return Ok(real);
            }
        }
    }
    Err(anyhow!(Errno::ELOOP)).with_context(|| finding(dest))
}

fn finding(dest: &Path) -> String {
    format!("find {}", dest.display())
}

/// Where a symbolic link leads that lies at `path`, if one does. The link that
/// was looked at is the one that is read.
fn link(path: &Path, dest: &Path) -> Result<Option<PathBuf>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(CWD, path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        opened => opened.with_context(|| finding(dest))?,
    };
    let found = fstat(&opened).with_context(|| finding(dest))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    ensure!(
        is_trusted(found.st_uid),
        "put a root in {}: it is another user's symbolic link; name another directory with --dest",
        dest.display()
    );
    let target = readlinkat(&opened, "", Vec::new()).with_context(|| finding(dest))?;
    let target = OsString::from_vec(target.into_bytes());
    let target: PathBuf = path.parent().unwrap_or(path).join(target).components().collect();
    ensure!(
        statat(CWD, &target, AtFlags::SYMLINK_NOFOLLOW).err() != Some(rustix::io::Errno::NOENT),
        "put a root in {}: it is a symbolic link to a missing file; remove the link, or name another directory with --dest",
        dest.display()
    );
    Ok(Some(target))
}

/// `path`, which is no symbolic link, with none above it.
fn real(path: &Path, dest: &Path) -> Result<PathBuf> {
    let doing = || finding(dest);
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "put a root in {}: the path does not end with a name; name a directory with --dest",
                dest.display()
            ),
            real => real.with_context(doing),
        };
    };
    for way in above.ancestors() {
        let link = fs::symlink_metadata(way).ok().filter(Metadata::is_symlink);
        ensure!(
            link.is_none_or(|link| is_trusted(link.uid())),
            "put a root in {}: {} is a symbolic link of another user; name another directory with --dest",
            dest.display(),
            way.display()
        );
    }
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
    } else if fs::symlink_metadata(dest).is_ok_and(|found| !found.is_dir()) {
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
        "replace {}: it is directly below /, and fetch-rootfs did not make it; remove it first, or name another directory with --dest",
        dest.display()
    );
    Ok(())
}

/// Why a directory could not be made, and what to do when it is because this
/// user may not write there.
pub(crate) fn not_ours(error: io::Error) -> anyhow::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno @ (Errno::EACCES | Errno::EPERM | Errno::EROFS)) => {
            anyhow!("{}; name a directory that you can write to with --dest", errno.desc())
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_the_machines_is_not_replaced() {
        assert!(refuse_to_replace(Path::new("/usr")).is_err());
        assert!(refuse_to_replace(Path::new("/usr/rootfs")).is_ok());
    }
}
