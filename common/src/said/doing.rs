//! What an error says about the call or the tool that failed: the action, and the error number
//! or the message.

use std::fmt;
use std::io;
use std::path::Path;

use nix::errno::Errno;

/// Makes the actions, and the first words of the contexts that lessons and tasks give them. A
/// path may follow the words.
macro_rules! calls {
    ($($call:ident: $($words:literal),+;)+) => {
        /// The action that failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Call {
            $($call,)+
            /// A write to these files of a control group.
            EnableController,
            LimitSwap,
            /// Only in this crate.
            Clone,
            Fork,
            OpenLayer,
            CopyFile,
            OpenRoot,
            MakeScratch,
            LockScratch,
            UseGroups,
            Publish,
            /// An unknown action.
            Any,
        }

        pub(crate) const WORDS: &[(&str, Call)] = &[$($(($words, Call::$call),)+)+];
    };
}

calls! {
    MapIds: "write /proc/self/";
    WriteMaps: "write the uid_map", "write the gid_map", "leave the groups of the caller",
        "write setgroups";
    BecomeUser: "set the supplementary groups", "set the group ID", "set the user ID",
        "become group ", "become user ";
    KeepMountsPrivate: "make the mounts private", "keep the mounts in this namespace";
    MountOverlay: "mount the overlay on ";
    MountProc: "mount proc on ";
    Mount: "mount ";
    DeleteLower: "delete a lower directory";
    Bind: "bind ";
    EnterRoot: "chroot to ", "chdir to ";
    PivotRoot: "pivot_root to ";
    EnterDirectory: "go to the working directory ";
    OpenPlace: "open /dev/null";
    OpenBundle: "open the bundle ";
    FindRoot: "find the root ";
    FindNamespaces: "find the namespaces of ";
    SetLimit: "set the limit ";
    SetScore: "set oomScoreAdj ";
    MakeGroup: "make the control group ";
    WriteGroup: "write 0 to ";
    MakeCgroupNamespace: "make a cgroup namespace";
    DropCapabilities: "drop ", "set the capabilities", "set no_new_privs";
    ConnectNetwork: "open a socket", "get the flags of lo", "set the flags of lo",
        "set the bridge's ", "get the number of the device";
    AllowPing: "set ping_group_range";
    SetFilter: "set the seccomp filter";
    EnterNamespaces: "enter the namespaces of the process ", "join the namespace ";
    KeepState: "make the directory of a container", "write the state of the container ",
        "write the end of the container ";
    KeepContainers: "keep containers in ", "keep the configuration",
        "keep the state of the container ", "make the container ", "make the socket for ";
    RemoveContainer: "remove the container ";
    Print: "write to standard output";
    Read: "read ";
    Write: "write ";
}

impl Call {
    /// A write to a file of a control group.
    pub(crate) fn write_group(file: &Path) -> Call {
        match file.file_name().and_then(|name| name.to_str()) {
            Some("cgroup.subtree_control") => Call::EnableController,
            Some("memory.swap.max") => Call::LimitSwap,
            _ => Call::WriteGroup,
        }
    }
}

/// The context of an error from this crate. [`hint()`](crate::hint()) knows the action by its
/// type; people read the words and the object.
#[derive(Debug)]
pub(crate) struct Doing {
    pub(crate) call: Call,
    words: &'static str,
    pub(crate) object: String,
}

impl Doing {
    pub(crate) fn new(call: Call, words: &'static str, object: impl ToString) -> Doing {
        Doing { call, words, object: object.to_string() }
    }

    /// A write to standard output.
    pub(crate) fn print() -> Doing {
        Doing::new(Call::Print, "write to standard output", "")
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.words, self.object)
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
