//! The image layout that `pull` fills. `index.json` comes last: before that, nothing
//! takes the layout for whole.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use common::open;
use layers::oci::{Descriptor, INDEXES, LONGEST_DOCUMENT, TAG};
use layers::{Algorithm, Client, Digest, Folder, PART};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde_json::{Value, json};

use super::registry::Registry;
use crate::download::{Part, Saved};
use crate::say::note;

/// This task, for the lock.
const CLIENT: Client = Client { name: "pull", puts: "an image", option: "--dest", tell: note };

/// The entries of a layout.
const ENTRIES: [&str; 3] = ["blobs", "index.json", "oci-layout"];

/// A layout, which this process has locked.
pub(crate) struct Place {
    folder: Folder,
    index: Value,
    /// The blobs that this run has begun.
    begun: Mutex<Vec<Digest>>,
}

impl Place {
    /// Locks the layout at `dest`, after the end of another pull. Makes it if it is
    /// missing.
    pub(crate) fn open(dest: &Path) -> Result<Place> {
        let folder = layers::lock(dest, CLIENT, |folder| {
            let is_other = |name: &&str| !ENTRIES.contains(&name.trim_end_matches(PART));
            let names = folder.names()?;
            let mut names = names.iter().map(|name| name.to_str().unwrap_or("?"));
            let other = names.find(is_other);
            ensure!(
                other.is_none(),
                "it is not an image layout: it has {}; name another directory with --dest",
                other.unwrap_or_default()
            );
            Ok(())
        })?;
        let index = read_index(&folder)?;
        Ok(Place { folder, index, begun: Mutex::default() })
    }

    /// The path, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn begun(&self) -> MutexGuard<'_, Vec<Digest>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blobs(&self, algorithm: Algorithm) -> Result<Folder> {
        self.folder.make("blobs")?.make(algorithm.oci())
    }

    /// Downloads a blob, unless it is there. Goes on where an earlier run has stopped.
    /// Returns whether the registry was asked.
    pub(crate) fn fetch(&self, blob: &Descriptor, registry: &Registry) -> Result<bool> {
        let (name, algorithm) = (blob.digest.to_string(), blob.digest.algorithm());
        let blobs = self.blobs(algorithm)?;
        if blobs.kept(&name, Some(&blob.digest), note)?.is_some() {
            return Ok(false);
        }
        self.begun().push(blob.digest.clone());
        let (mut file, path) = blobs.part(&name)?;
        let mut saved = Saved::new(&mut file, &path, algorithm)?;
        loop {
            if saved.came != blob.size || saved.came == 0 {
                registry.blob(blob, saved.came, &mut |part| saved.take(part))?;
            }
            let found = saved.hasher.finish();
            if saved.came == blob.size && found == blob.digest {
                blobs.keep(&name)?;
                return Ok(true);
            }
            if !saved.goes_on {
                let wrong = match saved.came == blob.size {
                    true => format!("its digest is {}", found.oci()),
                    false => format!("it has {} bytes, and not {}", saved.came, blob.size),
                };
                let digest = blob.digest.oci();
                bail!("check blob {digest}: {wrong}; try again, or tell the owner of the registry");
            }
            // The bytes of the earlier run may be the wrong ones.
            saved.take(Part::Start)?;
        }
    }

    /// Reads a short blob.
    pub(crate) fn read(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        let file = self.blobs(blob.digest.algorithm())?.file(&blob.digest.to_string());
        let file = file.with_context(|| format!("read blob {}", blob.digest.oci()))?;
        Ok(open::whole(file, LONGEST_DOCUMENT)?)
    }

    /// Writes the manifest and then the index: the image is there, under these tags.
    pub(crate) fn finish(mut self, manifest: &Value, text: &[u8], tags: &[String]) -> Result<()> {
        let digest: Digest = serde_json::from_value(manifest["digest"].clone())?;
        self.blobs(digest.algorithm())?.write(&digest.to_string(), text)?;
        self.folder.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let doing = || "add the image to index.json".to_owned();
        let images = self.index["manifests"].as_array_mut().with_context(doing)?;
        for tag in tags {
            images.retain(|image| image["annotations"][TAG] != **tag);
            let mut image = manifest.clone();
            image["annotations"] = json!({ TAG: tag });
            images.push(image);
        }
        self.folder.write("index.json", &serde_json::to_vec(&self.index)?)?;
        self.remove_parts()
    }

    /// Removes what killed runs have left of other images.
    fn remove_parts(&self) -> Result<()> {
        for algorithm in Algorithm::ALL {
            let blobs = self.folder.folder("blobs").and_then(|it| it.folder(algorithm.oci()));
            let Ok(blobs) = blobs else { continue };
            for name in blobs.names()? {
                if name.to_str().is_some_and(|name| name.ends_with(PART)) {
                    blobs.remove(name)?;
                }
            }
        }
        Ok(())
    }

    /// Removes what this run has made.
    pub(crate) fn undo(&self) {
        // What cannot be removed stays as the part of no image.
        for digest in self.begun().drain(..) {
            if let Ok(blobs) = self.blobs(digest.algorithm()) {
                let _ = blobs.remove(digest.to_string());
                let _ = blobs.remove(format!("{digest}{PART}"));
            }
        }
        // Only empty directories are removed.
        if let Ok(blobs) = self.folder.folder("blobs") {
            for algorithm in Algorithm::ALL {
                let _ = unlinkat(&blobs, algorithm.oci(), UnlinkatFlags::RemoveDir);
            }
        }
        let _ = unlinkat(&self.folder, "blobs", UnlinkatFlags::RemoveDir);
        let _ = std::fs::remove_dir(self.folder.path());
    }
}

/// The index, with all that other programs wrote into it.
fn read_index(folder: &Folder) -> Result<Value> {
    let new = || json!({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": []});
    let Some(file) = folder.file("index.json") else {
        return Ok(new());
    };
    let doing = || format!("read {}", folder.join("index.json").display());
    let text = open::whole(file, LONGEST_DOCUMENT).with_context(doing)?;
    let index: Value = serde_json::from_slice(&text).with_context(doing)?;
    ensure!(
        index["manifests"].is_array(),
        "{}: it lists no manifests; name another directory with --dest",
        doing()
    );
    Ok(index)
}
