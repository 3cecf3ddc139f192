//! One line for an error: what was being done, on what, why, and what to do.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

use nix::errno::Errno;

use crate::{Exit, hint};

/// The name that stands before every line a step says.
static NAME: OnceLock<&str> = OnceLock::new();

/// A failure that brings its own exit status; every other one is
/// [`Exit::SETUP`].
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Says who is speaking in [`note`] and in error lines.
pub(crate) fn speak_as(name: &'static str) {
    // Told once, at the start of `main`; a second name would be a bug that
    // changes nothing but a prefix.
    let _ = NAME.set(name);
}

/// Writes one line to standard error, with the name of the step before it.
///
/// The line goes out in one write(2), so that lines of several processes do
/// not mix. A standard error that is closed or full loses it.
pub fn note(text: &str) {
    let name = NAME.get().unwrap_or(&"common");
    let line = format!("{name}: {}\n", printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Reports an error and says how the process should end.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    note(&one_line(error));
    error.downcast_ref::<Failure>().map_or(Exit::SETUP, |failure| failure.exit)
}

/// An error with its causes and, where one is known, its remedy, in one line:
/// `what was being done: why it failed; what to do`.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    let mut errno = None;
    for cause in error.chain() {
        if !line.is_empty() {
            line.push_str(": ");
        }
        errno = errno.or_else(|| errno_of(cause));
        match errno_of(cause) {
            Some(errno) => line.push_str(errno.desc()),
            None => line.push_str(&cause.to_string()),
        }
    }
    if let Some(remedy) = errno.and_then(|errno| hint(&line, errno)) {
        line.push_str("; ");
        line.push_str(&remedy);
    }
    line
}

/// The error number in a cause, whether it came by way of nix or of std.
pub fn errno_of(cause: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    let from_std = |error: &io::Error| error.raw_os_error().map(Errno::from_raw);
    let from_nix = cause.downcast_ref::<Errno>().copied();
    from_nix.or_else(|| cause.downcast_ref::<io::Error>().and_then(from_std))
}

/// The text with control characters written out, so that a name with a newline
/// cannot forge a second line nor an escape sequence reach a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_one_line_without_a_bare_errno() {
        let from_nix = Err::<(), _>(Errno::EXDEV).context("rename a to b");
        let from_std =
            Err::<(), _>(io::Error::from_raw_os_error(libc::EXDEV)).context("rename a to b");
        for error in [from_nix, from_std] {
            let line = one_line(&error.expect_err("made as an error"));
            assert_eq!(line, "rename a to b: Cross-device link");
        }
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\nb\u{1b}[1m\u{9b}é"), "a\\nb\\u{1b}[1m\\u{9b}é");
    }
}
