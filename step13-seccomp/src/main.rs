//! Lesson 13: a container that cannot make every system call.

use std::fs;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::Capabilities;
use common::{Args, Bind, Exit, Root, Scratch};
use common::{Group, Limits};
use common::{SYS_KEXEC_FILE_LOAD, audit_arch};
use libc::{BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, c_int, c_long, seccomp_data, sock_filter};
use nix::mount::{MntFlags, umount2};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use nix::sched::unshare;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{Gid, Uid, getgid, getuid};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

/// Devices that programs expect. A user namespace cannot make any, so they are the host's.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// Files that change the host, and files that describe it.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const HIDDEN: [&str; 10] = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
];
/// Capabilities that programs expect root to have.
const KEPT: [&str; 14] = [
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
    "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
];
/// System calls that no container needs: mounts and namespaces; keys; programs in the kernel;
/// memory of other processes; modules and other kernels; the host's clock, swap, disks and log;
/// files by number.
const REFUSED: [c_long; 42] = {
    use libc::*;
    [
        SYS_mount, SYS_umount2, SYS_mount_setattr, SYS_move_mount, SYS_open_tree, SYS_fsopen,
        SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_pivot_root, SYS_setns, SYS_add_key,
        SYS_request_key, SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_io_uring_setup,
        SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd, SYS_fanotify_init,
        SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_kcmp, SYS_move_pages,
        SYS_migrate_pages, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
        SYS_KEXEC_FILE_LOAD, SYS_reboot, SYS_settimeofday, SYS_clock_settime, SYS_swapon,
        SYS_swapoff, SYS_quotactl, SYS_quotactl_fd, SYS_acct, SYS_syslog, SYS_open_by_handle_at,
    ]
};
/// System calls that are refused only for some arguments: the call, the number of the argument
/// from 0 on, and a bit (JSET), a value (JEQ) or the greatest value that passes (JGT).
const REFUSED_WITH: [(c_long, usize, u32, u32); 5] = {
    use libc::*;
    [
        (SYS_clone, 0, BPF_JSET, CLONE_NEWUSER as u32),
        (SYS_unshare, 0, BPF_JSET, CLONE_NEWUSER as u32),
        (SYS_ioctl, 1, BPF_JEQ, TIOCSTI as u32),
        (SYS_ioctl, 1, BPF_JEQ, TIOCLINUX as u32),
        (SYS_socket, 0, BPF_JGT, AF_BLUETOOTH as u32),
    ]
};

fn main() -> ExitCode {
    let step = common::step!();
    let step = step.takes_rootfs();
    let step = step.takes_layers();
    let step = step.takes_binds();
    let step = step.takes_limits();
    let step = step.takes_capabilities();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    let namespaces = CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET;
    let (uid, gid) = (getuid(), getgid());
    let layers = args.lower();
    let scratch = args.scratch()?;
    // The overlay is the new root, and --rootfs is its lower layer.
    let rootfs = scratch.merged();
    let group = make_group(&args.limits)?;
    let kept = args.capabilities(&KEPT)?;

    let child = common::clone(namespaces, || {
        keep_mounts_private()?;
        map_ids(uid, gid)?;
        join_group(group.as_ref())?;
        mount_overlay(&layers, &scratch)?;
        mount_dev(&Root::open(&rootfs)?)?;
        mount_binds(&Root::open(&rootfs)?, &args.binds)?;
        enter_root(&rootfs)?;
        mount_proc()?;
        scratch.check_root()?;
        leave_old_root()?;
        protect_host()?;
        drop_capabilities(kept)?;
        filter_calls()?;

        // This child stays as process 1; the command is its own child.
        let command = common::fork(|| {
            common::fresh_environment();
            common::use_devices()?;
            common::exec(&args.command)
        })?;
        command.reap()
    })?;
    child.wait()
}

/// Keeps later mounts in this namespace: the host does not see them.
fn keep_mounts_private() -> Result<()> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, flags, NONE).context("make the mounts private")
}

/// Maps root inside to the caller outside, the user `uid` and the group `gid`.
fn map_ids(uid: Uid, gid: Gid) -> Result<()> {
    fs::write("/proc/self/setgroups", "deny").context("write /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("write /proc/self/gid_map")
}

/// Makes the directory `rootfs` the root, and goes there.
fn enter_root(rootfs: &Path) -> Result<()> {
    chdir(rootfs).with_context(|| format!("chdir to {}", rootfs.display()))?;
    pivot_root(".", ".").context("pivot_root to the new root")
}

/// Mounts a proc that shows the processes of this PID namespace; ps(1) reads it.
fn mount_proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NONE).context("mount proc on /proc")
}

/// Mounts an overlay: changes go to upper, and the lower layers stay as they are.
fn mount_overlay(layers: &[PathBuf], scratch: &Scratch) -> Result<()> {
    let lower = common::lowerdir(layers)?;
    let upper = scratch.upper_option()?;
    let work = scratch.work_option()?;
    let merged = scratch.merged();
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(&*options))
        .with_context(|| format!("mount the overlay on {}", merged.display()))
}

/// Unmounts the old root, which lies on top of the new one, with all mounts below it.
fn leave_old_root() -> Result<()> {
    umount2(".", MntFlags::MNT_DETACH).context("unmount the old root")?;
    chdir("/").context("chdir to the new root")
}

/// Mounts a new file system of the type `kind` on a directory in the root.
fn mount_new(root: &Root, kind: &str, at: &str, flags: MsFlags, options: &str) -> Result<()> {
    let place = root.directory(at)?;
    mount(Some(kind), &place, Some(kind), flags | MsFlags::MS_NOSUID, Some(options))
        .with_context(|| format!("mount {kind} on {at}"))
}

/// Mounts a /dev with pseudoterminals of its own, a /tmp, and a /sys to read.
fn mount_dev(root: &Root) -> Result<()> {
    let data = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount_new(root, "tmpfs", "/dev", MsFlags::MS_NOEXEC, "mode=755,size=64k")?;
    mount_new(root, "devpts", "/dev/pts", MsFlags::MS_NOEXEC, "ptmxmode=0666,mode=0620")?;
    mount_new(root, "tmpfs", "/dev/shm", data, "mode=1777")?;
    mount_new(root, "tmpfs", "/tmp", MsFlags::MS_NODEV, "mode=1777")?;
    mount_new(root, "sysfs", "/sys", data | MsFlags::MS_RDONLY, "")?;
    mount_new(root, "cgroup2", "/sys/fs/cgroup", data | MsFlags::MS_RDONLY, "")?;
    mount_binds(root, &DEVICES.map(Bind::read_only))?;
    mount_binds(root, common::console().as_slice())?;
    root.link("/dev/ptmx", "pts/ptmx")?;
    root.link("/dev/fd", "/proc/self/fd")?;
    root.link("/dev/stdin", "fd/0")?;
    root.link("/dev/stdout", "fd/1")?;
    root.link("/dev/stderr", "fd/2")
}

/// Binds files and directories of the host, with all mounts below them.
fn mount_binds(root: &Root, binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&bind.host), &bind.target(root)?, NONE, flags, NONE)
            .with_context(|| format!("bind {bind}"))?;
        if bind.read_only {
            common::set_read_only(&bind.target(root)?)?;
        }
    }
    Ok(())
}

/// Makes files that change the host read-only, and hides files that describe it.
fn protect_host() -> Result<()> {
    let root = Root::open("/")?;
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        mount_binds(&root, &[Bind::read_only(path)])?;
    }
    for path in HIDDEN.into_iter().filter(|path| Path::new(path).exists()) {
        if Path::new(path).is_dir() {
            mount_new(&root, "tmpfs", path, MsFlags::MS_RDONLY, "")?;
        } else {
            mount_binds(&root, &[Bind { host: "/dev/null".into(), ..Bind::same(path) }])?;
        }
    }
    Ok(())
}

/// Makes a control group with the limits, if there are any; cgroups(7). It is removed when
/// the runner drops it.
fn make_group(limits: &Limits) -> Result<Option<Group>> {
    if *limits == Limits::default() {
        return Ok(None);
    }
    // A kernel without swap does not have the file memory.swap.max.
    let no_swap = limits.memory.filter(|_| Path::new("/proc/swaps").exists()).map(|_| "0".into());
    let group = Group::make()?;
    for (controller, file, value) in [
        ("memory", "memory.max", limits.memory.map(|bytes| bytes.to_string())),
        ("memory", "memory.swap.max", no_swap),
        ("pids", "pids.max", limits.pids.map(|number| number.to_string())),
        ("cpu", "cpu.max", limits.cpu.map(|quota| format!("{quota} 100000"))),
    ] {
        if let Some(value) = value {
            group.write("../cgroup.subtree_control", &format!("+{controller}"))?;
            group.write(file, &value)?;
        }
    }
    Ok(Some(group))
}

/// Joins the group. Then makes a cgroup namespace, in which it is the root of all groups.
fn join_group(group: Option<&Group>) -> Result<()> {
    if let Some(group) = group {
        group.write("cgroup.procs", "0")?;
    }
    unshare(CloneFlags::CLONE_NEWCGROUP).context("make a cgroup namespace")
}

/// Gives up all capabilities except `kept`, for this process and its children.
fn drop_capabilities(kept: Capabilities) -> Result<()> {
    // This needs CAP_SETPCAP, which the next call may take away.
    for other in kept.others() {
        common::drop_bounding(other)
            .with_context(|| format!("drop {other} from the bounding set"))?;
    }
    // Without inheritable capabilities, there are no ambient ones.
    let (effective, permitted, inheritable) = (kept, kept, Capabilities::default());
    common::set_capabilities(effective, permitted, inheritable).context("set the capabilities")?;
    set_no_new_privs().context("set no_new_privs")
}

/// Makes the kernel run a BPF program before each system call of this process and of its
/// children. The program reads `seccomp_data`, and answers; seccomp(2).
fn filter_calls() -> Result<()> {
    const HERE: u32 = audit_arch();
    let (arch, nr) = (offset_of!(seccomp_data, arch), offset_of!(seccomp_data, nr));
    // A program of another architecture has other numbers for the calls.
    let mut filter = vec![load(arch), jump(BPF_JEQ, HERE, 1, 0), refuse(libc::ENOSYS), load(nr)];
    // Calls that are newer than this table, and those of x32.
    filter.extend([jump(BPF_JGT, libc::SYS_mseal as u32, 0, 1), refuse(libc::ENOSYS)]);
    // Its flags are in memory, which no filter can read. After ENOSYS, programs use clone.
    filter.extend([jump(BPF_JEQ, libc::SYS_clone3 as u32, 0, 1), refuse(libc::ENOSYS)]);
    for call in REFUSED {
        filter.extend([jump(BPF_JEQ, call as u32, 0, 1), refuse(libc::EPERM)]);
    }
    for (call, argument, test, value) in REFUSED_WITH {
        // The low half of the argument. The kernel ignores the other half, or refuses it.
        let low = offset_of!(seccomp_data, args) + 8 * argument;
        filter.extend([jump(BPF_JEQ, call as u32, 0, 4), load(low)]);
        filter.extend([jump(test, value, 0, 1), refuse(libc::EPERM), load(nr)]);
    }
    filter.push(instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0));
    common::set_filter(&filter).context("set the seccomp filter")
}

/// Loads the word at `offset` of `seccomp_data`.
fn load(offset: usize) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset as u32, 0, 0)
}

/// Compares the loaded word with `value`. Then skips `yes` or `no` instructions.
fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, yes, no)
}

/// Ends the program: the call fails with `errno`.
fn refuse(errno: c_int) -> sock_filter {
    instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno as u32, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
