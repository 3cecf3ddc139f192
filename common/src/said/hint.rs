//! Remedies for system calls that fail.

mod clone;
mod groups;
mod ids;
mod mounts;
mod names;
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
    LeaveOldRoot,
    EnterDirectory,
    OpenLayer,
    OpenRoot,
    OpenPlace,
    MakeScratch,
    LockScratch,
    MakeState,
    UseGroups,
    MakeGroup,
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
    ("keep others from tracing", Call::Any),
    ("mount the overlay on ", Call::MountOverlay),
    ("mount proc on ", Call::MountProc),
    ("mount ", Call::Mount),
    ("bind ", Call::Bind),
    ("open /dev/null", Call::OpenPlace),
    ("chroot to ", Call::EnterRoot),
    ("chdir to ", Call::EnterRoot),
    ("pivot_root to ", Call::PivotRoot),
    ("unmount the old root", Call::LeaveOldRoot),
    ("write to standard output", Call::Print),
    ("make a cgroup namespace", Call::MakeCgroupNamespace),
    ("delete a lower directory", Call::DeleteLower),
    ("drop ", Call::DropCapabilities),
    ("set the capabilities", Call::DropCapabilities),
    ("get the capabilities", Call::Any),
    ("set no_new_privs", Call::DropCapabilities),
    ("open a socket", Call::ConnectNetwork),
    ("get the flags of lo", Call::ConnectNetwork),
    ("set the flags of lo", Call::ConnectNetwork),
    ("set the bridge's ", Call::ConnectNetwork),
    ("get the number of the device", Call::ConnectNetwork),
    ("set ping_group_range", Call::AllowPing),
    ("set the seccomp filter", Call::SetFilter),
    ("use the image", Call::Any),
    ("set the hostname", Call::Any),
    ("go to the working directory ", Call::EnterDirectory),
    ("enter the namespaces of the process ", Call::EnterNamespaces),
    ("write 0 to ", Call::WriteGroup),
    ("make the directory of a container", Call::KeepState),
    ("find the namespaces of ", Call::Any),
    ("write the facts", Call::Any),
    ("write the state of the container ", Call::KeepState),
    ("write the end of the container ", Call::KeepState),
    ("remove the container ", Call::Any),
    ("find the container ", Call::Any),
    ("list the containers", Call::Any),
    ("write the list", Call::Any),
    ("ask for a lock", Call::Any),
    ("unlock a container", Call::Any),
    ("send a signal to the container", Call::Any),
    ("keep the container from tracing", Call::Any),
    ("close the line of the caller", Call::Any),
    ("answer the caller", Call::Any),
    ("wait for the keeper", Call::Any),
    ("wait for the container ", Call::Any),
    ("begin a session", Call::Any),
    ("lead a process group", Call::Any),
    ("list the files of the log", Call::Any),
    ("read ", Call::Any),
    ("keep the mounts in this namespace", Call::KeepMountsPrivate),
    ("become group ", Call::BecomeUser),
    ("become user ", Call::BecomeUser),
    ("write setgroups", Call::WriteMaps),
    ("write the ", Call::WriteMaps),
    ("set linux.", Call::Any),
    ("set process.", Call::Any),
    ("set a limit of ", Call::Any),
    ("set its option ", Call::Any),
    ("set oomScoreAdj to ", Call::Any),
    ("set the clock ", Call::Any),
    ("set the domainname", Call::Any),
    ("set the limit ", Call::Any),
    ("set the personality", Call::Any),
    ("set the scheduler ", Call::Any),
    ("attach the rules for devices", Call::Any),
    ("choose the AppArmor profile ", Call::Any),
    ("copy the mount of the terminal", Call::Any),
    ("find the root", Call::Any),
    ("find the working directory", Call::Any),
    ("go to the old root", Call::Any),
    ("go to the root", Call::Any),
    ("hide ", Call::Any),
    ("join the namespace ", Call::EnterNamespaces),
    ("keep the capabilities", Call::Any),
    ("linux.rootfsPropagation is ", Call::Any),
    ("look at /dev/null", Call::Any),
    ("make ", Call::Any),
    ("map the owners", Call::Any),
    ("open ", Call::Any),
    ("process.rlimits has ", Call::Any),
    ("find it", Call::Any),
    ("write ", Call::Any),
    ("wait for it", Call::Any),
    ("wait for a process", Call::Any),
    ("wait for `start`", Call::Any),
    ("use the controller ", Call::Any),
    ("use the processors ", Call::Any),
    ("get the processors", Call::Any),
    ("use the ID ", Call::Any),
    ("unlock the container", Call::Any),
    ("unknown option ", Call::Any),
    ("unknown controller ", Call::Any),
    ("this kernel does not have it", Call::Any),
    ("the option ", Call::Any),
    ("set ", Call::Any),
    ("run the ", Call::Any),
    ("name this process", Call::Any),
    ("memory.swap needs memory.limit; give both", Call::Any),
    ("look whether it stands still", Call::Any),
    ("look at it", Call::Any),
    ("lock the container ", Call::Any),
    ("live on without the runtime", Call::Any),
    ("keep the configuration", Call::Any),
    ("it has a word without UTF-8", Call::Any),
    ("hear of the container", Call::Any),
    ("give it the state", Call::Any),
    ("give it an output", Call::Any),
    ("give ", Call::Any),
    ("find what it uses", Call::Any),
    ("find the process of the container", Call::Any),
    ("find the containers: set XDG_RUNTIME_DIR, or give --root", Call::Any),
    ("executable file not found in $PATH", Call::Any),
    ("exec in the container ", Call::Any),
    ("enter the namespaces of ", Call::Any),
    ("container not running", Call::Any),
];

/// A failed call, with all that the error says about it.
struct Failed {
    call: Call,
    path: Option<PathBuf>,
    namespaces: CloneFlags,
    in_chroot: bool,
}

impl Failed {
    fn new(call: Call) -> Failed {
        Failed { call, path: None, namespaces: CloneFlags::empty(), in_chroot: false }
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
            Some(Doing::MakeState(path)) => at(Call::MakeState, path),
            Some(Doing::UseGroups(path)) => at(Call::UseGroups, path),
            Some(Doing::MakeGroup(path)) => at(Call::MakeGroup, path),
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
    let tables: [Table; 8] = [
        order::remedy,
        clone::remedy,
        groups::remedy,
        ids::remedy,
        mounts::remedy,
        names::remedy,
        places::remedy,
        remedy,
    ];
    tables.into_iter().find_map(|remedy| remedy(&failed, errno))
}

fn remedy(failed: &Failed, errno: Errno) -> Option<&'static str> {
    Some(match (failed.call, errno) {
        (Call::DropCapabilities, Errno::EPERM) if host::is_confined() => PROFILE,
        (Call::DropCapabilities, Errno::EPERM) => {
            "this needs CAP_SETPCAP; change the bounding set before you give up other capabilities"
        }
        (Call::SetFilter, Errno::EPERM) => clone::SECCOMP,
        (Call::SetFilter, Errno::ENOSYS) if host::is_filtered() => clone::SECCOMP,
        (Call::SetFilter, Errno::ENOSYS | Errno::EINVAL) => NO_FILTERS,
        (Call::ConnectNetwork, Errno::EPERM) => {
            "this needs CAP_NET_ADMIN in the new network; bring lo up before you give up capabilities"
        }
        (Call::ConnectNetwork, Errno::EROFS) => {
            "/proc/sys is read-only here, as in a container; start the step outside of it, or use --network pasta"
        }
        (Call::AllowPing, Errno::EROFS) => {
            "/proc/sys is read-only; set this before the lesson makes it so"
        }
        (Call::EnterDirectory, Errno::EACCES) => {
            "the user of the command cannot enter it; name another directory with --workdir, or another user with --user"
        }
        (Call::Publish, Errno::EACCES) => {
            "an ordinary user can use only ports from net.ipv4.ip_unprivileged_port_start on; name a greater HOST, or change that as root with sysctl"
        }
        (Call::Print, Errno::ENOSPC) => {
            "the file system of standard output is full; free some space"
        }
        (_, Errno::ENOSPC) => FULL,
        (_, Errno::EMFILE) => {
            "this process has reached the limit on open files; raise it with ulimit -n"
        }
        (_, Errno::ELOOP) => "a symbolic link in the path leads back to itself",
        (_, Errno::ENAMETOOLONG) => "use a name of at most 255 bytes and a path of at most 4095",
        _ => return None,
    })
}

const APPARMOR: &str = "this host's AppArmor gives no capabilities in a new user namespace; use the profile of docs/hosts.md, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0";
const PROFILE: &str = "an AppArmor profile confines this program, and likely refuses this; start it outside of the profile that /proc/self/attr/current names, or in Docker with --security-opt apparmor=unconfined";
const NO_FILTERS: &str =
    "this kernel likely has no seccomp filters; start a kernel with CONFIG_SECCOMP_FILTER";
const SELINUX: &str =
    "a security module, likely SELinux, refuses this; log in as an unconfined user";
pub(crate) const NO_ROOT: &str = "the root has neither /bin nor /usr/bin, so it is likely not a root; fetch a root with `cargo xtask fetch-rootfs --force`, or name another directory";
const TAKEN: &str = "a file has that name; name another directory with --scratch or TMPDIR";
const FULL: &str = "the file system is full; free some space, or name a directory on another file system with --scratch or TMPDIR";

#[cfg(test)]
mod tests {
    use std::fs::{self, DirEntry};
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

    /// Each context in a lesson's program is known.
    #[test]
    fn the_words_of_every_lesson_are_known() {
        let list = |dir: &Path| dir.read_dir().expect("a directory").flatten();
        let mut known = 0;
        let is_lesson =
            |entry: &DirEntry| entry.file_name().display().to_string().starts_with("step");
        for step in list(workspace()).filter(is_lesson) {
            let files = list(&step.path().join("src")).map(|file| file.path());
            // Tests lie in directories.
            for file in files.filter(|file| file.is_file()) {
                let source = fs::read_to_string(&file).expect("a program");
                // `context("…")`, and `context(|| format!("…"))` or its like.
                for rest in source.split("context(").skip(1) {
                    // A name of a closure.
                    if rest
                        .split([')', '"'])
                        .next()
                        .is_some_and(|name| rest[name.len()..].starts_with(')'))
                    {
                        continue;
                    }
                    let words = rest.split('"').nth(1).expect("a text");
                    let words = words.split('{').next().unwrap_or_default();
                    let found = of_lesson(words);
                    assert!(found.is_some(), "{}: \"{words}\" is not known", file.display());
                    known += 1;
                }
            }
        }
        assert!(known > 8, "{known}");
    }
}
