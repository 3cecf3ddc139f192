//! Lesson 19: the process that enters a container: that of a file, or the container's own
//! with changes.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::Capabilities;
use serde::de::DeserializeOwned;

use crate::capabilities::{Set, Sets};
use crate::config::MOST_BYTES;
use crate::json::parse;
use crate::numbers::Id;
use crate::process::Process;
use crate::users::User;
use crate::words::Words;

/// The caller's own files: what is a pipe there has its data coming.
const OWN: [&str; 3] = ["/dev/stdin", "/dev/fd", "/proc/self/fd"];

/// Reads a file of an engine, or standard input for `-`. Does not wait for what another
/// user may have put in the place of the file.
pub(crate) fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    let doing = || format!("read {}", path.display());
    let file: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(stdin()),
        false if OWN.iter().any(|own| path.starts_with(own)) => {
            Box::new(File::open(path).with_context(doing)?)
        }
        false => Box::new(common::open::regular(path).with_context(doing)?),
    };
    let text = common::open::whole(file, MOST_BYTES).with_context(doing)?;
    parse(&text).with_context(doing)
}

/// The process of a file, which stands alone, or else the container's own with the
/// changes that the caller wants.
pub(crate) fn process(
    given: Option<Process>,
    own: Process,
    words: &Words,
) -> Result<Process> {
    let process = given.map_or_else(|| changed(own, words), Ok)?;
    ensure!(!process.args.is_empty(), "process.args is missing; give a command");
    process.check().map(|()| process)
}

fn changed(mut process: Process, words: &Words) -> Result<Process> {
    process.args = words.rest.clone().into();
    process.terminal = words.has("tty");
    process.no_new_privileges |= words.has("no-new-privs");
    if let Some(directory) = words.get("cwd") {
        process.cwd = directory.to_owned();
    }
    if let Some(profile) = words.get("apparmor") {
        process.apparmor_profile = profile.to_owned();
    }
    let number = |word: &str| {
        let number = word.parse::<u32>().context("give a number").and_then(Id::try_from);
        number.with_context(|| format!("use the ID {word}"))
    };
    let User { uid, gid, additional_gids, .. } = &mut process.user;
    let user = words.get("user").into_iter().flat_map(|it| it.splitn(2, ':'));
    for (id, word) in [uid, gid].into_iter().zip(user) {
        *id = number(word)?;
    }
    for word in words.all("additional-gids") {
        additional_gids.push(number(word)?);
    }
    for variable in words.all("env") {
        let name = |it: &str| it.split('=').next().unwrap_or_default().to_owned();
        process.env.retain(|it| name(it) != name(variable));
        process.env.push(variable.to_owned());
    }
    let more = words.all("cap").map(str::to_owned).collect::<Vec<_>>();
    let more = Set::try_from(more).context("read --cap")?;
    let Sets { bounding, effective, permitted, .. } = &mut process.capabilities;
    for set in [bounding, effective, permitted] {
        set.0 = Capabilities::of_bits(set.0.bits() | more.0.bits());
    }
    Ok(process)
}
