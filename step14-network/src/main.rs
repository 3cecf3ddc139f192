//! Lesson 14: a container with a network.

use std::any::Any;
use std::fs;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::Capabilities;
use common::{Args, Bind, Exit, Place, Root, Scratch};
use common::{Group, Limits};
use common::{Network, PASTA_DNS, Port, Seat, Slirp};
use common::{SYS_KEXEC_FILE_LOAD, audit_arch};
use common::{mount_setattr, move_mount, open_tree};
use libc::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, OPEN_TREE_CLOEXEC, OPEN_TREE_CLONE};
use libc::{BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, c_int, c_long, seccomp_data, sock_filter};
use nix::mount::{MntFlags, umount2};
use nix::mount::{MsFlags, mount};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sched::CloneFlags;
use nix::sched::unshare;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;
use nix::unistd::symlinkat;
use nix::unistd::{Gid, Uid, getgid, getuid};
use nix::unistd::{chdir, pivot_root};

const NONE: Option<&str> = None;

/// Devices that programs expect. A user namespace cannot make any, so they are the host's.
const DEVICES: [&str; 6] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];
/// Links in /dev, and their targets.
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "fd/0"),
    ("stdout", "fd/1"),
    ("stderr", "fd/2"),
];
/// Files that change the host, and files that describe it.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const HIDDEN: [&str; 10] = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
];
/// Capabilities that programs expect root to have. Not NET_RAW: no rule sees frames that a
/// program makes.
const KEPT: [&str; 13] = [
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
];
/// System calls that no container needs: mounts and namespaces; keys; programs in the kernel;
/// other processes; modules and other kernels; the host's clock, swap, disks and log;
/// files by number.
const REFUSED: [c_long; 40] = {
    use libc::*;
    [
        SYS_mount, SYS_umount2, SYS_mount_setattr, SYS_move_mount, SYS_open_tree, SYS_fsopen,
        SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_pivot_root, SYS_setns, SYS_add_key,
        SYS_request_key, SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_io_uring_setup,
        SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd, SYS_fanotify_init,
        SYS_pidfd_getfd, SYS_kcmp, SYS_move_pages, SYS_migrate_pages, SYS_init_module,
        SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_KEXEC_FILE_LOAD, SYS_reboot,
        SYS_settimeofday, SYS_clock_settime, SYS_swapon, SYS_swapoff, SYS_quotactl,
        SYS_quotactl_fd, SYS_acct, SYS_syslog, SYS_open_by_handle_at,
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
/// The bridge of the containers, and its table of nftables.
const BRIDGE: &str = "containers0";

fn main() -> ExitCode {
    let step = common::step!();
    let step = step.takes_rootfs();
    let step = step.takes_layers();
    let step = step.takes_binds();
    let step = step.takes_limits();
    let step = step.takes_capabilities();
    let step = step.takes_network();
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

    let mut child = common::clone(namespaces, || {
        keep_mounts_private()?;
        map_ids(uid, gid)?;
        start_loopback()?;
        common::wait_for_runner(args.network)?;
        join_group(group.as_ref())?;
        mount_overlay(&layers, &scratch)?;
        let root = Root::open(&rootfs)?;
        args.network.write_names(&root)?;
        let null = mount_dev(&root)?;
        mount_binds(&root, &args.binds)?;
        enter_root(&rootfs)?;
        mount_proc()?;
        scratch.check_root()?;
        leave_old_root()?;
        allow_ping()?;
        protect_host(root, null)?;
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
    let _connection = child.meet(args.network, |child| connect(args, &scratch, child))?;
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

/// Mounts a new file system of the type `kind`.
fn mount_new(kind: &str, at: &Place, flags: MsFlags, options: &str) -> Result<()> {
    mount(Some(kind), &*at.name(), Some(kind), flags | MsFlags::MS_NOSUID, Some(options))
        .with_context(|| format!("mount {kind} on {at}"))
}

/// Mounts a /dev with pseudoterminals of its own, a /tmp, and a /sys to read. Returns /dev/null.
fn mount_dev(root: &Root) -> Result<Place> {
    let at = |path| root.directory(path);
    let data = MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let read = data | MsFlags::MS_RDONLY;
    mount_new("tmpfs", &at("/dev")?, MsFlags::MS_NOEXEC, "mode=755,size=64k")?;
    mount_new("devpts", &at("/dev/pts")?, MsFlags::MS_NOEXEC, "ptmxmode=0666,mode=0620")?;
    mount_new("tmpfs", &at("/dev/shm")?, data, "mode=1777")?;
    mount_new("tmpfs", &at("/tmp")?, MsFlags::MS_NODEV, "mode=1777")?;
    mount_new("sysfs", &at("/sys")?, read, "")?;
    mount_new("cgroup2", &at("/sys/fs/cgroup")?, read, "")?;
    mount_binds(root, &DEVICES.map(Bind::read_only))?;
    mount_binds(root, common::console().as_slice())?;
    let dev = at("/dev")?;
    for (link, target) in LINKS {
        symlinkat(target, &dev, link).with_context(|| format!("make the link /dev/{link}"))?;
    }
    root.find("/dev/null")?.context("open /dev/null in the root: it is missing")
}

/// Binds files and directories of the host.
fn mount_binds(root: &Root, binds: &[Bind]) -> Result<()> {
    for bind in binds {
        let (source, place) = bind.open(root)?;
        bind_to(&place, &source, bind.read_only).with_context(|| format!("bind {bind}"))?;
    }
    Ok(())
}

/// Makes a bind of `source`, with all mounts below it, and only then attaches it.
fn bind_to(place: &Place, source: impl AsFd, read_only: bool) -> nix::Result<()> {
    let copy = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE | AT_EMPTY_PATH) as u32;
    let bind = open_tree(source, c"", copy)?;
    if read_only {
        mount_setattr(&bind, c"", AT_RECURSIVE | AT_EMPTY_PATH, MOUNT_ATTR_RDONLY)?;
    }
    move_mount(&bind, c"", place, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
}

/// Makes files that change the host read-only, and hides files that describe it.
fn protect_host(root: Root, null: Place) -> Result<()> {
    for path in READ_ONLY {
        if let Some(place) = root.find(path)? {
            bind_to(&place, &place, true).with_context(|| format!("bind {path} to itself"))?;
        }
    }
    for path in HIDDEN {
        match root.find(path)? {
            Some(place) if place.is_directory()? => {
                mount_new("tmpfs", &place, MsFlags::MS_RDONLY, "")?;
            }
            Some(place) => {
                bind_to(&place, &null, false).with_context(|| format!("bind {null} to {path}"))?;
            }
            None => {}
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

/// Brings up the network device lo; netdevice(7).
fn start_loopback() -> Result<()> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).context("open a socket")?;
    let flags = common::device_flags(&socket, "lo").context("get the flags of lo")?;
    let flags = flags | InterfaceFlags::IFF_UP;
    common::set_device_flags(&socket, "lo", flags).context("set the flags of lo")
}

/// Lets root inside use ping(8) without CAP_NET_RAW; icmp(7).
fn allow_ping() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").context("set ping_group_range")
}

/// Connects the container from the host, until the runner drops the result.
fn connect(args: &Args, scratch: &Scratch, child: Pid) -> Result<Box<dyn Any>> {
    match args.network {
        Network::None => Ok(Box::new(())),
        Network::Bridge => join_bridge(args, child),
        Network::Pasta => start_pasta(args, scratch, child),
        Network::Slirp => start_slirp(args, scratch, child),
    }
}

/// Connects the container to the bridge, and publishes its ports.
fn join_bridge(args: &Args, child: Pid) -> Result<Box<dyn Any>> {
    let mut seat = Seat::take(BRIDGE, args.subnet(), &args.ports)?;
    make_bridge(&seat)?;
    lay_cable(&seat, child)?;
    publish_ports(&seat, &args.ports)?;
    seat.unlock();
    Ok(Box::new(seat))
}

/// Gives lines to ip(8).
fn ip(lines: &str) -> Result<String> {
    common::run(Command::new("ip").args(["-batch", "-"]), lines)
}

/// Gives rules to nft(8).
fn nft(rules: &str) -> Result<String> {
    common::run(Command::new("nft").args(["-f", "-"]), rules)
}

/// Sets a value that the kernel keeps for each device.
fn set(family: &str, name: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/net/{family}/conf/{BRIDGE}/{name}");
    // A kernel without IPv6 does not have its files.
    if Path::new(&file).exists() {
        fs::write(file, value).with_context(|| format!("set the bridge's {name}"))?;
    }
    Ok(())
}

/// Makes the bridge, if this is the first container, with the rules for all.
fn make_bridge(seat: &Seat) -> Result<()> {
    let Seat { subnet, gateway, .. } = seat;
    let (hardware, bits) = (subnet.hardware(*gateway), subnet.bits);
    if seat.needs_table {
        nft(&format!(
            "table ip {BRIDGE} {{
                chain leaving {{ type nat hook postrouting priority srcnat
                    ip saddr {subnet} oifname != {BRIDGE} masquerade
                    ip saddr {{ {subnet}, 127.0.0.0/8 }} oifname {BRIDGE} \
                        ct status dnat masquerade
                }}
                chain entering {{ type filter hook forward priority filter
                    iifname != {BRIDGE} oifname {BRIDGE} \
                        ct state new ct status & dnat == 0 drop
                    iifname != {BRIDGE} oifname {BRIDGE} \
                        ct state {{ invalid, untracked }} drop
                }}
                chain loopback {{ type filter hook prerouting priority raw
                    iifname != lo ip daddr 127.0.0.0/8 drop
                }}
            }}"
        ))?;
    }
    if seat.needs_bridge {
        ip(&format!(
            "link add {BRIDGE} address {hardware} type bridge
            address add {gateway}/{bits} dev {BRIDGE}"
        ))?;
        // Otherwise a container can advertise a route to the host.
        set("ipv6", "disable_ipv6", "1")?;
        // No packet comes from an address that is not behind the bridge.
        set("ipv4", "rp_filter", "1")?;
    }
    Ok(())
}

/// Lays a cable to the bridge: one end of it is eth0 inside; veth(4). The
/// other end takes only packets with the addresses of this container.
fn lay_cable(seat: &Seat, child: Pid) -> Result<()> {
    let Seat { subnet, gateway, address, name, .. } = seat;
    let (hardware, bits) = (subnet.hardware(*address), subnet.bits);
    ip(&format!(
        "link set {BRIDGE} up
        link add {name} up master {BRIDGE} type veth \
            peer name eth0 address {hardware} netns {child}"
    ))?;
    nft(&format!(
        "table netdev {name} {{
            chain from_inside {{
                type filter hook ingress device {name} priority filter
                policy drop
                ether saddr {hardware} ip saddr {address} accept
                ether saddr {hardware} arp saddr ip {address} accept
            }}
        }}"
    ))?;
    let inside = format!(
        "link set eth0 up
        address add {address}/{bits} dev eth0
        route add default via {gateway}"
    );
    let namespace = format!("--net=/proc/{child}/ns/net");
    let mut enter = Command::new("nsenter");
    enter.args([&namespace, "ip", "-batch", "-"]);
    common::run(&mut enter, &inside)?;
    Ok(())
}

/// Leads ports of the host to ports of the container.
fn publish_ports(seat: &Seat, ports: &[Port]) -> Result<()> {
    let Seat { address, name, .. } = seat;
    if ports.is_empty() {
        return Ok(());
    }
    // Packets from the host's own 127.0.0.1 go to the bridge, too.
    let everywhere = |port: &Port| port.address.is_unspecified();
    if ports.iter().any(|port| everywhere(port) || port.address.is_loopback()) {
        set("ipv4", "route_localnet", "1")?;
    }
    // With br_netfilter, a packet may go back to the container itself.
    ip(&format!("link set {name} type bridge_slave hairpin on"))?;
    // No earlier device had this number. So the kernel knows no earlier
    // connections in this zone, which would lead to other containers.
    let device = if_nametoindex(&**name);
    let device = device.context("get the number of the device")?;
    let zone = format!("ct original zone set {}", device as u16);
    let rules = |port: &Port| {
        let Port { protocol, host, inside, .. } = port;
        let table = seat.table(port);
        let to_host = match everywhere(port) {
            true => "fib daddr type local".to_owned(),
            false => format!("ip daddr {}", port.address),
        };
        let to_port = format!("{to_host} {protocol} dport {host}");
        let dnat = format!("dnat to {address}:{inside}");
        format!(
            "table ip {table} {{
                chain new_from_others {{
                    type filter hook prerouting priority raw
                    {to_port} {zone}
                }}
                chain new_from_host {{
                    type filter hook output priority raw
                    {to_port} {zone}
                }}
                chain from_others {{
                    type nat hook prerouting priority dstnat
                    {to_port} {dnat}
                }}
                chain from_host {{
                    type nat hook output priority -100
                    {to_port} {dnat}
                }}
            }}
            "
        )
    };
    nft(&ports.iter().map(rules).collect::<String>())?;
    Ok(())
}

/// Drops packets that leave for loopback: pasta and slirp4netns would carry them to the
/// host's. Without CAP_NET_ADMIN, root inside cannot remove the rules.
fn guard_loopback(child: Pid) -> Result<()> {
    let rules = "table inet loopback {
        chain leaving { type filter hook output priority filter
            oifname != lo ip daddr 127.0.0.0/8 drop
            oifname != lo ip6 daddr ::1 drop
        }
    }";
    let mut nft = Command::new("nsenter");
    nft.arg("--preserve-credentials");
    nft.args(["user", "net"].map(|kind| format!("--{kind}=/proc/{child}/ns/{kind}")));
    common::run(nft.args(["nft", "-f", "-"]), rules).map(drop)
}

/// Starts pasta: it gives the container the host's address and routes, and makes its
/// connections as the caller.
fn start_pasta(args: &Args, scratch: &Scratch, child: Pid) -> Result<Box<dyn Any>> {
    guard_loopback(child)?;
    // In a named directory, this ends the pasta of a killed runner, which has the ports.
    let link = scratch.link_network(child)?;
    args.network.check_ports(&args.ports)?;
    let mut pasta = Command::new("pasta");
    pasta.args(["--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none"]);
    pasta.args(["--dns-forward", PASTA_DNS, "--runas", &format!("{}:{}", getuid(), getgid())]);
    for (option, protocol) in [("-t", "tcp"), ("-u", "udp")] {
        let ports = args.ports.iter().filter(|port| port.protocol == protocol);
        let ports = ports.map(|it| format!("{}/{}:{}", it.address, it.host, it.inside));
        let mut ports: Vec<String> = ports.collect();
        if ports.is_empty() {
            ports.push("none".to_owned());
        }
        pasta.args(ports.iter().flat_map(|port| [option, port]));
    }
    pasta.args(["--userns", &format!("/proc/{child}/ns/user"), "--netns"]).arg(link.path());
    common::run(&mut pasta, "")?;
    Ok(Box::new(link))
}

/// Starts slirp4netns, which needs no route of the host.
fn start_slirp(args: &Args, scratch: &Scratch, child: Pid) -> Result<Box<dyn Any>> {
    guard_loopback(child)?;
    args.network.check_ports(&args.ports)?;
    let socket = scratch.socket()?;
    let mut slirp = Command::new("slirp4netns");
    slirp.args(["--configure", "--disable-host-loopback", "--enable-sandbox"]);
    slirp.args(["--enable-seccomp", "--exit-fd=0", "--api-socket"]);
    let name = socket.in_dir(&mut slirp);
    slirp.args([name, &child.to_string(), "tap0"]);
    let mut slirp = Slirp::start(&mut slirp)?;
    args.ports.iter().try_for_each(|port| slirp.publish(socket.path(), port))?;
    Ok(Box::new((slirp, socket)))
}
