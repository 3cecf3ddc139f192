//! Lesson 19: create and start in one verb.

use std::path::Path;

use anyhow::Result;
use common::Exit;

use crate::create::create;
use crate::wanted::Wanted;
use crate::words::Words;
use crate::{end, start};

/// Makes a container, starts it, and without `--detach` waits for its end.
pub(crate) fn run(root: &Path, name: &str, words: &Words, passed: u16) -> Result<Exit> {
    let detached = words.has("detach");
    let wanted = Wanted::of(words, passed, !detached)?;
    let (container, child, _relay) = create(root, name, &wanted)?;
    let started = start::start(&container);
    if detached && started.is_ok() {
        return Ok(Exit::SUCCESS);
    }
    let exit = started.and_then(|()| child.wait());
    // Before the relay ends: processes that are left may have the terminal.
    if !words.has("keep") || exit.is_err() {
        end::delete(root, name, true)?;
    }
    exit
}
