//! The table of remedies for system calls that fail, and that for tools of the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process;

use nix::errno::Errno;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, SYSFS_MAGIC, Statfs,
    TMPFS_MAGIC, statfs,
};
use nix::unistd::getuid;

use super::Failed;
use crate::calls::{capabilities, seccomp};
use crate::said::doing::Call;
use crate::said::host;

/// Makes the table of remedies: a function that finds the first row with the call and the error of
/// what has failed, and whose condition is true. The call `_` is any call.
macro_rules! remedies {
    (|$failed:ident|
        $($($call:tt)|+: $($errno:ident)|+ $(if $condition:expr)? => $remedy:expr;)+
    ) => {
        pub(super) fn remedy($failed: &Failed, errno: Errno) -> Option<&'static str> {
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

remedies! { |failed|
    // Stages in a wrong order: an earlier stage of this program explains more than the host does.
    _: EPERM if seccomp::is_set() =>
        "the filter on system calls is already in force, and likely refuses this one; set the filter after the other stages";
    _: EPERM if has_given_up_capabilities(failed) =>
        "this process has already given up capabilities, and likely needs one of them here; give them up after the other stages";
    MountProc: EPERM if !host::has_proc() && has_left_old_root() =>
        "no proc is left that shows all of its files, because the old root is gone; mount proc before you leave the old root";
    Mount: EPERM if !has_sysfs() && has_left_old_root() =>
        "no sysfs is left that shows all of its files, because the old root is gone; mount it before you leave the old root";
    Mount: ENOENT if !host::has_proc() =>
        "the place has its name in /proc, where no proc is mounted; mount this before you enter the root";
    OpenRoot | OpenLayer: ENOENT if has_entered_root() =>
        "this process has entered the new root, and a path of the host leads nowhere there; do this before you enter the root";
    MapIds: ENOENT if host::is_covered() || host::in_chroot() =>
        "the new root has no proc yet; map the IDs before you enter the root";
    Mount | MountProc | MountOverlay: EACCES if host::is_unmapped() =>
        "this process has no ID in its user namespace yet; map the IDs before you mount";
    PivotRoot: EINVAL if !is_mount_point() =>
        "the new root is likely not a mount point; mount the overlay on it before you enter the root";

    // Cloning into namespaces, and mapping the IDs.
    Clone: EPERM if user(failed) && host::in_chroot() =>
        "this process is in a chroot, and the kernel makes no user namespace there; start it outside of the chroot";
    Clone: EPERM if user(failed) && host::is_unmapped() =>
        "this process has no ID in its user namespace, as in the container of lesson 3, so the kernel refuses a further user namespace; start it outside of that container";
    Clone: EPERM if user(failed) && host::says(USERNS_CLONE, "0") =>
        "this kernel allows user namespaces to root only; as root: sysctl kernel.unprivileged_userns_clone=1";
    Clone: EPERM if host::is_filtered() => SECCOMP;
    Clone: EPERM if is_confined(failed) => PROFILE;
    Clone: EPERM if user(failed) =>
        "a security module or a policy of this host likely forbids user namespaces";
    Clone: EPERM =>
        "only root can make these namespaces without a user namespace; use sudo, or add a user namespace, as step 3 does";
    Clone: ENOSPC | EUSERS =>
        "this host has reached a limit on namespaces; as root: sysctl user.max_user_namespaces=10000, and the same for the other user.max_*_namespaces";
    Clone: EACCES if is_confined(failed) => PROFILE;
    Clone: EACCES if user(failed) => SELINUX;
    Clone: EINVAL if user(failed) =>
        "this kernel likely has no user namespaces, as in WSL 1; use WSL 2 or another kernel";
    Clone: EAGAIN =>
        "this user has reached a limit on processes; raise ulimit -u, or pids.max of the control group";
    Fork: EAGAIN =>
        "the container or this user has reached a limit on processes; raise --pids, ulimit -u, or pids.max of the control group";
    MapIds | WriteMaps: ENOENT => NO_PROC;
    WriteMaps: EPERM =>
        "root of this host may not give these IDs away, likely because it is root of a container; use --ids one";
    BecomeUser: EPERM =>
        "this needs CAP_SETUID and CAP_SETGID; become the user before you give up capabilities";
    BecomeUser: EINVAL =>
        "the container does not have this ID; write the maps first, or name another user";
    MapIds: EPERM if host::has_apparmor_restriction() => APPARMOR;
    MapIds: EACCES => module();
    MapIds: EPERM =>
        "write each map only once, map only your own ID, and write deny to setgroups before gid_map";

    // Control groups.
    UseGroups: EROFS =>
        "the control groups are read-only here, as in a container; start the step outside of it";
    // ENOENT: the group is above the root of a cgroup namespace.
    UseGroups: EACCES | ENOENT =>
        "this user owns no control group here; begin the command with `systemd-run --user --scope -p Delegate=yes`, or start it as root";
    EnableController: ENOENT if getuid().is_root() =>
        "this kernel does not have this controller in control groups v2; see /sys/fs/cgroup/cgroup.controllers";
    EnableController: ENOENT =>
        "the group above does not pass this controller on; as root: systemctl edit user@.service, with the lines [Service] and Delegate=cpu memory pids; then log in again";
    MakeGroup: EACCES | EROFS =>
        "this user owns no control group here; leave out linux.resources and linux.cgroupsPath, or start it as root of the host";
    LimitSwap: ENOENT =>
        "this kernel does not limit swap; start the host with swapaccount=1 on its kernel command line";
    WriteGroup: EINVAL => "the kernel does not take this limit; name a smaller number";
    MakeCgroupNamespace: ENOSPC =>
        "this host has reached the limit on cgroup namespaces; as root: sysctl user.max_cgroup_namespaces=10000";

    // Mounts.
    KeepMountsPrivate: EACCES => module();
    KeepMountsPrivate: EINVAL =>
        "the root of this process is not a mount point, so the process is in a chroot; start it outside of the chroot, and make the mounts private before you enter a root";
    Mount | MountProc | MountOverlay: EACCES if host::has_apparmor_restriction() => APPARMOR;
    PivotRoot: EINVAL =>
        "the root of this process is no ordinary mount, in a chroot or on an initramfs, or the mounts are not private; start it outside of the chroot, and make the mounts private first";
    Bind: ENOENT => "bind a file or directory that this host has";
    Bind: EPERM | ENOSYS if host::is_filtered() => SECCOMP;
    Bind | Mount | MountProc: ENOSYS =>
        "this kernel lacks openat2(2), open_tree(2), move_mount(2) or mount_setattr(2); start Linux 5.12 or later";
    // In a lesson, process 1 mounts it.
    MountProc: EPERM if process::id() != 1 =>
        "proc shows a PID namespace, and only its owner can mount it; make a new PID namespace together with the user namespace";
    MountProc: EPERM =>
        "this host hides parts of its /proc, as in a Docker container; start that container with --security-opt systempaths=unconfined";
    MountProc: ENOENT if host::is_no_root() => NO_ROOT;
    MountProc: ENOENT => "the root has no directory /proc; make that directory";
    MountProc: ENOTDIR => "/proc in the root is not a directory; replace it with a directory";
    MountOverlay: EPERM =>
        "this kernel is likely older than 5.11, and allows overlays to root only; use a newer kernel";
    MountOverlay: ENODEV =>
        "the kernel has no overlay file system loaded; as root: modprobe overlay";
    MountOverlay: EINVAL if upper_is_on(failed, &[OVERLAYFS_SUPER_MAGIC]) =>
        "the scratch directory is itself on an overlay, as in a container; name a directory on another file system with --scratch or TMPDIR";
    MountOverlay: EINVAL if upper_is_on(failed, GOOD) =>
        "a layer likely has mounts below it, as / has, or is on a file system of the kernel, as /proc, or on an overlay on an overlay; name another layer";
    MountOverlay: EINVAL =>
        "the file system of the scratch directory likely cannot hold upper and work, as eCryptfs, NFS or FUSE; name another directory with --scratch or TMPDIR";
    MountOverlay: ELOOP =>
        "you named a layer twice, or a layer is inside another layer or the scratch directory; name each layer once, and a scratch directory outside of all layers";
    MountOverlay: EROFS =>
        "the scratch directory is on a read-only file system; name another directory with --scratch or TMPDIR";
    MountOverlay: ENOTDIR => TAKEN;
    MountOverlay: EACCES =>
        "the scratch directory or a layer likely belongs to another user or group, or is below a directory that this user cannot enter; name another directory";
    DeleteLower: EIO =>
        "the file system of the scratch directory has no user attributes, as a tmpfs before Linux 6.6; name a directory on a disk with TMPDIR";
    MountOverlay: ENOSPC if upper_is_full(failed) => FULL;
    Mount: EPERM if failed.object.starts_with("mqueue ") =>
        "mqueue shows an IPC namespace, and only its owner can mount it; make a new IPC namespace together with the user namespace";
    Mount: EPERM if failed.object.starts_with("sysfs ") =>
        "sysfs shows a network namespace, and only its owner can mount it, on a host that hides no part of its /sys; make a new network namespace together with the user namespace, or start a Docker container with --security-opt systempaths=unconfined";
    Mount: EPERM =>
        "only root of the host can mount this file system; leave it out, or bind a directory of the host";
    Mount: ENODEV =>
        "this kernel has no file system of this type loaded; /proc/filesystems has those that it has";
    Mount: EINVAL =>
        "the file system likely does not take one of the options; leave it out, or change its value";
    Mount: ENOENT if failed.object.starts_with("bind ") => "name a source that this host has";
    Mount | MountProc | MountOverlay: ENOSPC =>
        "this mount namespace has likely reached the limit on mounts; as root, raise it with sysctl fs.mount-max";

    // The root, the directories around it, and containers that have a name.
    EnterRoot | OpenLayer | MakeScratch: ENOENT if here_is_gone(failed) =>
        "the current directory no longer exists; cd to an existing directory";
    EnterRoot | OpenLayer: ENOENT =>
        "fetch a root with `cargo xtask fetch-rootfs`, or name an existing directory";
    EnterRoot | OpenLayer: ENOTDIR => "name a directory";
    EnterRoot | OpenLayer | FindRoot: EACCES =>
        "let this user enter it and each directory above it (chmod +x)";
    EnterRoot: EPERM =>
        "chroot needs CAP_SYS_CHROOT; map your ID to root of a user namespace first";
    OpenPlace: EPERM | ENOSYS if host::is_filtered() => SECCOMP;
    OpenPlace: ENOSYS => "this kernel has no openat2(2); start Linux 5.6 or later";
    OpenPlace | EnterDirectory: ENOTDIR => "a file is there, but a directory is needed";
    OpenPlace: EISDIR => "a directory is there, but a file is needed";
    FindRoot: ENOENT | ENOTDIR => "root.path in config.json must name a directory; change it";
    OpenBundle: ENOENT => BUNDLE;
    Read: ENOENT | ENOTDIR if failed.object.ends_with("/config.json") => BUNDLE;
    Read: EACCES => "let this user read it, and enter each directory above it";
    Write: EEXIST => "remove that file first, or name another directory";
    Write: EACCES | EROFS => "name a directory that this user can write to";
    MakeScratch: ENOSPC => FULL;
    MakeScratch: EEXIST => TAKEN;
    MakeScratch: ENOENT | ENOTDIR | EACCES | EPERM | EROFS => SCRATCH;
    LockScratch: EACCES => SCRATCH;
    EnterNamespaces: EINVAL => "the file is no namespace of this type; change its path";
    FindNamespaces: EACCES =>
        "the container likely waits for `start`, and an ordinary user cannot enter it before; start it first";
    EnterNamespaces: EPERM | EACCES =>
        "only the user that started the container can enter it: enter all of its namespaces in a single call, by a process in it that this user may trace";
    KeepState: ENOENT => NO_PROC;
    KeepState: ENOSPC | EDQUOT =>
        "the file system is full; free some space, or name another place with XDG_RUNTIME_DIR";
    KeepContainers: ENOSPC | EDQUOT =>
        "the file system is full; free some space, or name another place with --root";
    KeepContainers: EROFS | EACCES => "name a place that you can write to with --root";
    RemoveContainer: EROFS =>
        "mount the file system of the containers with rw, then remove it again";

    // The other stages, and calls of any kind.
    SetLimit: EPERM =>
        "this needs CAP_SYS_RESOURCE; name a hard limit that is not above the caller's, which `ulimit -Ha` shows";
    SetLimit: EINVAL => "the soft limit is above the hard limit; name a smaller one";
    SetScore: EACCES =>
        "this needs CAP_SYS_RESOURCE; name a score that is not below the caller's, /proc/self/oom_score_adj";
    DropCapabilities: EPERM if host::is_confined() => PROFILE;
    DropCapabilities: EPERM =>
        "this needs CAP_SETPCAP; change the bounding set before you give up other capabilities";
    SetFilter: EPERM => SECCOMP;
    SetFilter: ENOSYS if host::is_filtered() => SECCOMP;
    SetFilter: ENOSYS | EINVAL =>
        "this kernel likely has no seccomp filters; start a kernel with CONFIG_SECCOMP_FILTER";
    ConnectNetwork: EPERM =>
        "this needs CAP_NET_ADMIN in the new network; bring lo up before you give up capabilities";
    ConnectNetwork: EROFS =>
        "/proc/sys is read-only here, as in a container; start the step outside of it, or use --network pasta";
    AllowPing: EROFS => "/proc/sys is read-only; set this before the lesson makes it so";
    EnterDirectory: EACCES =>
        "the user of the command cannot enter it; name another directory, or another user";
    Publish: EACCES =>
        "an ordinary user can use only ports from net.ipv4.ip_unprivileged_port_start on; name a greater HOST, or change that as root with sysctl";
    Print: ENOSPC => "the file system of standard output is full; free some space";
    CopyFile: ENOSPC =>
        "the new file system is too small for the files; give it a larger size or nr_inodes; see tmpfs(5)";
    _: ENOSPC => "the file system is full; free some space";
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
const SECCOMP: &str = "a seccomp filter, as in a Docker container, likely refuses this; start that container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const NO_PROC: &str = "there is no /proc on this host; mount proc on /proc";
const USERNS_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const BUNDLE: &str =
    "a bundle is a directory with a config.json; name another one, or write one with `spec`";
const SCRATCH: &str = "name a directory that this user can write to, with --scratch or TMPDIR";

/// Whether process 1 is in the new root: it is on top of the old one, or has no proc yet, or
/// has a proc of its own.
fn has_entered_root() -> bool {
    let has_own_proc = || fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new("1"));
    process::id() == 1 && (host::is_covered() || !host::has_proc() || has_own_proc())
}

/// Whether lesson 12's stage has run before another stage that needs a capability.
fn has_given_up_capabilities(failed: &Failed) -> bool {
    use Call::{BecomeUser, ConnectNetwork, DropCapabilities, Fork, SetFilter};
    let own =
        matches!(failed.call, BecomeUser | DropCapabilities | ConnectNetwork | SetFilter | Fork);
    capabilities::are_set() && !own
}

/// Whether this root is the only one, and not a part of another: after lesson 9's last stage.
/// On the host's own root it is true, too, but there are proc and sysfs.
fn has_left_old_root() -> bool {
    !host::is_covered() && !host::in_chroot()
}

fn has_sysfs() -> bool {
    statfs("/sys").is_ok_and(|found| found.filesystem_type() == SYSFS_MAGIC)
}

/// Whether the current directory is a mount point.
fn is_mount_point() -> bool {
    let device = |path| fs::metadata(path).map(|dir| dir.dev()).ok();
    device(".") != device("..")
}

/// The security module that refuses a call with EACCES.
fn module() -> &'static str {
    match () {
        () if host::has_apparmor_restriction() => APPARMOR,
        () if host::is_confined() => PROFILE,
        () => SELINUX,
    }
}

/// Whether the call asked for a user namespace.
fn user(failed: &Failed) -> bool {
    failed.object.contains("CLONE_NEWUSER")
}

/// Whether an AppArmor profile may have refused the user namespace.
fn is_confined(failed: &Failed) -> bool {
    user(failed) && host::is_confined()
}

/// File systems that can hold an upper directory. XFS is a number here, because nix
/// names it only for glibc.
const GOOD: &[FsType] = &[BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC, FsType(0x5846_5342)];

/// Whether the upper directory is on a file system of one of `kinds`.
fn upper_is_on(failed: &Failed, kinds: &[FsType]) -> bool {
    upper_fs(failed).is_some_and(|found| kinds.contains(&found.filesystem_type()))
}

/// Whether the file system of the upper directory has no free block or inode.
fn upper_is_full(failed: &Failed) -> bool {
    // Btrfs counts no inodes.
    let full = |of: Statfs| of.blocks_available() == 0 || of.files() > 0 && of.files_free() == 0;
    upper_fs(failed).is_some_and(full)
}

/// The file system of the scratch directory: the overlay was to be mounted in it.
fn upper_fs(failed: &Failed) -> Option<Statfs> {
    statfs(&*failed.object).ok()
}

/// Whether a relative path failed because the current directory no longer exists.
fn here_is_gone(failed: &Failed) -> bool {
    Path::new(&failed.object).is_relative() && host::is_nowhere()
}

/// The remedy for a tool of the host, whose messages are words only: the first row of which a
/// part is in the message.
pub(super) fn for_tool(message: &str) -> Option<&'static str> {
    let fits = |(parts, _): &&(&[&str], _)| parts.iter().any(|part| message.contains(part));
    TOOLS.iter().find(fits).map(|(_, remedy)| *remedy)
}

/// Parts of messages, and remedies.
const TOOLS: [(&[&str], &str); 8] = [
    (
        &[") not allowed"],
        "a user can map only its own ID, and the ranges in /etc/subuid and /etc/subgid; change the map",
    ),
    (
        &["write to uid_map failed", "write to gid_map failed"],
        "newuidmap(1) and newgidmap(1) have no rights here: they are not set-user-ID root, or their file system is mounted with nosuid; install the package uidmap again, or give --ids one",
    ),
    (&["BusyBox"], "this is a tool of busybox; install the package iproute2 or util-linux"),
    (
        &["Failed to open tun socket", "/dev/net/tun"],
        "this user cannot open /dev/net/tun; as root: modprobe tun; chmod 666 /dev/net/tun",
    ),
    (
        &["External interface not usable"],
        "pasta needs a default route by an Ethernet device; for a host without one, install the package slirp4netns",
    ),
    (&["failed to execute nft"], "install the package nftables"),
    (
        &["Operation not permitted"],
        "this root may not change the network, as in a Docker container; start that container with --cap-add NET_ADMIN, or use --network pasta",
    ),
    (
        &["Unknown device type", "Operation not supported", "Protocol not supported"],
        "this kernel likely has not loaded a module; as root: modprobe -a bridge veth nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_fib_ipv4",
    ),
];
