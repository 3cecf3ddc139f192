//! The command line: options, their values, and where the root is.

pub(crate) mod ids;
pub(crate) mod limits;
pub(crate) mod process;
pub(crate) mod step;
pub(crate) mod verbs;
pub(crate) mod workspace;
