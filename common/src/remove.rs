//! Removing a tree that a container has written.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes a directory and all below it, as `rm -rf`, but also directories
/// that may not be read or written, such as the `work/work` of mode 000 that
/// an overlay leaves behind. Symbolic links are removed, never followed.
///
/// It holds two descriptors at most, however deep the tree is. Nobody else
/// may be at work in it.
///
/// # Errors
///
/// When an entry cannot be removed; unlinkat(2). A tree that is gone already
/// is no error.
pub fn remove_tree(tree: &Path) -> Result<()> {
    let doing = || format!("remove {}", tree.display());
    match unlinkat(AT_FDCWD, tree, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(_not_empty) => {}
    }
    let mut dir = open(&AT_FDCWD, tree).with_context(doing)?;
    // The directories above the current one, and what is left to do in each.
    let mut above: Vec<(CString, Vec<CString>)> = Vec::new();
    let mut left = empty(&mut dir).with_context(doing)?;
    loop {
        if let Some(name) = left.pop() {
            let below = open(&dir, name.as_c_str()).with_context(doing)?;
            dir = below;
            let inner = empty(&mut dir).with_context(doing)?;
            above.push((name, std::mem::replace(&mut left, inner)));
        } else if let Some((name, rest)) = above.pop() {
            dir = open(&dir, c"..").with_context(doing)?;
            unlinkat(&dir, name.as_c_str(), UnlinkatFlags::RemoveDir).with_context(doing)?;
            left = rest;
        } else {
            break;
        }
    }
    unlinkat(AT_FDCWD, tree, UnlinkatFlags::RemoveDir).with_context(doing)
}

/// Opens a directory and gives its owner every right to it. What made it
/// refuse to be removed shows that it is a directory and no symbolic link.
fn open<P: nix::NixPath + ?Sized>(at: &impl AsFd, name: &P) -> nix::Result<Dir> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let all = Mode::S_IRWXU;
    let dir = match openat(at, name, flags, Mode::empty()) {
        Err(Errno::EACCES) => {
            fchmodat(at, name, all, FchmodatFlags::FollowSymlink)?;
            openat(at, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    fchmod(&dir, all)?;
    Dir::from_fd(dir)
}

/// Removes what `dir` holds, save directories with something in them, whose
/// names it returns.
fn empty(dir: &mut Dir) -> nix::Result<Vec<CString>> {
    let mut entries = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    let mut left = Vec::new();
    for (name, kind) in entries {
        let flags = match kind {
            Some(Type::Directory) => UnlinkatFlags::RemoveDir,
            _ => UnlinkatFlags::NoRemoveDir,
        };
        match unlinkat(&*dir, name.as_c_str(), flags) {
            // EISDIR: a file system that does not tell the type of an entry.
            // EACCES: one that looks into the directory first.
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EISDIR | Errno::EACCES) => {
                left.push(name);
            }
            removed => removed?,
        }
    }
    Ok(left)
}
