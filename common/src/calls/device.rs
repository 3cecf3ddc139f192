//! The flags of a network device; netdevice(7).

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::net::if_::InterfaceFlags;

// The type of a request differs between C libraries.
const GET_FLAGS: libc::Ioctl = libc::SIOCGIFFLAGS as libc::Ioctl;
const SET_FLAGS: libc::Ioctl = libc::SIOCSIFFLAGS as libc::Ioctl;

/// Reads the flags of a network device: SIOCGIFFLAGS in netdevice(7). `socket` is any
/// socket in its network namespace.
pub fn device_flags(socket: &impl AsFd, name: &str) -> nix::Result<InterfaceFlags> {
    let mut request = request(name)?;
    #[allow(unsafe_code, reason = "nix has no SIOCGIFFLAGS")]
    // SAFETY: the kernel reads the name, which ends with a zero, and writes the flags. It
    // has then set that member of the union.
    let flags = unsafe {
        let got = libc::ioctl(socket.as_fd().as_raw_fd(), GET_FLAGS, &raw mut request);
        Errno::result(got).map(|_| request.ifr_ifru.ifru_flags)
    };
    flags.map(|flags| InterfaceFlags::from_bits_retain(flags.into()))
}

/// Sets the flags of a network device: SIOCSIFFLAGS in netdevice(7).
pub fn set_device_flags(socket: &impl AsFd, name: &str, flags: InterfaceFlags) -> nix::Result<()> {
    let mut request = request(name)?;
    // The kernel takes the low 16 bits.
    request.ifr_ifru.ifru_flags = flags.bits() as libc::c_short;
    #[allow(unsafe_code, reason = "nix has no SIOCSIFFLAGS")]
    // SAFETY: the kernel reads the name, which ends with a zero, and the flags.
    let set = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SET_FLAGS, &raw const request) };
    Errno::result(set).map(drop)
}

/// A request about the device `name`.
fn request(name: &str) -> nix::Result<libc::ifreq> {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    // The last byte stays a zero.
    let place = ifr_name[..libc::IFNAMSIZ - 1].get_mut(..name.len()).ok_or(Errno::ENAMETOOLONG)?;
    for (to, from) in place.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 } })
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    #[test]
    fn the_flags_of_lo_are_read_and_a_wrong_name_is_refused() {
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        let flags = device_flags(&socket, "lo").expect("the flags of lo");
        assert!(flags.contains(InterfaceFlags::IFF_LOOPBACK));
        assert_eq!(device_flags(&socket, "no such"), Err(Errno::ENODEV));
        assert_eq!(device_flags(&socket, "sixteen bytes ok"), Err(Errno::ENAMETOOLONG));
    }
}
