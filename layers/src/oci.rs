//! An OCI image on disk: its documents in JSON, and the directory that has them.
//!
//! Sources: "Image Layout", "Image Index" and "Image Manifest" in the OCI image
//! specification, version 1.1.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::open;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::unpack::short;
use crate::{Digest, Folder};

/// The most bytes of an index, a manifest or a configuration.
pub const LONGEST_DOCUMENT: u64 = 4 << 20;

/// Names a blob: its type, its digest and its size.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// In an index: the machine that the image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Notes by name, such as the tag of an image.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The media types of layers, without the compression. Docker has a name of its own.
const LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"];

impl Descriptor {
    /// Checks that the blob is a layer of a root, by its media type. Its first bytes show
    /// its compression.
    ///
    /// # Errors
    ///
    /// When it is foreign, encrypted, or something else.
    pub fn check_layer(&self) -> Result<()> {
        let (kind, digest) = (short(self.media_type.as_bytes()), self.digest.oci());
        let is = |part| kind.contains(part);
        ensure!(
            !is("nondistributable") && !is("foreign"),
            "read layer {digest}: it is a foreign layer ({kind}), which is not in the image"
        );
        ensure!(!is("encrypted"), "read layer {digest}: it is encrypted ({kind}); decrypt the image");
        let mut ends = LAYERS.iter().filter_map(|layer| kind.strip_prefix(layer));
        ensure!(
            ends.any(|end| matches!(end, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd")),
            "read layer {digest}: its media type {kind:?} is not that of a layer of a root"
        );
        Ok(())
    }
}

/// The annotation with the tag of an image in an index.
pub const TAG: &str = "org.opencontainers.image.ref.name";

/// A machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Platform {
    /// As Go names it, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A list of images.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// The manifests, and other indexes.
    #[serde(default, deserialize_with = "or_null")]
    pub manifests: Vec<Descriptor>,
}

/// An image for one machine.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "or_null")]
    pub layers: Vec<Descriptor>,
}

/// Reads `null` as an empty value: programs in Go write it.
///
/// # Errors
///
/// When the value has another type.
pub fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image layout: a directory with `oci-layout`, `index.json` and `blobs/`.
pub struct Layout {
    folder: Folder,
}

impl Layout {
    /// Opens the layout at `path`.
    ///
    /// # Errors
    ///
    /// When it is not a layout of version 1.
    pub fn open(path: &Path) -> Result<Layout> {
        let dir = File::open(path).and_then(|dir| {
            let is_dir = dir.metadata()?.is_dir();
            if is_dir { Ok(dir) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
        });
        let dir = dir.with_context(|| format!("open the image layout {}", path.display()))?;
        let layout = Layout { folder: Folder::new(path.to_owned(), dir) };
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        let found: Version = layout.named("oci-layout")?;
        let version = found.image_layout_version;
        ensure!(
            version.starts_with("1."),
            "open the image layout {}: its version {version} is not 1",
            path.display()
        );
        Ok(layout)
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    ///
    /// When it is missing, too long, or not an index.
    pub fn index(&self) -> Result<Index> {
        self.named("index.json")
    }

    fn named<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let doing = || format!("read {}", self.folder.join(name).display());
        let file = open::regular_in(&self.folder, name).with_context(doing)?;
        let mut text = Vec::new();
        file.take(LONGEST_DOCUMENT + 1).read_to_end(&mut text).with_context(doing)?;
        ensure!(text.len() as u64 <= LONGEST_DOCUMENT, "{}: it is too long", doing());
        serde_json::from_slice(&text).with_context(doing)
    }

    /// Reads a document, and checks its size and its digest.
    ///
    /// # Errors
    ///
    /// When it is missing, is not what the descriptor says, or has another form.
    pub fn document<T: DeserializeOwned>(&self, what: &Descriptor) -> Result<T> {
        let doing = || format!("read blob {} of {}", what.digest.oci(), self.path().display());
        ensure!(what.size <= LONGEST_DOCUMENT, "{}: its size is {}", doing(), what.size);
        let mut text = Vec::new();
        self.blob(what)?.take(what.size).read_to_end(&mut text).with_context(doing)?;
        let found = Digest::of_bytes(&text, what.digest.algorithm());
        ensure!(found == what.digest, "{}: its digest is {}", doing(), found.oci());
        serde_json::from_slice(&text).with_context(doing)
    }

    /// Opens a blob, and checks its size. It does not check the digest.
    ///
    /// # Errors
    ///
    /// When it is missing, or has another size.
    pub fn blob(&self, what: &Descriptor) -> Result<File> {
        let doing = || format!("open blob {} of {}", what.digest.oci(), self.path().display());
        let (algorithm, hex) = (what.digest.algorithm().oci(), what.digest.to_string());
        let blobs = self.folder.folder("blobs").and_then(|blobs| blobs.folder(algorithm));
        let blobs = blobs.with_context(doing)?;
        let file = open::regular_in(&blobs, &*hex).with_context(doing)?;
        let size = file.metadata().with_context(doing)?.len();
        ensure!(size == what.size, "{}: it has {size} bytes, and not {}", doing(), what.size);
        Ok(file)
    }

    /// The path of the layout, for messages.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
