//! Lines for the user, on standard error.

use std::io::{self, Write};

/// Writes one line with the program's name before it. A standard error that is
/// closed or full loses it.
pub(crate) fn note(text: &str) {
    let line = format!("xtask: {}\n", printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// The text with control characters written out: a name out of an archive or
/// off a mirror must not forge a second line, nor reach the terminal as an
/// escape sequence.
pub(crate) fn printable(text: &str) -> String {
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

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\nb\u{1b}[1m\u{9b}é"), "a\\nb\\u{1b}[1m\\u{9b}é");
    }
}
