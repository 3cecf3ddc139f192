//! Lesson 16: an image: its configuration, and its layers as lower directories.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use common::{Args, Ids};
use layers::oci::{Config, Configuration, Descriptor, Index, Layout, Manifest};
use layers::oci::{Platform, short, some_of};
use layers::{Client, Digest, LayerStore};
use nix::unistd::{getgid, getuid};

/// The most indexes to look into, and the most layers: more do not fit into the options
/// of mount(2).
const MOST_INDEXES: usize = 16;
const MOST_LAYERS: usize = 160;

/// The program that unpacks layers, for messages.
const CLIENT: Client =
    Client { name: "container", puts: "layers", option: "--store", tell: common::note };

/// An image for this machine.
pub(crate) struct Image {
    layout: Layout,
    store: LayerStore,
    /// The layers and the digests of their archives, the lowest first.
    layers: Vec<(Descriptor, Digest)>,
    /// How its author starts it.
    pub(crate) config: Config,
}

/// Opens the image that `--image` names, if there is one. Its layers have the owners of
/// an ID map, so each map has a directory in the store.
pub(crate) fn open(args: &Args, ids: Option<&Ids>) -> Result<Option<Image>> {
    let Some(name) = &args.image else { return Ok(None) };
    let (layout, tag) = Layout::open_named(name)?;
    let map = ids.map_or_else(|| format!("{}-{}", getuid(), getgid()), Ids::name);
    let store = LayerStore::open(&args.store()?.join(map), CLIENT)?;
    let image = read(layout, store, tag.as_deref());
    image.map(Some).with_context(|| format!("use the image {}", name.display()))
}

/// Reads the documents of an image: index, manifest, configuration.
fn read(layout: Layout, store: LayerStore, tag: Option<&str>) -> Result<Image> {
    let machine = Platform::here();
    let among = choose(layout.index()?.manifests, tag)?;
    let found = find_manifest(&layout, among, &machine)?;
    let manifest: Manifest = layout.document(&found)?;
    ensure!(
        manifest.config.is_configuration(),
        "it is no image, but {}",
        short(&manifest.config.media_type)
    );
    let content: Configuration = layout.document(&manifest.config)?;
    let made_for = content.platform;
    ensure!(
        made_for.rank_on(&machine).is_some(),
        "it is for {}, and this machine is {machine}",
        short(&made_for.to_string())
    );
    let (layers, digests) = (manifest.layers, content.rootfs.diff_ids);
    ensure!(
        layers.len() == digests.len(),
        "the manifest has {} layers, and the configuration {}",
        layers.len(),
        digests.len()
    );
    ensure!(
        (1..=MOST_LAYERS).contains(&layers.len()),
        "it has {} layers; an overlay needs 1, and here takes {MOST_LAYERS} at most",
        layers.len()
    );
    let layers = layers.into_iter().zip(digests).collect();
    Ok(Image { layout, store, layers, config: content.config })
}

/// The images with this tag. Without a tag: the only image, else the one called `latest`.
fn choose(images: Vec<Descriptor>, tag: Option<&str>) -> Result<Vec<Descriptor>> {
    let mut tags: Vec<&str> = images.iter().filter_map(Descriptor::tag).collect();
    tags.sort();
    tags.dedup();
    let same = images.windows(2).all(|pair| pair[0].digest == pair[1].digest);
    if tag.is_none() && (tags.len() <= 1 || same) {
        return Ok(images);
    }
    let wanted = tag.unwrap_or("latest");
    let found = images.iter().filter(|it| it.is_called(wanted));
    let found: Vec<Descriptor> = found.cloned().collect();
    ensure!(
        !found.is_empty(),
        "it has no {}; add `:` and one of its tags to --image: {}",
        short(wanted),
        some_of(&tags)
    );
    Ok(found)
}

/// The manifest for this machine. An index can have other indexes in it.
fn find_manifest(
    layout: &Layout,
    among: Vec<Descriptor>,
    machine: &Platform,
) -> Result<Descriptor> {
    let mut left = VecDeque::from(among);
    let (mut indexes, mut found, mut others) = (0, Vec::new(), Vec::new());
    while let Some(next) = left.pop_front() {
        // Only the configuration names the machine then.
        let rank = match &next.platform {
            None => Some(0),
            Some(it) => it.rank_on(machine),
        };
        match rank {
            None => others.extend(next.platform.map(|it| it.to_string())),
            Some(_) if next.is_index() => {
                indexes += 1;
                ensure!(indexes <= MOST_INDEXES, "it has over {MOST_INDEXES} indexes");
                left.extend(layout.document::<Index>(&next)?.manifests);
            }
            Some(rank) if next.is_manifest() => found.push((rank, next)),
            Some(_) => others.push(next.media_type),
        }
    }
    others.retain(|name| !name.starts_with("unknown/"));
    others.dedup();
    let best = found.into_iter().min_by_key(|(rank, _)| *rank);
    let Some((_, best)) = best else {
        bail!("it has nothing for {machine}, but {}", some_of(&others));
    };
    Ok(best)
}

/// The lower layers, topmost first: those of the image in the store, else `named`.
pub(crate) fn unpack(image: Option<Image>, named: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let Some(Image { layout, store, layers, .. }) = image else { return Ok(named) };
    let mut lower = Vec::new();
    for (blob, diff_id) in layers {
        let dir = store.layer(&diff_id, &blob, || layout.blob(&blob))?;
        // The kernel takes a directory once. Below itself, it would change nothing.
        lower.retain(|other| *other != dir);
        lower.insert(0, dir);
    }
    Ok(lower)
}
