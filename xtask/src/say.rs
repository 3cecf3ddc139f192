//! Lines for the user, on standard error.

use std::io::{self, Write};

/// Writes one line with the program's name before it. A standard error that is
/// closed or full loses it.
pub(crate) fn note(text: &str) {
    let line = format!("xtask: {}\n", common::printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}
