//! Lesson 16: an image: its configuration, and its layers as lower directories.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use common::Args;
use layers::Digest;
use layers::oci::{Config, Configuration, Descriptor, Index, Layout, Manifest, Platform, TAG};

/// The types of the documents: those of OCI, and those of Docker.
const INDEX: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGURATION: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The most indexes to look into, and the most layers: more do not fit into the options
/// of mount(2).
const MOST_INDEXES: usize = 16;
const MOST_LAYERS: usize = 160;

/// An image for this machine.
pub(crate) struct Image {
    layout: Layout,
    /// The layers and the digests of their archives, the lowest first.
    layers: Vec<(Descriptor, Digest)>,
    /// How its author starts it.
    pub(crate) config: Config,
}

/// Opens the image that `--image` names, if there is one.
pub(crate) fn open(args: &Args) -> Result<Option<Image>> {
    let Some(name) = &args.image else { return Ok(None) };
    let (layout, tag) = Layout::open_named(name)?;
    let doing = || format!("use the image {}", name.display());
    let among = choose(layout.index()?.manifests, tag.as_deref()).with_context(doing)?;
    let found = find_manifest(&layout, among).with_context(doing)?;
    let manifest: Manifest = layout.document(&found)?;
    let kind = &*manifest.config.media_type;
    ensure!(CONFIGURATION.contains(&kind), "{}: it is no image, but {kind:?}", doing());
    let content: Configuration = layout.document(&manifest.config)?;
    let (machine, made_for) = (Platform::here(), content.platform);
    ensure!(
        made_for.rank_on(&machine).is_some(),
        "{}: it is for {made_for}, and this machine is {machine}",
        doing()
    );
    let (layers, digests) = (manifest.layers, content.rootfs.diff_ids);
    ensure!(
        layers.len() == digests.len(),
        "{}: the manifest has {} layers, and the configuration {}",
        doing(),
        layers.len(),
        digests.len()
    );
    ensure!(
        (1..=MOST_LAYERS).contains(&layers.len()),
        "{}: it has {} layers; an overlay needs one, and takes {MOST_LAYERS} at most",
        doing(),
        layers.len()
    );
    let layers = layers.into_iter().zip(digests).collect();
    Ok(Some(Image { layout, layers, config: content.config }))
}

/// The images with this tag. Without a tag: the only image, else the one called `latest`.
fn choose(images: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>> {
    let name = |it: &Descriptor| it.annotations.get(TAG).cloned().unwrap_or_default();
    let mut names: Vec<String> = images.iter().map(name).filter(|it| !it.is_empty()).collect();
    names.sort();
    names.dedup();
    let same = images.windows(2).all(|pair| pair[0].digest == pair[1].digest);
    if tag.is_none() && (names.len() <= 1 || same) {
        return Ok(images);
    }
    let wanted = tag.unwrap_or("latest");
    // Some tools write the whole reference, such as `localhost/app:latest`.
    let fits = |it: &Descriptor| {
        let name = name(it);
        name == wanted || name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with(':'))
    };
    let found: Vec<Descriptor> = images.into_iter().filter(fits).collect();
    ensure!(
        !found.is_empty(),
        "it has no {wanted:?}; add `:` and one of its tags to --image: {}",
        some_of(names)
    );
    Ok(found)
}

/// The manifest for this machine. An index can have other indexes in it.
fn find_manifest(layout: &Layout, among: Vec<Descriptor>) -> Result<Descriptor> {
    let machine = Platform::here();
    let mut left = VecDeque::from(among);
    let (mut indexes, mut found, mut others) = (0, Vec::new(), Vec::new());
    while let Some(next) = left.pop_front() {
        // Only the configuration names the machine then.
        let rank = next.platform.as_ref().map_or(Some(0), |it| it.rank_on(&machine));
        match (rank, &*next.media_type) {
            (Some(_), kind) if INDEX.contains(&kind) => {
                indexes += 1;
                ensure!(indexes <= MOST_INDEXES, "it has more than {MOST_INDEXES} indexes");
                left.extend(layout.document::<Index>(&next)?.manifests);
            }
            (Some(rank), kind) if MANIFEST.contains(&kind) => found.push((rank, next)),
            (Some(_), kind) => others.push(format!("{kind:?}")),
            (None, _) => others.extend(next.platform.map(|it| it.to_string())),
        }
    }
    others.retain(|name| !name.starts_with("unknown/"));
    others.dedup();
    let best = found.into_iter().min_by_key(|(rank, _)| *rank);
    let nothing = || format!("it has nothing for {machine}, but {}", some_of(others));
    best.map(|(_, found)| found).with_context(nothing)
}

/// The lower layers, topmost first: those of the image, else `named`.
pub(crate) fn unpack(image: Option<Image>, named: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let Some(image) = image else { return Ok(named) };
    bail!("unpack {} layers of {}", image.layers.len(), image.layout.path().display())
}

/// Some of the names, for a message.
fn some_of(names: Vec<String>) -> String {
    match names.len() {
        0 => "none".to_owned(),
        1..=12 => names.join(", "),
        many => format!("{} and {} more", names[..12].join(", "), many - 12),
    }
}
