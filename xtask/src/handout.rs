//! `cargo xtask handout`: the course in a single file, for machines without a
//! network.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::ARCH;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use toml::Table;

use crate::cargo::CONFIG;
use crate::dist::{self, Dist};
use crate::fetch_rootfs::{self, Release};
use crate::file::{self, make_dir};
use crate::say::{self, note};
use crate::temporary::Temporary;

/// Pack the course for machines without a network
///
/// The archive has the files that git tracks, in their present state, the crates, the
/// Alpine archives in the cache beside rootfs/, the images in images/, and the programs
/// of `dist`. A learner who unpacks it needs Rust, but no network.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The archive to write. Its files are in a directory of the same name
    #[arg(value_name = "FILE.tar.gz")]
    file: PathBuf,
    /// Take the steps from DIR, which `dist` made, and build nothing
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
}

/// The present path of each file, by its path in the archive. It is sorted, so that
/// the same files make the same archive.
type Contents = BTreeMap<PathBuf, PathBuf>;

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        let folder = folder(&self.file)?;
        let mut contents = tracked()?;
        let mut also = images(&mut contents)?;
        if also.is_empty() {
            note(
                "images/ has no image, so the hand-out has none for lesson 16; run `cargo xtask pull alpine:3.20`, and make the hand-out again",
            );
        }
        let steps = self.dist.as_deref().map_or_else(|| dist::build(ARCH), Dist::at)?;
        for lesson in lessons::all()? {
            contents.insert(Path::new("dist").join(&lesson.name), steps.dir.join(&lesson.name));
        }

        let place = Temporary::new()?;
        let count = vendor(place.dir(), &mut contents)?;
        let releases = alpine(&place.dir().join("alpine"), &mut contents)?;
        also.extend(releases.iter().map(Release::to_string));

        let size = write(&self.file, &folder, &contents)?;
        say::line(&format!(
            "{}: {:.0} MB; the course, {count} crates, the steps ({}){}",
            self.file.display(),
            size as f64 / 1e6,
            steps.libc,
            also.iter().map(|name| format!(", {name}")).collect::<String>()
        ))
    }
}

/// The directory in the archive: the name of the archive without `.tar.gz`.
fn folder(file: &Path) -> Result<PathBuf> {
    let stem = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".tar.gz"));
    let stem = stem.filter(|stem| !stem.is_empty());
    stem.map(PathBuf::from)
        .with_context(|| format!("write {}: name a file that ends with .tar.gz", file.display()))
}

/// The files of the checkout.
fn tracked() -> Result<Contents> {
    let workspace = common::workspace();
    let doing = || format!("list the files of {}", workspace.display());
    let mut git = Command::new("git");
    let listed = git.args(["ls-files", "-z"]).current_dir(workspace).output();
    let listed = listed.context("start git").with_context(doing)?;
    let said = String::from_utf8_lossy(&listed.stderr);
    ensure!(
        listed.status.success(),
        "{}: git failed with {:?}; make the hand-out in a clone of the course",
        doing(),
        said.lines().next().unwrap_or_default()
    );
    let names = listed.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let names: BTreeSet<_> =
        names.map(|name| PathBuf::from(OsString::from_vec(name.to_vec()))).collect();
    ensure!(
        names.contains(Path::new("Cargo.lock")),
        "{}: git tracks none of them; make the hand-out in a clone of the course",
        doing()
    );
    let contents = names.into_iter().map(|name| (name.clone(), workspace.join(name)));
    // Git still lists a file that was deleted since.
    Ok(contents.filter(|(_, from)| from.symlink_metadata().is_ok()).collect())
}

/// Adds the crates, and the configuration with which cargo finds them. It uses the
/// directory `place`. Returns the number of crates.
fn vendor(place: &Path, contents: &mut Contents) -> Result<usize> {
    let vendor = place.join("vendor");
    // The workspace's configuration must apply. A mirror that the user has set up applies,
    // too.
    let mut cargo = start::cargo();
    cargo.args(["vendor", "--locked", "--respect-source-config"]).arg(&vendor);
    let output = cargo.current_dir(common::workspace()).output().context("start cargo")?;
    if !output.status.success() {
        // If standard error is closed or full, the messages are lost.
        let _ = io::stderr().write_all(&output.stderr);
        bail!("get the crates with cargo: it failed; read its messages above");
    }
    contents.insert(CONFIG.into(), configuration(place, &output.stdout, &vendor)?);
    add_tree(&vendor, Path::new("vendor"), contents)?;
    Ok(fs::read_dir(&vendor).with_context(|| format!("list {}", vendor.display()))?.count())
}

/// Writes the course's configuration with the sources from `cargo vendor` to a file
/// in `place`.
fn configuration(place: &Path, sources: &[u8], vendor: &Path) -> Result<PathBuf> {
    let course = common::workspace().join(CONFIG);
    let doing = || format!("add the crates to {}", course.display());
    let mut text = file::read(&course)?;
    let sources = String::from_utf8_lossy(sources);
    let mut sources: Table = sources.parse().with_context(doing)?;
    let all = sources.get_mut("source").and_then(|it| it.as_table_mut());
    let mut dirs = all.into_iter().flatten().filter_map(|(_, source)| source.get_mut("directory"));
    let ours = dirs.find(|dir| dir.as_str().map(Path::new) == Some(vendor));
    let ours = ours.context("`cargo vendor` did not print their directory").with_context(doing)?;
    *ours = "vendor".into();
    // A course that is a hand-out has them already.
    if text.parse::<Table>().with_context(doing)?.get("source") != sources.get("source") {
        text += &format!("\n# The crates are here, too: cargo needs no network.\n{sources}");
        text.parse::<Table>().with_context(doing)?;
    }
    let file = place.join("config.toml");
    file::write(&file, text)?;
    Ok(file)
}

/// Copies the archives of Alpine from the cache to the directory `place`, and
/// returns their releases.
fn alpine(place: &Path, contents: &mut Contents) -> Result<Vec<Release>> {
    make_dir(place)?;
    let releases = fetch_rootfs::copy_kept(place)?;
    let wanted = fetch_rootfs::usual_release()?;
    if !releases.contains(&wanted) {
        note(&format!(
            "the archive of {wanted} is not beside rootfs/, so the hand-out does not have it; run `cargo xtask fetch-rootfs --force --release {}`, and make the hand-out again",
            wanted.version()
        ));
    }
    if !releases.is_empty() {
        // The archive needs an entry for the directory. Otherwise the learner's
        // umask gives the mode, and other users must not be able to write there.
        contents.insert(CACHE.into(), place.to_owned());
        add_tree(place, Path::new(CACHE), contents)?;
    }
    Ok(releases)
}

/// Adds the images of `pull`, and returns the paths of their layouts.
fn images(contents: &mut Contents) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let layouts = fs::read_dir(common::workspace().join("images"));
    for layout in layouts.into_iter().flatten() {
        let layout = layout.context("list the images")?;
        // A killed run leaves no index.
        if layout.path().join("index.json").is_file() {
            let name = Path::new("images").join(layout.file_name());
            // With a mode of its own, as the cache below.
            contents.insert(name.clone(), layout.path());
            add_tree(&layout.path(), &name, contents)?;
            names.push(name.display().to_string());
        }
    }
    names.sort();
    Ok(names)
}

/// The name of the cache, in which `fetch-rootfs` keeps archives.
const CACHE: &str = ".rootfs-cache";

/// Adds all files below a directory. `name` is the path of the directory in the
/// archive.
fn add_tree(dir: &Path, name: &Path, contents: &mut Contents) -> Result<()> {
    let doing = || format!("list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(doing)? {
        let entry = entry.with_context(doing)?;
        let name = name.join(entry.file_name());
        if entry.file_type().with_context(doing)?.is_dir() {
            add_tree(&entry.path(), &name, contents)?;
        } else {
            contents.insert(name, entry.path());
        }
    }
    Ok(())
}

/// Writes the archive. Returns the size in bytes.
fn write(file: &Path, folder: &Path, contents: &Contents) -> Result<u64> {
    let doing = || format!("write {}", file.display());
    file::replace(file, 0o666, |new| {
        let gzip = GzEncoder::new(BufWriter::new(&*new), Compression::default());
        let mut tar = tar::Builder::new(gzip);
        tar.follow_symlinks(false);
        // All entries have the same time and owner. The mode only says whether a file
        // is executable.
        tar.mode(tar::HeaderMode::Deterministic);
        for (name, from) in contents {
            let added = tar.append_path_with_name(from, folder.join(name));
            added.with_context(|| format!("pack {}", from.display()))?;
        }
        let written = tar.into_inner().and_then(GzEncoder::finish).and_then(|mut out| out.flush());
        written.with_context(doing)?;
        Ok(new.metadata().with_context(doing)?.len())
    })
}
