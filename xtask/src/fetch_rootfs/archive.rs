//! Archives that have been checked, whether they were kept, fetched or named.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::digest::{Algorithm, Digest};
use super::download::Mirror;
use super::releases::Release;
use super::store::{Root, Store};
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
        store: &Store,
        mirror: &Mirror<'_>,
    ) -> Result<Archive> {
        let path = store.file(&release.archive());
        let (file, digest) = match kept(release, store)? {
            Some(kept) => kept,
            None => fetch(release, store, mirror)?,
        };
        let how = compared(release, digest.algorithm);
        let root = Root::Alpine(release.clone());
        Ok(Archive { path, file, digest_file: None, root, how })
    }

    /// The archive with a SHA-256 of which nothing else is known, if it was
    /// kept beside the root and is what it was.
    pub(crate) fn of_unknown(sha256: &str, store: &Store) -> Result<Option<Archive>> {
        let root = Root::Archive(sha256.to_owned());
        let Some(path) = root.archive().map(|name| store.file(&name)) else {
            return Ok(None);
        };
        let Some((file, _)) = checked(&path, Digest::parse(sha256))? else {
            return Ok(None);
        };
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
        let file = File::open(path).with_context(doing)?;
        let found = file.metadata().with_context(doing)?;
        ensure!(found.is_file(), "{}: it is not a file; name one with --archive", doing());
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
            let how = "unchecked, as nothing is known to compare that with".to_owned();
            let root = Root::Archive(digest.to_string());
            return Ok(Archive { path, file, digest_file, root, how });
        };
        let digest = Digest::of_file(&file, wanted.algorithm).with_context(doing)?;
        ensure!(
            digest == wanted,
            "check {}: its {} is {digest} and should be {wanted} for {release}; fetch it again",
            path.display(),
            wanted.algorithm
        );
        let how = compared(release, wanted.algorithm);
        let root = Root::Alpine(release.clone());
        Ok(Archive { path, file, digest_file, root, how })
    }

    /// Keeps it beside the root, like one that was downloaded, unless it lies
    /// there already.
    pub(crate) fn keep(&mut self, store: &Store) -> Result<()> {
        let Some(name) = self.root.archive() else { return Ok(()) };
        let path = store.file(&name);
        if path == self.path {
            return Ok(());
        }
        let part = store.file(&format!("{name}.part"));
        let doing = || format!("keep {} as {}", self.path.display(), path.display());
        self.file.rewind().with_context(doing)?;
        let mut copy = File::create_new(&part).with_context(doing)?;
        // What is left of a copy that fails, the next run clears away.
        io::copy(&mut self.file, &mut copy).with_context(doing)?;
        if let Some((algorithm, text)) = &self.digest_file {
            let file = store.file(&format!("{name}{}", algorithm.suffix()));
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        fs::rename(&part, &path).with_context(doing)
    }

    /// Unpacks it into an empty directory.
    pub(crate) fn unpack(&mut self, root: &Path) -> Result<()> {
        let doing = || format!("unpack {}", self.path.display());
        self.file.rewind().with_context(doing)?;
        let left_out = unpack_file(&self.file, root, Limits::GENEROUS).with_context(doing)?;
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
    let digest = release.pinned().or_else(|| kept_digest(release, store));
    checked(&store.file(&release.archive()), digest)
}

/// A file that is kept beside the root, if it is there. When it has another
/// digest, or none is known, it is removed.
fn checked(path: &Path, digest: Option<Digest>) -> Result<Option<(File, Digest)>> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    if let Some(digest) = digest {
        let found = Digest::of_file(&file, digest.algorithm);
        if found.with_context(|| format!("read {}", path.display()))? == digest {
            return Ok(Some((file, digest)));
        }
    }
    note(&format!("throw away {}, whose digest is wrong", path.display()));
    fs::remove_file(path).with_context(|| format!("remove {}", path.display()))?;
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
