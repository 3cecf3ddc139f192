//! `cargo xtask man` and `cargo xtask completions`: the command lines of the tasks and the
//! steps, for man(1) and for shells. Both come from what `--help` prints.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, CommandFactory, ValueHint};
use clap_complete::Shell;

use crate::file::make_dir;
use crate::{cargo, say};

/// Write the manual pages of the tasks and the steps to a directory
///
/// `man -l DIR/step08-overlay.1` shows one of them.
#[derive(clap::Args)]
pub(crate) struct Man {
    /// The directory, such as /usr/local/share/man/man1
    dir: PathBuf,
}

/// Print the completions of a shell for the steps, and for `xtask`
///
/// They define `xtask`, which runs `cargo xtask`: cargo's own completions know no tasks.
#[derive(clap::Args)]
pub(crate) struct Completions {
    #[arg(value_parser = ["bash", "fish", "zsh"])]
    shell: String,
}

impl Man {
    pub(crate) fn run(self) -> Result<()> {
        make_dir(&self.dir)?;
        let doing = || format!("write the pages to {}", self.dir.display());
        for program in [crate::Cli::command().name("cargo-xtask")].into_iter().chain(steps()?) {
            clap_mangen::generate_to(program, &self.dir).with_context(doing)?;
        }
        say::line(&format!("{}: the manual pages", self.dir.display()))
    }
}

impl Completions {
    pub(crate) fn run(self) -> Result<()> {
        let shell: Shell = self.shell.parse().map_err(anyhow::Error::msg)?;
        let mut text = match shell {
            Shell::Fish => "function xtask; cargo xtask $argv; end\n".to_owned(),
            _ => "xtask() { cargo xtask \"$@\"; }\n".to_owned(),
        };
        for mut program in [crate::Cli::command().name("xtask")].into_iter().chain(steps()?) {
            // clap_complete 4.6 confuses a hyphen in the name with the start of a verb.
            let (name, mut out) = (program.get_name().to_owned(), Vec::new());
            let other = name.replace('-', "_");
            clap_complete::generate(shell, &mut program, &other, &mut out);
            text += &String::from_utf8_lossy(&out).replace(&other, &name);
        }
        say::print(&text)
    }
}

/// The command line of each step.
fn steps() -> Result<Vec<clap::Command>> {
    let lessons = lessons::all()?;
    let steps = lessons.iter().map(|lesson| {
        let step = cargo::step(lesson)?;
        let doing = || format!("ask {} for its help", step.display());
        let output = Command::new(&step).arg("--help").output().with_context(doing)?;
        let help = String::from_utf8(output.stdout).with_context(doing)?;
        Ok(read(&lesson.name, &help).about(lesson.goal.clone()))
    });
    steps.collect()
}

/// Reads a help: after two spaces, a line has an option or a verb, and what it does after
/// two spaces more. The options of a verb follow it, after four spaces, or are in brackets.
fn read(name: &str, help: &str) -> clap::Command {
    let new = |name: &str| {
        let command = clap::Command::new(name.to_owned());
        command.disable_help_flag(true).disable_version_flag(true).disable_help_subcommand(true)
    };
    let (mut step, mut verbs) = (new(name), Vec::new());
    let usage = help.lines().find_map(|line| line.split_once("[OPTIONS] ")).unwrap_or_default().1;
    let verbs_of_usage = usage.split(" | ").filter(|_| usage.contains(" | "));
    for line in help.lines().filter_map(|line| line.strip_prefix("  ")).chain(verbs_of_usage) {
        let (words, what) = line.trim_start().split_once("  ").unwrap_or((line.trim_start(), ""));
        let what = what.trim();
        match (words.starts_with('-'), verbs.pop()) {
            (true, None) => step = step.arg(option(words, what)),
            (true, Some(verb)) => verbs.push(clap::Command::arg(verb, option(words, what))),
            (false, before) => {
                verbs.extend(before);
                let mut parts = words.split(['[', ']']);
                let verb = new(parts.next().and_then(|it| it.split(' ').next()).unwrap_or(words));
                let options = parts.filter(|it| it.starts_with('-')).map(|it| option(it, ""));
                verbs.push(verb.about(what.to_owned()).args(options));
            }
        }
    }
    if !verbs.is_empty() {
        return step.subcommands(verbs);
    }
    let command = Arg::new("COMMAND").num_args(1..).trailing_var_arg(true);
    let command = command.required(!usage.contains("[COMMAND"));
    step.arg(command.value_hint(ValueHint::CommandWithArguments).help("the command"))
}

/// An option: its names with a comma between them, and the name of its value.
fn option(words: &str, what: &str) -> Arg {
    let (names, value) = match words.rsplit_once(' ') {
        Some((names, value)) if !value.starts_with('-') => (names, Some(value.to_owned())),
        _ => (words, None),
    };
    let mut arg = Arg::new(names.to_owned()).help(what.to_owned());
    for name in names.split(", ") {
        arg = match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(long), _) => arg.long(long.to_owned()),
            (None, short) => arg.short(short.and_then(|it| it.chars().next())),
        };
    }
    match value {
        Some(value) => arg.value_name(value).action(ArgAction::Append),
        None => arg.action(ArgAction::SetTrue),
    }
}
