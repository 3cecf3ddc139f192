//! The network that the caller asks for.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::ifaddrs::getifaddrs;
use nix::unistd::getuid;

use crate::error::note;
use crate::limits::number;
use crate::open::text;
use crate::tool::has_tool;

/// How the container is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// It has only `lo`.
    #[default]
    None,
    /// A cable to a bridge of the host. Only root can make it.
    Bridge,
    /// The program pasta(1) connects it.
    Pasta,
    /// slirp4netns(1) connects it: pasta is missing, or has no route to use.
    Slirp,
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The host's address.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The container's port.
    pub inside: u16,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
}

/// The addresses of the containers on a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    first: Ipv4Addr,
    /// The number of bits that are the same in all addresses.
    pub bits: u8,
}

impl Network {
    /// Reads the value of `--network`.
    pub(crate) fn parse(word: &OsStr) -> Result<Network> {
        match word.to_str() {
            Some("none") => Ok(Network::None),
            Some("bridge") => {
                ensure!(
                    getuid().is_root(),
                    "--network bridge: only root can make a bridge; use --network pasta, or sudo"
                );
                Ok(Network::Bridge)
            }
            // slirp4netns needs no route of the host. Without both, pasta is named.
            Some("pasta") if has_tool("slirp4netns") && !(has_tool("pasta") && has_route()) => {
                Ok(Network::Slirp)
            }
            Some("pasta") => Ok(Network::Pasta),
            _ => anyhow::bail!("--network {}: give none, bridge or pasta", word.display()),
        }
    }

    /// Checks that pasta or slirp4netns can publish the ports, and that no other program uses
    /// them. Both fail silently at some ports for UDP.
    ///
    /// # Errors
    ///
    /// When a port would get no answers, and as [`Port::bind`].
    pub fn check_ports(self, ports: &[Port]) -> Result<()> {
        for port in ports {
            let is_udp = port.protocol == "udp";
            let shares = |other: &Port| {
                is_udp
                    && other.protocol == "udp"
                    && other.inside == port.inside
                    && other.host != port.host
            };
            ensure!(
                !ports.iter().any(shares),
                "publish {port}: the answers of a UDP port go to one port of the host; publish it at one"
            );
            ensure!(
                self != Network::Slirp || !is_udp || !port.address.is_loopback(),
                "publish {port}: slirp4netns passes no answers over UDP to loopback; name another address of this host"
            );
            let local = port.address.is_loopback() || port.address.is_unspecified();
            if self == Network::Pasta && is_udp && local && port.host > port.inside {
                note(&format!(
                    "publish {port}: the pasta of Debian 12 passes no answers to 127.0.0.1 if HOST is greater than CONTAINER"
                ));
            }
            port.bind()?;
        }
        Ok(())
    }
}

/// Whether the host has a default route for IPv4, by a device with a hardware address: a
/// tun device has none. Otherwise the pasta of Debian 12 fails.
fn has_route() -> bool {
    let routes = text("/proc/net/route").unwrap_or_default();
    // The kernel lists the preferred route first.
    let Some(device) = routes.lines().find_map(default_device) else { return false };
    getifaddrs().is_ok_and(|mut all| {
        all.any(|it| {
            let hardware = it.address.and_then(|address| address.as_link_addr()?.addr());
            it.interface_name == device && hardware.is_some_and(|address| address != [0; 6])
        })
    })
}

/// The device of a default route, in a line of `/proc/net/route`.
fn default_device(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // The address and the mask.
    (*words.get(1)? == "00000000" && *words.get(7)? == "00000000").then_some(words[0])
}

impl Port {
    /// Reads `[ADDRESS:]HOST:CONTAINER[/udp]`.
    pub(crate) fn parse(word: &OsStr) -> Result<Port> {
        let read = || {
            let text = word.to_str()?;
            let (text, protocol) = match text.strip_suffix("/udp") {
                Some(rest) => (rest, "udp"),
                None => (text.strip_suffix("/tcp").unwrap_or(text), "tcp"),
            };
            let (host, inside) = text.rsplit_once(':')?;
            let (address, host) = host.rsplit_once(':').unwrap_or(("127.0.0.1", host));
            let (host, inside) = (positive(host)?, positive(inside)?);
            Some(Port { address: address.parse().ok()?, host, inside, protocol })
        };
        read().with_context(|| {
            format!(
                "--publish {}: give [ADDRESS:]HOST:CONTAINER, with ports from 1 to 65535 and an IPv4 address of the host, and /udp for UDP",
                word.display()
            )
        })
    }

    /// The destination of packets for this port, in the words of nft(8). 0.0.0.0 stands for
    /// every address of the host.
    pub fn destination(&self) -> String {
        match self.address.is_unspecified() {
            true => "fib daddr type local".to_owned(),
            false => format!("ip daddr {}", self.address),
        }
    }

    /// Whether a rule of nftables changes the destination of packets for this port.
    pub(crate) fn is_in(&self, rule: &str) -> bool {
        let everywhere = Port { address: Ipv4Addr::UNSPECIFIED, ..*self }.destination();
        rule.contains(&format!(" {} dport {} dnat to ", self.protocol, self.host))
            && (self.address.is_unspecified()
                || rule.starts_with(&everywhere)
                || rule.starts_with(&(self.destination() + " ")))
    }

    /// Binds the port on the host, so that no other program can use it.
    ///
    /// # Errors
    ///
    /// When another program uses it, or the host does not have the address.
    pub fn bind(&self) -> Result<OwnedFd> {
        let place = (self.address, self.host);
        let bind = || match self.protocol {
            "udp" => UdpSocket::bind(place).map(OwnedFd::from),
            _ => TcpListener::bind(place).map(OwnedFd::from),
        };
        let mut bound = bind();
        // If its runner was just killed, a container's port is free a moment later.
        for _ in 0..20 {
            let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
            if !bound.as_ref().is_err_and(in_use) {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            bound = bind();
        }
        bound.with_context(|| format!("publish {self}"))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}/{}", self.address, self.host, self.inside, self.protocol)
    }
}

/// A number that is not 0.
fn positive<T: TryFrom<u64>>(digits: &str) -> Option<T> {
    number(digits).filter(|number| *number > 0)?.try_into().ok()
}

impl Default for Subnet {
    /// A private network, RFC 1918.
    fn default() -> Subnet {
        Subnet { first: Ipv4Addr::new(10, 219, 0, 0), bits: 16 }
    }
}

impl Subnet {
    /// Reads `ADDRESS/BITS`.
    pub(crate) fn parse(word: &OsStr) -> Result<Subnet> {
        let read = || {
            let (first, bits) = word.to_str()?.split_once('/')?;
            let bits = positive(bits).filter(|bits| (8..=30).contains(bits))?;
            let subnet = Subnet { first: first.parse().ok()?, bits };
            // The others are for no host: this network, loopback, multicast, and reserved ones.
            let kind = subnet.first.octets()[0];
            let is_for_hosts = (1..=223).contains(&kind) && kind != 127;
            (is_for_hosts && subnet.first.to_bits().is_multiple_of(subnet.size())).then_some(subnet)
        };
        read().with_context(|| {
            format!(
                "--subnet {}: give the first address and a number of bits from 8 to 30, such as {}",
                word.display(),
                Subnet::default()
            )
        })
    }

    fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    /// The address with this number in the subnet.
    pub(crate) fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + number)
    }

    /// The numbers of containers: without the first address, the bridge's own, and the last.
    pub(crate) fn numbers(self) -> std::ops::Range<u32> {
        2..(self.size() - 1).min(2 + MOST_PORTS)
    }
}

/// The number of devices that Linux connects to a bridge at most.
const MOST_PORTS: u32 = 1023;

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_of_all_addresses_is_no_default_route() {
        let device = |destination, mask| {
            let line = format!("eth0\t{destination}\t010200C0\t0003\t0\t0\t0\t{mask}\t0\t0\t0  ");
            default_device(&line).map(str::to_owned)
        };
        assert_eq!(device("00000000", "00000000").as_deref(), Some("eth0"));
        assert_eq!(device("00000000", "00000080"), None);
        assert_eq!(device("000200C0", "00FFFFFF"), None);
    }

    #[test]
    fn a_port_has_an_address_two_numbers_and_a_protocol() {
        let read = |word: &str| Port::parse(word.as_ref()).map(|port| port.to_string()).ok();
        for (word, port) in [
            ("8080:80", "127.0.0.1:8080:80/tcp"),
            ("8080:80/tcp", "127.0.0.1:8080:80/tcp"),
            ("0.0.0.0:53:53/udp", "0.0.0.0:53:53/udp"),
            ("65535:1", "127.0.0.1:65535:1/tcp"),
        ] {
            assert_eq!(read(word).as_deref(), Some(port), "{word}");
        }
        for word in [
            "", ":", "80", "80:", ":80", "0:80", "80:0", "65536:80", "80:65536", "+80:80",
            "80:80/sctp", "80:80/udp/udp", "host:80:80", "[::1]:80:80", "1.2.3:80:80", ":80:80",
            "1.2.3.4:5:6:7", "8080-8090:80", " 80:80",
        ] {
            assert_eq!(read(word), None, "{word}");
        }
    }

    #[test]
    fn a_udp_port_without_answers_is_refused() {
        let refused = |network: Network, words: &[&str]| {
            let ports: Vec<Port> =
                words.iter().map(|word| Port::parse(word.as_ref()).expect("a port")).collect();
            network.check_ports(&ports).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let twice = ["192.0.2.9:1:9/udp", "192.0.2.9:2:9/udp"];
        for network in [Network::Pasta, Network::Slirp] {
            assert!(refused(network, &twice).ends_with("publish it at one"));
        }
        let said = refused(Network::Slirp, &["127.0.0.1:9:9/udp"]);
        assert!(said.starts_with("publish 127.0.0.1:9:9/udp: slirp4netns passes no answers"));
    }

    #[test]
    fn a_rule_for_a_port_is_recognized() {
        let port = |word: &str| Port::parse(word.as_ref()).expect("a port");
        for (word, rule, is_in) in [
            ("8080:80", "ip daddr 127.0.0.1 tcp dport 8080 dnat to 10.219.0.2:9", true),
            ("8080:80", "fib daddr type local tcp dport 8080 dnat to 10.219.0.2:9", true),
            ("0.0.0.0:8080:80", "ip daddr 127.0.0.1 tcp dport 8080 dnat to 10.219.0.2:9", true),
            ("8080:80", "ip daddr 127.0.0.12 tcp dport 8080 dnat to 10.219.0.2:9", false),
            ("8080:80", "ip daddr 127.0.0.1 udp dport 8080 dnat to 10.219.0.2:9", false),
            ("8080:80", "ip daddr 127.0.0.1 tcp dport 80800 dnat to 10.219.0.2:8080", false),
        ] {
            assert_eq!(port(word).is_in(rule), is_in, "{word}: {rule}");
        }
    }

    #[test]
    fn a_subnet_begins_at_its_first_address() {
        let read = |word: &str| Subnet::parse(word.as_ref()).ok();
        let small = read("192.168.5.4/30").expect("a subnet");
        assert_eq!(small.numbers(), 2..3);
        assert_eq!(small.address(2).to_string(), "192.168.5.6");
        assert_eq!(read("10.0.0.0/8").map(Subnet::numbers), Some(2..1025));
        assert_eq!(read("10.219.0.0/16"), Some(Subnet::default()));
        for word in [
            "", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/7", "10.0.0.0/31", "10.0.0.0/+8", "::/8",
            "0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/8", "240.0.0.0/8",
        ] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
