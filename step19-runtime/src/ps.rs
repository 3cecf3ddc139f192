//! Lesson 19: the processes of a container, as the host sees them.

use std::process::Command;

use anyhow::{Context, Result, bail};
use common::Exit;
use serde_json::json;

use crate::freeze::own_groups;
use crate::state::Container;
use crate::words::Words;

/// Prints the processes: their numbers, or what ps(1) says of them.
pub(crate) fn ps(container: &Container, words: &Words) -> Result<Exit> {
    let found = common::processes_in(&own_groups(container)?.paths());
    let numbers: Vec<String> = found.iter().map(ToString::to_string).collect();
    match words.get("format") {
        Some("json") => {
            let numbers: Vec<i32> = found.iter().map(|it| it.as_raw()).collect();
            return Ok(common::print(&json!(numbers).to_string()));
        }
        None | Some("table") => {}
        Some(other) => bail!("ps --format {other}: give table or json"),
    }
    let mut tool = Command::new("ps");
    match words.rest.is_empty() {
        true => tool.arg("-ef"),
        false => tool.args(&words.rest),
    };
    let said = common::run(&mut tool, "")?;
    let mut lines = said.lines();
    let header = lines.next().unwrap_or_default();
    let place = header.split_whitespace().position(|it| it == "PID");
    let place = place
        .context("read what ps(1) says: it has no column PID; give other options")?;
    let is_ours = |line: &&str| {
        let number = line.split_whitespace().nth(place);
        number.is_some_and(|number| numbers.iter().any(|it| it == number))
    };
    let shown: Vec<&str> =
        Some(header).into_iter().chain(lines.filter(is_ours)).collect();
    Ok(common::print(&shown.join("\n")))
}
