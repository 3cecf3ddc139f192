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
use std::path::{Path, PathBuf};
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
pub(crate) use releases::Release;
use root::Root;
use store::{Seen, Store};

use crate::say::{self, note};

/// Fetch Alpine as the root of the containers and check it, or make a root from
/// this machine's programs
#[derive(clap::Args)]
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
    /// Wait for the mirror at most this long, all tries together. Then the mirror
    /// must send at least 1 KiB a second, on average over this time
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: f64,
    /// Without Alpine, make a root from this machine's programs.
    #[arg(skip)]
    or_from_host: bool,
}

/// In seconds: enough for three tries, and not too long for a user who waits.
const TIMEOUT: f64 = 12.0;

impl Default for Args {
    /// The values of an empty command line.
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
            or_from_host: false,
        }
    }
}

impl Args {
    /// Alpine in the default place. If the mirror cannot be reached, a root of this
    /// machine's programs.
    pub(crate) fn or_from_host() -> Args {
        Args { or_from_host: true, ..Args::default() }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        say::line(&fetch(&self)?.to_string())?;
        Ok(ExitCode::SUCCESS)
    }

    fn mirror(&self) -> Result<Mirror<'_>> {
        let url = self.mirror.as_deref().unwrap_or(releases::MIRROR);
        let (scheme, host) = url.split_once("://").unwrap_or_default();
        let is_web = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
        ensure!(is_web, "use the mirror {url}: it must begin with http:// or https://");
        ensure!(
            !host.trim_matches('/').is_empty(),
            "use the mirror {url}: the name of the host is missing"
        );
        let url = url.trim_end_matches('/');
        let timeout = Duration::try_from_secs_f64(self.timeout).ok();
        let timeout = timeout.filter(|it| (1..=3_600_000).contains(&it.as_millis()));
        let timeout = timeout.with_context(|| {
            format!("wait {} seconds: name a time above 0 and up to 3600", self.timeout)
        })?;
        Ok(Mirror { url, timeout, quiet: false })
    }

    /// The number of the release that the user named.
    fn version(&self) -> Option<&str> {
        self.release.as_deref().map(releases::number)
    }

    /// The release that the user named, or the release in the archive's name.
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

    /// The root that the user wants, and the archive, if the user named an archive.
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
            release: release.context("find the release")?,
            version: self.release.is_some(),
            arch: self.arch.is_some(),
            mirror: self.mirror.is_some(),
        };
        Ok((wanted, None))
    }
}

/// A root in its place. Its text names the root and the place.
pub(crate) struct Fetched {
    root: Root,
    dest: PathBuf,
    /// How the root was checked, or made.
    how: String,
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rootfs: {} in {} ({})", self.root, self.dest.display(), self.how)
    }
}

/// Puts a root in its place, unless a root is there.
///
/// # Errors
///
/// When something else is in the place, or no root can be made. The place then
/// stays as it was.
pub(crate) fn fetch(args: &Args) -> Result<Fetched> {
    place(args).map_err(explain)
}

/// The reason, if the error means that the mirror did not answer, or broke off at
/// every try.
fn unreachable(error: &anyhow::Error) -> Option<&str> {
    Some(&error.chain().find_map(|cause| cause.downcast_ref::<Unreachable>())?.why)
}

/// Copies the archives of releases that are kept beside the workspace's root to
/// the directory `to`, and names the releases.
pub(crate) fn copy_kept(to: &Path) -> Result<Vec<Release>> {
    let root = common::workspace().join("rootfs");
    if !root.with_file_name(".rootfs-cache").exists() {
        return Ok(Vec::new());
    }
    archive::copy_kept(Store::open(&root)?.cache(), to)
}

/// The release that is fetched when none is named.
pub(crate) fn usual_release() -> Result<Release> {
    Release::new(releases::DEFAULT, None)
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
            Ok(Fetched { root, dest: dest.to_owned(), how: "already there".to_owned() })
        }
        Plan::RefuseAnother(root) => {
            bail!("put another root in {}: {root} is there; {REMEDY}", dest.display())
        }
        Plan::RefuseOther => bail!(
            "put a root in {}: fetch-rootfs did not make the directory there; {REMEDY}",
            dest.display()
        ),
        Plan::Put(source) => {
            store.may_replace(&seen)?;
            let source = match source {
                Source::Release(release) if args.or_from_host => {
                    Source::ReleaseOrHost(release, FromHost::Any)
                }
                source => source,
            };
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

/// The source of a new root, ready to use.
enum Ready {
    Archive(Archive),
    Host(FromHost),
}

/// Gets the source of a root.
fn get(
    source: Source,
    named: Option<Archive>,
    cache: &Folder,
    mirror: &Mirror<'_>,
) -> Result<Ready> {
    let fetched = |release: &Release| Archive::of_release(release, cache, mirror);
    let archive = match source {
        Source::Host(which) => return Ok(Ready::Host(which)),
        Source::Named => named.context("find the archive")?,
        Source::Release(release) => fetched(&release)?,
        Source::Kept(digest, release) => match Archive::of_unknown(&digest, cache)? {
            Some(kept) => kept,
            None => fetched(&release)?,
        },
        Source::ReleaseOrHost(release, which) => {
            let fetched = Archive::of_release(&release, cache, &Mirror { quiet: true, ..*mirror });
            if let Some(why) = fetched.as_ref().err().and_then(unreachable) {
                note(&format!(
                    "fetch Alpine: {why}; this task makes a root from this machine's programs instead; `cargo xtask fetch-rootfs --force` fetches Alpine later"
                ));
                return Ok(Ready::Host(which));
            }
            fetched?
        }
    };
    Ok(Ready::Archive(archive))
}

/// Makes a root, and puts it in the place of `seen`.
fn put(ready: Ready, store: &Store, seen: &Seen) -> Result<Fetched> {
    let new = store.new_root()?;
    let (root, how) = match ready {
        Ready::Archive(mut archive) => {
            archive.unpack(new.dir())?;
            archive.keep(store.cache())?;
            (archive.root, archive.how)
        }
        Ready::Host(which) => {
            let made = from_host::make(new.dir(), which)?;
            let root = Root::Host { libraries: made.libraries };
            (root, format!("{} programs", made.programs))
        }
    };
    new.put(&root, seen)?;
    Ok(Fetched { root, dest: store.dest().to_owned(), how })
}

/// Adds this task's remedy to an error about a full file system.
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
