//! Writes an error as one line: the action, its object, the reason, the remedy.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use nix::errno::Errno;

use crate::said::doing::{Doing, errno_of};
use crate::{Exit, hint};

/// The name before each line of a step.
static NAME: OnceLock<&str> = OnceLock::new();

/// A failure with its own exit status. The status of all other failures is [`Exit::SETUP`].
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// An error with its own exit status, which [`status_of`] finds.
pub fn failure(exit: Exit, message: String) -> anyhow::Error {
    Failure { exit, message }.into()
}

/// The exit status for an error.
pub fn status_of(error: &anyhow::Error) -> Exit {
    error.downcast_ref::<Failure>().map_or(Exit::SETUP, |failure| failure.exit)
}

/// Sets the name that [`note`] and error lines begin with.
pub(crate) fn speak_as(name: &'static str) {
    // Called once, at the start of `main`. A second call would do no harm.
    let _ = NAME.set(name);
}

/// Writes one line to standard error, with the name of the step before it.
///
/// One write(2) writes the whole line, so that lines of several processes do not
/// mix. If standard error is closed or full, the line is lost.
pub fn note(text: &str) {
    let name = NAME.get().unwrap_or(&"common");
    let line = format!("{name}: {}\n", printable(text));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Reports an error as one line on standard error, and returns the exit status for it.
pub fn report(error: &anyhow::Error) -> Exit {
    match advice(error) {
        Some(advice) => note(&format!("{}; {advice}", causes(error))),
        None => note(&one_line(error)),
    }
    status_of(error)
}

/// Writes a text and a newline to standard output, and returns the exit status. Fails if standard
/// output is closed or full: `println!` panics then.
pub fn print(text: &str) -> Result<Exit> {
    writeln!(io::stdout(), "{text}").with_context(Doing::print).map(|()| Exit::SUCCESS)
}

/// The advice for a failed system call without a known remedy. Without a context, as
/// in an exercise, no remedy can be known. A refusal names the doctor.
fn advice(error: &anyhow::Error) -> Option<&'static str> {
    let errno = error.chain().find_map(errno_of).filter(|_| hint(error).is_none())?;
    if error.chain().count() == 1 {
        return Some(
            "no context says which call failed; add `.context(\"…\")` to each call that ends with `?`",
        );
    }
    REFUSALS.contains(&errno).then_some("`cargo xtask doctor` shows which calls this host refuses")
}

/// The errors of a call that a host refuses.
const REFUSALS: [Errno; 4] = [Errno::EPERM, Errno::EACCES, Errno::EINVAL, Errno::ENOSPC];

/// An error, its causes and its remedy, if known, in one line: `action: reason; remedy`.
pub fn one_line(error: &anyhow::Error) -> String {
    match hint(error) {
        Some(remedy) => format!("{}; {remedy}", causes(error)),
        None => causes(error),
    }
}

/// An error and its causes in one line, without a remedy.
pub fn causes(error: &anyhow::Error) -> String {
    let words = |cause: &(dyn std::error::Error + 'static)| match errno_of(cause) {
        // "Try again" would read as the remedy.
        Some(Errno::EAGAIN) => "Resource temporarily unavailable".to_owned(),
        Some(errno) => errno.desc().to_owned(),
        None => cause.to_string(),
    };
    error.chain().map(words).collect::<Vec<_>>().join(": ")
}

/// The text, with escapes for each character that controls a terminal or does not
/// show. A name then cannot forge a second line, send an escape sequence, reverse
/// the text or look like another name.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if shows(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Whether a terminal shows a character, alone or as a mark on the character before it.
fn shows(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Unicode calls these letters and marks, but they show nothing.
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}' => {
            false
        }
        // The standard library knows the other characters that do not show: controls, direction
        // marks, separators and blanks. After a first character, it does not escape marks.
        _ => format!("_{c}").escape_debug().eq(['_', c]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_error_without_a_remedy_gets_advice() {
        let bare = [
            anyhow::Error::from(Errno::EPERM),
            anyhow::Error::from(Errno::EXDEV),
            anyhow::Error::from(io::Error::from_raw_os_error(libc::EPERM)),
        ];
        for error in bare {
            let said = advice(&error).unwrap_or_default();
            assert!(said.starts_with("no context says which call failed; add "), "{error}");
        }
        let advice_for = |errno: Errno| advice(&anyhow::Error::from(errno).context("rename a"));
        assert!(advice_for(Errno::EPERM).is_some_and(|said| said.contains("doctor")));
        assert_eq!(advice_for(Errno::EXDEV), None);
        // A remedy is known.
        assert_eq!(advice(&anyhow::Error::from(Errno::EMFILE)), None);
        assert_eq!(advice(&anyhow::anyhow!("no layer is named")), None);
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("a\nb\u{1b}[1m\u{9b}é"), "a\\nb\\u{1b}[1m\\u{9b}é");
    }

    #[test]
    fn what_does_not_show_is_written_out() {
        for c in "\u{ad}\u{61c}\u{200b}\u{200d}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\
                  \u{2060}\u{2066}\u{2069}\u{206f}\u{feff}\u{fff9}\u{e0001}\u{e0041}\
                  \u{a0}\u{3000}\u{34f}\u{115f}\u{3164}\u{180e}\u{1d173}\u{e000}"
            .chars()
        {
            let written = format!("a\\u{{{:x}}}b", u32::from(c));
            assert_eq!(printable(&format!("a{c}b")), written);
        }
        // Scripts, marks on their letters, quotes, pictures.
        let shown = "Ünï e\u{301} Жя 漢字 עברית العربية हिन्दी \"it's\" \\ 🦀 ❤\u{fe0f} \u{fffd}";
        assert_eq!(printable(shown), shown);
    }
}
