//! A container's place on the bridge: its number, and the end of both.
//!
//! The kernel keeps the list of containers: the devices on the bridge. The name of a
//! device ends with the number of its address.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libc::c_uint;
use nix::net::if_::if_nametoindex;

use crate::limits::number;
use crate::network::{Port, Subnet};
use crate::open::text;
use crate::tool::run;
use crate::{note, one_line};

/// The name of a container's device is this and a number.
const PREFIX: &str = "container-";

/// A place for a container on a bridge, and all that exists by its name on the host: a
/// device and a table of nftables. Both are removed when this is dropped, and the bridge
/// with its table after the last container.
pub struct Seat {
    bridge: &'static str,
    /// The name of the device, and of the table with the published ports.
    pub name: String,
    /// The addresses of all containers.
    pub subnet: Subnet,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// The container's address.
    pub address: Ipv4Addr,
    /// Whether the bridge is still to be made.
    pub needs_bridge: bool,
    /// Whether the bridge's table is still to be made.
    pub needs_table: bool,
    /// Sockets at the published ports: no other program can use them.
    _ports: Vec<OwnedFd>,
    /// Until the container's device exists.
    lock: Option<Lock>,
    /// The kernel's number of the device, once it exists. With the container, the kernel
    /// removes the device, and a later container can then have the same name.
    device: Option<c_uint>,
}

impl Seat {
    /// Takes the first free place on a bridge, under a lock. First removes the remains of
    /// killed runners.
    ///
    /// # Errors
    ///
    /// When no address is free, a route of the host overlaps with the subnet, the bridge has
    /// another subnet, or another program uses a port.
    pub fn take(bridge: &'static str, subnet: Subnet, ports: &[Port]) -> Result<Seat> {
        let lock = Lock::take(bridge)?;
        let mut host = Host::look(bridge)?;
        if host.remove(None)? {
            host = Host::look(bridge)?;
        }
        match host.bridge.as_deref() {
            Some(alias) => ensure!(
                alias == subnet.to_string(),
                "use the bridge {bridge}: it is not for the subnet {subnet}; wait for its containers to end, or use their --subnet, or remove it with `ip link delete {bridge}`"
            ),
            None => no_route_overlaps(subnet)?,
        }
        let free = subnet.numbers().find(|number| !host.devices.contains(&name(*number)));
        let number = free.with_context(|| format!("take an address of {subnet}: all are in use; wait for other containers to end, or name a larger --subnet"))?;
        if text(FORWARD).is_ok_and(|forward| forward.trim() == "0") {
            note(
                "this host forwards no packets, so the container reaches only the host and other containers; as root: sysctl -w net.ipv4.ip_forward=1",
            );
        }
        let held = ports.iter().map(Port::bind).collect::<Result<_>>()?;
        remove_rules_for(ports)?;
        Ok(Seat {
            bridge,
            name: name(number),
            subnet,
            gateway: subnet.address(1),
            address: subnet.address(number),
            needs_bridge: host.bridge.is_none(),
            needs_table: !host.tables.iter().any(|table| table == bridge),
            _ports: held,
            lock: Some(lock),
            device: None,
        })
    }

    /// Lets other containers take a place: the device of this container exists.
    pub fn unlock(&mut self) {
        // 0 is the number of no device: it has gone already.
        self.device = Some(if_nametoindex(&*self.name).unwrap_or_default());
        self.lock = None;
    }

    /// The device of this container, if it is still there.
    fn leaving(&self) -> Option<&str> {
        let number = if_nametoindex(&*self.name).ok()?;
        self.device.is_none_or(|device| device == number).then_some(&*self.name)
    }

    fn leave(&mut self) -> Result<()> {
        if self.lock.is_none() {
            self.lock = Some(Lock::take(self.bridge)?);
        }
        // First: what has gone by then is not in the list.
        let leaving = self.leaving();
        let removed = Host::look(self.bridge)?.remove(leaving);
        // The kernel may have removed the device in the meantime.
        if removed.is_err() && self.leaving().is_none() {
            return Host::look(self.bridge)?.remove(None).map(drop);
        }
        removed.map(drop)
    }
}

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

impl Drop for Seat {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            let doing = format!("remove {} from the bridge {}", self.name, self.bridge);
            note(&one_line(&error.context(doing)));
        }
    }
}

fn name(number: u32) -> String {
    format!("{PREFIX}{number}")
}

/// Whether a name is one of a container.
fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(number).is_some()
}

/// What the host has by our names.
struct Host {
    name: &'static str,
    /// The alias of the bridge, which is its subnet.
    bridge: Option<String>,
    /// All devices.
    devices: Vec<String>,
    /// The devices on the bridge.
    containers: Vec<String>,
    /// The bridge's table, and those of containers.
    tables: Vec<String>,
}

impl Host {
    fn look(bridge: &'static str) -> Result<Host> {
        let mut host = Host {
            name: bridge,
            bridge: None,
            devices: Vec::new(),
            containers: Vec::new(),
            tables: Vec::new(),
        };
        for line in run(Command::new("ip").args(["-o", "link", "show"]), "")?.lines() {
            let mut words = line.split(' ');
            let device = words.nth(1).unwrap_or_default().trim_end_matches(':');
            // `container-2@if3`: its other end is device 3 of another namespace.
            let device = device.split('@').next().unwrap_or_default();
            host.devices.push(device.to_owned());
            let value = |key| line.split([' ', '\\']).skip_while(|word| *word != key).nth(1);
            if device == bridge {
                host.bridge = Some(value("alias").unwrap_or_default().to_owned());
            } else if value("master") == Some(bridge) {
                host.containers.push(device.to_owned());
            }
        }
        for line in run(Command::new("nft").args(["list", "tables", "ip"]), "")?.lines() {
            let table = line.strip_prefix("table ip ").unwrap_or_default();
            if table == bridge || is_ours(table) {
                host.tables.push(table.to_owned());
            }
        }
        Ok(host)
    }

    /// Removes the container `leaving`, and the tables of containers that are gone. Without
    /// a container left, removes the bridge and its table, too. Returns whether there was
    /// something to remove.
    fn remove(&self, leaving: Option<&str>) -> Result<bool> {
        let leaves = |name: &str| Some(name) == leaving;
        let is_last = self.containers.iter().all(|name| leaves(name));
        // A bridge of that name that is not ours has no subnet as its alias.
        let is_ours = |alias: &String| Subnet::parse(alias.as_ref()).is_ok();
        let ends = is_last && self.bridge.as_ref().is_none_or(is_ours);
        let bridge = self.bridge.iter().filter(|_| ends).map(|_| self.name);
        let devices = self.containers.iter().map(|name| &**name).filter(|name| leaves(name));
        let devices: String =
            devices.chain(bridge).map(|it| format!("link delete {it}\n")).collect();
        let tables = self.tables.iter().map(|name| &**name).filter(|name| match *name {
            name if name == self.name => ends,
            name => leaves(name) || !self.containers.iter().any(|it| it == name),
        });
        let had_tables = delete_tables(tables)?;
        if !devices.is_empty() {
            run(Command::new("ip").args(["-force", "-batch", "-"]), &devices)?;
        }
        Ok(had_tables || !devices.is_empty())
    }
}

/// Deletes tables of nftables, all or none. Returns whether there were any.
fn delete_tables<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<bool> {
    let script: String =
        names.into_iter().map(|name| format!("delete table ip {name}\n")).collect();
    if !script.is_empty() {
        run(Command::new("nft").args(["-f", "-"]), &script)?;
    }
    Ok(!script.is_empty())
}

/// Removes the tables of other containers that publish these ports. This runner has bound the
/// ports, so the runners of those were killed, and their devices are about to go.
fn remove_rules_for(ports: &[Port]) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let (mut table, mut stale) = ("", BTreeSet::new());
    let rules = run(Command::new("nft").args(["list", "ruleset", "ip"]), "")?;
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix("table ip ") {
            table = name.trim_end_matches(" {");
        } else if is_ours(table) && ports.iter().any(|port| port.is_in(line.trim_start())) {
            stale.insert(table);
        }
    }
    delete_tables(stale).map(drop)
}

/// Whether no route of the host overlaps with the subnet, except one that stands for all
/// other addresses.
fn no_route_overlaps(subnet: Subnet) -> Result<()> {
    for kind in ["root", "match"] {
        let words = ["-4", "-o", "route", "show", "table", "all", kind];
        let routes = run(Command::new("ip").args(words).arg(subnet.to_string()), "")?;
        // A virtual private network may replace the default route by these halves.
        let other = |word: &str| matches!(word, "default" | "0.0.0.0/1" | "128.0.0.0/1");
        if let Some(route) = routes.lines().find(|route| !route.split(' ').take(2).any(other)) {
            bail!(
                "use the subnet {subnet}: this host has a route to some of it, `{}`; name another with --subnet",
                route.trim()
            );
        }
    }
    Ok(())
}

/// A lock on the bridge. Its file is gone when no runner holds it.
struct Lock {
    name: String,
    _file: File,
}

impl Lock {
    /// Waits for the lock: a start and an end take some hundredths of a second.
    fn take(bridge: &str) -> Result<Lock> {
        // Only root can write to /run.
        let name = format!("/run/{bridge}.lock");
        let doing = || format!("lock {name}");
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).mode(0o600);
            let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&name);
            let file = file.with_context(doing)?;
            file.lock().with_context(doing)?;
            // If not, the runner before has just removed it.
            if file.metadata().with_context(doing)?.nlink() > 0 {
                return Ok(Lock { name, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It is still locked. A runner that waits for it makes a new one.
        let _ = fs::remove_file(&self.name);
    }
}
