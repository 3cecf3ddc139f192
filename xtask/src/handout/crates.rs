//! The crates that the course needs, in the hand-out.
//!
//! Cargo needs the manifest of every crate in `Cargo.lock`. Two thirds of the
//! crates are only for other systems, such as Windows. Of these, the hand-out has
//! only the manifest, with its checksum. Their code is replaced by an error that
//! gives the reason.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use toml::Table;

use super::{Contents, add_tree};
use crate::cargo::CONFIG;
use crate::file::{self, read_toml};

/// The machines that the hand-out is for.
const TARGETS: [&str; 4] = [
    "aarch64-unknown-linux-gnu",
    "aarch64-unknown-linux-musl",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];

/// The code of a crate that is not in the hand-out.
const LEFT_OUT: &str = "compile_error!(\"the hand-out has no code of this crate, because Linux does \
     not need it; build in a clone of the course\");\n";

const CHECKSUMS: &str = ".cargo-checksum.json";

/// Adds the crates, and the configuration with which cargo finds them. It uses the
/// directory `place`. Returns the number of crates with code.
pub(super) fn vendor(place: &Path, contents: &mut Contents) -> Result<usize> {
    let vendor = place.join("vendor");
    let mut cargo = start::cargo();
    // A mirror that the user has set up applies here, too.
    cargo.args(["vendor", "--locked", "--respect-source-config"]).arg(&vendor);
    let sources = run(cargo, "get the crates")?;
    contents.insert(CONFIG.into(), configuration(place, &sources, &vendor)?);

    let needed = needed()?;
    let doing = || format!("list {}", vendor.display());
    for entry in fs::read_dir(&vendor).with_context(doing)? {
        let dir = entry.with_context(doing)?.path();
        let name = Path::new("vendor").join(dir.file_name().unwrap_or_default());
        let manifest = read_toml(&dir.join("Cargo.toml"))?;
        let package = manifest.get("package");
        let package = ["name", "version"].map(|key| package.and_then(|it| it.get(key)?.as_str()));
        let package = package.map(|it| it.unwrap_or_default().to_owned());
        if needed.contains(&package) {
            add_tree(&dir, &name, contents)?;
        } else {
            let lib = manifest.get("lib").and_then(|lib| lib.get("path")?.as_str());
            for file in leave_out(&dir, lib.unwrap_or("src/lib.rs"))? {
                contents.insert(name.join(&file), dir.join(&file));
            }
        }
    }
    Ok(needed.len())
}

/// Runs cargo and returns its output. Prints its messages only if it fails.
fn run(mut cargo: Command, doing: &str) -> Result<Vec<u8>> {
    // The workspace's configuration must apply.
    let output = cargo.current_dir(common::workspace()).output().context("start cargo")?;
    if !output.status.success() {
        // If standard error is closed or full, the messages are lost.
        let _ = io::stderr().write_all(&output.stderr);
        bail!("{doing} with cargo: it failed; read its messages above");
    }
    Ok(output.stdout)
}

/// Writes the course's configuration with the sources from `cargo vendor` to a file
/// in `place`.
fn configuration(place: &Path, sources: &[u8], vendor: &Path) -> Result<PathBuf> {
    let course = common::workspace().join(CONFIG);
    let doing = || format!("add the crates to {}", course.display());
    let course_text = fs::read_to_string(&course).with_context(doing)?;
    let sources = String::from_utf8_lossy(sources);
    let mut sources: Table = sources.parse().with_context(doing)?;
    let all = sources.get_mut("source").and_then(|it| it.as_table_mut());
    let mut dirs = all.into_iter().flatten().filter_map(|(_, source)| source.get_mut("directory"));
    let ours = dirs.find(|dir| dir.as_str().map(Path::new) == Some(vendor));
    let ours = ours.context("`cargo vendor` did not print their directory").with_context(doing)?;
    *ours = "vendor".into();
    let known: Table = course_text.parse().with_context(doing)?;
    let text = if known.get("source") == sources.get("source") {
        // The course is already a hand-out.
        course_text
    } else {
        format!("{course_text}\n# The crates are here, too: cargo needs no network.\n{sources}")
    };
    text.parse::<Table>().with_context(doing)?;
    let file = place.join("config.toml");
    file::write(&file, text)?;
    Ok(file)
}

/// The name and version of each crate that a build or a test for Linux needs.
fn needed() -> Result<BTreeSet<[String; 2]>> {
    let mut cargo = start::cargo();
    cargo.args(["metadata", "--locked", "--format-version=1"]);
    cargo.args(TARGETS.map(|target| format!("--filter-platform={target}")));
    let doing = "list the crates";
    let metadata: Value = serde_json::from_slice(&run(cargo, doing)?).context(doing)?;
    let packages = metadata["packages"].as_array().context(doing)?;
    // The crates of the course itself have no source.
    let crates = packages.iter().filter(|package| !package["source"].is_null());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(crates.map(|package| [text(&package["name"]), text(&package["version"])]).collect())
}

/// Replaces the code of a crate, and returns the files that remain.
fn leave_out(dir: &Path, lib: &str) -> Result<[PathBuf; 3]> {
    let doing = || format!("leave out the code of {}", dir.display());
    let checksums = dir.join(CHECKSUMS);
    let text = fs::read(&checksums).with_context(doing)?;
    let mut sums: Value = serde_json::from_slice(&text).with_context(doing)?;
    if let Some(files) = sums["files"].as_object_mut() {
        files.retain(|file, _| file == "Cargo.toml");
    }
    fs::write(&checksums, sums.to_string()).with_context(doing)?;
    fs::write(dir.join(lib), LEFT_OUT).with_context(doing)?;
    Ok(["Cargo.toml", CHECKSUMS, lib].map(PathBuf::from))
}
