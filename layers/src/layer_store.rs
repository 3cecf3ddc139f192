//! A store of unpacked layers, which all images share.
//!
//! Each layer is a directory with the digits of its diff_id as its name. It is a lower
//! directory of an overlay. A layer that is being unpacked has another name, so a layer
//! with its name is complete. The store has one lock, for changes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cache::{Cache, NEW};
use crate::oci::Descriptor;
use crate::{Client, Digest, Limits, place, unpack_layer};

/// An open store of layers.
pub struct LayerStore {
    cache: Cache,
}

impl LayerStore {
    /// Opens the store in the directory `dir`. Makes the directory if it is missing, with
    /// the mode 700. An unpacked layer has the owners of one ID map, so each map needs a
    /// directory of its own.
    ///
    /// It may be opened before the user namespace of [`layer`](LayerStore::layer) is
    /// entered, if root in it is the same user. In a user namespace all users without an
    /// ID look the same, so only outside it finds out whether another user owns a
    /// directory above.
    ///
    /// # Errors
    ///
    /// When the directory is a symbolic link or belongs to another user, or another user
    /// can write to it or rename it.
    pub fn open(dir: &Path, client: Client) -> Result<LayerStore> {
        // Without a slash at its end, which would follow the link.
        let is_link = fs::symlink_metadata(dir.components().as_path());
        if is_link.is_ok_and(|found| found.is_symlink()) {
            return Err(client.refusal(dir, "it is a symbolic link"));
        }
        let (above, name) = place::find(dir, client)?;
        let changeable = common::changeable(above.path(), 0);
        let changeable = changeable.with_context(|| format!("look above {}", dir.display()))?;
        if let Some(why) = changeable {
            return Err(
                client.refusal(dir, format!("{why}, so other users can rename files in it"))
            );
        }
        let cache = Cache::open(&above, &name, client, |_| Ok(()))?;
        Ok(LayerStore { cache })
    }

    /// The directory of a layer. If the store does not have it yet, takes the blob from
    /// `open`, and unpacks it. The caller is root in a user namespace.
    ///
    /// # Errors
    ///
    /// When this layer cannot be unpacked: see [`unpack_layer`], and
    /// [`Descriptor::check_layer`].
    pub fn layer(
        &self,
        diff_id: &Digest,
        blob: &Descriptor,
        open: impl FnOnce() -> Result<File>,
    ) -> Result<PathBuf> {
        blob.check_layer()?;
        let Cache { folder, .. } = &self.cache;
        let (name, path) = (diff_id.to_string(), folder.join(diff_id.to_string()));
        if self.cache.is_claimed()? && folder.folder(&name).is_ok() {
            // A killed run may have left it. If another run works on it, it stays.
            if folder.has(NEW) && self.cache.try_lock().unwrap_or(false) {
                self.changing(|| self.cache.sweep(|_| false))?;
            }
            return Ok(path);
        }
        self.cache.lock(folder.path())?;
        self.changing(|| {
            self.cache.claim(|| self.discard_layers())?;
            self.cache.sweep(|_| false)?;
            // Another run may have unpacked it.
            if folder.folder(&name).is_err() {
                self.cache.discard(name.as_ref());
                let unpacked = self.unpack(diff_id, blob, &name, open);
                // Then this is the reason.
                common::stop_if_asked()?;
                unpacked.with_context(|| format!("unpack layer {}", blob.digest.oci()))?;
            }
            Ok(path)
        })
    }

    /// Does the work under the lock, and then unlocks.
    fn changing<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = work();
        let doing = || format!("unlock {}", self.cache.folder.path().display());
        self.cache.folder.as_file().unlock().with_context(doing)?;
        done
    }

    /// Removes the layers of a copy: they may have lost owners, whiteouts or attributes.
    fn discard_layers(&self) -> Result<()> {
        for name in self.cache.folder.names()? {
            if name.to_str().and_then(Digest::parse).is_some() {
                self.cache.discard(&name);
            }
        }
        Ok(())
    }

    fn unpack(
        &self,
        diff_id: &Digest,
        blob: &Descriptor,
        name: &str,
        open: impl FnOnce() -> Result<File>,
    ) -> Result<()> {
        let limits = Limits::LAYER;
        ensure!(blob.size <= limits.bytes, "its size is {}", blob.size);
        let file = open()?;
        let notes = self.cache.in_new(|new| {
            let notes = unpack_layer(&file, &blob.digest, diff_id, new.as_file(), limits)?;
            new.sync()?;
            let put = self.cache.folder.rename(NEW, name);
            put.with_context(|| format!("put it in {}", self.cache.folder.join(name).display()))?;
            Ok(notes)
        })?;
        let layer = blob.digest.oci();
        notes.lines().for_each(|line| (self.cache.client.tell)(&format!("layer {layer}: {line}")));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
