//! `cargo xtask fetch-rootfs`: a root for the containers.

mod archive;
mod digest;
mod download;
mod folder;
mod from_host;
mod place;
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
pub(crate) use from_host::{FromHost, bring, is_static};
use releases::Release;
use root::Root;
use store::{Seen, Store, There};

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

    /// Whether nothing says what root to put in the place of the one there.
    fn asks_for_the_same(&self) -> bool {
        let said = [&self.release, &self.arch, &self.mirror];
        self.archive.is_none() && self.from_host.is_none() && said.iter().all(|it| it.is_none())
    }

    /// Whether a release that is asked for by name is the one that is there.
    fn asks_for(&self, there: &Root) -> bool {
        let Root::Alpine(there) = there else {
            return self.release.is_none() && self.arch.is_none();
        };
        self.version().is_none_or(|version| version == there.version())
            && self.arch.as_deref().is_none_or(|arch| arch == there.arch())
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

/// Where a root comes from.
enum Source {
    Mirror(Release),
    Archive(Archive),
    Host(FromHost),
}

fn place(args: &Args) -> Result<Fetched> {
    let mirror = args.mirror()?;
    let release = args.release()?;
    let mut source = match (&args.from_host, &args.archive, release) {
        (Some(which), ..) => Source::Host(*which),
        (None, Some(file), release) => {
            let said = args.release.is_some();
            Source::Archive(Archive::of_file(file, release.as_ref(), said, &mirror)?)
        }
        (None, None, Some(release)) => Source::Mirror(release),
        (None, None, None) => bail!("no release is named"),
    };
    let dest = args.dest.clone().unwrap_or_else(|| common::workspace().join("rootfs"));
    let store = Store::open(&dest)?;
    let dest = store.dest().to_owned();
    let mut instead = None;
    let seen = store.look()?;
    match seen.there.clone() {
        There::Nothing => {}
        There::Root(root) if !args.force => {
            let same = match &source {
                Source::Mirror(_) => args.asks_for(&root),
                Source::Archive(archive) => archive.root == root,
                Source::Host(FromHost::Any) => matches!(root, Root::Host { .. }),
                Source::Host(FromHost::Libraries) => root == Root::Host { libraries: true },
            };
            ensure!(
                same,
                "put another root in {}: {root} is there; replace it with --force, or name another directory with --dest",
                dest.display()
            );
            return Ok(Fetched { root, dest, how: "there already".to_owned() });
        }
        There::Root(root) => match (&mut source, root) {
            (Source::Mirror(release), Root::Alpine(there))
                if args.release.is_none() && args.arch.is_none() =>
            {
                *release = there;
            }
            (Source::Mirror(_), Root::Archive(digest)) if args.asks_for_the_same() => {
                if let Some(kept) = Archive::of_unknown(&digest, store.cache())? {
                    source = Source::Archive(kept);
                }
            }
            (Source::Mirror(_), Root::Host { libraries }) if args.asks_for_the_same() => {
                instead = Some(if libraries { FromHost::Libraries } else { FromHost::Any });
            }
            _ => {}
        },
        There::Other => {
            ensure!(
                args.force,
                "put a root in {}: fetch-rootfs did not make what is there; replace it with --force, or name another directory with --dest",
                dest.display()
            );
        }
    }
    store.may_replace(&seen)?;
    let mut archive = match source {
        Source::Mirror(release) => {
            match (Archive::of_release(&release, store.cache(), &mirror), instead) {
                (Err(error), Some(which)) if unreachable(&error) => {
                    note(&common::one_line(&error));
                    note(
                        "Alpine cannot be reached, so the root of this machine's own programs is made anew",
                    );
                    return place_from_host(&store, &seen, which);
                }
                (archive, _) => archive?,
            }
        }
        Source::Archive(archive) => archive,
        Source::Host(which) => return place_from_host(&store, &seen, which),
    };
    let new = store.new_root()?;
    archive.unpack(new.dir())?;
    archive.keep(store.cache())?;
    new.put(&archive.root, &seen)?;
    if let (Root::Alpine(release), None, None) = (&archive.root, &args.release, &args.archive)
        && let Some(remark) = release.remark()
    {
        note(&remark);
    }
    Ok(Fetched { root: archive.root, dest, how: archive.how })
}

/// Puts a root of this machine's own programs in its place.
fn place_from_host(store: &Store, seen: &Seen, which: FromHost) -> Result<Fetched> {
    let new = store.new_root()?;
    let made = from_host::make(new.dir().path(), which)?;
    let root = Root::Host { libraries: made.libraries };
    new.put(&root, seen)?;
    let dest = store.dest().to_owned();
    Ok(Fetched { root, dest, how: format!("{} programs", made.programs) })
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
    anyhow!("{line}; free some room, or name a directory elsewhere with --dest")
}
