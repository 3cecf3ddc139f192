//! Lesson 14: a container with a network.

use std::any::Any;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use common::{Args, Network, PASTA_DNS, Scratch, Slirp};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{Pid, getgid, getuid};

use crate::bridge;

/// A connection of the container, until the runner drops it.
pub(crate) type Connection = Box<dyn Any>;

/// Brings up the network device lo; netdevice(7).
pub(crate) fn start_loopback() -> Result<()> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.context("open a socket")?;
    let flags = common::device_flags(&socket, "lo").context("get the flags of lo")?;
    let flags = flags | InterfaceFlags::IFF_UP;
    common::set_device_flags(&socket, "lo", flags).context("set the flags of lo")
}

/// Lets root inside use ping(8) without CAP_NET_RAW; icmp(7).
pub(crate) fn allow_ping() -> Result<()> {
    let groups = "/proc/sys/net/ipv4/ping_group_range";
    fs::write(groups, "0 0").context("set ping_group_range")
}

/// Connects the container from the host.
pub(crate) fn connect(
    kind: Network,
    args: &Args,
    scratch: &Scratch,
    child: Pid,
) -> Result<Connection> {
    match kind {
        Network::Slirp => start_slirp(args, scratch, child),
        Network::Bridge => bridge::join_bridge(args, child),
        Network::Pasta => start_pasta(args, scratch, child),
    }
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
fn start_pasta(args: &Args, scratch: &Scratch, child: Pid) -> Result<Connection> {
    guard_loopback(child)?;
    // pasta ends when this link is removed, also if the runner is killed.
    let link = scratch.link_network(child)?;
    Network::Pasta.check_ports(&args.ports)?;
    let mut pasta = Command::new("pasta");
    pasta.args(["--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none"]);
    pasta.args(["--dns-forward", PASTA_DNS]);
    pasta.args(["--runas", &format!("{}:{}", getuid(), getgid())]);
    for (option, protocol) in [("-t", "tcp"), ("-u", "udp")] {
        let ports = args.ports.iter().filter(|port| port.protocol == protocol);
        let ports = ports.map(|it| format!("{}/{}:{}", it.address, it.host, it.inside));
        let mut ports: Vec<String> = ports.collect();
        if ports.is_empty() {
            ports.push("none".to_owned());
        }
        pasta.args(ports.iter().flat_map(|port| [option, port]));
    }
    pasta.args(["--userns", &format!("/proc/{child}/ns/user")]);
    pasta.arg("--netns").arg(link.path());
    common::run(&mut pasta, "")?;
    Ok(Box::new(link))
}

/// Starts slirp4netns, which needs no route of the host.
fn start_slirp(args: &Args, scratch: &Scratch, child: Pid) -> Result<Connection> {
    guard_loopback(child)?;
    Network::Slirp.check_ports(&args.ports)?;
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
