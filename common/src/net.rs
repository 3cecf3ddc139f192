//! Networks: what the caller asks for, the tools of the host, and what they leave.

pub(crate) mod names;
pub(crate) mod network;
pub(crate) mod seat;
pub(crate) mod slirp;
pub(crate) mod tool;
