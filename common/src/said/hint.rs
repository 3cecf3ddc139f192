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

use std::path::{Path, PathBuf};

use anyhow::Error;
use nix::errno::Errno;
use nix::sched::CloneFlags;

use crate::said::doing::{Doing, Said, errno_of};
use crate::said::host;

/// The action that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Clone,
    Fork,
    MapIds,
    WriteMaps,
    BecomeUser,
    KeepMountsPrivate,
    Mount,
    MountProc,
    MountOverlay,
    DeleteLower,
    Bind,
    EnterRoot,
    PivotRoot,
    EnterDirectory,
    OpenLayer,
    OpenRoot,
    OpenPlace,
    MakeScratch,
    LockScratch,
    MakeState,
    UseGroups,
    EnableController,
    LimitSwap,
    WriteGroup,
    MakeCgroupNamespace,
    DropCapabilities,
    ConnectNetwork,
    AllowPing,
    Publish,
    SetFilter,
    EnterNamespaces,
    KeepState,
    KeepContainers,
    RemoveContainer,
    Print,
    /// An unknown action.
    Any,
}

/// The first words of the contexts in the lessons and the tasks. A path may
/// follow them.
const LESSONS: &[(&str, Call)] = &[
    ("make the mounts private", Call::KeepMountsPrivate),
    ("write /proc/self/", Call::MapIds),
    ("write the uid_map", Call::WriteMaps),
    ("write the gid_map", Call::WriteMaps),
    ("leave the groups of the caller", Call::WriteMaps),
    ("set the supplementary groups", Call::BecomeUser),
    ("set the group ID", Call::BecomeUser),
    ("set the user ID", Call::BecomeUser),
    ("mount the overlay on ", Call::MountOverlay),
    ("mount proc on ", Call::MountProc),
    ("mount ", Call::Mount),
    ("bind ", Call::Bind),
    ("open /dev/null", Call::OpenPlace),
    ("chroot to ", Call::EnterRoot),
    ("chdir to ", Call::EnterRoot),
    ("pivot_root to ", Call::PivotRoot),
    ("write to standard output", Call::Print),
    ("make a cgroup namespace", Call::MakeCgroupNamespace),
    ("delete a lower directory", Call::DeleteLower),
    ("drop ", Call::DropCapabilities),
    ("set the capabilities", Call::DropCapabilities),
    ("set no_new_privs", Call::DropCapabilities),
    ("open a socket", Call::ConnectNetwork),
    ("get the flags of lo", Call::ConnectNetwork),
    ("set the flags of lo", Call::ConnectNetwork),
    ("set the bridge's ", Call::ConnectNetwork),
    ("get the number of the device", Call::ConnectNetwork),
    ("set ping_group_range", Call::AllowPing),
    ("set the seccomp filter", Call::SetFilter),
    ("go to the working directory ", Call::EnterDirectory),
    ("enter the namespaces of the process ", Call::EnterNamespaces),
    ("write 0 to ", Call::WriteGroup),
    ("make the directory of a container", Call::KeepState),
    ("write the state of the container ", Call::KeepState),
    ("write the end of the container ", Call::KeepState),
    ("keep containers in ", Call::KeepContainers),
    ("keep the configuration", Call::KeepContainers),
    ("keep the state of the container ", Call::KeepContainers),
    ("make the container ", Call::KeepContainers),
    ("make the socket for ", Call::KeepContainers),
    ("remove the container ", Call::RemoveContainer),
    ("keep the mounts in this namespace", Call::KeepMountsPrivate),
    ("become group ", Call::BecomeUser),
    ("become user ", Call::BecomeUser),
    ("write setgroups", Call::WriteMaps),
    ("join the namespace ", Call::EnterNamespaces),
];

/// A failed call, with all that the error says about it.
struct Failed {
    call: Call,
    path: Option<PathBuf>,
    namespaces: CloneFlags,
    in_chroot: bool,
    /// The words of the caller.
    remedy: &'static str,
}

impl Failed {
    fn new(call: Call) -> Failed {
        let namespaces = CloneFlags::empty();
        Failed { call, path: None, namespaces, in_chroot: false, remedy: "" }
    }

    /// Reads the type of a context from this crate, else the words of a context
    /// from a lesson.
    fn of(error: &Error) -> Failed {
        let at = |call, path: &Path| Failed { path: Some(path.to_owned()), ..Failed::new(call) };
        match error.downcast_ref() {
            Some(&Doing::Clone { namespaces, in_chroot }) => {
                Failed { namespaces, in_chroot, ..Failed::new(Call::Clone) }
            }
            Some(Doing::Fork) => Failed::new(Call::Fork),
            Some(Doing::OpenLayer(path)) => at(Call::OpenLayer, path),
            Some(Doing::OpenRoot(path)) => at(Call::OpenRoot, path),
            Some(Doing::OpenPlace(path)) => at(Call::OpenPlace, path),
            Some(Doing::MakeScratch(path)) => at(Call::MakeScratch, path),
            Some(Doing::LockScratch(path)) => at(Call::LockScratch, path),
            Some(Doing::MakeState { remedy, .. }) => {
                Failed { remedy, ..Failed::new(Call::MakeState) }
            }
            Some(Doing::UseGroups(path)) => at(Call::UseGroups, path),
            Some(Doing::WriteGroup { file, .. }) => at(groups::call(file), file),
            Some(Doing::Publish(_)) => Failed::new(Call::Publish),
            Some(Doing::Print) => Failed::new(Call::Print),
            None => {
                let known = error.chain().find_map(|cause| of_lesson(&cause.to_string()));
                known.map_or(Failed::new(Call::Any), |(call, path)| at(call, &path))
            }
        }
    }
}

/// The action that a lesson's words name, and the path that follows them.
fn of_lesson(doing: &str) -> Option<(Call, PathBuf)> {
    // Only the first words count: the name at the end may contain any words.
    LESSONS.iter().find_map(|(words, call)| Some((*call, doing.strip_prefix(words)?.into())))
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
    use std::path::Path;

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
        let cloning = |namespaces, errno| {
            let doing = Doing::Clone { namespaces, in_chroot: false };
            let error = Error::from(errno).context(doing).context("start the child of lesson 99");
            hint(&error).unwrap_or_default()
        };
        assert!(cloning(CloneFlags::CLONE_NEWNET, Errno::EPERM).contains("step 3"));
        assert!(cloning(CloneFlags::CLONE_NEWUSER, Errno::ENOSPC).contains("max_user_namespaces"));
        let scratch = Doing::MakeScratch("/x".into());
        let error = Error::from(std::io::Error::from_raw_os_error(libc::EROFS)).context(scratch);
        assert!(hint(&error).is_some_and(|remedy| remedy.contains("--scratch")));
        for (doing, errno, remedy) in [
            (Doing::UseGroups("/x".into()), Errno::EROFS, "read-only"),
            (Doing::UseGroups("/x".into()), Errno::EACCES, "Delegate=yes"),
            (Doing::Publish("127.0.0.1:80:80/tcp".into()), Errno::EACCES, "port_start"),
            (Doing::OpenPlace("/x".into()), Errno::ENOTDIR, "a directory is needed"),
            (Doing::MakeState { dir: "/x".into(), remedy: "name it" }, Errno::ENOENT, "name it"),
        ] {
            let said = hint(&Error::from(errno).context(doing)).unwrap_or_default();
            assert!(said.contains(remedy), "{said}");
        }
        for (file, remedy) in
            [("cgroup.subtree_control", "controller"), ("memory.swap.max", "swapaccount")]
        {
            let write = Doing::WriteGroup { file: Path::new("/x").join(file), value: "0".into() };
            let error = Error::from(Errno::ENOENT).context(write);
            assert!(hint(&error).is_some_and(|said| said.contains(remedy)), "{file}");
        }
    }

    /// The first row counts: a row with fewer words must come later.
    #[test]
    fn no_row_hides_a_later_one() {
        for (at, (first, _)) in LESSONS.iter().enumerate() {
            let hidden = LESSONS[at + 1..].iter().find(|(later, _)| later.starts_with(first));
            assert!(hidden.is_none(), "{first:?} hides {hidden:?}");
        }
    }

    /// Each row has words of a program. Tests lie in directories below.
    #[test]
    fn each_row_is_of_a_program() {
        let list = |dir: PathBuf| dir.read_dir().into_iter().flatten().flatten();
        let sources = list(workspace().to_owned()).flat_map(|it| list(it.path().join("src")));
        let sources = sources.filter_map(|file| fs::read_to_string(file.path()).ok());
        let sources: Vec<String> = sources.collect();
        let mut contexts = Vec::new();
        for source in &sources {
            // `context("…")`, and `context(|| format!("…"))` or its like.
            let texts = source.split("context(").skip(1);
            let texts = texts.filter_map(|rest| rest.split('"').nth(1));
            contexts.extend(texts.map(|text| text.split('{').next().unwrap_or_default()));
        }
        for (words, _) in LESSONS {
            assert!(contexts.iter().any(|it| it.starts_with(words)), "{words}");
        }
    }
}
