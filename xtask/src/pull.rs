//! `cargo xtask pull`: an image from a registry becomes an image layout on disk.
//!
//! - [`Args`] has the options. `reference` reads the name of the image.
//! - `registry` has the documents and the blobs, and answers a request for a token.
//!   `credentials` has the passwords.
//! - [`Image`] goes from the index to the manifest of the wanted machine, and on to its
//!   layers.
//! - `place` is the layout.

mod credentials;
mod place;
mod reference;
mod registry;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::open;
use layers::Digest;
use layers::oci::{
    Descriptor, Index, LONGEST_DOCUMENT, Layout, MANIFESTS, Manifest, Platform, oci_type, parse,
    short, some_of,
};
use serde_json::{Value, json};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::download::{Server, Unreachable, is_loopback};
use crate::fetch_rootfs::explain;
use crate::say::{self, note};
use place::Place;
use reference::Reference;
use registry::Registry;

/// Fetch an image from a registry into an OCI image layout
///
/// The layout is images/NAME in the workspace. Another tag of the image comes beside
/// the first. Layers that are there are not fetched again. Passwords come from the
/// files of `podman login` and `docker login`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// The image, as Docker names it: alpine:3.20, ghcr.io/a/b@sha256:DIGEST,
    /// localhost:5000/x
    reference: String,
    /// The directory for the layout [default: images/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
    /// The machine that the image is for [default: linux and this machine's
    /// architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform)]
    platform: Option<Platform>,
    /// Use plain HTTP. The registry must be on this machine
    #[arg(long)]
    insecure: bool,
    /// Trust the authorities in this file, too: certificates in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[arg(long, value_name = "SECONDS", help = format!(
        "Wait for the registry at most this long, all tries together. Then each layer must come \
                 with at least 1 KiB a second, on average over this time [default: {TIMEOUT}]"
    ))]
    timeout: Option<f64>,
}

/// In seconds.
const TIMEOUT: f64 = 20.0;

/// The number of layers that are downloaded at once.
const AT_ONCE: usize = 4;

/// The most layers: overlay mounts no more.
const LAYERS: usize = 500;

/// The most bytes of all layers together, as they are downloaded.
const LARGEST: u64 = 16 << 30;

/// The number of indexes in which the manifest may be.
const DEPTH: usize = 4;

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        say::line(&self.pull()?)
    }

    /// Fetches the image. Returns a line that names the image and the layout.
    fn pull(&self) -> Result<String> {
        let reference = Reference::parse(&self.reference)?;
        self.fetch(&reference).map_err(explain).with_context(|| format!("pull {reference}"))
    }

    fn fetch(&self, reference: &Reference) -> Result<String> {
        let registry = self.registry(reference)?;
        let wanted = self.platform.clone().unwrap_or_else(Platform::here);
        let image = Image::find(&registry, reference, &wanted)?;
        let default = || images().join(reference.directory());
        let place = Place::open(&self.dest.clone().unwrap_or_else(default))?;
        let count = image.fetch(&registry, &place, &wanted).inspect_err(|error| {
            // What came from a network that broke down is right.
            if Unreachable::of(error).is_none() {
                place.undo();
            }
        })?;
        let path = place.path().display().to_string();
        let (manifest, text) = image.oci(&wanted)?;
        place.finish(&manifest, &text, &reference.tags())?;
        let all = image.layers.len();
        Ok(format!("image: {reference} for {wanted} in {path} ({count} of {all} layers fetched)"))
    }

    fn registry(&self, reference: &Reference) -> Result<Registry> {
        let host = &reference.host;
        let (machine, _) = host.rsplit_once(':').unwrap_or((host, ""));
        let is_here = is_loopback(machine) || is_loopback(host);
        ensure!(
            is_here || !self.insecure,
            "use plain HTTP with {host}: --insecure is for a registry on this machine; leave it out"
        );
        let roots = authorities(self.ca.as_deref())?;
        let mut server = Server::new("the registry", self.timeout.unwrap_or(TIMEOUT), roots)?;
        server.remedy = "check the reference, or tell the owner of the registry";
        server.unreachable =
            "check the network and the name of the registry, and pull again: what came is kept";
        server.distrusted = "name the file of its authority with --ca; or, if it is on this machine and speaks plain HTTP, add --insecure";
        Registry::new(reference, server, self.insecure)
    }
}

/// The image for `run`: a layout as it is, or an image that is pulled first if its
/// layout does not have it.
pub(crate) fn layout(word: &str) -> Result<OsString> {
    let after = word.rfind('/').map_or(0, |at| at + 1);
    let path = word[after..].rfind(':').map_or(word, |at| &word[..after + at]);
    let is_layout = |path: &str| Path::new(path).join("oci-layout").exists();
    if word.starts_with(['.', '/']) || is_layout(word) || is_layout(path) {
        return Ok(word.into());
    }
    let reference = Reference::parse(word)?;
    let tag = reference.tags().pop().unwrap_or_default();
    let dest = images().join(reference.directory());
    if !has(&dest, &tag) {
        note(&Args { reference: word.to_owned(), ..Args::default() }.pull()?);
    }
    let mut layout = dest.into_os_string();
    layout.push(format!(":{tag}"));
    Ok(layout)
}

/// Whether a layout has the image for this machine.
fn has(dest: &Path, tag: &str) -> bool {
    let index = Layout::open(dest).and_then(|layout| layout.index());
    index.is_ok_and(|index| {
        index.manifests.iter().any(|image| {
            let rank = |it: &Platform| it.rank_on(&Platform::here());
            image.is_called(tag) && image.platform.as_ref().is_none_or(|it| rank(it).is_some())
        })
    })
}

/// The directory of the layouts.
fn images() -> PathBuf {
    common::workspace().join("images")
}

/// An image for one machine.
struct Image {
    /// The manifest, as the registry has it.
    text: Value,
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
    /// Each layer once.
    layers: Vec<Descriptor>,
}

impl Image {
    /// Goes from the index, if there is one, to the manifest.
    fn find(registry: &Registry, reference: &Reference, wanted: &Platform) -> Result<Image> {
        let mut asked = reference.asks();
        let mut size = None;
        for _ in 0..=DEPTH {
            let (bytes, digest) = registry.manifest(&asked)?;
            let name = digest.oci();
            let doing = || format!("read the manifest {name}");
            let found = bytes.len();
            let is_right = size.is_none_or(|size| size == found as u64);
            ensure!(is_right, "{}: it has {found} bytes, and not {}", doing(), size.unwrap_or(0));
            let text: Value = parse(&bytes).with_context(doing)?;
            match (text.get("manifests"), text.get("config")) {
                (Some(_), None) => {
                    let next = parse(&bytes).and_then(|index| choose(index, wanted));
                    let next = next.with_context(doing)?;
                    (asked, size) = (next.digest.oci(), Some(next.size));
                }
                (None, Some(_)) => return Image::new(text, digest, bytes).with_context(doing),
                (Some(_), Some(_)) => bail!("{}: it is an index, too", doing()),
                (None, None) => bail!("{}: it has no configuration, so this is no image", doing()),
            }
        }
        bail!("find the manifest: it is in more than {DEPTH} indexes, each in the one before")
    }

    fn new(text: Value, digest: Digest, bytes: Vec<u8>) -> Result<Image> {
        let manifest: Manifest = parse(&bytes)?;
        let config = &manifest.config;
        let kind = short(&config.media_type);
        ensure!(config.is_configuration(), "its configuration is a {kind}, so this is no image");
        ensure!(config.size <= LONGEST_DOCUMENT, "its configuration has {} bytes", config.size);
        let count = manifest.layers.len();
        ensure!(count <= LAYERS, "it has {count} layers, and overlay mounts at most {LAYERS}");
        let mut layers: Vec<Descriptor> = Vec::new();
        for layer in &manifest.layers {
            layer.check_layer()?;
            let digest = layer.digest.oci();
            match layers.iter().find(|it| it.digest == layer.digest) {
                Some(same) => ensure!(same.size == layer.size, "layer {digest} has two sizes"),
                None => layers.push(layer.clone()),
            }
        }
        let size = layers.iter().try_fold(0_u64, |sum, layer| sum.checked_add(layer.size));
        let is_small = size.is_some_and(|size| size <= LARGEST);
        ensure!(is_small, "its layers have more than {} GiB", LARGEST >> 30);
        Ok(Image { text, digest, bytes, manifest, layers })
    }

    /// Fetches the configuration and then all layers. Returns the number of layers that
    /// came.
    fn fetch(&self, registry: &Registry, place: &Place, wanted: &Platform) -> Result<usize> {
        let config = &self.manifest.config;
        place.fetch(config, registry)?;
        let machine: Platform = parse(&place.read(config)?)
            .with_context(|| format!("read the configuration {}", config.digest.oci()))?;
        ensure!(
            machine.architecture.is_empty() || machine.rank_on(wanted).is_some(),
            "find the manifest for {wanted}: the image is for {}; name it with --platform",
            short(&machine.to_string())
        );

        let left = Mutex::new(self.layers.iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        // The first failure ends the other downloads.
        let work = || {
            let mut count = 0;
            while let Some(layer) = next() {
                match place.fetch(layer, registry) {
                    Ok(came) => count += usize::from(came),
                    Err(_) if registry.stop.swap(true, Ordering::Relaxed) => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(count)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|_| Err(anyhow!("a download ended with a panic")))
            });
            ended.sum()
        })
    }

    /// Its descriptor and its manifest, in the types of OCI: few programs read those of
    /// Docker in a layout.
    fn oci(&self, wanted: &Platform) -> Result<(Value, Vec<u8>)> {
        let mut text = self.text.clone();
        let mut is_docker = false;
        let mut turn = |object: &mut Value| {
            let kind = object.get("mediaType").and_then(Value::as_str);
            if let Some(oci) = kind.and_then(oci_type) {
                (object["mediaType"], is_docker) = (json!(oci), true);
            }
        };
        turn(&mut text);
        turn(&mut text["config"]);
        text["layers"].as_array_mut().into_iter().flatten().for_each(turn);
        let (digest, bytes) = if is_docker {
            let bytes = serde_json::to_vec(&text)?;
            (Digest::of_bytes(&bytes, self.digest.algorithm()), bytes)
        } else {
            (self.digest.clone(), self.bytes.clone())
        };
        let size = bytes.len();
        let manifest = json!({
            "mediaType": MANIFESTS[0],
            "digest": digest,
            "size": size,
            "platform": wanted,
        });
        Ok((manifest, bytes))
    }
}

/// The manifest for a machine, or an index that may have it.
fn choose(index: Index, wanted: &Platform) -> Result<Descriptor> {
    let all = &index.manifests;
    // A variant that the user names is no wish.
    let rank = |it: &Platform| {
        let is_other = wanted.variant.is_some() && it.variant != wanted.variant;
        let rank = it.rank_on(wanted).filter(|_| !is_other || it.variant.is_none())?;
        Some((is_other, rank))
    };
    let ranked = all.iter().filter_map(|it| Some((rank(it.platform.as_ref()?)?, it)));
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, found)| found);
    if let Some(found) = best.or_else(|| all.iter().find(|it| it.platform.is_none())) {
        return Ok(found.clone());
    }
    // An attestation has the platform unknown/unknown.
    let named = all.iter().filter_map(|it| it.platform.as_ref()).filter(|it| it.os != "unknown");
    let mut named: Vec<String> = named.map(Platform::to_string).collect();
    named.sort();
    named.dedup();
    bail!("it has no image for {wanted}, only for {}; name one with --platform", some_of(&named))
}

/// The bundles of certificates that this machine trusts.
const OF_MACHINE: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The authorities that may sign the certificate of a registry: those in the file `named`
/// and those of this machine, else those that Mozilla trusts.
fn authorities(named: Option<&Path>) -> Result<RootCerts> {
    let Some(named) = named else { return Ok(RootCerts::WebPki) };
    let mut all = certificates(named)?;
    ensure!(!all.is_empty(), "read {}: it has no certificate", named.display());
    if let Some(file) = OF_MACHINE.iter().map(Path::new).find(|file| file.exists()) {
        all.extend(certificates(file)?);
    }
    Ok(all.into())
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let doing = || format!("read the certificates in {}", file.display());
    let text = open::regular(file).and_then(|file| open::whole(file, 4 << 20));
    let text = text.with_context(doing)?;
    let found = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    found.collect::<Result<_, _>>().with_context(doing)
}

/// Reads `--platform`.
fn platform(text: &str) -> Result<Platform> {
    let words: Vec<&str> = text.split('/').collect();
    let (2..=3, false) = (words.len(), words.contains(&"")) else {
        bail!("write OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64");
    };
    let [os, architecture] = [words[0], words[1]].map(str::to_owned);
    Ok(Platform { architecture, os, variant: words.get(2).map(ToString::to_string) })
}
