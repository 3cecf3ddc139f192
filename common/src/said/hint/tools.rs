//! Tools of the host: their messages are words only.

/// The first row of which a part is in the message.
pub(super) fn remedy(message: &str) -> Option<&'static str> {
    let fits = |(parts, _): &&(&[&str], _)| parts.iter().any(|part| message.contains(part));
    ROWS.iter().find(fits).map(|(_, remedy)| *remedy)
}

/// Parts of messages, and remedies.
const ROWS: [(&[&str], &str); 7] = [
    (
        &["write to uid_map failed", "write to gid_map failed"],
        "newuidmap(1) and newgidmap(1) have no rights here: they are not set-user-ID root, or their file system is mounted with nosuid; install the package uidmap again, or give --ids one",
    ),
    (&["BusyBox"], "this is a tool of busybox; install the package iproute2 or util-linux"),
    (
        &["Failed to open tun socket", "/dev/net/tun"],
        "this user cannot open /dev/net/tun; as root: modprobe tun; chmod 666 /dev/net/tun",
    ),
    (
        &["External interface not usable"],
        "pasta needs a default route by an Ethernet device; for a host without one, install the package slirp4netns",
    ),
    (&["failed to execute nft"], "install the package nftables"),
    (
        &["Operation not permitted"],
        "this root may not change the network, as in a Docker container; start that container with --cap-add NET_ADMIN, or use --network pasta",
    ),
    (
        &["Unknown device type", "Operation not supported", "Protocol not supported"],
        "this kernel likely has not loaded a module; as root: modprobe -a bridge veth nf_tables nft_chain_nat nft_masq nft_nat nft_ct nft_fib_ipv4",
    ),
];
