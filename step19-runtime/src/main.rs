//! Lesson 19: create and start, for an engine.

mod affinity;
mod calls;
mod capabilities;
mod config;
mod create;
mod device_lines;
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
mod json;
mod life;
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
mod numbers;
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

use anyhow::Result;
use common::Exit;

use crate::state::Container;
use crate::wanted::Wanted;
use crate::words::Words;

const NAME: &str = env!("CARGO_PKG_NAME");

fn main() -> ExitCode {
    common::step!()
        .run_words(|words| run(words).unwrap_or_else(|error| log::tell(&error)))
}

/// Reads the options before the verb, and does what the verb says.
fn run(words: Vec<OsString>) -> Result<Exit> {
    let mut global = Words::read(Words::of(words)?, "", 0)?;
    log::open(&global)?;
    if global.has("version") {
        let (version, newest) = (env!("CARGO_PKG_VERSION"), config::VERSIONS[1]);
        return common::print(&format!("{NAME} version {version}\nspec: {newest}"));
    }
    if global.has("help") {
        return common::print(&verbs::help(NAME));
    }
    wanted::check(&global)?;
    let verb = global.take(&format!("a verb: {}", verbs::names()))?;
    let root = global.get("root").map(str::to_owned);
    verb_of(&verb, global.rest, root.as_deref())
}

/// Does what the verb says.
fn verb_of(verb: &str, left: VecDeque<String>, root: Option<&str>) -> Result<Exit> {
    verbs::check(verb)?;
    if ["create", "run", "exec"].contains(&verb) {
        seal::use_copy()?;
    }
    log::detail(format_args!("{verb} {left:?} with --root {root:?}"));
    // Words behind the name are those of a command.
    let has_command = ["exec", "ps"].contains(&verb);
    let among = if has_command { 0 } else { usize::MAX };
    let mut words = Words::read(left, verb, among)?;
    if words.has("help") {
        return common::print(&verbs::help(NAME));
    }
    let root = &*list::root(root, verb)?;
    let passed = if has_command { 0 } else { wanted::keep_passed(&words)? };
    let name = match verb {
        "kill" => return end::signal(root, &mut words).map(|()| Exit::SUCCESS),
        "list" | "spec" | "features" => String::new(),
        _ => words.take("the name of a container")?,
    };
    if !has_command {
        words.end()?;
    }
    let open = || Container::open(root, &name);
    match verb {
        // The engine waits for the process of the container.
        "create" => {
            drop(create::create(root, &name, &Wanted::of(&words, passed, false)?)?);
        }
        "start" => start::start(&open()?.lock()?)?,
        "run" => return run::run(root, &name, &words, passed),
        "state" => return list::state(root, &name),
        "delete" => end::delete(root, &name, words.has("force"))?,
        "exec" => return enter::exec(root, &name, &words),
        "ps" => return ps::ps(&open()?, &words),
        "update" => update::update(open()?, &words)?,
        "events" => return stats::events(&open()?, &words),
        "list" => return list::list(root, &words),
        "spec" => {
            let bundle = Path::new(words.get("bundle").unwrap_or("."));
            return spec::write(bundle, words.has("rootless"));
        }
        "features" => return features::print(),
        _ => freeze::freeze(&open()?.lock()?, verb == "pause")?,
    }
    Ok(Exit::SUCCESS)
}
