//! The files that tell the container its own network, and that it is a container.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, gethostname, unlinkat};

use crate::places::open::text;
use crate::{Network, Root, note};

/// The nameserver that pasta passes on to the host's, if it is started with `--dns-forward` and
/// this address. A link-local address, RFC 3927, which a host seldom has.
pub const PASTA_DNS: &str = "169.254.1.1";
/// The nameserver that slirp4netns passes on to the host's.
const SLIRP_DNS: &str = "10.0.2.3";
/// The nameservers behind a resolver on loopback, systemd-resolved.service(8).
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Writes `/etc/hosts` and `/etc/hostname` in the root, and with a network `/etc/resolv.conf`.
/// Replaces a symbolic link, and does not follow it. Also writes `/run/host/container-manager`:
/// systemd-detect-virt(1) finds a container by this file. Fails when a file cannot be written. A
/// root that belongs to another user keeps its own.
pub fn write_names(network: Option<Network>, root: &Root) -> Result<()> {
    let name = gethostname().context("get the hostname")?;
    let name = name.to_string_lossy();
    let own = own_address()?;
    let address = own.unwrap_or(Ipv4Addr::LOCALHOST);
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n{address}\t{name}\n");
    let mut files = vec![
        ("/etc", "hosts", hosts),
        ("/etc", "hostname", format!("{name}\n")),
        ("/run/host", "container-manager", "containers\n".to_owned()),
    ];
    if let Some(network) = network {
        let read = |file| text(file).unwrap_or_default();
        let lines = network.resolvers(own, &read("/etc/resolv.conf"), &read(UPSTREAM));
        files.push(("/etc", "resolv.conf", lines));
    }
    for (dir, file, lines) in files {
        match replace(root, dir, file, &lines) {
            Err(error) if error.downcast_ref().is_some_and(is_of_another) => {
                if network.is_some() {
                    note(&format!(
                        "{dir}/{file} in the root belongs to another user and stays as it is"
                    ));
                }
            }
            replaced => replaced.with_context(|| format!("write {dir}/{file} in the root"))?,
        }
    }
    Ok(())
}

impl Network {
    /// The lines of `/etc/resolv.conf`, with nameservers that the container can reach. Its own
    /// address may be a copy of the host's.
    fn resolvers(self, own: Option<Ipv4Addr>, hosts: &str, upstream: &str) -> String {
        let reaches = |server: &IpAddr| match server {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_unspecified() && Some(*ip) != own,
            IpAddr::V6(ip) => self == Network::Pasta && !ip.is_loopback() && !ip.is_unspecified(),
        };
        let found = [hosts, upstream].map(|text| {
            let servers = nameservers(text).filter(reaches).map(|server| server.to_string());
            servers.collect::<Vec<String>>()
        });
        let found = found.into_iter().find(|servers| !servers.is_empty());
        let servers = match (self, found) {
            (Network::Slirp, _) => vec![SLIRP_DNS.to_owned()],
            (_, Some(servers)) => servers,
            (Network::Pasta, None) => vec![PASTA_DNS.to_owned()],
            (Network::Bridge, None) => {
                if nameservers(hosts).next().is_some() {
                    note(
                        "the container cannot reach the nameservers of this host, which are on its loopback or have IPv6 addresses; bind a file to /etc/resolv.conf",
                    );
                }
                Vec::new()
            }
        };
        let servers = servers.into_iter().map(|server| format!("nameserver {server}"));
        without_nameservers(hosts).chain(servers).map(|line| line + "\n").collect()
    }
}

/// Whether the kernel refuses this to a user without rights, or without an ID in the container.
fn is_of_another(errno: &Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EOVERFLOW)
}

/// The lines of a resolv.conf(5) other than nameservers, without comments.
fn without_nameservers(text: &str) -> impl Iterator<Item = String> {
    let keeps = |line: &&str| {
        matches!(line.split_whitespace().next(), Some("search" | "domain" | "options"))
    };
    text.lines().filter(keeps).map(str::to_owned)
}

/// The nameservers in a resolv.conf(5), without those of one device, such as `fe80::1%eth0`.
fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse().ok())?
    };
    text.lines().filter_map(server)
}

/// This network namespace's own address, without those of lo.
fn own_address() -> Result<Option<Ipv4Addr>> {
    let mut all = getifaddrs().context("list the network's addresses")?;
    Ok(all.find_map(|it| {
        let lo = it.interface_name == "lo" || it.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        it.address.filter(|_| !lo)?.as_sockaddr_in().map(|it| it.ip())
    }))
}

/// Replaces a file in a directory of the root.
fn replace(root: &Root, dir: &str, file: &str, lines: &str) -> Result<()> {
    let dir = root.directory(dir)?;
    match unlinkat(&dir, file, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(Errno::EISDIR) => bail!("it is a directory; remove it from the root"),
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(&dir, file, flags, Mode::from_bits_truncate(0o644))?;
    Ok(File::from(file).write_all(lines.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::place::Place;

    #[test]
    fn a_resolv_conf_is_read_as_the_c_library_reads_it() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver\t192.0.2.1 \noptions\tedns0\n\
                    search\ta b\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\n;search c\n";
        let servers: Vec<String> = nameservers(text).map(|it| it.to_string()).collect();
        assert_eq!(servers, ["127.0.0.53", "192.0.2.1", "::1"]);
        let others: Vec<String> = without_nameservers(text).collect();
        assert_eq!(others, ["options\tedns0", "search\ta b"]);
    }

    #[test]
    fn a_root_gets_its_names() {
        let place = Place::new();
        let root = Root::open(place.path("")).expect("open");
        // The second time, the files are there.
        for _ in 0..2 {
            write_names(None, &root).expect("write the files");
        }
        let read = |file| text(place.path(file)).unwrap_or_default();
        assert_eq!(read("run/host/container-manager"), "containers\n");
        assert!(read("etc/hosts").contains(read("etc/hostname").trim()));
        assert_eq!(read("etc/resolv.conf"), "");
    }

    /// The pasta of Debian 12 answers no connection at its own address.
    #[test]
    fn a_container_gets_nameservers_that_it_reaches() {
        let own = Some(Ipv4Addr::new(192, 0, 2, 2));
        for (network, hosts, upstream, lines) in [
            (Network::Pasta, "192.0.2.1 2001:db8::1", "", "192.0.2.1 2001:db8::1"),
            (Network::Pasta, "127.0.0.53", "192.0.2.1", "192.0.2.1"),
            (Network::Pasta, "127.0.0.53", "", PASTA_DNS),
            // The host's address, which is a copy inside.
            (Network::Pasta, "192.0.2.2", "", PASTA_DNS),
            (Network::Pasta, "", "", PASTA_DNS),
            (Network::Slirp, "192.0.2.1", "", SLIRP_DNS),
            (Network::Bridge, "2001:db8::1 192.0.2.1", "", "192.0.2.1"),
            (Network::Bridge, "127.0.0.53", "192.0.2.1", "192.0.2.1"),
            (Network::Bridge, "127.0.0.53", "", ""),
        ] {
            let file = |servers: &str| {
                let servers = servers.split_whitespace();
                servers.map(|it| format!("nameserver {it}\n")).collect::<String>()
            };
            let found = network.resolvers(own, &file(hosts), &file(upstream));
            assert_eq!(found, file(lines), "{network:?} {hosts} {upstream}");
        }
    }
}
