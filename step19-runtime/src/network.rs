//! Lesson 14: a container with a network.

use anyhow::{Context, Result};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Brings up the network device lo; netdevice(7).
pub(crate) fn start_loopback() -> Result<()> {
    let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    let socket = socket.context("open a socket")?;
    let flags = common::device_flags(&socket, "lo").context("get the flags of lo")?;
    let flags = flags | InterfaceFlags::IFF_UP;
    common::set_device_flags(&socket, "lo", flags).context("set the flags of lo")
}
