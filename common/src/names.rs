//! The files in /etc with names of hosts: they tell the container its own network.

use std::fs::File;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, gethostname, unlinkat};

use crate::open::text;
use crate::{Network, Root, note};

/// The nameserver that pasta passes on to the host's, if it is started with
/// `--dns-forward` and this address. A link-local address, RFC 3927, which
/// a host seldom has.
pub const PASTA_DNS: &str = "169.254.1.1";
/// The nameserver that slirp4netns passes on to the host's.
const SLIRP_DNS: &str = "10.0.2.3";
/// The nameservers behind a resolver on loopback, systemd-resolved.service(8).
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

impl Network {
    /// Writes `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname` in the root, if the
    /// container has a network. Replaces a symbolic link, and does not follow it.
    ///
    /// # Errors
    ///
    /// When a file cannot be written. A root that belongs to another user keeps its own.
    pub fn write_names(self, rootfs: &Path) -> Result<()> {
        if self == Network::None {
            return Ok(());
        }
        let name = gethostname().context("get the hostname")?;
        let name = name.to_string_lossy();
        let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        if let Some(address) = own_address()? {
            hosts += &format!("{address}\t{name}\n");
        }
        let files = [
            ("resolv.conf", self.resolvers()),
            ("hosts", hosts),
            ("hostname", format!("{name}\n")),
        ];
        for (file, lines) in files {
            match replace(rootfs, file, &lines) {
                Err(error) if error.downcast_ref().is_some_and(is_of_another) => {
                    note(&format!(
                        "/etc/{file} in the root belongs to another user and stays as it is"
                    ));
                }
                replaced => replaced.with_context(|| format!("write /etc/{file} in the root"))?,
            }
        }
        Ok(())
    }

    /// The lines of `/etc/resolv.conf`, with nameservers that the container can reach.
    fn resolvers(self) -> String {
        let read = |file| text(file).unwrap_or_default();
        let hosts = read("/etc/resolv.conf");
        let mut lines = without_nameservers(&hosts);
        match self {
            Network::None | Network::Bridge => {
                let reachable = [hosts.clone(), read(UPSTREAM)].map(|text| reachable(&text));
                let found = reachable.into_iter().find(|servers| !servers.is_empty());
                if found.is_none() && !nameservers(&hosts).is_empty() {
                    note(
                        "the container cannot reach the nameservers of this host, which are on its loopback or have IPv6 addresses; bind a file to /etc/resolv.conf",
                    );
                }
                lines.extend(found.unwrap_or_default());
            }
            Network::Pasta => lines.push(format!("nameserver {PASTA_DNS}")),
            Network::Slirp => lines.push(format!("nameserver {SLIRP_DNS}")),
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

/// Whether the kernel refuses this to a user without rights, or without an ID in the container.
fn is_of_another(errno: &Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EOVERFLOW)
}

/// The lines of a resolv.conf(5) other than nameservers, without comments.
fn without_nameservers(text: &str) -> Vec<String> {
    let keeps =
        |line: &&str| ["search ", "domain ", "options "].iter().any(|key| line.starts_with(key));
    text.lines().filter(keeps).map(str::to_owned).collect()
}

/// The nameservers in a resolv.conf(5).
fn nameservers(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::split_whitespace);
    lines.filter_map(|mut words| (words.next()? == "nameserver").then(|| words.next())?).collect()
}

/// The lines of nameservers that a container on a bridge reaches: not on the host's loopback,
/// and for IPv4.
fn reachable(text: &str) -> Vec<String> {
    let reaches = |server: &str| server.parse().is_ok_and(|ip: Ipv4Addr| !ip.is_loopback());
    let servers = nameservers(text).into_iter().filter(|server| reaches(server));
    servers.map(|server| format!("nameserver {server}")).collect()
}

/// This network namespace's own address, without those of lo.
fn own_address() -> Result<Option<Ipv4Addr>> {
    let mut all = getifaddrs().context("list the network's addresses")?;
    Ok(all.find_map(|it| {
        let lo = it.interface_name == "lo" || it.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        it.address.filter(|_| !lo)?.as_sockaddr_in().map(|it| it.ip())
    }))
}

/// Replaces a file in `/etc` of the root.
fn replace(rootfs: &Path, file: &str, lines: &str) -> Result<()> {
    let etc = Root::open(rootfs)?.directory("/etc")?;
    let etc = open(&etc, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    match unlinkat(&etc, file, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(Errno::EISDIR) => bail!("it is a directory; remove it from the root"),
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(&etc, file, flags, Mode::from_bits_truncate(0o644))?;
    Ok(File::from(file).write_all(lines.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_loopback_is_left_out() {
        let text = "# a comment\nnameserver 127.0.0.53\nnameserver\t192.0.2.1 \noptions edns0\n\
                    search a b\nnameserver ::1\nnameserver 2001:db8::1\nnameserver\n";
        assert_eq!(reachable(text), ["nameserver 192.0.2.1"]);
        assert_eq!(nameservers("nameserver 127.0.0.53"), ["127.0.0.53"]);
        assert_eq!(without_nameservers(text), ["options edns0", "search a b"]);
    }
}
