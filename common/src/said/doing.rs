//! What an error says about the call or the tool that failed: the action, and the error
//! number or the message.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
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
    OpenRoot(PathBuf),
    OpenPlace(PathBuf),
    MakeScratch(PathBuf),
    LockScratch(PathBuf),
    MakeState {
        dir: PathBuf,
        /// The words of the caller.
        remedy: &'static str,
    },
    UseGroups(PathBuf),
    WriteGroup {
        file: PathBuf,
        value: String,
    },
    /// With the port.
    Publish(String),
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
            Doing::OpenRoot(dir) => write!(f, "open the root {}", dir.display()),
            Doing::OpenPlace(path) => write!(f, "open {} in the root", path.display()),
            Doing::MakeScratch(dir) => write!(f, "make the scratch directory {}", dir.display()),
            Doing::LockScratch(dir) => write!(f, "lock the scratch directory {}", dir.display()),
            Doing::MakeState { dir, .. } => write!(f, "make the directory {}", dir.display()),
            Doing::UseGroups(above) => write!(f, "make a control group in {}", above.display()),
            Doing::WriteGroup { file, value } => write!(f, "write {value} to {}", file.display()),
            Doing::Publish(port) => write!(f, "publish {port}"),
            Doing::Print => f.write_str("write to standard output"),
        }
    }
}

/// The message of a tool of the host that failed.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// The error number in a cause, from nix or from std.
pub fn errno_of(cause: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let from_std = |error: &io::Error| error.raw_os_error().map(Errno::from_raw);
    let from_nix = cause.downcast_ref::<Errno>().copied();
    from_nix.or_else(|| cause.downcast_ref::<io::Error>().and_then(from_std))
}
