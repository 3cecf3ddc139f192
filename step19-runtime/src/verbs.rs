//! Lesson 19: the verbs with their options, and the help.

use anyhow::{Result, ensure};

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

/// What an option means.
#[rustfmt::skip]
const MEANINGS: [(&str, &str); 51] = [
    ("root=", "the directory for the state of containers"),
    ("log=", "a file for errors, in the place of standard error"),
    ("log-format=", "text or json"), ("log-level=", "debug writes more"),
    ("debug", "write more"), ("systemd-cgroup", "not done here: use cgroupfs"),
    ("cgroup-manager=", "only cgroupfs"), ("rootless=", "only auto or false"),
    ("version|v", "print the version"), ("help|h", "print this"),
    ("bundle|b=", "the directory of config.json"),
    ("pid-file=", "write the ID of the command to this file"),
    ("console-socket=", "send the terminal to this socket"),
    ("preserve-fds=", "pass this many open files, from 3 on"),
    ("no-pivot", "not done here"), ("no-new-keyring", "keep the keys of the caller"),
    ("all|a", "all processes of the container"), ("force|f", "end it first, if it runs"),
    ("detach|d", "do not wait for the end"), ("keep", "keep the state after the end"),
    ("process|p=", "a file with the process, as in config.json"),
    ("ignore-paused", "also in a paused container"),
    ("cgroup=", "a group below that of the container"), ("tty|t", "with a terminal"),
    ("user|u=", "UID or UID:GID"), ("additional-gids|g=", "a further group"),
    ("cwd=", "the working directory"), ("env|e=", "a variable, as NAME=VALUE"),
    ("cap|c=", "a further capability"), ("no-new-privs", "no program gives more rights"),
    ("apparmor=", "the profile of AppArmor"), ("format|f=", "table or json"),
    ("resources|r=", "a file with all limits; - is standard input"), ("memory=", "bytes"),
    ("memory-reservation=", "bytes that it keeps if others want them"),
    ("memory-swap=", "bytes, memory and swap together"), ("pids-limit=", "processes"),
    ("blkio-weight=", "the share of disks"), ("cpu-share=", "the share of processors"),
    ("cpu-period=", "microseconds, in which the quota counts"),
    ("cpu-quota=", "microseconds"), ("cpu-burst=", "microseconds that it may save up"),
    ("cpu-rt-period=", "as cpu-period, for realtime"),
    ("cpu-rt-runtime=", "as cpu-quota, for realtime"),
    ("cpuset-cpus=", "processors, such as 0-2"), ("cpuset-mems=", "nodes of memory"),
    ("cpu-idle=", "1 runs it only when others rest"),
    ("stats", "once, not again and again"),
    ("interval=", "the time between two, such as 5s"), ("quiet|q", "only the names"),
    ("rootless", "for a user who is not root"),
];

/// Refuses a verb that is not in the list.
pub(crate) fn check(verb: &str) -> Result<()> {
    let is_known = VERBS.iter().any(|it| it.0 == verb);
    ensure!(is_known, "there is no verb {verb}; give {}", names());
    Ok(())
}

/// The options of a verb, as [`Words::read`] wants them.
///
/// [`Words::read`]: crate::words::Words::read
pub(crate) fn options(verb: &str) -> Vec<&'static str> {
    match verb {
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
        _ => Vec::new(),
    }
}

/// The names of all verbs, for an error.
pub(crate) fn names() -> String {
    VERBS.map(|it| it.0).join(", ")
}

pub(crate) fn help(program: &str) -> String {
    let mut text =
        format!("usage: {program} [OPTIONS] VERB [OPTIONS] [NAME]\n\noptions:");
    OPTIONS.iter().for_each(|option| text += &shown("  ", option));
    text += "\n\nverbs:";
    for (verb, words, what) in VERBS {
        text += &format!("\n  {:<20}  {what}", format!("{verb} {words}"));
        options(verb).iter().for_each(|it| text += &shown("    ", it));
    }
    text
}

/// An option as the caller writes it, `--bundle, -b VALUE` for `bundle|b=`, in a line.
fn shown(indent: &str, option: &str) -> String {
    let words = format!("--{}", option.replace('|', ", -").replace('=', " VALUE"));
    let meaning = MEANINGS.iter().find(|it| it.0 == option).map_or("", |it| it.1);
    format!("\n{indent}{words:<28}  {meaning}").trim_end().to_owned()
}
