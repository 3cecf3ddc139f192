//! Images on disk for the tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, HeaderMode};

/// The beginning of the types of OCI.
pub const OCI: &str = "application/vnd.oci.image.";

/// An image layout that a test writes.
pub struct Images {
    dir: PathBuf,
    manifests: Vec<Value>,
}

impl Images {
    /// A layout without images, in a new directory.
    pub fn new(dir: PathBuf) -> Images {
        fs::create_dir_all(dir.join("blobs/sha256")).expect("make a layout");
        let images = Images { dir, manifests: Vec::new() };
        images.write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}));
        images
    }

    /// The directory of the layout.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Writes a file of the layout.
    pub fn write(&self, name: &str, value: &Value) {
        fs::write(self.dir.join(name), value.to_string()).expect("write a file");
    }

    /// Writes a blob, if it is not there, and returns its descriptor. `kind` is the end of a type of OCI, or a
    /// whole type.
    pub fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let hash = Sha256::digest(bytes);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = self.dir.join("blobs/sha256").join(&hex);
        if !name.exists() {
            fs::write(name, bytes).expect("write a blob");
        }
        let kind = if kind.contains('/') { kind.to_owned() } else { format!("{OCI}{kind}") };
        json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    }

    /// Writes a document, and returns its descriptor.
    pub fn document(&self, kind: &str, value: &Value) -> Value {
        self.blob(kind, value.to_string().as_bytes())
    }

    /// The descriptor of a layer with the test's root. All of its files belong to root.
    pub fn root(&self) -> Value {
        let (file, descriptor) = root();
        let digest = descriptor["digest"].as_str().and_then(|it| it.strip_prefix("sha256:"));
        let blob = self.dir.join("blobs/sha256").join(digest.expect("a digest"));
        let linked = fs::hard_link(file, &blob).or_else(|_| fs::copy(file, &blob).map(drop));
        // It may be there.
        assert!(linked.is_ok() || blob.exists(), "{linked:?}");
        descriptor.clone()
    }

    /// Writes the manifest of an image for this machine, and returns its descriptor. Above
    /// the root, it has these archives as layers, the lowest first.
    pub fn image(&self, layers: &[&[u8]], config: &Value) -> Value {
        let above = layers.iter().map(|tar| self.blob("layer.v1.tar", tar));
        let layers: Vec<Value> = [self.root()].into_iter().chain(above).collect();
        let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
        let content = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        self.manifest(&content, &layers)
    }

    /// Writes a manifest with the configuration `content`, and returns its descriptor.
    pub fn manifest(&self, content: &Value, layers: &[Value]) -> Value {
        let config = self.document("config.v1+json", content);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.document("manifest.v1+json", &manifest)
    }

    /// Adds an image to the index. An empty tag is none.
    pub fn add(&mut self, tag: &str, mut descriptor: Value) {
        if !tag.is_empty() {
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        self.manifests.push(descriptor);
        let index = json!({"schemaVersion": 2, "manifests": self.manifests});
        self.write("index.json", &index);
    }
}

/// This machine's architecture, as Go names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An archive of the test's root, and its descriptor. It is made once.
fn root() -> &'static (PathBuf, Value) {
    static ROOT: OnceLock<(PathBuf, Value)> = OnceLock::new();
    ROOT.get_or_init(|| {
        let mut archive = Builder::new(Vec::new());
        archive.mode(HeaderMode::Deterministic);
        archive.follow_symlinks(false);
        archive.append_dir_all(".", crate::rootfs()).expect("read the root");
        let archive = archive.into_inner().expect("write to memory");
        let layout = Images::new(crate::dir_of_this_process().join("root-layer"));
        let descriptor = layout.blob("layer.v1.tar", &archive);
        let digest = descriptor["digest"].as_str().and_then(|it| it.strip_prefix("sha256:"));
        (layout.dir.join("blobs/sha256").join(digest.expect("a digest")), descriptor)
    })
}
