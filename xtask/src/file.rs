//! Files that the tasks read and write. Each error names the file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The text of a file.
pub(crate) fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

/// Reads a manifest, or a similar file.
pub(crate) fn read_toml(file: &Path) -> Result<toml::Table> {
    read(file)?.parse().with_context(|| format!("read {}", file.display()))
}

/// Writes a file, in a new directory if there is none.
pub(crate) fn write(file: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    file.parent().map_or(Ok(()), make_dir)?;
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

/// Makes a directory, and those above it.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))
}
