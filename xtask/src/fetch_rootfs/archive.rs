//! The archive of a root: from the cache, from a mirror, or named by the user. The
//! digest is checked before the archive is read.

use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::open;
use layers::{Algorithm, Digest, Folder, Limits, Store, unpack};

use super::mirror::Mirror;
use super::root::{PROGRAM_DIRS, Root};
use super::{CLIENT, Release};
use crate::file;
use crate::say::note;

/// An archive. Its digest was checked, if the correct digest is known.
pub(crate) struct Archive {
    /// For messages.
    path: PathBuf,
    file: File,
    digest: Digest,
    pub(crate) root: Root,
    /// How the digest was checked.
    pub(crate) how: String,
}

impl Archive {
    /// The archive of a release: from the cache, else from the mirror.
    pub(crate) fn of_release(
        release: &Release,
        store: &Store,
        mirror: &Mirror<'_>,
    ) -> Result<Archive> {
        let path = store.cache().join(release.archive());
        let (file, digest) = match kept_release(release, store)? {
            Some(kept) => kept,
            None => fetch(release, store.cache(), mirror)?,
        };
        Ok(Archive::checked(path, file, digest, release.clone()))
    }

    /// The archive with this SHA-256 from the cache, if it is unchanged.
    pub(crate) fn of_digest(sha256: &str, store: &Store) -> Result<Option<Archive>> {
        let root = Root::Archive(sha256.to_owned());
        let name = root.archive().unwrap_or_default();
        let path = store.cache().join(&name);
        let how = "as it was kept".to_owned();
        let digest = Digest::parse(sha256);
        let kept = store.cache().kept(&name, digest.as_ref(), note)?;
        Ok(kept.zip(digest).map(|(file, digest)| Archive { path, file, digest, root, how }))
    }

    /// The archive in the open file at `path`, which must be the archive of `release`, if
    /// this is known. `release` has the digest.
    pub(crate) fn of_file(
        path: &Path,
        file: File,
        release: Option<(Release, Digest)>,
    ) -> Result<Archive> {
        let wanted = release.as_ref().map(|(_, digest)| digest);
        let algorithm = wanted.map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = Digest::of_file(&file, algorithm);
        let digest = digest.with_context(|| format!("read the archive {}", path.display()))?;
        let path = path.to_owned();
        let Some((release, wanted)) = release else {
            let root = Root::Archive(digest.to_string());
            let how = "unchecked, because its correct SHA-256 is unknown".to_owned();
            return Ok(Archive { path, file, digest, root, how });
        };
        ensure!(
            digest == wanted,
            "check {}: its {algorithm} is {digest}, but {release} has {wanted}; download the archive again",
            path.display()
        );
        Ok(Archive::checked(path, file, digest, release))
    }

    fn checked(path: PathBuf, file: File, digest: Digest, release: Release) -> Archive {
        let algorithm = digest.algorithm();
        let how = match release.pinned() {
            Some(_) => format!("checked against the pinned {algorithm}"),
            None => format!("checked against the {algorithm} from the mirror"),
        };
        Archive { path, file, digest, root: Root::Alpine(release), how }
    }

    /// Unpacks the archive into an empty directory.
    /// Fails also when the archive has no program: then it is not the archive of a root.
    pub(crate) fn unpack(&mut self, root: &Folder) -> Result<()> {
        let doing = || format!("unpack {}", self.path.display());
        self.file.rewind().with_context(doing)?;
        let left_out = unpack(&self.file, root.as_file(), Limits::GENEROUS).with_context(doing)?;
        ensure!(
            has_programs(root),
            "{}: it has no program in any of {}; name the archive of a root",
            doing(),
            PROGRAM_DIRS.join(", ")
        );
        if let Some(what) = left_out.text("device node or pipe", "device nodes or pipes") {
            note(&format!("left out of {}: {what}", self.path.display()));
        }
        Ok(())
    }

    /// Copies the archive to the cache.
    pub(crate) fn keep(&mut self, cache: &Folder) -> Result<()> {
        let name = self.root.archive().context("find a name for the archive")?;
        cache.save(&name, |copy, _| {
            let doing = || format!("keep {}", self.path.display());
            self.file.rewind().with_context(doing)?;
            io::copy(&mut self.file, copy).with_context(doing)?;
            match &self.root {
                Root::Alpine(release) => keep_digest(release, &self.digest, cache),
                _ => Ok(()),
            }
        })?;
        Ok(())
    }
}

/// Opens the archive that the user named.
pub(crate) fn open(path: &Path) -> Result<File> {
    let doing = || format!("read the archive {}", path.display());
    let file = open::regular(path).with_context(doing)?;
    // A file of /proc has no length, and a read may wait for an event.
    let length = file.metadata().with_context(doing)?.len();
    ensure!(
        length > 0,
        "unpack {}: it is empty; name another archive with --archive",
        path.display()
    );
    Ok(file)
}

/// Downloads the archive of a release to the cache, and keeps it if its digest is
/// correct.
fn fetch(release: &Release, cache: &Folder, mirror: &Mirror<'_>) -> Result<(File, Digest)> {
    let wanted = match release.pinned() {
        Some(digest) => digest,
        None => mirror.digest(release)?,
    };
    let file = cache.save(&release.archive(), |file, path| {
        mirror.archive(release, &wanted, file, path)?;
        keep_digest(release, &wanted, cache)
    })?;
    Ok((file, wanted))
}

/// Keeps the digest of a release's archive, unless it is pinned.
fn keep_digest(release: &Release, digest: &Digest, cache: &Folder) -> Result<()> {
    match digest_file(release, digest) {
        Some((name, line)) => cache.write(&name, line.as_bytes()),
        None => Ok(()),
    }
}

/// The name of a release's digest file and its line, unless the digest is pinned.
fn digest_file(release: &Release, digest: &Digest) -> Option<(String, String)> {
    let name = release.archive();
    let file = format!("{name}.{}", digest.algorithm().oci());
    release.pinned().is_none().then(|| (file, format!("{digest}  {name}\n")))
}

/// The archive of a release from the cache, if it is unchanged.
fn kept_release(release: &Release, store: &Store) -> Result<Option<(File, Digest)>> {
    let name = release.archive();
    let mirrors = || {
        Algorithm::ALL.into_iter().find_map(|algorithm| {
            let file = store.cache().read(&format!("{name}.{}", algorithm.oci()))?;
            Digest::of_name(&file, &name, algorithm)
        })
    };
    let digest = release.pinned().or_else(mirrors);
    Ok(store.cache().kept(&name, digest.as_ref(), note)?.zip(digest))
}

/// Copies the archives of releases in the cache to the directory `to`, with the
/// digests from the mirror, and returns the releases. `to` can then be a cache.
pub(crate) fn copy_kept(store: &Store, to: &Path) -> Result<Vec<Release>> {
    let cache = store.cache();
    let mut releases = Vec::new();
    for name in cache.names()? {
        let Some(release) = name.to_str().and_then(Release::of_archive) else { continue };
        let Some((mut file, digest)) = kept_release(&release, store)? else { continue };
        let archive = release.archive();
        let doing = || format!("copy {}", cache.join(&archive).display());
        file.rewind().with_context(doing)?;
        let mut copy = File::create_new(to.join(&archive)).with_context(doing)?;
        io::copy(&mut file, &mut copy).with_context(doing)?;
        if let Some((name, line)) = digest_file(&release, &digest) {
            file::write(&to.join(name), line)?;
        }
        releases.push(release);
    }
    file::write(&to.join(CLIENT.marker()), "")?;
    Ok(releases)
}

/// Whether a directory for programs has an entry. It follows no links: they lead to
/// a directory of this machine, or to another directory for programs.
fn has_programs(root: &Folder) -> bool {
    PROGRAM_DIRS.iter().any(|path| {
        let mut parts = path.split('/');
        let first = parts.next().and_then(|part| root.folder(part).ok());
        let dir = parts.fold(first, |dir, part| dir?.folder(part).ok());
        dir.is_some_and(|dir| dir.names().is_ok_and(|names| !names.is_empty()))
    })
}
