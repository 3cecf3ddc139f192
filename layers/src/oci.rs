//! An OCI image on disk: its documents in JSON, and the directory that has them.
//!
//! Sources: "Image Layout", "Image Index" and "Image Manifest" in the OCI image
//! specification, version 1.1.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::{errno_of, open};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Folder, unpack};

/// The most bytes of an index, a manifest or a configuration.
pub const LONGEST_DOCUMENT: u64 = 4 << 20;

/// The annotation with the tag of an image in an index.
pub const TAG: &str = "org.opencontainers.image.ref.name";

/// Names a blob: its type, its digest and its size.
#[derive(Clone, Debug, Deserialize)]
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
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Notes by name, such as the tag of an image.
    #[serde(default, deserialize_with = "or_null")]
    pub annotations: BTreeMap<String, String>,
}

/// The media types of an index: that of OCI, and that of Docker.
pub const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// The media types of a manifest.
pub const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGURATIONS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The media types of layers, without the compression.
const LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"];

/// The media type of OCI in the place of one of Docker, except an index.
pub fn oci_type(docker: &str) -> Option<String> {
    [MANIFESTS, CONFIGURATIONS, LAYERS].iter().find_map(|[oci, of_docker]| {
        let end = docker.strip_prefix(of_docker)?;
        matches!(end, "" | ".gzip" | ".zstd").then(|| format!("{oci}{}", end.replace('.', "+")))
    })
}

impl Descriptor {
    /// Whether the blob is an index: a list of images.
    pub fn is_index(&self) -> bool {
        INDEXES.contains(&&*self.media_type)
    }

    /// Whether the blob is a manifest: an image for one machine.
    pub fn is_manifest(&self) -> bool {
        MANIFESTS.contains(&&*self.media_type)
    }

    /// Whether the blob is the configuration of an image. Other things are stored in the form
    /// of an image, too.
    pub fn is_configuration(&self) -> bool {
        CONFIGURATIONS.contains(&&*self.media_type)
    }

    /// Checks that the blob is a layer of a root, by its media type. Its first bytes show
    /// its compression.
    ///
    /// # Errors
    ///
    /// When it is foreign, encrypted, or something else.
    pub fn check_layer(&self) -> Result<()> {
        let (kind, digest) = (short(&self.media_type), self.digest.oci());
        let is = |part| kind.contains(part);
        ensure!(
            !is("nondistributable") && !is("foreign"),
            "read layer {digest}: it is a foreign layer ({kind}), which is not in the image"
        );
        ensure!(
            !is("encrypted"),
            "read layer {digest}: it is encrypted ({kind}); decrypt the image"
        );
        let mut ends = LAYERS.iter().filter_map(|layer| kind.strip_prefix(layer));
        ensure!(
            ends.any(|end| matches!(end, "" | "+gzip" | ".gzip" | "+zstd" | ".zstd")),
            "read layer {digest}: its media type {kind:?} is not that of a layer of a root"
        );
        Ok(())
    }

    /// The tag of an image in an index.
    pub fn tag(&self) -> Option<&str> {
        self.annotations.get(TAG).map(String::as_str).filter(|tag| !tag.is_empty())
    }

    /// Whether the image has this tag. Some tools write the whole reference as the tag, such
    /// as `localhost/app:latest`.
    pub fn is_called(&self, tag: &str) -> bool {
        let found = self.tag().and_then(|found| found.strip_suffix(tag));
        found.is_some_and(|rest| rest.is_empty() || rest.ends_with(':'))
    }
}

/// A machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Platform {
    /// As Go names it, such as `amd64`.
    #[serde(default, deserialize_with = "or_null")]
    pub architecture: String,
    /// Such as `linux`.
    #[serde(default, deserialize_with = "or_null")]
    pub os: String,
    /// The version of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn here() -> Platform {
        // Go's name for an architecture, where it is not Rust's.
        let architecture = match ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            same => same,
        };
        Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: None }
    }

    /// How well a program for this platform runs on `machine`: 0 is best. Nothing if it may
    /// not run there.
    pub fn rank_on(&self, machine: &Platform) -> Option<usize> {
        // Each machine of the architecture has what these versions need.
        let variants: &[&str] = match &*machine.architecture {
            "amd64" => &["", "v1"],
            "arm64" => &["", "v8"],
            "arm" => &["v7", "", "v6", "v5"],
            _ => &[""],
        };
        let same = self.architecture == machine.architecture && self.os == machine.os;
        let (own, wanted) = (self.variant.as_deref(), machine.variant.as_deref());
        match wanted {
            _ if !same => None,
            Some(_) if own == wanted => Some(0),
            _ => variants.iter().position(|variant| *variant == own.unwrap_or_default()),
        }
    }
}

/// As `--platform` of other tools takes it, such as `linux/arm64/v8`.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
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

/// The document that a manifest names: what is in an image, and how it is started.
#[derive(Clone, Debug, Deserialize)]
pub struct Configuration {
    /// The machine.
    #[serde(flatten)]
    pub platform: Platform,
    /// How a container is started.
    #[serde(default, deserialize_with = "or_null")]
    pub config: Config,
    /// The contents of the layers.
    pub rootfs: Rootfs,
}

/// How a container is started. A missing value is empty. The specification has more values,
/// which no lesson uses: volumes, exposed ports, labels, and how to ask for the health.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// The first words of the command.
    #[serde(default, deserialize_with = "or_null")]
    pub entrypoint: Vec<String>,
    /// The words after them, unless the caller gives others.
    #[serde(default, deserialize_with = "or_null")]
    pub cmd: Vec<String>,
    /// Variables, `NAME=VALUE`.
    #[serde(default, deserialize_with = "or_null")]
    pub env: Vec<String>,
    /// The directory in which the command starts.
    #[serde(default, deserialize_with = "or_null")]
    pub working_dir: String,
    /// The user and group, by name or by number.
    #[serde(default, deserialize_with = "or_null")]
    pub user: String,
    /// The name of the signal that asks the command to end.
    #[serde(default, deserialize_with = "or_null")]
    pub stop_signal: String,
}

/// The contents of the layers.
#[derive(Clone, Debug, Deserialize)]
pub struct Rootfs {
    /// The digest of each layer's archive when it is not compressed, the lowest first.
    #[serde(default, deserialize_with = "or_null")]
    pub diff_ids: Vec<Digest>,
}

/// Reads `null` as an empty value: programs in Go write it.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a document. The error of serde_json can quote all of it, so this is its start.
///
/// # Errors
///
/// When the text is not such a document.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| anyhow!("{}", short(&error.to_string())))
}

/// The start of a text from an image, for an error line.
pub fn short(text: &str) -> String {
    unpack::short(text.as_bytes())
}

/// The first of some names from an image, for an error line.
pub fn some_of(names: &[impl AsRef<str>]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| short(name.as_ref())).collect();
    match names.len() - shown.len() {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Opens a file of a layout.
fn file(folder: &Folder, name: &str) -> Result<File> {
    open::regular_in(folder, name).map_err(|error| match errno_of(&error) {
        Some(Errno::ELOOP) => anyhow!("it is a symbolic link, and not a file"),
        _ => error.into(),
    })
}

/// An image layout: a directory with `oci-layout`, `index.json` and `blobs/`.
pub struct Layout {
    folder: Folder,
}

impl Layout {
    /// Opens the layout that `name` names: a path, or a path, `:` and a tag. Returns the
    /// layout and the tag.
    ///
    /// # Errors
    ///
    /// As [`Layout::open`].
    pub fn open_named(name: &Path) -> Result<(Layout, Option<String>)> {
        let bytes = name.as_os_str().as_bytes();
        let mut ways = vec![(name, None)];
        for at in (0..bytes.len()).filter(|&at| bytes[at] == b':') {
            let tag = String::from_utf8_lossy(&bytes[at + 1..]).into_owned();
            ways.push((Path::new(OsStr::from_bytes(&bytes[..at])), Some(tag)));
        }
        // A path may have a `:`, and so may a tag: the first path that exists counts.
        let way = ways.iter().find(|(path, _)| path.exists());
        let (path, tag) = way.or(ways.get(1)).unwrap_or(&ways[0]);
        Ok((Layout::open(path)?, tag.clone()))
    }

    /// Opens the layout at `path`.
    ///
    /// # Errors
    ///
    /// When it is not a layout of version 1.
    pub fn open(path: &Path) -> Result<Layout> {
        let doing = || format!("open the image layout {}", path.display());
        // A FIFO is not waited for.
        let flags = OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let dir = match nix::fcntl::open(path, flags, Mode::empty()) {
            Err(Errno::ENOENT) => bail!(
                "{}: it is missing; fetch an image with `cargo xtask pull`, and name its directory",
                doing()
            ),
            Err(Errno::ENOTDIR) => bail!(
                "{}: it is not a directory; make one of an archive with `skopeo copy oci-archive:FILE oci:DIR`",
                doing()
            ),
            dir => dir.with_context(doing)?,
        };
        let layout = Layout { folder: Folder::new(path.to_owned(), dir) };
        ensure!(
            layout.folder.has("oci-layout"),
            "{}: it has no file oci-layout, so it is not an image; fetch an image with `cargo xtask pull`, or name a root with --rootfs",
            doing()
        );
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            image_layout_version: String,
        }
        let found: Version = layout.named("oci-layout")?;
        let version = found.image_layout_version;
        ensure!(version.starts_with("1."), "{}: its version {} is not 1", doing(), short(&version));
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
        let file = file(&self.folder, name).with_context(doing)?;
        parse(&open::whole(file, LONGEST_DOCUMENT).with_context(doing)?).with_context(doing)
    }

    /// Reads a document, and checks its size and its digest.
    ///
    /// # Errors
    ///
    /// When it is missing, is not what the descriptor says, or has another form.
    pub fn document<T: DeserializeOwned>(&self, what: &Descriptor) -> Result<T> {
        let doing = || format!("read blob {} of {}", what.digest.oci(), self.path().display());
        ensure!(what.size <= LONGEST_DOCUMENT, "{}: its size is {}", doing(), what.size);
        let text = open::whole(self.blob(what)?, what.size).with_context(doing)?;
        let found = Digest::of_bytes(&text, what.digest.algorithm());
        ensure!(found == what.digest, "{}: its digest is {}", doing(), found.oci());
        parse(&text).with_context(doing)
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
        let file = file(&blobs, &hex).with_context(doing)?;
        let size = file.metadata().with_context(doing)?.len();
        ensure!(size == what.size, "{}: it has {size} bytes, and not {}", doing(), what.size);
        Ok(file)
    }

    /// The path of the layout, for messages.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests;
