//! What a layer has, and an archive of a root does not: whiteouts, owners and extended
//! attributes.

use std::fs::File;

use anyhow::{Context, Result, bail, ensure};
use common::open;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};
use rustix::fs::{XattrFlags, fsetxattr};

use super::tree::{About, Unpacker, new_directory};
use super::{LeftOut, short};
use crate::folder::errno as of_rustix;

/// The beginning of the name of a whiteout. The rest is the name that it hides.
const WHITEOUT: &[u8] = b".wh.";
/// Names for the use of aufs begin so. Only the next name has a meaning.
const AUFS: &[u8] = b".wh..wh.";
/// Hides the lower entries of its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The attribute of an opaque directory, on an overlay with `userxattr`.
const OPAQUE_ATTRIBUTE: &str = "user.overlay.opaque";
/// The attribute of a directory that may have whiteouts. Without it, overlay lists the
/// whiteouts of a directory that no other layer has, as files that nobody can open.
const ORIGIN_ATTRIBUTE: &str = "user.overlay.origin";
/// Attributes with these beginnings are orders to an overlay.
const OF_OVERLAY: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// What a whiteout hides.
#[derive(Debug, PartialEq)]
pub(super) enum Whiteout<'a> {
    /// The entry with this name.
    Name(&'a [u8]),
    /// All lower entries of the directory.
    All,
    /// Nothing.
    Nothing,
}

impl<'a> Whiteout<'a> {
    /// Reads the name of an entry. See "Whiteouts" in "Image Layer Filesystem
    /// Changeset" of the OCI image specification.
    pub(super) fn of(path: &[&'a [u8]]) -> Result<Option<Whiteout<'a>>> {
        let Some((last, above)) = path.split_last() else { return Ok(None) };
        if above.iter().any(|part| part.starts_with(AUFS)) {
            return Ok(Some(Whiteout::Nothing));
        }
        ensure!(
            !above.iter().any(|part| part.starts_with(WHITEOUT)),
            "its path leads through a whiteout"
        );
        let Some(name) = last.strip_prefix(WHITEOUT) else { return Ok(None) };
        Ok(Some(match name {
            b"" | b"." | b".." => bail!("it is a whiteout, but names no entry"),
            _ if *last == OPAQUE => Whiteout::All,
            _ if last.starts_with(AUFS) => Whiteout::Nothing,
            name => Whiteout::Name(name),
        }))
    }
}

/// What of a layer is not as in the archive.
#[derive(Debug, Default)]
pub struct Notes {
    /// Device nodes. In an archive of a root, pipes as well.
    pub devices: LeftOut,
    /// Entries that belong to root, because the user namespace has no user or group with
    /// their number.
    pub owners: LeftOut,
    /// Extended attributes that are left out: the kernel refused them, or they are
    /// orders to an overlay.
    pub attributes: LeftOut,
}

impl Notes {
    /// The notes for the user, without a note for something that did not happen.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let devices = self.devices.text("device node", "device nodes");
        let owners = self.owners.text("file", "files");
        let attributes = self.attributes.text("extended attribute", "extended attributes");
        let lines = [
            devices.map(|it| format!("left out {it}; a container gets its own")),
            owners
                .map(|it| format!("gave root {it}; the container has no user or group like that")),
            attributes.map(|it| format!("left out {it}")),
        ];
        lines.into_iter().flatten()
    }

    /// Gives an entry its owner. Returns its mode: a set-user-ID program of a user that
    /// is missing must not become one of root.
    pub(super) fn own(
        &mut self,
        about: &About,
        chown: impl Fn(Option<Uid>, Option<Gid>) -> nix::Result<()>,
    ) -> Result<Mode> {
        // The highest number means: no change.
        let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
        let user = |id| chown(Some(Uid::from_raw(id)), None);
        let group = |id| chown(None, Some(Gid::from_raw(id)));
        // Whether the user namespace has such a user or group.
        let is_known = |owned: nix::Result<()>| match owned {
            Err(Errno::EINVAL) => Ok(false),
            owned => owned.map(|()| true).context("give it its owner"),
        };
        let has_user = id(about.uid).map_or(Ok(false), |id| is_known(user(id)))?;
        let has_group = id(about.gid).map_or(Ok(false), |id| is_known(group(id)))?;
        let mut mode = Mode::from_bits_truncate(about.mode);
        if !has_user {
            user(0)?;
            mode.remove(Mode::S_ISUID);
        }
        if !has_group {
            group(0)?;
            mode.remove(Mode::S_ISGID);
        }
        if !has_user || !has_group {
            self.owners.add(|| format!("{} of {}:{}", short(&about.name), about.uid, about.gid));
        }
        Ok(mode)
    }

    /// Gives a file or a directory its owner, attributes and mode. In this order: a
    /// change of the owner removes the capabilities of a program, and set-user-ID.
    pub(super) fn dress(&mut self, file: &File, about: &About) -> Result<()> {
        let mode = self.own(about, |uid, gid| fchown(file, uid, gid))?;
        for (name, value) in &about.attributes {
            let is_order = OF_OVERLAY.iter().any(|start| name.starts_with(start));
            let set = || fsetxattr(file, &**name, value, XattrFlags::empty());
            if is_order {
                self.leave_out_attribute(name, about, "it is for overlay");
            } else if let Err(errno) = set().map_err(of_rustix) {
                self.leave_out_attribute(name, about, errno.desc());
            }
        }
        fchmod(file, mode)?;
        Ok(())
    }

    /// Leaves out the attributes of a link or a pipe. A user namespace cannot set any
    /// attribute there; xattr(7).
    pub(super) fn leave_out_attributes(&mut self, about: &About) {
        let why = Errno::EPERM.desc();
        about.attributes.keys().for_each(|name| self.leave_out_attribute(name, about, why));
    }

    fn leave_out_attribute(&mut self, name: &[u8], about: &About, why: &str) {
        self.attributes.add(|| format!("{} of {} ({why})", short(name), short(&about.name)));
    }
}

impl Unpacker {
    /// Makes a whiteout. It hides nothing of this layer.
    pub(super) fn whiteout(&mut self, path: &[&[u8]], what: &Whiteout<'_>) -> Result<()> {
        let above = path.split_last().map_or(&[][..], |(_, above)| above);
        match what {
            Whiteout::Nothing => Ok(()),
            Whiteout::All => {
                ensure!(!above.is_empty(), "it hides all lower layers, and an overlay cannot");
                make_opaque(&self.descend(above, true)?.dir)
            }
            Whiteout::Name(name) => {
                let above = &self.descend(above, true)?.dir;
                match mknodat(above, *name, SFlag::S_IFCHR, Mode::empty(), 0) {
                    // An entry of this layer hides the lower entry already.
                    Err(Errno::EEXIST) => match open::directory(above, *name) {
                        Err(Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
                        dir => make_opaque(&dir?),
                    },
                    made => {
                        made.context("make a whiteout, a character device 0:0, for overlay")?;
                        set_attribute(above, ORIGIN_ATTRIBUTE, b"")
                    }
                }
            }
        }
    }
}

/// Makes a directory in the place of another entry of this layer. It is opaque: both a
/// file and a whiteout hide the lower entry.
pub(super) fn directory_instead(above: &File, name: &[u8]) -> Result<File> {
    unlinkat(above, name, UnlinkatFlags::NoRemoveDir)?;
    let dir = new_directory(above, name)?;
    make_opaque(&dir)?;
    Ok(dir)
}

fn make_opaque(dir: &File) -> Result<()> {
    set_attribute(dir, OPAQUE_ATTRIBUTE, b"y")
}

fn set_attribute(dir: &File, name: &str, value: &[u8]) -> Result<()> {
    let set = fsetxattr(dir, name, value, XattrFlags::empty()).map_err(of_rustix);
    set.with_context(|| format!("set {name}, which needs a file system with attributes of users"))
}

/// Whether an entry is a whiteout that this layer made: it has no other device nodes.
pub(super) fn is_whiteout(above: &File, name: &[u8]) -> bool {
    let found = fstatat(above, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits())
}
