//! Cargo, as the tasks call it: to build, and to say where the programs are.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lessons::Lesson;
use serde_json::Value;

/// Where cargo may be told to put what it builds. A path that is not absolute
/// means the directory that cargo is called in.
const PLACES: [&str; 3] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_BUILD_DIR"];

/// Whether cargo runs this task.
pub(crate) fn is_there() -> bool {
    env::var_os("CARGO").is_some()
}

/// Builds with the arguments `what`, and returns the programs that were asked
/// for: only cargo knows where it puts them. All that it says on a terminal,
/// unless something is wrong, is a bar while it compiles.
///
/// It is the cargo that runs this task, else the one in `PATH`, called in the
/// workspace, whose configuration counts.
pub(crate) fn build(what: impl FnOnce(&mut Command)) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    if io::stderr().is_terminal() {
        // As the alias `cargo xtask` has it.
        cargo.args(["--config=term.progress.when='always'", "--config=term.progress.width=80"]);
    }
    for place in PLACES {
        let dir = env::var_os(place).filter(|dir| !dir.is_empty());
        if let Some(dir) = dir {
            cargo.env(place, path::absolute(dir).with_context(|| format!("use ${place}"))?);
        }
    }
    what(cargo.current_dir(common::workspace()));
    let built = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(built.status.success(), "build with cargo: it failed; see above");
    let lines = built.stdout.split(|&byte| byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    Ok(programs.collect())
}

/// The program called `name` among those that were built.
pub(crate) fn program<'a>(built: &'a [PathBuf], name: &str) -> Result<&'a Path> {
    let found = built.iter().find(|program| program.file_stem().is_some_and(|stem| stem == name));
    found.map(PathBuf::as_path).with_context(|| format!("find {name} among what cargo has built"))
}

/// A lesson's step, built first when cargo runs this task. Without cargo it is
/// the program beside this one.
pub(crate) fn step(lesson: &Lesson) -> Result<PathBuf> {
    if is_there() {
        let built = build(|build| {
            // With the package of this program, whose dependencies want more of
            // theirs: what both have is compiled once, and not once for each.
            build.args(["--package", "xtask", "--package", &lesson.name, "--bin", &lesson.name]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
        })?;
        return program(&built, &lesson.name).map(Path::to_owned);
    }
    let step = env::current_exe().context("find this program")?.with_file_name(&lesson.name);
    ensure!(step.exists(), "find {}: it is not built; build it with `cargo build`", step.display());
    Ok(step)
}
