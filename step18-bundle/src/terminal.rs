//! Lesson 18: a terminal of the container's own.

use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use common::Root;
use serde::Deserialize;

use crate::mounts::bind;
use crate::options::Change;
use crate::process::Process;

/// The size of the terminal, in characters.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    height: u16,
    width: u16,
}

/// Makes a pseudoterminal of the container, and the device /dev/console for it. Gives the
/// other side to the runner. Nothing if the configuration wants none.
pub(crate) fn open(process: &Process, root: &Root) -> Result<Option<OwnedFd>> {
    if !process.terminal {
        return Ok(None);
    }
    let ptmx = root.find("/dev/pts/ptmx")?;
    let ptmx = ptmx.context("open /dev/pts/ptmx: mount a devpts on /dev/pts")?;
    let (ours, theirs) = common::open_pseudoterminal(&ptmx)?;
    if let Some(Size { height, width }) = process.console_size {
        common::resize(&theirs, height, width).context("set process.consoleSize")?;
    }
    let place = root.place(Path::new("/dev/console"), false)?;
    bind(&theirs, &place, Change::default())
        .context("bind the terminal to /dev/console")?;
    common::give_terminal(&ours)?;
    Ok(Some(theirs))
}
