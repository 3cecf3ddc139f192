//! Lesson 19: the verbs with their options, and the help.

use anyhow::{Result, ensure};

use crate::update;

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

/// The options: their names, with `|` before a short one and `=` at the end if there is a
/// value; the verbs that have them, or none if they stand before the verb; and what they
/// mean. Those of `update` for limits are beside it.
#[rustfmt::skip]
const OPTIONS: [(&str, &str, &str); 37] = [
    ("root=", "", "the directory for the state of containers"),
    ("log=", "", "write errors to this file, too"),
    ("log-format=", "", "text or json"),
    ("log-level=", "", "debug: write each call to the log"),
    ("systemd-cgroup", "", "not done here: use cgroupfs"),
    ("cgroup-manager=", "", "only cgroupfs"),
    ("rootless=", "", "only auto or false"),
    ("debug", "", "write each call to the log"),
    ("version|v", "", "print the version"),
    ("help|h", "", "print this"),
    ("process|p=", "exec", "a file with the process, as in config.json"),
    ("bundle|b=", "create run spec", "the directory of config.json"),
    ("rootless", "spec", "for a user who is not root"),
    ("detach|d", "run exec", "do not wait for the end"),
    ("keep", "run", "keep the state after the end"),
    ("pid-file=", "create run exec", "write the ID of the command to this file"),
    ("console-socket=", "create run exec", "send the terminal to this socket"),
    ("preserve-fds=", "create run exec", "pass this many open files, from 3 on"),
    ("no-pivot", "create run", "not done here"),
    ("no-new-keyring", "create run", "keep the keys of the caller"),
    ("all|a", "kill", "all processes of the container"),
    ("force|f", "delete", "end it first, if it runs"),
    ("ignore-paused", "exec", "also in a paused container"),
    ("cgroup=", "exec", "a group below that of the container"),
    ("tty|t", "exec", "with a terminal"),
    ("user|u=", "exec", "UID or UID:GID"),
    ("additional-gids|g=", "exec", "a further group"),
    ("cwd=", "exec", "the working directory"),
    ("env|e=", "exec", "a variable, as NAME=VALUE"),
    ("cap|c=", "exec", "a further capability"),
    ("no-new-privs", "exec", "no program gives more rights"),
    ("apparmor=", "exec", "the profile of AppArmor"),
    ("format|f=", "ps list", "table or json"),
    ("quiet|q", "list", "only the names"),
    ("resources|r=", "update", "a file with all limits; - is standard input"),
    ("stats", "events", "once, not again and again"),
    ("interval=", "events", "the time between two, such as 5s"),
];

/// Refuses a verb that is not in the list.
pub(crate) fn check(verb: &str) -> Result<()> {
    let is_known = VERBS.iter().any(|it| it.0 == verb);
    ensure!(is_known, "there is no verb {verb}; give {}", names());
    Ok(())
}

/// The options of a verb, or those before it: their names and their meaning.
pub(crate) fn options(verb: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = move |verbs: &str| verbs.split(' ').any(|it| it == verb);
    let own = OPTIONS.iter().filter(move |it| has(it.1)).map(|it| (it.0, it.2));
    let limits = update::OPTIONS.iter().filter(move |_| verb == "update");
    own.chain(limits.map(|it| (it.0, it.3)))
}

/// The names of all verbs, for an error.
pub(crate) fn names() -> String {
    VERBS.map(|it| it.0).join(", ")
}

pub(crate) fn help(program: &str) -> String {
    let mut text =
        format!("usage: {program} [OPTIONS] VERB [OPTIONS] [NAME]\n\noptions:");
    text.extend(options("").map(|it| shown("  ", it)));
    text += "\n\nverbs:";
    for (verb, words, what) in VERBS {
        text += &format!("\n  {:<20}  {what}", format!("{verb} {words}"));
        text.extend(options(verb).map(|it| shown("    ", it)));
    }
    text
}

/// An option as the caller writes it, `--bundle, -b VALUE` for `bundle|b=`, in a line.
fn shown(indent: &str, (names, meaning): (&str, &str)) -> String {
    let words = format!("--{}", names.replace('|', ", -").replace('=', " VALUE"));
    format!("\n{indent}{words:<28}  {meaning}")
}
