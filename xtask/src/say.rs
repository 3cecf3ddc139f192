//! Output of the tasks, and words quoted for a shell.

use std::ffi::OsStr;
use std::io::{self, Write};

use anyhow::{Context, Result};

/// Writes to standard output. `println!` panics when standard output is full.
///
/// A closed pipe ends this program: see [`common::end_on_closed_pipe`].
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("write to standard output")
}

/// Writes one line to standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    print(&format!("{}\n", common::printable(text)))
}

/// Writes one line that begins with the program's name. If standard error is closed
/// or full, the line is lost.
pub(crate) fn note(text: &str) {
    let line = format!("xtask: {}\n", common::printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// A word, quoted for a shell if it needs quotes.
pub(crate) fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_path_is_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
