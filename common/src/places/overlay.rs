//! Writes the layers of an overlay as mount options.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{getgid, getuid};

use crate::note;
use crate::places::open::place;
use crate::said::doing::{Call, Doing};

/// The most bytes for all options of mount(2): one page.
const PAGE: usize = 4096;

/// The most bytes of the page for paths: for all lower layers together, and for each
/// of upper and work. A longer path is replaced by `/proc/self/fd/N`.
const ROOM_LOWER: usize = PAGE / 2;
const ROOM_UPPER_OR_WORK: usize = PAGE / 8;

/// The bytes for the option names, such as `upperdir=`.
const WORDS: usize = 100;

/// The value of overlay's option `lowerdir=`: the layers, topmost first, with `:` between them.
///
/// In a path, a `\` goes before each `\`, `:` and `,`. If a path is not UTF-8 or does
/// not fit, the option has the name of an open descriptor instead, `/proc/self/fd/N`.
/// The descriptor stays open until [`fork`](crate::fork()) closes it, because mount(2)
/// needs it. Call it in the mount namespace of the mount.
///
/// Source: "Multiple lower layers" in the kernel's overlayfs documentation, `/proc/PID/fd` in
/// proc(5). Fails when a layer is missing, is not a directory or cannot be opened.
pub fn lowerdir(layers: &[PathBuf]) -> Result<String> {
    ensure!(!layers.is_empty(), "mount an overlay: no lower layer is named");
    let room = ROOM_LOWER / layers.len();
    let mut names = Vec::with_capacity(layers.len());
    for layer in layers {
        let dir = open(layer)?;
        names.push(name(layer, dir, room));
    }
    let names = names.join(":");
    // With very many layers, even the short names do not fit. The kernel would cut the
    // options without an error.
    ensure!(
        names.len() < PAGE - 2 * ROOM_UPPER_OR_WORK - WORDS,
        "mount an overlay: the names of {} layers are too long for mount(2); name fewer layers",
        layers.len()
    );
    Ok(names)
}

/// The path of upper or work, as the value of overlay's option `upperdir=` or `workdir=`. It has
/// the form of [`lowerdir`]. With `ours`, another user can rename the directory: it must be this
/// one, and the option has the name of a descriptor. Fails when the directory is missing, is not a
/// directory or cannot be opened, or is another one.
pub(crate) fn upper_or_work(dir: &Path, ours: Option<&Metadata>) -> Result<String> {
    let opened = open(dir)?;
    let Some(ours) = ours else { return Ok(name(dir, opened, ROOM_UPPER_OR_WORK)) };
    let found = opened.metadata().with_context(|| opening(dir))?;
    let is_ours = (found.dev(), found.ino()) == (ours.dev(), ours.ino());
    ensure!(is_ours, "{}: {REPLACED}", opening(dir));
    Ok(name(dir, opened, 0))
}

pub(crate) const REPLACED: &str = "another user has replaced this directory; name a scratch directory in a place where no other user can write";

/// A name of the directory that fits into the option string.
fn name(path: &Path, dir: File, room: usize) -> String {
    match escaped(path) {
        Some(name) if name.len() < room => name,
        // Stays open: mount(2) looks the name up.
        _ => format!("/proc/self/fd/{}", dir.into_raw_fd()),
    }
}

fn opening(dir: &Path) -> Doing {
    Doing::new(Call::OpenLayer, "open the layer ", dir.display())
}

fn open(dir: &Path) -> Result<File> {
    place(dir).map(File::from).with_context(|| opening(dir))
}

/// Warns if the owner or the group of a lower layer is not the caller's: the container cannot
/// change its files, because a copy in upper keeps owner and group, and both must be mapped. Call
/// it in the runner. In the container, an ID without a mapping shows as `nobody`.
pub(crate) fn warn_of_owner(layer: &Path) {
    let (uid, gid) = (getuid(), getgid());
    // If the layer is missing, `lowerdir` reports it later.
    let Ok(found) = fs::metadata(layer) else { return };
    if found.uid() != uid.as_raw() || found.gid() != gid.as_raw() {
        note(&format!(
            "{} belongs to user {} and group {}, and the container does not have both: \
             it can read the files, but cannot change them (\"Permission denied\" or \
             \"Value too large\"); unpack the layer as the user and group that run the container",
            layer.display(),
            found.uid(),
            found.gid()
        ));
    }
}

/// A path as an option's value, or nothing if it is not UTF-8.
fn escaped(path: &Path) -> Option<String> {
    let path: &OsStr = path.as_os_str();
    let mut out = String::with_capacity(path.len());
    for c in str::from_utf8(path.as_bytes()).ok()?.chars() {
        if matches!(c, '\\' | ':' | ',') {
            out.push('\\');
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_option_string_gives_a_meaning_to_is_escaped() {
        let of = |path: &str| escaped(Path::new(path)).expect("UTF-8");
        assert_eq!(of("/a/b c"), "/a/b c");
        assert_eq!(of("/a:b,c\\d"), "/a\\:b\\,c\\\\d");
        assert_eq!(escaped(Path::new(OsStr::from_bytes(b"/\xff"))), None);
    }
}
