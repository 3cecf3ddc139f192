//! Archives that have been checked, whether they were kept, fetched or named.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::digest::{Algorithm, Digest};
use super::download::Mirror;
use super::folder::{Folder, open_file};
use super::releases::Release;
use super::root::Root;
use super::unpack::{Limits, unpack_file};
use crate::say::note;

/// An archive whose digest has been looked at.
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    /// The mirror's digest file, where that was asked.
    digest_file: Option<(Algorithm, Vec<u8>)>,
    pub(crate) root: Root,
    /// What the digest was compared with.
    pub(crate) how: String,
}

impl Archive {
    /// The archive of a release: the one that is kept beside the root, else
    /// the mirror's, which is kept from then on.
    pub(crate) fn of_release(
        release: &Release,
        cache: &Folder,
        mirror: &Mirror<'_>,
    ) -> Result<Archive> {
        let path = cache.join(release.archive());
        let (file, digest) = match kept(release, cache)? {
            Some(kept) => kept,
            None => fetch(release, cache, mirror)?,
        };
        let how = compared(release, digest.algorithm);
        let root = Root::Alpine(release.clone());
        Ok(Archive { path, file, digest_file: None, root, how })
    }

    /// The archive with a SHA-256 of which nothing else is known, if it was
    /// kept beside the root and is what it was.
    pub(crate) fn of_unknown(sha256: &str, cache: &Folder) -> Result<Option<Archive>> {
        let root = Root::Archive(sha256.to_owned());
        let Some(name) = root.archive() else {
            return Ok(None);
        };
        let Some((file, _)) = checked(cache, &name, Digest::parse(sha256))? else {
            return Ok(None);
        };
        let path = cache.join(name);
        let how = "as it was kept".to_owned();
        Ok(Some(Archive { path, file, digest_file: None, root, how }))
    }

    /// The archive in a file. When it is known to be, or said to be, that of a
    /// release, it must have the digest of that.
    pub(crate) fn of_file(
        path: &Path,
        release: Option<&Release>,
        said: bool,
        mirror: &Mirror<'_>,
    ) -> Result<Archive> {
        let doing = || format!("read the archive {}", path.display());
        let file = open_file(path).with_context(doing)?;
        let file = file.with_context(|| {
            format!("{}: it is not a file; name an archive with --archive", doing())
        })?;
        // So are those of /proc, whose bytes may not come before something happens.
        let length = file.metadata().with_context(doing)?.len();
        ensure!(
            length > 0,
            "unpack {}: it is empty; name another archive with --archive",
            path.display()
        );
        let path = path.to_owned();
        let mut digest_file = None;
        let wanted = match release {
            Some(release) => match release.pinned() {
                Some(digest) => Some((release, digest)),
                None if said => {
                    let (digest, text) = mirror.digest(release)?;
                    digest_file = Some((digest.algorithm, text));
                    Some((release, digest))
                }
                None => None,
            },
            None => None,
        };
        let Some((release, wanted)) = wanted else {
            let digest = Digest::of_file(&file, Algorithm::Sha256).with_context(doing)?;
            let how = "unchecked, because its correct SHA-256 is unknown".to_owned();
            let root = Root::Archive(digest.to_string());
            return Ok(Archive { path, file, digest_file, root, how });
        };
        let digest = Digest::of_file(&file, wanted.algorithm).with_context(doing)?;
        ensure!(
            digest == wanted,
            "check {}: its {} is {digest}, but {release} has {wanted}; download the archive again",
            path.display(),
            wanted.algorithm
        );
        let how = compared(release, wanted.algorithm);
        let root = Root::Alpine(release.clone());
        Ok(Archive { path, file, digest_file, root, how })
    }

    /// Keeps it beside the root, like one that was downloaded, unless it lies
    /// there already.
    pub(crate) fn keep(&mut self, cache: &Folder) -> Result<()> {
        let Some(name) = self.root.archive() else { return Ok(()) };
        let path = cache.join(&name);
        if path == self.path {
            return Ok(());
        }
        let part = format!("{name}.part");
        let doing = || format!("keep {} as {}", self.path.display(), path.display());
        self.file.rewind().with_context(doing)?;
        let mut copy = cache.create(&part).with_context(doing)?;
        // What is left of a copy that fails, the next run clears away.
        io::copy(&mut self.file, &mut copy).with_context(doing)?;
        if let Some((algorithm, text)) = &self.digest_file {
            cache.write(&format!("{name}{}", algorithm.suffix()), text)?;
        }
        cache.rename(&part, &name).with_context(doing)
    }

    /// Unpacks it into an empty directory.
    ///
    /// # Errors
    ///
    /// Also when there is no program in it, which makes it no root.
    pub(crate) fn unpack(&mut self, root: &Folder) -> Result<()> {
        let doing = || format!("unpack {}", self.path.display());
        self.file.rewind().with_context(doing)?;
        let left_out = unpack_file(&self.file, root.dir(), Limits::GENEROUS).with_context(doing)?;
        ensure!(
            has_programs(root),
            "{}: it has no program in any of {}; name the archive of a root",
            doing(),
            PROGRAMS.join(", ")
        );
        if left_out.count > 0 {
            note(&format!(
                "left out {} device nodes or pipes of {}, the first is {}",
                left_out.count,
                self.path.display(),
                left_out.first
            ));
        }
        Ok(())
    }
}

/// What a digest was compared with, for the user to weigh.
fn compared(release: &Release, algorithm: Algorithm) -> String {
    match release.pinned() {
        Some(_) => format!("checked against the pinned {algorithm}"),
        None => format!("checked against the {algorithm} from the mirror"),
    }
}

/// Where a container looks for programs.
const PROGRAMS: [&str; 6] =
    ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"];

/// Whether there is anything where a container looks for programs. A link is
/// not followed: it would lead to this machine's, or to another of them.
fn has_programs(root: &Folder) -> bool {
    PROGRAMS.iter().any(|path| {
        let mut parts = path.split('/');
        let first = parts.next().and_then(|part| root.folder(part).ok());
        let dir = parts.fold(first, |dir, part| dir?.folder(part).ok());
        dir.is_some_and(|dir| dir.is_empty().is_ok_and(|empty| !empty))
    })
}

/// The archive that is kept beside the root, unless it is not what it was.
fn kept(release: &Release, cache: &Folder) -> Result<Option<(File, Digest)>> {
    let digest = release.pinned().or_else(|| kept_digest(release, cache));
    checked(cache, &release.archive(), digest)
}

/// Copies the archives of releases that are kept beside the root to the
/// directory `to`, with the digests of the mirror, and names the releases.
pub(crate) fn copy_kept(cache: &Folder, to: &Path) -> Result<Vec<Release>> {
    let mut releases = Vec::new();
    for name in cache.names()? {
        let Some(release) = name.to_str().and_then(Release::of_archive) else { continue };
        let Some((mut file, _)) = kept(&release, cache)? else { continue };
        let archive = release.archive();
        let doing = || format!("copy {}", cache.join(&archive).display());
        file.rewind().with_context(doing)?;
        let mut copy = File::create_new(to.join(&archive)).with_context(doing)?;
        io::copy(&mut file, &mut copy).with_context(doing)?;
        for algorithm in Algorithm::ALL {
            let name = format!("{archive}{}", algorithm.suffix());
            if let Some(text) = cache.read(&name) {
                fs::write(to.join(name), text).with_context(doing)?;
            }
        }
        releases.push(release);
    }
    Ok(releases)
}

/// A file that is kept beside the root, if it is there. When it has another
/// digest, or none is known, it is removed.
fn checked(cache: &Folder, name: &str, digest: Option<Digest>) -> Result<Option<(File, Digest)>> {
    let Some(file) = cache.file(name) else {
        return Ok(None);
    };
    let path = cache.join(name);
    if let Some(digest) = digest {
        let found = Digest::of_file(&file, digest.algorithm);
        if found.with_context(|| format!("read {}", path.display()))? == digest {
            return Ok(Some((file, digest)));
        }
    }
    note(&format!("removed {}, because its digest is wrong", path.display()));
    cache.remove(name)?;
    Ok(None)
}

/// The mirror's digest, kept with the archive.
fn kept_digest(release: &Release, cache: &Folder) -> Option<Digest> {
    let name = release.archive();
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let file = cache.read(&format!("{name}{}", algorithm.suffix()))?;
        Digest::of_name(&file, &name, algorithm)
    })
}

/// Downloads an archive, which has its name only once its digest is right.
fn fetch(release: &Release, cache: &Folder, mirror: &Mirror<'_>) -> Result<(File, Digest)> {
    let name = release.archive();
    let digest = match release.pinned() {
        Some(digest) => digest,
        None => {
            let (digest, text) = mirror.digest(release)?;
            cache.write(&format!("{name}{}", digest.algorithm.suffix()), &text)?;
            digest
        }
    };
    let part = format!("{name}.part");
    let path = cache.join(&part);
    let file = cache.create(&part).with_context(|| format!("write {}", path.display()))?;
    let fetched = mirror.archive(release, file, &path, &digest).and_then(|()| {
        let doing = || format!("keep {}", cache.join(&name).display());
        cache.rename(&part, &name).with_context(doing)?;
        cache.file(&name).with_context(doing)
    });
    if fetched.is_err() {
        // What cannot be removed now, the next run clears away.
        let _ = cache.remove(&part);
    }
    Ok((fetched?, digest))
}
