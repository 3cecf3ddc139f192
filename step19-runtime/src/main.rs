//! Lesson 19: create and start, for an engine.

mod affinity;
mod calls;
mod capabilities;
mod config;
mod create;
mod device_program;
mod devices;
mod end;
mod enter;
mod features;
mod filter;
mod freeze;
mod groups;
mod hooks;
mod join;
mod limits;
mod list;
mod log;
mod meetings;
mod members;
mod memory;
mod mounts;
mod namespaces;
mod network;
mod newcomer;
mod options;
mod plan;
mod process;
mod program;
mod ps;
mod resources;
mod root;
mod rules;
mod run;
mod scheduler;
mod seal;
mod spec;
mod start;
mod state;
mod stats;
mod status;
mod terminal;
mod update;
mod users;
mod values;
mod verbs;
mod wanted;
mod words;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use common::Exit;

use crate::state::Container;
use crate::wanted::Wanted;
use crate::words::Words;

fn main() -> ExitCode {
    common::step!()
        .run_words(|words| run(words).unwrap_or_else(|error| log::tell(&error)))
}

/// Reads the options before the verb, and does what the verb says.
fn run(words: Vec<OsString>) -> Result<Exit> {
    let mut global = Words::read(Words::of(words)?, &verbs::OPTIONS, 0)?;
    log::open(&global)?;
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if global.has("version") {
        let newest = config::VERSIONS[1];
        return Ok(common::print(&format!("{name} version {version}\nspec: {newest}")));
    }
    if global.has("help") {
        return Ok(common::print(&verbs::help(name)));
    }
    wanted::check(&global)?;
    let verb = global.take(&format!("a verb: {}", verbs::names()))?;
    let root = list::root(global.get("root"), &verb)?;
    verb_of(&verb, global.rest, &root)
}

/// Does what the verb says.
fn verb_of(verb: &str, left: VecDeque<String>, root: &Path) -> Result<Exit> {
    let known = verbs::options(verb);
    let read = || {
        let words = Words::read(left.clone(), &known, usize::MAX)?;
        common::close_descriptors_but(words.number("preserve-fds")?.unwrap_or(0), &[])?;
        Ok::<_, anyhow::Error>(words)
    };
    if ["create", "run", "exec"].contains(&verb) {
        seal::use_copy()?;
    }
    log::detail(&format!("{verb} {left:?} with containers in {}", root.display()));
    let open = |mut words: Words| Container::open(root, &words.only_name()?);
    match verb {
        "create" => {
            let mut words = read()?;
            // The engine waits for the process of the container.
            let _ =
                create::create(root, &words.only_name()?, &Wanted::of(&words, false)?)?;
        }
        "start" => start::start(&open(read()?)?.lock()?)?,
        "run" => return run::run(root, &mut read()?),
        "state" => return list::state(root, &read()?.only_name()?),
        "kill" => {
            let mut words = read()?;
            end::signal(root, &mut words)?;
        }
        "delete" => {
            let mut words = read()?;
            end::delete(root, &words.only_name()?, words.has("force"))?;
        }
        "exec" => {
            let mut words = Words::read(left, &known, 0)?;
            let name = words.take("the name of a container")?;
            return enter::exec(root, &name, &words);
        }
        "ps" => {
            let mut words = Words::read(left, &known, 0)?;
            let name = words.take("the name of a container")?;
            return ps::ps(&Container::open(root, &name)?, &words);
        }
        "pause" | "resume" => {
            freeze::freeze(&open(read()?)?.lock()?, verb == "pause")?;
        }
        "update" => {
            let mut words = read()?;
            let container = Container::open(root, &words.only_name()?)?.lock()?;
            update::update(&container, &words)?;
        }
        "events" => {
            let mut words = read()?;
            return stats::events(&Container::open(root, &words.only_name()?)?, &words);
        }
        "list" => {
            let words = read()?;
            words.end()?;
            return list::list(
                root,
                words.get("format").unwrap_or("table"),
                words.has("quiet"),
            );
        }
        "spec" => {
            let words = read()?;
            words.end()?;
            let bundle = Path::new(words.get("bundle").unwrap_or("."));
            return spec::write(bundle, words.has("rootless"));
        }
        "features" => {
            read()?.end()?;
            return Ok(features::print());
        }
        other => bail!("there is no verb {other}; give {}", verbs::names()),
    }
    Ok(Exit::SUCCESS)
}
