//! Lines for the user, on standard error, and what is to be typed.

use std::ffi::OsStr;
use std::io::{self, Write};

/// Writes one line with the program's name before it. A standard error that is
/// closed or full loses it.
pub(crate) fn note(text: &str) {
    let line = format!("xtask: {}\n", common::printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// A word as one has to type it for a shell.
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
