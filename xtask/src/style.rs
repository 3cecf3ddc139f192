//! Colours for a terminal.

use std::env;
use std::io::IsTerminal;

/// Whether to colour what goes to `out`: on a terminal that has not been asked
/// to go without, see no-color.org.
pub(crate) fn colour(out: &impl IsTerminal) -> bool {
    out.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sets text in colour, or leaves it alone.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    colour: bool,
}

impl Style {
    pub(crate) fn new(colour: bool) -> Style {
        Style { colour }
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

    /// The colour ends before the newline, so that a pager shows each line in
    /// its own.
    fn set(self, code: &str, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let line = text.strip_suffix('\n').unwrap_or(text);
        format!("\x1b[{code}m{line}\x1b[0m{}", &text[line.len()..])
    }
}
