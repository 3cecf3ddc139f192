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
    let numbers: Vec<i32> = found.iter().map(|it| it.as_raw()).collect();
    match words.get("format") {
        None | Some("table") => {}
        Some("json") => return common::print(&json!(numbers).to_string()),
        Some(other) => bail!("there is no --format {other}; give table or json"),
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
        let number = line.split_whitespace().nth(place).and_then(|it| it.parse().ok());
        number.is_some_and(|it| numbers.contains(&it))
    };
    let shown: Vec<&str> =
        Some(header).into_iter().chain(lines.filter(is_ours)).collect();
    common::print(&shown.join("\n"))
}
