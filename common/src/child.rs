//! The processes of a container: the child, process 1, the command, their signals, descriptors and terminal.

pub(crate) mod clone;
pub(crate) mod console;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod inherit;
pub(crate) mod init;
pub(crate) mod landlock;
pub(crate) mod line;
pub(crate) mod program;
pub(crate) mod pseudoterminal;
pub(crate) mod runner;
pub(crate) mod signals;
pub(crate) mod streams;
pub(crate) mod terminal;
pub(crate) mod timeout;
pub(crate) mod wait;
pub(crate) mod within;
