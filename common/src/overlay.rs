//! The layers of an overlay as its mount options name them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{self, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::{getgid, getuid};

use crate::doing::Doing;
use crate::note;
use crate::scratch::name_holds;

/// What the options of mount(2) may take together, in bytes: one page.
const PAGE: usize = 4096;

/// What plain names of the lower layers may take of it together, and of the
/// upper and the work directory each. More goes by descriptors.
const LOWER: usize = PAGE / 2;
const OTHER: usize = PAGE / 8;

/// What the words of the options take, such as `upperdir=`.
const WORDS: usize = 100;

/// The value of overlay's option `lowerdir=`: the layers, topmost first, with
/// `:` between them.
///
/// A character that the option string gives a meaning to is escaped with `\`.
/// A layer whose name is not UTF-8, or that does not fit, goes by the name of
/// an open descriptor, `/proc/self/fd/N`, which this process keeps until it
/// executes the command. Call it in the mount namespace of the mount.
///
/// Source: "Multiple lower layers" in the kernel's overlayfs documentation,
/// proc_pid_fd(5).
///
/// # Errors
///
/// When a layer is missing, is no directory or cannot be opened.
pub fn lowerdir(layers: &[PathBuf]) -> Result<String> {
    ensure!(!layers.is_empty(), "mount an overlay: no lower layer is named");
    let room = LOWER / layers.len();
    let mut names = Vec::with_capacity(layers.len());
    for layer in layers {
        let dir = open(layer)?;
        names.push(name(layer, dir, room));
    }
    let names = names.join(":");
    // The kernel would cut it off without a word.
    ensure!(
        names.len() < PAGE - 2 * OTHER - WORDS,
        "mount an overlay: the names of {} layers are too long for mount(2); name fewer layers",
        layers.len()
    );
    Ok(names)
}

/// The value of overlay's options `upperdir=` and `workdir=`, as [`lowerdir`]
/// writes it.
///
/// # Errors
///
/// When the directory is missing, is no directory or cannot be opened, or is
/// not the one that [`Scratch::new`](crate::Scratch::new) made or looked at.
pub fn option(dir: &Path) -> Result<String> {
    let open = open(dir)?;
    let room = if name_holds(dir, &open)? { OTHER } else { 0 };
    Ok(name(dir, open, room))
}

/// The directory in words that the option string can hold.
fn name(path: &Path, dir: File, room: usize) -> String {
    match escaped(path) {
        Some(name) if name.len() < room => name,
        // Stays open: the mount looks the name up.
        _ => format!("/proc/self/fd/{}", dir.into_raw_fd()),
    }
}

/// Opens a directory for its name alone. Not with std, which drops `O_PATH`
/// where the C library is musl, and then wants the right to list it.
fn open(dir: &Path) -> Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = fcntl::open(dir, flags, Mode::empty());
    let opened = opened.with_context(|| Doing::OpenLayer(dir.to_owned()))?;
    Ok(File::from(opened))
}

/// Says so when nothing of a lower layer can be changed: copying a file up
/// keeps its owner and group, which must therefore be mapped. To be asked
/// before the user namespace is there, where both read as `nobody`.
pub(crate) fn warn_of_owner(layer: &Path) {
    let (uid, gid) = (getuid(), getgid());
    // What is missing is told when it is opened.
    let Ok(found) = fs::metadata(layer) else { return };
    if found.uid() != uid.as_raw() || found.gid() != gid.as_raw() {
        note(&format!(
            "{} belongs to user {} and group {}, but the container has only user {uid} and \
             group {gid}: it can read the files, but cannot change them (\"Permission denied\" or \
             \"Value too large\"); unpack the layer as the user and group that run the container",
            layer.display(),
            found.uid(),
            found.gid()
        ));
    }
}

/// A path as an option's value, or nothing when it is not UTF-8.
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
