//! Remedies for system calls that fail.

/// Makes a table of remedies: a function that finds the first row with the call and the error
/// of what has failed, and whose condition is true. The call `_` is any call.
macro_rules! remedies {
    (|$failed:ident|
        $($($call:tt)|+: $($errno:ident)|+ $(if $condition:expr)? => $remedy:expr;)+
    ) => {
        pub(in crate::said::hint) fn remedy($failed: &Failed, errno: Errno) -> Option<&'static str> {
            Some(match ($failed.call, errno) {
                $(($(call!($call))|+, $(Errno::$errno)|+) $(if $condition)? => $remedy,)+
                _ => return None,
            })
        }
    };
}

macro_rules! call {
    (_) => {
        _
    };
    ($call:ident) => {
        Call::$call
    };
}

mod clone;
mod groups;
mod mounts;
mod order;
mod places;
mod tools;

use anyhow::Error;
use nix::errno::Errno;

use crate::said::error::{Said, errno_of};
use crate::said::host;

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
        let (call, object) = groups::call(doing).or_else(|| WORDS.iter().find_map(known))?;
        Some(Failed { call, object: object.to_owned() })
    }
}

/// The remedy for an error from a failed system call, or from a tool of the host: the first
/// that fits, if there is any. A remedy that we could not try says "likely".
pub fn hint(error: &Error) -> Option<&'static str> {
    if let Some(Said(message)) = error.downcast_ref() {
        return tools::remedy(message);
    }
    let errno = error.chain().find_map(errno_of)?;
    let failed = Failed::of(error);
    type Table = fn(&Failed, Errno) -> Option<&'static str>;
    // An earlier stage explains more than the host does.
    let tables: [Table; 6] =
        [order::remedy, clone::remedy, groups::remedy, mounts::remedy, places::remedy, remedy];
    tables.into_iter().find_map(|remedy| remedy(&failed, errno))
}

remedies! { |failed|
    DropCapabilities: EPERM if host::is_confined() => PROFILE;
    DropCapabilities: EPERM =>
        "this needs CAP_SETPCAP; change the bounding set before you give up other capabilities";
    SetFilter: EPERM => clone::SECCOMP;
    SetFilter: ENOSYS if host::is_filtered() => clone::SECCOMP;
    SetFilter: ENOSYS | EINVAL =>
        "this kernel likely has no seccomp filters; start a kernel with CONFIG_SECCOMP_FILTER";
    ConnectNetwork: EPERM =>
        "this needs CAP_NET_ADMIN in the new network; bring lo up before you give up capabilities";
    ConnectNetwork: EROFS =>
        "/proc/sys is read-only here, as in a container; start the step outside of it, or use --network pasta";
    AllowPing: EROFS => "/proc/sys is read-only; set this before the lesson makes it so";
    EnterDirectory: EACCES =>
        "the user of the command cannot enter it; name another directory with --workdir, or another user with --user";
    Publish: EACCES =>
        "an ordinary user can use only ports from net.ipv4.ip_unprivileged_port_start on; name a greater HOST, or change that as root with sysctl";
    Print: ENOSPC => "the file system of standard output is full; free some space";
    _: ENOSPC => FULL;
    _: EMFILE => "this process has reached the limit on open files; raise it with ulimit -n";
    _: ELOOP => "a symbolic link in the path leads back to itself";
    _: ENAMETOOLONG => "use a name of at most 255 bytes and a path of at most 4095";
}

const APPARMOR: &str = "this host's AppArmor gives no capabilities in a new user namespace; use the profile of docs/hosts.md, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
const PROFILE: &str = "an AppArmor profile confines this program, and likely refuses this; start it outside of the profile that /proc/self/attr/current names, or in Docker with --security-opt apparmor=unconfined";
const SELINUX: &str =
    "a security module, likely SELinux, refuses this; log in as an unconfined user";
pub(crate) const NO_ROOT: &str = "the root has neither /bin nor /usr/bin, so it is likely not a root; fetch a root with `cargo xtask fetch-rootfs --force`, or name another directory";
const TAKEN: &str = "a file has that name; name another directory with --scratch or TMPDIR";
const FULL: &str = "the file system is full; free some space, or name a directory on another file system with --scratch or TMPDIR";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

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
