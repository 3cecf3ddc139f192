//! Colours for a terminal.

use std::env;
use std::io::{self, IsTerminal};

/// Whether to write colours to `out`: only on a terminal, and not with `$NO_COLOR`;
/// see no-color.org.
fn colour(out: &impl IsTerminal) -> bool {
    out.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Adds colours to text, or leaves it unchanged.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    pub(crate) fn new(colour: bool) -> Style {
        Style { colour }
    }

    pub(crate) fn of_stdout() -> Style {
        Style::new(colour(&io::stdout()))
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.set("1", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.set("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.set("32", text)
    }

    pub(crate) fn blue(self, text: &str) -> String {
        self.set("34", text)
    }

    /// The colour ends before the newline, because a pager shows each line
    /// separately.
    fn set(self, code: &str, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        format!("\x1b[{code}m{line}\x1b[0m{}", &text[line.len()..])
    }
}
