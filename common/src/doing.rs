//! The actions of this crate that can fail.

use std::fmt;
use std::path::PathBuf;

use nix::sched::CloneFlags;

/// The context of an error from this crate. [`hint()`](crate::hint()) reads its
/// type; people read its words.
#[derive(Debug)]
pub(crate) enum Doing {
    Clone {
        namespaces: CloneFlags,
        /// Whether the caller was in a chroot; checked only if that can be
        /// the cause.
        in_chroot: bool,
    },
    Fork,
    OpenLayer(PathBuf),
    MakeScratch(PathBuf),
    LockScratch(PathBuf),
    MakeGroup(PathBuf),
    WriteGroup {
        file: PathBuf,
        value: String,
    },
    Print,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doing::Clone { namespaces, .. } => {
                let names: Vec<&str> = namespaces.iter_names().map(|(name, _)| name).collect();
                let with = if names.is_empty() { "" } else { " with " };
                write!(f, "clone a child{with}{}", names.join(" | "))
            }
            Doing::Fork => f.write_str("fork the command"),
            Doing::OpenLayer(dir) => write!(f, "open the layer {}", dir.display()),
            Doing::MakeScratch(dir) => write!(f, "make the scratch directory {}", dir.display()),
            Doing::LockScratch(dir) => write!(f, "lock the scratch directory {}", dir.display()),
            Doing::MakeGroup(group) => write!(f, "make the control group {}", group.display()),
            Doing::WriteGroup { file, value } => write!(f, "write {value} to {}", file.display()),
            Doing::Print => f.write_str("write to standard output"),
        }
    }
}
