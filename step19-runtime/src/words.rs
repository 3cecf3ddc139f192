//! Lesson 19: the command line of OCI runtimes: options, a verb, options of the verb.

use std::collections::VecDeque;
use std::ffi::OsString;

use anyhow::{Context, Result, bail};

use crate::verbs::options;

/// Options that have been read, and the words that are none.
#[derive(Debug, Default)]
pub(crate) struct Words {
    options: Vec<(&'static str, String)>,
    pub(crate) rest: VecDeque<String>,
}

impl Words {
    /// The words of the command line. An option that is not UTF-8 is none of ours.
    pub(crate) fn of(words: Vec<OsString>) -> Result<VecDeque<String>> {
        let text = |word: OsString| {
            word.into_string().ok().context("read the command line: it is not UTF-8")
        };
        words.into_iter().map(text).collect()
    }

    /// Reads the options of a verb, or those before it. Goes on behind as many other
    /// words as `among` says: after more of them, all words are left as they are.
    pub(crate) fn read(
        mut left: VecDeque<String>,
        verb: &str,
        among: usize,
    ) -> Result<Words> {
        let mut words = Words::default();
        while let Some(word) = left.pop_front() {
            if word == "--" {
                break;
            }
            if !word.starts_with('-') || word == "-" {
                words.rest.push_back(word);
                if words.rest.len() > among {
                    break;
                }
                continue;
            }
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*word, None),
            };
            let name = name.strip_prefix("--").unwrap_or(&name[1..]);
            let mut names = options(verb).map(|it| it.0).chain(["help|h"]);
            let is_it =
                |it: &&str| it.trim_end_matches('=').split('|').any(|it| it == name);
            let option = names.find(is_it);
            let option =
                option.with_context(|| format!("unknown option {word}; see --help"))?;
            let (long, _) = option.split_once(['|', '=']).unwrap_or((option, ""));
            let value = match (option.ends_with('='), value) {
                (true, Some(value)) => value,
                (true, None) => left
                    .pop_front()
                    .with_context(|| format!("the option {word} needs a value"))?,
                (false, None) => "true".to_owned(),
                (false, Some(value)) if value == "true" => value,
                (false, Some(value)) if value == "false" => continue,
                (false, Some(_)) => bail!("the option --{long} takes no value"),
            };
            words.options.push((long, value));
        }
        words.rest.extend(left);
        Ok(words)
    }

    /// The value of an option. The last one counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// The values of an option that may come several times.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.options
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| &**value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The number that an option gives.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let number = |word: &str| {
            let number = word.parse().ok();
            number.with_context(|| format!("read --{name} {word}: give a number"))
        };
        self.get(name).map(number).transpose()
    }

    /// Takes the next word that is no option.
    pub(crate) fn take(&mut self, what: &str) -> Result<String> {
        self.rest.pop_front().with_context(|| format!("give {what}"))
    }

    /// Refuses words that are left.
    pub(crate) fn end(&self) -> Result<()> {
        let next = self.rest.front();
        next.map_or(Ok(()), |word| bail!("{word} is too much; leave it out"))
    }
}

/// A number with one of these units, and what the unit stands for.
pub(crate) fn with_unit(word: &str, units: &[(&str, i64)]) -> Option<i64> {
    let at = word.find(|it: char| it.is_ascii_alphabetic()).unwrap_or(word.len());
    let (number, unit) = word.split_at(at);
    let factor = units.iter().find(|it| it.0 == unit)?.1;
    number.parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, verb: &str, among: usize) -> Result<Words> {
        Words::read(line.split(' ').map(str::to_owned).collect(), verb, among)
    }

    #[test]
    fn options_stand_before_and_after_names() {
        let words = read("-p a NAME --tty --process=b -e A=b --env C=d x", "exec", 9);
        let words = words.expect("right");
        assert_eq!((words.get("process"), words.has("tty")), (Some("b"), true));
        assert_eq!(words.all("env").collect::<Vec<_>>(), ["A=b", "C=d"]);
        assert_eq!(words.rest, ["NAME", "x"]);
        let words = read("-t NAME sh -t", "exec", 0).expect("right");
        assert_eq!(words.rest, ["NAME", "sh", "-t"]);
        assert!(read("--help", "kill", 9).expect("right").has("help"));
        let words = read("--tty=false -- -x", "exec", 9).expect("right");
        assert_eq!((words.has("tty"), &words.rest[0][..]), (false, "-x"));
    }

    #[test]
    fn other_options_are_refused() {
        let lines =
            ["--abc", "-x", "--tty=1", "--process", "-p", "-px", "--=a", "--root=a"];
        for line in lines {
            assert!(read(line, "exec", 9).is_err(), "{line}");
        }
    }
}
