//! Files that the tasks read and write. Each error names the file.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
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

/// Replaces a file in one step by the file that `fill` writes. If `to` is a link, this
/// replaces the link. The umask removes bits of the mode.
pub(crate) fn replace<T>(
    to: &Path,
    mode: u32,
    fill: impl FnOnce(&mut File) -> Result<T>,
) -> Result<T> {
    let doing = || format!("write {}", to.display());
    let above = to.parent().filter(|above| !above.as_os_str().is_empty());
    // First under another name: the kernel does not let a running program be written.
    let mut new = tempfile::Builder::new();
    let new = new.permissions(Permissions::from_mode(mode));
    let mut new = new.tempfile_in(above.unwrap_or(Path::new("."))).with_context(doing)?;
    let filled = fill(new.as_file_mut())?;
    new.persist(to).map_err(io::Error::from).with_context(doing)?;
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_where_no_link_leads() {
        let dir = testkit::tempdir();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("theirs"), "theirs").expect("write");
        fs::create_dir(path("dest")).expect("make");
        for name in ["step", "step.new"] {
            symlink("../theirs", path("dest").join(name)).expect("link");
        }
        replace(&path("dest/step"), 0o700, |file| Ok(file.write_all(b"new")?)).expect("replace");
        assert_eq!(fs::read_to_string(path("theirs")).expect("read"), "theirs");
        let found = fs::symlink_metadata(path("dest/step")).expect("look");
        assert_eq!((found.is_file(), found.permissions().mode() & 0o777), (true, 0o700));
    }
}
