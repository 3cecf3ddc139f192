//! Measures with hyperfine.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressIterator;
use serde_json::Value;

use super::{Contender, Row};
use crate::say::note;

/// The number of runs of a command before the next command runs.
const TURN: u32 = 5;

/// How commands are measured.
#[derive(Clone, Copy)]
pub(super) struct Turns<'a> {
    /// The number of runs of each command.
    pub(super) runs: u32,
    /// The directory for the results of hyperfine, and the commands' `XDG_RUNTIME_DIR`.
    pub(super) place: &'a Path,
    /// Runs before each command, and is not measured.
    pub(super) prepare: Option<&'a str>,
}

/// Runs a command once, as it is measured. Returns the reason if it fails.
pub(super) fn try_once(command: &str, place: &Path) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env("XDG_RUNTIME_DIR", place).stdin(Stdio::null());
    let output = shell.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().next().unwrap_or("it printed no reason");
    if output.status.success() { Ok(()) } else { Err(why.to_owned()) }
}

impl Turns<'_> {
    /// Whether a command works. If not, prints the reason.
    pub(super) fn works(&self, it: &Contender) -> bool {
        let prepare = self.prepare.unwrap_or("true");
        let tried = try_once(&format!("{prepare}; {}", it.command), self.place);
        if let Err(why) = &tried {
            note(&format!("left out: {} does not run here: {why}", it.name));
        }
        tried.is_ok()
    }

    /// Measures all commands in turns, so that a disturbance affects all of them.
    pub(super) fn measure(self, contenders: &[Contender]) -> Result<Vec<Row>> {
        let mut times = vec![Vec::new(); contenders.len()];
        // The bar shows only on a terminal.
        for done in (0..self.runs).step_by(TURN as usize).progress() {
            let runs = TURN.min(self.runs - done);
            take_turns(contenders, Turns { runs, ..self }, &mut times)?;
        }
        let rows = contenders.iter().zip(times).map(|(contender, mut times)| {
            times.sort_by(f64::total_cmp);
            Row {
                name: contender.name.clone(),
                remark: contender.remark.clone(),
                // The upper one, if two are in the middle.
                median: milliseconds(times[times.len() / 2]),
                fastest: milliseconds(times[0]),
            }
        });
        Ok(rows.collect())
    }
}

/// Converts seconds to milliseconds, rounded to hundredths: sums and ratios then
/// fit the printed figures.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e5).round() / 1e2
}

/// Lets hyperfine run each command, without a shell, and adds the times to `times`.
fn take_turns(contenders: &[Contender], turns: Turns, times: &mut [Vec<f64>]) -> Result<()> {
    const DOING: &str = "read the results of hyperfine";
    let mut hyperfine = Command::new("hyperfine");
    hyperfine.args(["--shell=none", "--warmup=1", "--style=none", "--ignore-failure"]);
    let export = turns.place.join("measured");
    hyperfine.arg(format!("--runs={}", turns.runs)).arg("--export-json").arg(&export);
    hyperfine.args(turns.prepare.into_iter().flat_map(|command| ["--prepare", command]));
    hyperfine.env("XDG_RUNTIME_DIR", turns.place);
    hyperfine.args(contenders.iter().map(|contender| &contender.command));
    let output = hyperfine.stdin(Stdio::null()).output().context("start hyperfine")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("measure: hyperfine failed: {}", why.trim().replace('\n', " "));
    }
    let text = fs::read(export).context(DOING)?;
    let measured: Value = serde_json::from_slice(&text).context(DOING)?;
    let list = |value: &Value| value.as_array().cloned().context(DOING);
    let results = list(&measured["results"])?;
    ensure!(results.len() == contenders.len(), "{DOING}: a command is missing");
    for ((contender, result), times) in contenders.iter().zip(&results).zip(times) {
        for status in list(&result["exit_codes"])? {
            ensure!(
                status == 0,
                "measure {}: it exited with {status}, although its first run worked; try it: {}",
                contender.name,
                contender.command
            );
        }
        times.extend(list(&result["times"])?.iter().filter_map(Value::as_f64));
        ensure!(!times.is_empty(), "{DOING}: {} has no times", contender.name);
    }
    Ok(())
}
