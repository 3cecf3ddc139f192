//! Remedies for system calls that fail.

mod table;

pub(crate) use table::NO_ROOT;

use anyhow::Error;

use crate::said::error::{Said, errno_of};

/// Makes the actions, and the first words of their contexts. A path may follow them.
macro_rules! calls {
    ($($call:ident: $($words:literal),+;)+) => {
        /// The action that failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Call {
            $($call,)+
            /// A write to these files of a control group.
            EnableController,
            LimitSwap,
            /// An unknown action.
            Any,
        }

        const WORDS: &[(&str, Call)] = &[$($(($words, Call::$call),)+)+];
    };
}

calls! {
    Clone: "clone a child";
    Fork: "fork the command";
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
    OpenLayer: "open the layer ";
    OpenRoot: "open the root ";
    OpenPlace: "open /";
    MakeScratch: "make the scratch directory ";
    LockScratch: "lock the scratch directory ";
    UseGroups: "make a control group in ";
    WriteGroup: "write 0 to ";
    MakeCgroupNamespace: "make a cgroup namespace";
    DropCapabilities: "drop ", "set the capabilities", "set no_new_privs";
    ConnectNetwork: "open a socket", "get the flags of lo", "set the flags of lo",
        "set the bridge's ", "get the number of the device";
    AllowPing: "set ping_group_range";
    Publish: "publish ";
    SetFilter: "set the seccomp filter";
    EnterNamespaces: "enter the namespaces of the process ", "join the namespace ";
    KeepState: "make the directory of a container", "write the state of the container ",
        "write the end of the container ";
    KeepContainers: "keep containers in ", "keep the configuration",
        "keep the state of the container ", "make the container ", "make the socket for ";
    RemoveContainer: "remove the container ";
    Print: "write to standard output";
}

/// A failed call.
struct Failed {
    call: Call,
    /// What follows the words of the context.
    object: String,
}

impl Failed {
    /// Reads the innermost context with known words.
    fn of(error: &Error) -> Failed {
        let known = error.chain().rev().find_map(|cause| Failed::read(&cause.to_string()));
        known.unwrap_or(Failed { call: Call::Any, object: String::new() })
    }

    /// Only the first words count: the name at the end may contain any words.
    fn read(doing: &str) -> Option<Failed> {
        let known = |(words, call): &(&str, Call)| Some((*call, doing.strip_prefix(words)?));
        let (call, object) = of_group(doing).or_else(|| WORDS.iter().find_map(known))?;
        Some(Failed { call, object: object.to_owned() })
    }
}

/// The action behind a write to a file of a group, and the file.
fn of_group(doing: &str) -> Option<(Call, &str)> {
    let (_value, file) = doing.strip_prefix("write ")?.rsplit_once(" to ")?;
    let call = match file.rsplit('/').next()? {
        "cgroup.subtree_control" => Call::EnableController,
        "memory.swap.max" => Call::LimitSwap,
        _ => Some(Call::WriteGroup).filter(|_| file.starts_with("/sys/fs/cgroup/"))?,
    };
    Some((call, file))
}

/// The remedy for an error from a failed system call, or from a tool of the host: the first
/// that fits, if there is any. A remedy that we could not try says "likely".
pub fn hint(error: &Error) -> Option<&'static str> {
    if let Some(Said(message)) = error.downcast_ref() {
        return table::for_tool(message);
    }
    let errno = error.chain().find_map(errno_of)?;
    table::remedy(&Failed::of(error), errno)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use nix::errno::Errno;

    use super::*;
    use crate::workspace;

    fn of(doing: &str, errno: Errno) -> &'static str {
        hint(&Error::from(errno).context(doing.to_owned())).unwrap_or_default()
    }

    #[test]
    fn the_first_remedy_that_fits_is_taken() {
        assert!(of("chroot to /x", Errno::ENOENT).contains("fetch-rootfs"));
        assert!(of("mount proc on /proc", Errno::EPERM).contains("systempaths"));
        assert!(of("make /tmp/x", Errno::ENOSPC).contains("full"));
        assert!(of("set the bridge's route_localnet", Errno::EROFS).contains("pasta"));
        assert_eq!(of("chdir to /", Errno::EIO), "");
        // Words in a name do not count.
        assert!(of("chroot to /proc/self/fd/9", Errno::EACCES).contains("let this user enter"));
        assert!(of("chroot to /mount proc", Errno::ENOENT).contains("fetch-rootfs"));
    }

    #[test]
    fn a_failure_of_this_crate_is_known_whatever_is_said_around_it() {
        let within = |doing: &str, errno| {
            let error = Error::from(errno).context(doing.to_owned()).context("bind /x to /y");
            hint(&error).unwrap_or_default()
        };
        for (doing, errno, remedy) in [
            ("clone a child with CLONE_NEWNET", Errno::EPERM, "step 3"),
            ("clone a child with CLONE_NEWUSER", Errno::ENOSPC, "max_user_namespaces"),
            ("make a control group in /x", Errno::EROFS, "read-only"),
            ("make a control group in /x", Errno::EACCES, "Delegate=yes"),
            ("publish 127.0.0.1:80:80/tcp", Errno::EACCES, "port_start"),
            ("open /x in the root", Errno::ENOTDIR, "a directory is needed"),
            ("write +pids to /x/cgroup.subtree_control", Errno::ENOENT, "controller"),
            ("write 0 to /x/memory.swap.max", Errno::ENOENT, "swapaccount"),
            ("write 4 to /sys/fs/cgroup/x/pids.max", Errno::EINVAL, "a smaller number"),
        ] {
            let said = within(doing, errno);
            assert!(said.contains(remedy), "{doing}: {said}");
        }
        let error = Error::from(std::io::Error::from_raw_os_error(libc::EROFS));
        let error = error.context("make the scratch directory /x");
        assert!(hint(&error).is_some_and(|remedy| remedy.contains("--scratch")));
    }

    /// The first row counts: a row with fewer words must come later.
    #[test]
    fn no_row_hides_a_later_one() {
        for (at, (first, _)) in WORDS.iter().enumerate() {
            let hidden = WORDS[at + 1..].iter().find(|(later, _)| later.starts_with(first));
            assert!(hidden.is_none(), "{first:?} hides {hidden:?}");
        }
    }

    /// Each row has words of a program. Tests of the other crates lie in directories below.
    #[test]
    fn each_row_is_of_a_program() {
        let list = |dir: PathBuf| dir.read_dir().into_iter().flatten().flatten();
        let below = |dir: &str| list(workspace().join("common/src").join(dir));
        let sources = list(workspace().to_owned()).flat_map(|it| list(it.path().join("src")));
        let sources =
            sources.chain(["child", "net", "places", "places/scratch"].into_iter().flat_map(below));
        let sources = sources.chain(below("said").filter(|it| it.file_name() == "error.rs"));
        let sources = sources.filter_map(|file| fs::read_to_string(file.path()).ok());
        let sources: Vec<String> = sources.collect();
        for (words, _) in WORDS {
            let begun = format!("\"{}", words.trim_end_matches(['/', ' ']));
            assert!(sources.iter().any(|source| source.contains(&begun)), "{words}");
        }
    }
}
