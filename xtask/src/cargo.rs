//! Calls cargo to build programs, and finds where they are.

use std::env;
use std::path::{self, Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lessons::Lesson;
use serde_json::Value;

/// The variables that name a directory for cargo's output. Cargo takes a relative
/// path from its own current directory.
const PLACES: [&str; 3] = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "CARGO_BUILD_BUILD_DIR"];

/// Its configuration, in the workspace and in an exercise.
pub(crate) const CONFIG: &str = ".cargo/config.toml";

/// Whether cargo runs this task.
pub(crate) fn is_there() -> bool {
    env::var_os("CARGO").is_some()
}

/// Builds with the arguments `what`, and returns the paths of the programs: only
/// cargo knows them. On a terminal, cargo shows a progress bar, and its errors.
///
/// It calls cargo in the workspace, because the workspace's configuration must apply.
pub(crate) fn build(what: impl FnOnce(&mut Command)) -> Result<Vec<PathBuf>> {
    let mut cargo = start::quiet("build");
    cargo.current_dir(common::workspace()).arg("--message-format=json-render-diagnostics");
    for place in PLACES {
        let dir = env::var_os(place).filter(|dir| !dir.is_empty());
        if let Some(dir) = dir {
            cargo.env(place, path::absolute(dir).with_context(|| format!("use ${place}"))?);
        }
    }
    what(&mut cargo);
    let built = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(built.status.success(), "build with cargo: it failed; read its messages above");
    let lines = built.stdout.split(|&byte| byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    Ok(programs.collect())
}

/// The program `name` among the programs `built`.
pub(crate) fn program<'a>(built: &'a [PathBuf], name: &str) -> Result<&'a Path> {
    let found = built.iter().find(|program| program.file_stem().is_some_and(|stem| stem == name));
    Ok(found.with_context(|| format!("find {name} among the programs that cargo built"))?)
}

/// A lesson's step. If cargo runs this task, it builds the step first. Without
/// cargo, the step is the program beside this program.
pub(crate) fn step(lesson: &Lesson) -> Result<PathBuf> {
    if is_there() {
        let built = build(|build| {
            // With this program's package too: both then share the features of their
            // dependencies, and cargo compiles each of them only once.
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
