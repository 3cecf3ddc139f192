//! Lesson 17: the list of containers.

use std::io::{IsTerminal, stderr};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use common::Exit;
use serde::Serialize;

use crate::facts;
use crate::state::Container;

/// A line of the list.
#[derive(Serialize)]
struct Row {
    name: String,
    /// Process 1 of the container, on the host.
    process: Option<i32>,
    state: &'static str,
    /// The exit status, after the end.
    status: Option<u8>,
    /// Seconds.
    age: u64,
    root: String,
    ports: Vec<String>,
}

/// Lists the containers of this user: as a table, or as JSON.
pub(crate) fn list(json: bool) -> Result<Exit> {
    let mut rows = Vec::new();
    for container in Container::all()? {
        match Row::of(&container) {
            Ok(row) => rows.push(row),
            Err(error) if container.has_name() => common::note(&common::one_line(&error)),
            // It has just been removed.
            Err(_) => {}
        }
    }
    if json {
        let text = serde_json::to_string_pretty(&rows).context("write the list")?;
        return common::print(&text);
    }
    let head = ["NAME", "PROCESS", "STATE", "AGE", "ROOT", "PORTS"].map(str::to_owned);
    let mut table = vec![head];
    table.extend(rows.iter().map(Row::cells));
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max();
    let mut lines = Vec::new();
    for row in &table {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            line += &format!("{cell:<width$}  ");
        }
        lines.push(line.trim_end().to_owned());
    }
    common::print(&lines.join("\n"))
}

impl Row {
    fn of(container: &Container) -> Result<Row> {
        // In this order: the end is written before the keeper ends.
        let has_keeper = container.has_keeper()?;
        let facts = container.facts()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let status = facts::status_in(&container.open_end()?);
        let state = match (has_keeper, status, facts.init) {
            (true, _, Some(_)) => "running",
            (true, _, None) => "starting",
            (false, Some(_), _) => "ended",
            (false, None, _) => "killed",
        };
        Ok(Row {
            name: container.name.clone(),
            process: facts.init.filter(|_| has_keeper).map(|init| init.id),
            state,
            status,
            age: now.as_secs().saturating_sub(facts.since),
            root: facts.root,
            ports: facts.ports,
        })
    }

    fn cells(&self) -> [String; 6] {
        let process = self.process.map_or("-".to_owned(), |process| process.to_string());
        let state = match self.status {
            Some(status) if self.state == "ended" => format!("ended ({status})"),
            _ => self.state.to_owned(),
        };
        let age = match self.age {
            age @ 0..120 => format!("{age} s"),
            age @ 120..7200 => format!("{} min", age / 60),
            age @ 7200..172_800 => format!("{} h", age / 3600),
            age => format!("{} d", age / 86400),
        };
        let root = common::printable(&self.root);
        [self.name.clone(), process, state, age, root, self.ports.join(", ")]
    }
}

/// Lets a container run that cannot be on the list, for example because the disk is full,
/// if nobody needs it there.
pub(crate) fn need<T>(is_needed: bool, state: Result<T>) -> Result<Option<T>> {
    match state {
        Err(error) if !is_needed => {
            if stderr().is_terminal() {
                let why = common::one_line(&error);
                common::note(&format!("the container is on no list: {why}"));
            }
            Ok(None)
        }
        state => state.map(Some),
    }
}
