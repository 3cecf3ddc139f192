//! The network that the caller asks for.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::ifaddrs::getifaddrs;
use nix::poll::PollTimeout;
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{Shutdown, setsockopt, shutdown};
use nix::unistd::getuid;

use crate::args::limits::number;
use crate::child::signals::Patience;
use crate::net::tool::has_tool;
use crate::places::open::text;
use crate::said::doing::{Call, Doing};
use crate::said::error::note;

/// How the container is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
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
    /// Reads the value of `--network` in a step without a bridge.
    pub(crate) fn parse(word: &OsStr) -> Result<Option<Network>> {
        match word.to_str() {
            Some("none") => Ok(None),
            // slirp4netns needs no route of the host. Without both, pasta is named.
            Some("pasta") if has_tool("slirp4netns") && !(has_tool("pasta") && has_route()) => {
                Ok(Some(Network::Slirp))
            }
            Some("pasta") => Ok(Some(Network::Pasta)),
            Some("bridge") => bail!("--network bridge: lesson 15 adds it; give none or pasta"),
            _ => bail!("--network {}: give none or pasta", word.display()),
        }
    }

    /// Reads the value of `--network` in a step with a bridge.
    pub(crate) fn parse_with_bridge(word: &OsStr) -> Result<Option<Network>> {
        match word.to_str() {
            Some("bridge") => {
                ensure!(
                    getuid().is_root(),
                    "--network bridge: only root can make a bridge; use --network pasta, or sudo"
                );
                Ok(Some(Network::Bridge))
            }
            Some("none" | "pasta") => Network::parse(word),
            _ => bail!("--network {}: give none, bridge or pasta", word.display()),
        }
    }

    /// Checks that pasta or slirp4netns can publish the ports, and that no other program uses
    /// them. Both fail silently at some ports for UDP. Fails when a port would get no answers, and
    /// as [`Port::take`].
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
            port.take()?;
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

    /// The port in the name of a table, where no `:` can be.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}-{}", self.protocol, self.address, self.host)
    }

    /// Whether a packet can be for this port and for the port with this name. 0.0.0.0 stands
    /// for every address of the host.
    pub(crate) fn meets(&self, name: &str) -> bool {
        let everywhere = Port { address: Ipv4Addr::UNSPECIFIED, ..*self };
        let (first, last) = (format!("{}-", self.protocol), format!("-{}", self.host));
        let is_same = name.starts_with(&first) && name.ends_with(&last);
        is_same && (*self == everywhere || name == self.name() || name == everywhere.name())
    }

    /// Takes the port on the host, so that no other program can use it. Fails when another program
    /// uses it, or the host does not have the address. Fails when a signal asks the runner to end.
    pub fn take(&self) -> Result<OwnedFd> {
        let doing = || Doing::new(Call::Publish, "publish ", self);
        let mut patience = Patience::new()?;
        // If its runner was just killed, a container's port is free a moment later.
        let mut tries = 0..20;
        loop {
            match self.bind() {
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() =>
                {
                    patience.sleep(None, PollTimeout::from(50u16)).with_context(doing)?;
                }
                bound => return bound.with_context(doing),
            }
        }
    }

    fn bind(&self) -> io::Result<OwnedFd> {
        let place = (self.address, self.host);
        if self.protocol == "udp" {
            return Ok(UdpSocket::bind(place)?.into());
        }
        let socket = TcpListener::bind(place)?;
        // The port stays with the socket, but nobody accepts connections there. Until the
        // rules exist, the kernel must refuse them: then the client tries again.
        setsockopt(&socket, ReuseAddr, &false)?;
        shutdown(socket.as_raw_fd(), Shutdown::Read)?;
        Ok(socket.into())
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

    /// A hardware address that says an address and the bits of its subnet. A device has it from
    /// its first moment on, and a later container with the same address has the same.
    pub fn hardware(self, address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        // The bit 02 marks an address that no maker of devices has given.
        format!("02:{:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}", self.bits)
    }

    /// The subnet of the bridge with this hardware address, if it is one of ours.
    pub(crate) fn of_bridge(hardware: &str) -> Option<Subnet> {
        let bytes = hardware.split(':').map(|byte| u8::from_str_radix(byte, 16).ok());
        let [_, bits, a, b, c, d] = bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()?;
        let first = Ipv4Addr::from_bits(u32::from_be_bytes([a, b, c, d]).checked_sub(1)?);
        let subnet = Subnet::parse(format!("{first}/{bits}").as_ref()).ok()?;
        (subnet.hardware(subnet.address(1)) == hardware).then_some(subnet)
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
    use std::net::TcpStream;

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
    fn ports_meet_at_an_address() {
        let port = |word: &str| Port::parse(word.as_ref()).expect("a port");
        for (one, other, meet) in [
            ("8080:80", "127.0.0.1:8080:9", true),
            ("8080:80", "0.0.0.0:8080:9", true),
            ("0.0.0.0:8080:80", "8080:9", true),
            ("8080:80", "127.0.0.12:8080:9", false),
            ("8080:80", "8080:9/udp", false),
            ("8080:80", "8081:80", false),
        ] {
            assert_eq!(port(one).meets(&port(other).name()), meet, "{one}, {other}");
        }
    }

    /// An accepted connection would never get an answer.
    #[test]
    fn a_taken_port_refuses_clients_and_other_programs() {
        // Another program could take a free port of this host in the meantime.
        let (port, taken) = (1..=u16::MAX)
            .rev()
            .map(|host| Port {
                address: Ipv4Addr::new(127, 0, 7, 1),
                host,
                inside: 1,
                protocol: "tcp",
            })
            .find_map(|port| Some((port, port.bind().ok()?)))
            .expect("a free port");
        let place = (port.address, port.host);
        let refused = TcpStream::connect(place).map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
        let in_use = TcpListener::bind(place).map(drop).map_err(|error| error.kind());
        assert_eq!(in_use, Err(io::ErrorKind::AddrInUse));
        drop(taken);
        port.bind().expect("take it again");
    }

    #[test]
    fn a_hardware_address_says_the_subnet() {
        for word in ["10.219.0.0/16", "192.168.5.4/30", "10.0.0.0/8"] {
            let subnet = Subnet::parse(word.as_ref()).expect("a subnet");
            assert_eq!(Subnet::of_bridge(&subnet.hardware(subnet.address(1))), Some(subnet));
            assert_eq!(Subnet::of_bridge(&subnet.hardware(subnet.address(2))), None);
        }
        assert_eq!(Subnet::default().hardware(Ipv4Addr::new(10, 219, 0, 1)), "02:10:0a:db:00:01");
        for other in ["", "02:00:00:00:00:01", "52:54:00:12:34:56", "06:10:0a:db:00:01", "a"] {
            assert_eq!(Subnet::of_bridge(other), None, "{other}");
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
