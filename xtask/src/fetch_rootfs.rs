//! `cargo xtask fetch-rootfs`: a root for the containers.
//!
//! The modules, in the order of their work:
//!
//! - [`Args`] has the options. `releases` and `root` describe releases and roots.
//! - [`Store`] opens the place and looks at it, and `plan` decides what to do.
//! - `archive` takes the kept archive, or downloads one from a `mirror`, checks its
//!   digest, and unpacks it into a new directory. Without an archive, `from_host` makes a
//!   root from programs of this machine.
//! - [`Store`] puts the new directory in the place, in one step.

mod archive;
mod from_host;
mod mirror;
mod plan;
mod releases;
mod root;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use common::errno_of;
use layers::{Client, Folder, Store};
use nix::errno::Errno;

use archive::Archive;
pub(crate) use from_host::{FromHost, bring, is_static};
use mirror::Mirror;
use plan::{Asked, Plan, Source, Wanted};
pub(crate) use releases::Release;
use root::Root;

use crate::download::Unreachable;
use crate::say::{self, note};

/// Fetch Alpine as the root of the containers and check it, or make a root from
/// this machine's programs
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    #[arg(long, help = format!(
        "The release of Alpine; `latest` is {} [default: {}, which the workshop of 2022 used, \
                 or with --force the release of the present root]",
        releases::LATEST,
        releases::DEFAULT
    ))]
    release: Option<String>,
    /// The architecture, as Alpine names it [default: this machine's]
    #[arg(long)]
    arch: Option<String>,
    /// The mirror to fetch Alpine from, over http or https [default: Alpine's own
    /// mirror dl-cdn.alpinelinux.org]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Unpack this archive instead: a tar archive, plain or compressed with gzip,
    /// xz or zstd
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Make a root from this machine's programs, without a network: from a static
    /// busybox, else from programs and their libraries
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "any",
        conflicts_with_all = ["release", "arch", "mirror", "archive"]
    )]
    from_host: Option<FromHost>,
    /// The directory for the root [default: rootfs/ in the workspace]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
    /// Replace the root. By default, restore the same root from the kept archive.
    /// Replace a root of this machine's programs by Alpine, if the mirror answers
    #[arg(long)]
    force: bool,
    #[arg(long, value_name = "SECONDS", help = format!(
        "Wait for the mirror at most this long, all tries together. Then the mirror must send \
                 at least 1 KiB a second, on average over this time [default: {TIMEOUT}]"
    ))]
    timeout: Option<f64>,
    /// Without Alpine, make a root from these programs of this machine.
    #[arg(skip)]
    or: Option<FromHost>,
}

/// In seconds: enough for three tries, and not too long for a user who waits.
const TIMEOUT: f64 = 12.0;

/// This task, for the store.
const CLIENT: Client =
    Client { name: "fetch-rootfs", puts: "a root", option: "--dest", tell: note };

impl Args {
    /// Alpine in the default place. If the mirror cannot be reached, a root of this
    /// machine's programs.
    pub(crate) fn or_from_host() -> Args {
        Args { or: Some(FromHost::Any), ..Args::default() }
    }

    /// A root of this machine's programs in this directory.
    pub(crate) fn from_host_at(dest: &Path) -> Args {
        Args { from_host: Some(FromHost::Any), dest: Some(dest.to_owned()), ..Args::default() }
    }

    pub(crate) fn run(self) -> Result<()> {
        say::line(&fetch(&self)?)
    }

    /// The root that the user wants, and the archive, if the user named an archive.
    fn wanted(&self, mirror: &Mirror<'_>) -> Result<(Wanted, Option<Archive>)> {
        if let Some(which) = self.from_host {
            return Ok((Wanted::Host(which), None));
        }
        let version = self.release.as_deref().map(releases::number);
        let arch = self.arch.as_deref();
        if let Some(path) = &self.archive {
            let archive = self.named_archive(path, mirror)?;
            return Ok((Wanted::Archive(archive.root.clone()), Some(archive)));
        }
        let asked = Asked {
            release: Release::new(version.unwrap_or(releases::DEFAULT), arch)?,
            version: version.is_some(),
            arch: arch.is_some(),
            mirror: self.mirror.is_some(),
            or: self.or,
        };
        Ok((Wanted::Release(asked), None))
    }

    /// The archive that the user named. It must be the archive of its release, if the
    /// digest is pinned, or if the user named the release.
    fn named_archive(&self, path: &Path, mirror: &Mirror<'_>) -> Result<Archive> {
        let file = archive::open(path)?;
        let version = self.release.as_deref().map(releases::number);
        let arch = self.arch.as_deref();
        let mut release = path.file_name().and_then(|name| Release::of_archive(name.to_str()?));
        if version.is_some() || arch.is_some() {
            let version = version.or(release.as_ref().map(Release::version));
            let arch = arch.or(release.as_ref().map(Release::arch));
            release = Some(Release::new(version.unwrap_or(releases::DEFAULT), arch)?);
        }
        let digest = match release.as_ref().map(|release| (release, release.pinned())) {
            Some((release, None)) if version.is_some() => Some(mirror.digest(release)?),
            found => found.and_then(|(_, pinned)| pinned),
        };
        Archive::of_file(path, file, release.zip(digest))
    }
}

/// Puts a root in its place, unless the wanted root is there. Returns a line that
/// names the root and the place, and says how the root was checked or made.
/// Fails when another root or directory is in the place, or no root can be made. The
/// place then stays as it was.
pub(crate) fn fetch(args: &Args) -> Result<String> {
    fetch_and_put(args).map_err(explain)
}

/// Copies the archives of releases that are kept beside the workspace's root to
/// the directory `to`, and names the releases.
pub(crate) fn copy_kept(to: &Path) -> Result<Vec<Release>> {
    let root = common::workspace().join("rootfs");
    if !root.with_file_name(".rootfs-cache").exists() {
        return Ok(Vec::new());
    }
    archive::copy_kept(&Store::open(&root, CLIENT)?, to)
}

/// The default release, for this machine.
pub(crate) fn usual_release() -> Result<Release> {
    Release::new(releases::DEFAULT, None)
}

const REMEDY: &str = "replace it with --force, or name another directory with --dest";

/// Finds the place, decides, makes the root, and puts it in its place.
fn fetch_and_put(args: &Args) -> Result<String> {
    let mirror = Mirror::new(
        args.mirror.as_deref().unwrap_or(releases::MIRROR),
        args.timeout.unwrap_or(TIMEOUT),
    )?;
    let (wanted, named) = args.wanted(&mirror)?;
    let dest = args.dest.clone().unwrap_or_else(|| common::workspace().join("rootfs"));
    let store = Store::open(&dest, CLIENT)?;
    let found = store.look()?;
    let dest = store.dest().display();
    let (root, how) = match Plan::new(&wanted, &found.contents, args.force) {
        Plan::Stay(root) => (root, "already there".to_owned()),
        Plan::RefuseAnother(root) => {
            bail!("put another root in {dest}: {root} is there; {REMEDY}")
        }
        Plan::RefuseOther => {
            bail!("put a root in {dest}: fetch-rootfs did not make the directory there; {REMEDY}")
        }
        Plan::Put(source) => {
            let make = |new: &Folder| make(source, named, new, &store, &mirror);
            let (root, how) = store.replace(&found, make)?;
            if let (Root::Alpine(release), None, None) = (&root, &args.release, &args.archive)
                && let Some(remark) = release.remark()
            {
                note(&remark);
            }
            (root, how)
        }
    };
    Ok(format!("rootfs: {root} in {dest} ({how})"))
}

/// Makes a root in the empty directory `new`: from an archive, or from this machine's
/// programs. Returns the root, and how it was checked or made.
fn make(
    source: Source,
    named: Option<Archive>,
    new: &Folder,
    store: &Store,
    mirror: &Mirror<'_>,
) -> Result<(Root, String)> {
    let is_named = source == Source::Named;
    let mut archive = match source {
        Source::Host(which) => return from_host::make(new, which),
        Source::Named => named.context("find the archive")?,
        Source::Kept(digest, release) => match Archive::of_digest(&digest, store)? {
            Some(kept) => kept,
            None => Archive::of_release(&release, store, mirror)?,
        },
        Source::Release(release, None) => Archive::of_release(&release, store, mirror)?,
        Source::Release(release, Some(which)) => {
            let fetched = Archive::of_release(&release, store, &mirror.quiet());
            if let Some(found) = fetched.as_ref().err().and_then(Unreachable::of) {
                let why = &found.why;
                note(&format!(
                    "fetch Alpine: {why}; this task makes a root from this machine's programs instead; `cargo xtask fetch-rootfs --force` fetches Alpine later"
                ));
                return from_host::make(new, which);
            }
            fetched?
        }
    };
    archive.unpack(new)?;
    if is_named {
        archive.keep(store.cache())?;
    }
    Ok((archive.root, archive.how))
}

/// Adds this task's remedy to an error about a full file system.
pub(crate) fn explain(error: anyhow::Error) -> anyhow::Error {
    let is_full = |errno| matches!(errno, Errno::ENOSPC | Errno::EDQUOT);
    if !error.chain().filter_map(errno_of).any(is_full) {
        return error;
    }
    let line = common::causes(&error);
    anyhow!("{line}; free some space, or name a directory on another file system with --dest")
}
