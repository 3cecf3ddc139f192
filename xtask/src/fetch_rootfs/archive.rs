//! Archives that have been checked, whether they were kept, fetched or named.

use std::fs::{self, File};
use std::io::Seek;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::digest::{Algorithm, Digest};
use super::download::Mirror;
use super::releases::Release;
use super::store::{Root, Store};
use super::unpack::{Limits, unpack_gz};
use crate::say::note;

/// An archive whose digest has been looked at.
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    pub(crate) root: Root,
    /// What the digest was compared with.
    pub(crate) how: String,
}

impl Archive {
    /// The archive of a release: the one that is kept beside the root, else
    /// the mirror's, which is kept from then on.
    pub(crate) fn of_release(
        release: &Release,
        store: &Store,
        mirror: &Mirror<'_>,
    ) -> Result<Archive> {
        let path = store.file(&release.archive());
        let (file, digest) = match kept(release, store)? {
            Some(kept) => kept,
            None => fetch(release, store, mirror)?,
        };
        let how = compared(release, digest.algorithm);
        Ok(Archive { path, file, root: Root::Alpine(release.clone()), how })
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
        let file = File::open(path).with_context(doing)?;
        let found = file.metadata().with_context(doing)?;
        ensure!(found.is_file(), "{}: it is not a file; name one with --archive", doing());
        let path = path.to_owned();
        let wanted = match release {
            Some(release) => match release.pinned() {
                Some(digest) => Some((release, digest)),
                None if said => Some((release, mirror.digest(release)?.0)),
                None => None,
            },
            None => None,
        };
        let Some((release, wanted)) = wanted else {
            let digest = Digest::of_file(&file, Algorithm::Sha256).with_context(doing)?;
            let how = "unchecked, as nothing is known to compare that with".to_owned();
            return Ok(Archive { path, file, root: Root::Archive(digest.to_string()), how });
        };
        let digest = Digest::of_file(&file, wanted.algorithm).with_context(doing)?;
        ensure!(
            digest == wanted,
            "check {}: its {} is {digest} and should be {wanted} for {release}; fetch it again",
            path.display(),
            wanted.algorithm
        );
        let how = compared(release, wanted.algorithm);
        Ok(Archive { path, file, root: Root::Alpine(release.clone()), how })
    }

    /// Unpacks it into an empty directory.
    pub(crate) fn unpack(&mut self, root: &Path) -> Result<()> {
        let doing = || format!("unpack {}", self.path.display());
        self.file.rewind().with_context(doing)?;
        let left_out = unpack_gz(&self.file, root, Limits::GENEROUS).with_context(doing)?;
        if left_out.count > 0 {
            note(&format!(
                "left out {} device nodes or pipes of {}, the first {}",
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

/// The archive that is kept beside the root, unless it is not what it was.
fn kept(release: &Release, store: &Store) -> Result<Option<(File, Digest)>> {
    let path = store.file(&release.archive());
    let Ok(file) = File::open(&path) else {
        return Ok(None);
    };
    let digest = release.pinned().or_else(|| kept_digest(release, store));
    if let Some(digest) = digest {
        let found = Digest::of_file(&file, digest.algorithm);
        if found.with_context(|| format!("read {}", path.display()))? == digest {
            return Ok(Some((file, digest)));
        }
    }
    note(&format!("throw away {}, whose digest is wrong", path.display()));
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    Ok(None)
}

/// The mirror's digest, kept with the archive.
fn kept_digest(release: &Release, store: &Store) -> Option<Digest> {
    let name = release.archive();
    Algorithm::ALL.into_iter().find_map(|algorithm| {
        let file = fs::read(store.file(&format!("{name}{}", algorithm.suffix()))).ok()?;
        Digest::of_name(&file, &name, algorithm)
    })
}

/// Downloads an archive, which has its name only once its digest is right.
fn fetch(release: &Release, store: &Store, mirror: &Mirror<'_>) -> Result<(File, Digest)> {
    let name = release.archive();
    let digest = match release.pinned() {
        Some(digest) => digest,
        None => {
            let (digest, text) = mirror.digest(release)?;
            let file = store.file(&format!("{name}{}", digest.algorithm.suffix()));
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            digest
        }
    };
    let part = store.file(&format!("{name}.part"));
    let path = store.file(&name);
    let fetched = mirror.archive(release, &part, &digest).and_then(|()| {
        fs::rename(&part, &path).with_context(|| format!("rename {}", part.display()))?;
        File::open(&path).with_context(|| format!("read {}", path.display()))
    });
    if fetched.is_err() {
        // What cannot be removed now, the next run clears away.
        let _ = fs::remove_file(&part);
    }
    Ok((fetched?, digest))
}
