//! Lesson 19: the verbs with their options, and the help.

use anyhow::{Result, bail};

use crate::{newcomer, update, wanted};

/// The options before the verb.
#[rustfmt::skip]
pub(crate) const OPTIONS: [&str; 10] = [
    "root=", "log=", "log-format=", "log-level=", "systemd-cgroup", "cgroup-manager=",
    "rootless=", "debug", "version|v", "help|h",
];

/// The verbs, the words after their options, and what they do.
#[rustfmt::skip]
const VERBS: [(&str, &str, &str); 15] = [
    ("create", "NAME", "make a container from a bundle; it waits for start"),
    ("start", "NAME", "start the command of a container"),
    ("state", "NAME", "print the state of a container"),
    ("kill", "NAME SIGNAL", "send a signal to a container"),
    ("delete", "NAME", "remove a container that has ended"),
    ("run", "NAME", "run the container of a bundle"),
    ("exec", "NAME COMMAND", "run another command in a container"),
    ("ps", "NAME", "list the processes of a container"),
    ("pause", "NAME", "stop all processes of a container for a while"),
    ("resume", "NAME", "let a paused container go on"),
    ("update", "NAME", "change the limits of a container"),
    ("events", "NAME", "print what a container uses"),
    ("list", "", "list the containers"),
    ("spec", "", "write config.json to a bundle"),
    ("features", "", "print what this runtime can do"),
];

/// The options of a verb, as [`Words::read`] wants them.
///
/// [`Words::read`]: crate::words::Words::read
pub(crate) fn options(verb: &str) -> Result<Vec<&'static str>> {
    Ok(match verb {
        "create" => wanted::OPTIONS.to_vec(),
        "kill" => vec!["all|a"],
        "delete" => vec!["force|f"],
        "run" => [&wanted::OPTIONS[..], &["detach|d", "keep"]].concat(),
        "exec" => newcomer::OPTIONS.to_vec(),
        "ps" => vec!["format|f="],
        "update" => update::OPTIONS.map(|it| it.0).to_vec(),
        "events" => vec!["stats", "interval="],
        "list" => vec!["format|f=", "quiet|q"],
        "spec" => vec!["bundle|b=", "rootless"],
        "start" | "state" | "pause" | "resume" | "features" => Vec::new(),
        other => bail!("there is no verb {other}; give {}", names()),
    })
}

/// The names of all verbs, for an error.
pub(crate) fn names() -> String {
    VERBS.map(|it| it.0).join(", ")
}

pub(crate) fn help(program: &str) -> String {
    let mut text =
        format!("usage: {program} [OPTIONS] VERB [OPTIONS] [NAME]\n\noptions:");
    OPTIONS.iter().for_each(|option| text += &format!("\n  {}", shown(option)));
    text += "\n\nverbs:";
    for (verb, words, what) in VERBS {
        text += &format!("\n  {:<20}  {what}", format!("{verb} {words}"));
        options(verb)
            .iter()
            .flatten()
            .for_each(|it| text += &format!("\n    {}", shown(it)));
    }
    text
}

/// An option as the caller writes it: `--bundle, -b VALUE` for `bundle|b=`.
fn shown(option: &str) -> String {
    format!("--{}", option.replace('|', ", -").replace('=', " VALUE"))
}
