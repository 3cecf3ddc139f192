//! Lesson 15: a bridge that connects containers.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use common::{Args, Port, Seat};
use nix::net::if_::if_nametoindex;
use nix::unistd::Pid;

use crate::network::Connection;

/// The bridge of the containers, and its table of nftables.
const BRIDGE: &str = "containers0";

/// Connects the container to the bridge, and publishes its ports.
pub(crate) fn join_bridge(args: &Args, child: Pid) -> Result<Connection> {
    let mut seat = Seat::take(BRIDGE, args.subnet(), &args.ports)?;
    make_bridge(&seat)?;
    lay_cable(&seat, child)?;
    publish_ports(&seat, &args.ports)?;
    seat.unlock();
    Ok(Box::new(seat))
}

/// Gives lines to ip(8).
fn ip(lines: &str) -> Result<()> {
    common::run(Command::new("ip").args(["-batch", "-"]), lines).map(drop)
}

/// Gives rules to nft(8).
fn nft(rules: &str) -> Result<()> {
    common::run(Command::new("nft").args(["-f", "-"]), rules).map(drop)
}

/// Sets a value that the kernel keeps for each device.
fn set(family: &str, name: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/net/{family}/conf/{BRIDGE}/{name}");
    // A kernel without IPv6 does not have its files.
    if Path::new(&file).exists() {
        let written = fs::write(file, value);
        written.with_context(|| format!("set the bridge's {name}"))?;
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
    common::run(&mut enter, &inside).map(drop)
}

/// Leads ports of the host to ports of the container.
fn publish_ports(seat: &Seat, ports: &[Port]) -> Result<()> {
    let name = &*seat.name;
    if ports.is_empty() {
        return Ok(());
    }
    // Packets from the host's own 127.0.0.1 go to the bridge, too.
    let mut addresses = ports.iter().map(|port| port.address);
    if addresses.any(|it| it.is_unspecified() || it.is_loopback()) {
        set("ipv4", "route_localnet", "1")?;
    }
    // With br_netfilter, a packet may go back to the container itself.
    ip(&format!("link set {name} type bridge_slave hairpin on"))?;
    // No earlier device had this number. So the kernel knows no earlier
    // connections in this zone, which would lead to other containers.
    let device = if_nametoindex(name);
    let zone = device.context("get the number of the device")? as u16;
    let rules = ports.iter().map(|port| port_rules(seat, port, zone));
    nft(&rules.collect::<String>())
}

/// The rules for one port.
fn port_rules(seat: &Seat, port: &Port, zone: u16) -> String {
    let Port { protocol, host, inside, .. } = port;
    let table = seat.table(port);
    let to_host = match port.address.is_unspecified() {
        true => "fib daddr type local".to_owned(),
        false => format!("ip daddr {}", port.address),
    };
    let to_port = format!("{to_host} {protocol} dport {host}");
    let zone = format!("ct original zone set {zone}");
    let dnat = format!("dnat to {}:{inside}", seat.address);
    format!(
        "table ip {table} {{
            chain new_from_others {{ type filter hook prerouting priority raw
                {to_port} {zone}
            }}
            chain new_from_host {{ type filter hook output priority raw
                {to_port} {zone}
            }}
            chain from_others {{ type nat hook prerouting priority dstnat
                {to_port} {dnat}
            }}
            chain from_host {{ type nat hook output priority -100
                {to_port} {dnat}
            }}
        }}
        "
    )
}
