//! A container's place on the bridge: its number, and the end of both.
//!
//! The kernel keeps the list of containers: the devices on the bridge. The name of a
//! device ends with the number of its address. The names of its tables begin with the name
//! of the device. The bridge's hardware address says its subnet. So all that a start makes
//! is known from its first moment on, and a later start can remove it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use libc::c_uint;
use nix::net::if_::if_nametoindex;
use nix::poll::PollTimeout;

use crate::args::limits::number;
use crate::child::signals::Patience;
use crate::net::network::{Port, Subnet};
use crate::net::tool::run;
use crate::places::open::text;
use crate::{note, one_line};

/// The name of a container's device is this and a number.
const PREFIX: &str = "container-";

/// A place for a container on a bridge, and all that exists by its name on the host: a
/// device and tables of nftables. They are removed when this is dropped, and the bridge
/// with its table after the last container.
pub struct Seat {
    bridge: &'static str,
    /// The name of the device, and of the table with its rules.
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
    /// Takes the first free place on a bridge, under a lock. First removes the remains of killed
    /// runners. Fails when no address is free, a route of the host overlaps with the subnet, the
    /// bridge has another subnet, or another program uses a port. Fails when a signal asks the
    /// runner to end.
    pub fn take(bridge: &'static str, subnet: Subnet, ports: &[Port]) -> Result<Seat> {
        // Before the lock, because this may wait.
        let held = ports.iter().map(Port::take).collect::<Result<_>>()?;
        let lock = Lock::take(bridge)?;
        let mut host = Host::look(bridge)?;
        if host.remove(None, ports)? {
            host = Host::look(bridge)?;
        }
        if host.has_bridge {
            ensure!(
                host.subnet == Some(subnet),
                "use the bridge {bridge}: it is not for the subnet {subnet}; wait for its containers to end, or use their --subnet, or remove it with `ip link delete {bridge}`"
            );
        } else {
            no_route_overlaps(subnet)?;
        }
        let free = subnet.numbers().find(|number| !host.devices.contains(&name(*number)));
        let number = free.with_context(|| format!("take an address of {subnet}: all are in use; wait for other containers to end, or name a larger --subnet"))?;
        if text(FORWARD).is_ok_and(|forward| forward.trim() == "0") {
            note(
                "this host forwards no packets, so the container reaches only the host and other containers; as root: sysctl -w net.ipv4.ip_forward=1",
            );
        }
        Ok(Seat {
            bridge,
            name: name(number),
            subnet,
            gateway: subnet.address(1),
            address: subnet.address(number),
            needs_bridge: !host.has_bridge,
            needs_table: !host.tables.iter().any(|table| table.owner == bridge),
            _ports: held,
            lock: Some(lock),
            device: None,
        })
    }

    /// The name of the table with the rules for a published port. It says which port.
    pub fn table(&self, port: &Port) -> String {
        format!("{}-{}", self.name, port.name())
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
        let removed = Host::look(self.bridge)?.remove(leaving, &[]);
        // The kernel may have removed the device in the meantime.
        if removed.is_err() && self.leaving().is_none() {
            return Host::look(self.bridge)?.remove(None, &[]).map(drop);
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

/// What the host has by our names.
#[derive(Default)]
struct Host {
    bridge: &'static str,
    has_bridge: bool,
    /// The subnet of the bridge, if it is ours.
    subnet: Option<Subnet>,
    /// All devices.
    devices: Vec<String>,
    /// The devices on the bridge.
    containers: Vec<String>,
    /// The bridge's table, and those of containers.
    tables: Vec<Table>,
}

/// A table of nftables: the bridge's, or a container's.
struct Table {
    /// Its family and its name.
    words: String,
    /// The bridge, or the container's device.
    owner: String,
    /// The published port, as [`Port::name`] writes it.
    port: String,
}

impl Table {
    /// Reads `table FAMILY NAME`, if it is one of ours.
    fn read(line: &str, bridge: &str) -> Option<Table> {
        let words = line.strip_prefix("table ")?;
        let (_, name) = words.split_once(' ')?;
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let (digits, port) = rest.split_once('-').unwrap_or((rest, ""));
        let is_ours = name == bridge || number(digits).is_some();
        let owner = if name == bridge { name.to_owned() } else { format!("{PREFIX}{digits}") };
        is_ours.then(|| Table { words: words.to_owned(), owner, port: port.to_owned() })
    }
}

impl Host {
    fn look(bridge: &'static str) -> Result<Host> {
        let mut host = Host { bridge, ..Host::default() };
        for line in run(Command::new("ip").args(["-o", "link", "show"]), "")?.lines() {
            let mut words = line.split([' ', '\\']);
            let device = words.nth(1).unwrap_or_default().trim_end_matches(':');
            // `container-2@if3`: its other end is device 3 of another namespace.
            let device = device.split('@').next().unwrap_or_default();
            host.devices.push(device.to_owned());
            let value = |key| words.clone().skip_while(|word| *word != key).nth(1);
            if device == bridge {
                host.has_bridge = true;
                host.subnet = value("link/ether").and_then(Subnet::of_bridge);
            } else if value("master") == Some(bridge) {
                host.containers.push(device.to_owned());
            }
        }
        let tables = run(Command::new("nft").args(["list", "tables"]), "")?;
        host.tables.extend(tables.lines().filter_map(|line| Table::read(line, bridge)));
        Ok(host)
    }

    /// Removes the container `leaving`, and the tables of containers that are gone. Without
    /// a container left, removes the bridge and its table, too. Returns whether there was
    /// something to remove.
    ///
    /// Also removes the tables for `ports`. This runner has them, so the runners of those
    /// tables were killed, and their devices are about to go.
    fn remove(&self, leaving: Option<&str>, ports: &[Port]) -> Result<bool> {
        let stays = |name: &str| Some(name) != leaving && self.is_container(name);
        // A bridge of that name that is not ours stays.
        let is_ours = self.subnet.is_some() || !self.has_bridge;
        let ends = is_ours && !self.containers.iter().any(|name| stays(name));

        let mut tables = String::new();
        for table in &self.tables {
            let goes = if table.owner == self.bridge {
                ends
            } else {
                !stays(&table.owner) || ports.iter().any(|port| port.meets(&table.port))
            };
            if goes {
                tables += &format!("delete table {}\n", table.words);
            }
        }
        let mut devices = String::new();
        if let Some(name) = leaving.filter(|name| self.is_container(name)) {
            devices += &format!("link delete {name}\n");
        }
        if ends && self.has_bridge {
            devices += &format!("link delete {}\n", self.bridge);
        }
        // All tables, or none.
        if !tables.is_empty() {
            run(Command::new("nft").args(["-f", "-"]), &tables)?;
        }
        if !devices.is_empty() {
            run(Command::new("ip").args(["-force", "-batch", "-"]), &devices)?;
        }
        Ok(!tables.is_empty() || !devices.is_empty())
    }

    /// Whether the bridge has a device of this name.
    fn is_container(&self, name: &str) -> bool {
        self.containers.iter().any(|container| container == name)
    }
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
        let mut patience = Patience::new()?;
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).mode(0o600);
            let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&name);
            let file = file.with_context(doing)?;
            match file.try_lock() {
                // Otherwise, the runner before has just removed it.
                Ok(()) if file.metadata().with_context(doing)?.nlink() > 0 => {
                    return Ok(Lock { name, _file: file });
                }
                Ok(()) => {}
                // No signal would end a wait in flock(2).
                Err(TryLockError::WouldBlock) => {
                    patience.sleep(None, PollTimeout::from(10u16)).with_context(doing)?;
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
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
