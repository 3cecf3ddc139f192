//! Files and directories that others may change meanwhile: opened, bound, made and removed by descriptor.

pub(crate) mod bind;
pub(crate) mod copy;
pub mod open;
pub(crate) mod overlay;
#[cfg(test)]
pub(crate) mod place;
pub(crate) mod private;
pub(crate) mod remove;
pub(crate) mod scratch;
pub(crate) mod trust;
pub(crate) mod users;
