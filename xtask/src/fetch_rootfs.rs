//! `cargo xtask fetch-rootfs`: a root for the containers.

mod archive;
mod cache;
mod digest;
mod download;
mod folder;
mod from_host;
mod place;
mod plan;
mod releases;
mod root;
mod store;
mod unpack;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::errno_of;
use nix::errno::Errno;

use archive::Archive;
use download::{Mirror, Unreachable};
use folder::Folder;
pub(crate) use from_host::{FromHost, bring, is_static};
use plan::{Plan, Source, Wanted};
use releases::Release;
use root::Root;
use store::{Seen, Store};

use crate::say::{self, note};

/// Put a root for the containers in its place: Alpine's, fetched and checked,
/// or one of this machine's own programs.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, help = format!(
        "The release of Alpine; `latest` is {} [default: {}, the workshop's, from 2022, \
         or with --force the one that is there]",
        releases::LATEST,
        releases::DEFAULT
    ))]
    release: Option<String>,
    /// The architecture, by Alpine's name for it [default: this machine's]
    #[arg(long)]
    arch: Option<String>,
    /// Where to fetch it from, over http or https [default: Alpine's own, on
    /// dl-cdn.alpinelinux.org]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Unpack this archive and fetch none: a tar archive, as it is or compressed
    /// with gzip, xz or zstd
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Make a root of this machine's own programs, without a network: of a
    /// static busybox, else of programs with their libraries
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "any",
        conflicts_with_all = ["release", "arch", "mirror", "archive"]
    )]
    from_host: Option<FromHost>,
    /// Where the root goes [default: rootfs/ in the workspace]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
    /// Replace what is there. Unless another root is asked for, the same comes
    /// back pristine and without a network, from the archive that is kept beside
    /// it; in the place of one of this machine's own programs Alpine's comes, if
    /// it can be reached, else another of them
    #[arg(long)]
    force: bool,
    /// How long to wait for the mirror, all tries together, and in what time it
    /// must send as many KiB
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: f64,
}

/// In seconds. Three tries fit into it, and whoever waits for them stays.
const TIMEOUT: f64 = 12.0;

impl Default for Args {
    /// What the command line says when it says nothing.
    fn default() -> Args {
        Args {
            release: None,
            arch: None,
            mirror: None,
            archive: None,
            from_host: None,
            dest: None,
            force: false,
            timeout: TIMEOUT,
        }
    }
}

impl Args {
    /// A root of this machine's own programs, in the usual place.
    pub(crate) fn from_host(which: FromHost) -> Args {
        Args { from_host: Some(which), ..Args::default() }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        say::line(&fetch(&self)?.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn mirror(&self) -> Result<Mirror<'_>> {
        let url = self.mirror.as_deref().unwrap_or(releases::MIRROR);
        let (scheme, host) = url.split_once("://").unwrap_or_default();
        let is_web = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
        ensure!(is_web, "ask the mirror {url}: it begins neither with http:// nor with https://");
        ensure!(!host.trim_matches('/').is_empty(), "ask the mirror {url}: it names no host");
        let url = url.trim_end_matches('/');
        let timeout = Duration::try_from_secs_f64(self.timeout).ok();
        let timeout = timeout.filter(|it| (1..=3_600_000).contains(&it.as_millis()));
        let timeout = timeout.with_context(|| {
            format!("wait {} seconds: name a time above 0 and up to 3600", self.timeout)
        })?;
        Ok(Mirror { url, timeout })
    }

    /// The number of the release that is asked for.
    fn version(&self) -> Option<&str> {
        self.release.as_deref().map(releases::number)
    }

    /// The release that is asked for, or that the archive's name says.
    fn release(&self) -> Result<Option<Release>> {
        let named = self.archive.as_ref().and_then(|file| file.file_name()?.to_str());
        let named = named.and_then(Release::of_archive);
        let said = self.release.is_some() || self.arch.is_some();
        if self.archive.is_some() && !said {
            return Ok(named);
        }
        let of_name = named.as_ref();
        let version = self.version().or(of_name.map(Release::version));
        let arch = self.arch.as_deref().or(of_name.map(Release::arch));
        Release::new(version.unwrap_or(releases::DEFAULT), arch).map(Some)
    }

    /// What is asked for, and the archive, when one is named.
    fn wanted(&self, mirror: &Mirror<'_>) -> Result<(Wanted, Option<Archive>)> {
        let release = self.release()?;
        if let Some(which) = self.from_host {
            return Ok((Wanted::Host(which), None));
        }
        if let Some(file) = &self.archive {
            let said = self.release.is_some();
            let archive = Archive::of_file(file, release.as_ref(), said, mirror)?;
            return Ok((Wanted::Archive(archive.root.clone()), Some(archive)));
        }
        let wanted = Wanted::Release {
            release: release.context("no release is named")?,
            version: self.release.is_some(),
            arch: self.arch.is_some(),
            mirror: self.mirror.is_some(),
        };
        Ok((wanted, None))
    }
}

/// A root in its place; shown as one line that says which and where.
pub(crate) struct Fetched {
    root: Root,
    dest: PathBuf,
    /// How it was checked, or made.
    how: String,
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rootfs: {} in {} ({})", self.root, self.dest.display(), self.how)
    }
}

/// Puts a root in its place, unless there is one.
///
/// # Errors
///
/// When there is something else already, or none can be had; what was there
/// stays. [`unreachable()`] tells whether only the mirror was missing.
pub(crate) fn fetch(args: &Args) -> Result<Fetched> {
    place(args).map_err(explain)
}

/// Whether an error of [`fetch`] means that the mirror could not be reached,
/// or broke off again and again.
pub(crate) fn unreachable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<Unreachable>())
}

const REMEDY: &str = "replace it with --force, or name another directory with --dest";

fn place(args: &Args) -> Result<Fetched> {
    let mirror = args.mirror()?;
    let (wanted, named) = args.wanted(&mirror)?;
    let dest = args.dest.clone().unwrap_or_else(|| common::workspace().join("rootfs"));
    let store = Store::open(&dest)?;
    let seen = store.look()?;
    let dest = store.dest();
    match Plan::new(&wanted, &seen.there, args.force) {
        Plan::Stay(root) => {
            Ok(Fetched { root, dest: dest.to_owned(), how: "there already".to_owned() })
        }
        Plan::RefuseAnother(root) => {
            bail!("put another root in {}: {root} is there; {REMEDY}", dest.display())
        }
        Plan::RefuseOther => bail!(
            "put a root in {}: fetch-rootfs did not make what is there; {REMEDY}",
            dest.display()
        ),
        Plan::Put(source) => {
            store.may_replace(&seen)?;
            let fetched = put(get(source, named, store.cache(), &mirror)?, &store, &seen)?;
            if let (Root::Alpine(release), None, None) =
                (&fetched.root, &args.release, &args.archive)
                && let Some(remark) = release.remark()
            {
                note(&remark);
            }
            Ok(fetched)
        }
    }
}

/// What a new root is made of, ready to use.
enum Ready {
    Archive(Archive),
    Host(FromHost),
}

/// Gets what a root is to be made of.
fn get(
    source: Source,
    named: Option<Archive>,
    cache: &Folder,
    mirror: &Mirror<'_>,
) -> Result<Ready> {
    let fetched = |release: &Release| Archive::of_release(release, cache, mirror);
    let archive = match source {
        Source::Host(which) => return Ok(Ready::Host(which)),
        Source::Named => named.context("no archive is named")?,
        Source::Release(release) => fetched(&release)?,
        Source::Kept(digest, release) => match Archive::of_unknown(&digest, cache)? {
            Some(kept) => kept,
            None => fetched(&release)?,
        },
        Source::ReleaseOrHost(release, which) => match fetched(&release) {
            Err(error) if unreachable(&error) => {
                note(&common::one_line(&error));
                note(
                    "Alpine cannot be reached, so the root of this machine's own programs is made anew",
                );
                return Ok(Ready::Host(which));
            }
            archive => archive?,
        },
    };
    Ok(Ready::Archive(archive))
}

/// Makes a root, and puts it in the place of what was seen there.
fn put(ready: Ready, store: &Store, seen: &Seen) -> Result<Fetched> {
    let new = store.new_root()?;
    let (root, how) = match ready {
        Ready::Archive(mut archive) => {
            archive.unpack(new.dir())?;
            archive.keep(store.cache())?;
            (archive.root, archive.how)
        }
        Ready::Host(which) => {
            let made = from_host::make(new.dir().path(), which)?;
            let root = Root::Host { libraries: made.libraries };
            (root, format!("{} programs", made.programs))
        }
    };
    new.put(&root, seen)?;
    Ok(Fetched { root, dest: store.dest().to_owned(), how })
}

/// Adds the remedy that fits this task to an error about a full file system.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let is_full = |errno| matches!(errno, Errno::ENOSPC | Errno::EDQUOT);
    if !error.chain().filter_map(errno_of).any(is_full) {
        return error;
    }
    let causes = error.chain().map(|cause| match errno_of(cause) {
        Some(errno) => errno.desc().to_owned(),
        None => cause.to_string(),
    });
    let line = causes.collect::<Vec<_>>().join(": ");
    anyhow!("{line}; free some space, or name a directory on another file system with --dest")
}
