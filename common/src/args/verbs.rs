//! What the caller asks for: a start, or something of a container that has a name.

use std::ffi::{CString, OsStr};

use anyhow::{Context, Result, bail, ensure};
use libc::c_int;

use crate::args::limits::number;
use crate::signal_number;

/// An option that asks for something else than a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Runs a command in the container.
    Exec,
    /// Lists the containers.
    List,
    /// Prints what the container has written.
    Logs,
    /// Ends the container, with time to end by itself.
    Stop,
    /// Sends a signal to the container.
    Kill,
    /// Removes what is left of a container that has ended.
    Remove,
    /// Waits for the end of the container.
    Wait,
}

impl Verb {
    /// The option, and the options that go with it.
    fn options(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Verb::Exec => ("--exec", &["--user", "--env", "--workdir"]),
            Verb::List => ("--list", &["--format"]),
            Verb::Logs => ("--logs", &["--follow", "--timestamps"]),
            Verb::Stop => ("--stop", &["--time"]),
            Verb::Kill => ("--kill", &[]),
            Verb::Remove => ("--remove", &[]),
            Verb::Wait => ("--wait", &[]),
        }
    }
}

/// The verbs with options that a start does not take.
const WITH_OPTIONS: [Verb; 3] = [Verb::List, Verb::Logs, Verb::Stop];

/// What the options of names say. By default: a start, in the foreground.
#[derive(Debug, Default)]
pub struct Names {
    /// What the caller asks for; nothing for a start.
    pub verb: Option<Verb>,
    /// The name of the container, by `--name` or by the verb.
    pub name: Option<String>,
    /// Whether the container stays when the caller goes.
    pub detach: bool,
    /// Whether nothing of the container is left after its end.
    pub removes: bool,
    /// Whether the list is for a program.
    pub json: bool,
    /// Whether to print the log until the end of the container.
    pub follow: bool,
    /// Whether to print the time of each line of the log.
    pub timestamps: bool,
    /// The seconds that a container has to end by itself.
    pub time: Option<u64>,
    /// The number of the signal for `--kill`.
    pub signal: Option<c_int>,
}

impl Names {
    /// Reads a verb, and the name of its container.
    pub(super) fn ask(&mut self, verb: Verb, name: &OsStr) -> Result<()> {
        if let Some(other) = self.verb {
            bail!("{} and {}: give one of them", other.options().0, verb.options().0);
        }
        self.verb = Some(verb);
        if verb != Verb::List {
            self.name = Some(checked(verb.options().0, name)?);
        }
        Ok(())
    }

    /// Reads the value of `--format`.
    pub(super) fn set_format(&mut self, format: &OsStr) -> Result<()> {
        ensure!(format == "json", "--format {}: give json", format.display());
        self.json = true;
        Ok(())
    }

    /// Reads the value of `--time`.
    pub(super) fn set_time(&mut self, seconds: &OsStr) -> Result<()> {
        let read = seconds.to_str().and_then(number).filter(|&seconds| seconds <= MOST_SECONDS);
        self.time = Some(read.with_context(|| {
            format!("--time {}: give seconds, at most {MOST_SECONDS}", seconds.display())
        })?);
        Ok(())
    }

    /// Checks that the options `seen` go together, and with the words after them.
    pub(super) fn check(&mut self, seen: &[&'static str], words: &[CString]) -> Result<()> {
        let Some(verb) = self.verb else {
            for verb in WITH_OPTIONS {
                let (name, options) = verb.options();
                if let Some(option) = options.iter().find(|option| seen.contains(option)) {
                    bail!("{option} needs {name}");
                }
            }
            ensure!(!self.removes || self.detach, "--rm needs --detach: nothing else is left");
            return Ok(());
        };
        let (name, options) = verb.options();
        match seen.iter().find(|option| **option != name && !options.contains(option)) {
            Some(option) => bail!("{option} does not go with {name}"),
            None => self.take_words(verb, words),
        }
    }

    /// Whether there is a command to run.
    pub(super) fn runs_command(&self) -> bool {
        self.verb.is_none_or(|verb| verb == Verb::Exec)
    }

    /// Whether standard input, output and error of the caller are those of a command.
    pub(super) fn lends_streams(&self) -> bool {
        self.runs_command() && !self.detach
    }

    /// Reads the words after a verb that runs no command: only `--kill` takes one.
    fn take_words(&mut self, verb: Verb, words: &[CString]) -> Result<()> {
        match (verb, words) {
            (Verb::Exec, _) | (_, []) => Ok(()),
            (Verb::Kill, [signal]) => {
                self.signal = Some(signal_number(&signal.to_string_lossy())?);
                Ok(())
            }
            (verb, [word, ..]) => {
                bail!("{}: {} takes no command", word.to_string_lossy(), verb.options().0)
            }
        }
    }
}

/// A week.
const MOST_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The longest name of a container, in bytes.
const LONGEST: usize = 64;

/// A name of a container, after a check. A name that begins with a dot is for the step.
pub(super) fn checked(option: &str, name: &OsStr) -> Result<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let text = name.to_str().filter(|text| text.bytes().all(is_part) && text.len() <= LONGEST);
    let text = text.filter(|text| text.starts_with(|first: char| first.is_ascii_alphanumeric()));
    text.map(str::to_owned).with_context(|| {
        format!(
            "{option} {}: give at most {LONGEST} letters, digits, _ . and -, with a letter or a digit first",
            name.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_no_option() {
        for good in ["a", "web-1", "a.b_c", "0"] {
            assert!(checked("--name", OsStr::new(good)).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "-a", "_a", "a/b", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert!(checked("--name", OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
