//! The steps from end to end, as a caller sees them.
//!
//! The tests run in threads of one process. So a test changes the umask, the
//! current directory, the environment, the limits and the signals only of the
//! programs that it starts, and waits only for its own children. A seccomp filter
//! is in force only in one thread and in the programs that it starts.

mod all;
mod bad_input;
mod caller;
mod calls;
mod escapes;
mod exec;
mod groups;
mod images;
mod left;
mod network;
mod places;
mod refusals;
mod signals;
mod streams;
mod terminal;
mod user_network;
mod users;
mod workspace;
