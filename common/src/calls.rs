//! System calls that nix does not have, by their names. A failure is the
//! error number of the call; its manual page says when.

pub(crate) mod bpf;
pub(crate) mod capabilities;
pub(crate) mod device;
pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod seccomp;
