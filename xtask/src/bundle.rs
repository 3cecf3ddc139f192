//! Bundles, for the steps that start a container from a file.

use std::env;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};
use lessons::Lesson;
use serde_json::{Value, json};

use crate::file;
use crate::temporary::Temporary;

/// A command in the container of a step, on this root if it takes one. A step with verbs
/// runs it in a new bundle, which is removed when the second value is dropped.
pub(crate) fn command(
    lesson: &Lesson,
    step: &Path,
    root: Option<&Path>,
    words: &[&str],
) -> Result<(Command, Option<Temporary>)> {
    let (Some(root), true) = (root, lesson.has_verbs) else {
        let mut command = Command::new(step);
        command.args(words).envs(root.map(|root| ("CONTAINER_ROOTFS", root)));
        return Ok((command, None));
    };
    let place = Temporary::new()?;
    let command = make(step, place.dir(), root, words, false)?;
    Ok((command, Some(place)))
}

/// Makes a directory a bundle with the configuration that the step writes, but with this
/// root and command. Returns the command line that runs it.
pub(crate) fn make(
    step: &Path,
    bundle: &Path,
    root: &Path,
    command: &[&str],
    terminal: bool,
) -> Result<Command> {
    let spec = Command::new(step).args(["spec", "--bundle"]).arg(bundle).output();
    let spec = spec.with_context(|| format!("start {}", step.display()))?;
    let said = String::from_utf8_lossy(&spec.stderr);
    ensure!(spec.status.success(), "make a bundle: {}", said.trim_end());
    let file = bundle.join("config.json");
    let config = serde_json::from_str(&file::read(&file)?);
    let mut config: Value = config.with_context(|| format!("read {}", file.display()))?;
    // crun takes no later version.
    config["ociVersion"] = json!("1.0.2");
    config["root"]["path"] = json!(root);
    config["process"]["args"] = json!(command);
    config["process"]["terminal"] = json!(terminal);
    file::write(&file, format!("{config:#}\n"))?;
    let mut run = Command::new(step);
    run.args(["run", "--bundle"]).arg(bundle).arg(format!("xtask-{}", process::id()));
    // From lesson 19 on, a container has a state. A user may have no place for it but /tmp.
    if env::var_os("XDG_RUNTIME_DIR").is_none_or(|dir| dir.is_empty()) {
        run.env("XDG_RUNTIME_DIR", bundle);
    }
    Ok(run)
}
