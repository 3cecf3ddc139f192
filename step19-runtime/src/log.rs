//! Lesson 19: errors, where the engine looks for them.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use common::{Exit, utc};
use serde_json::json;

use crate::words::Words;

/// The file of `--log`, how lines look there, and whether `--debug` wants more of them.
#[derive(Default)]
struct Log {
    path: Option<PathBuf>,
    is_json: bool,
    has_details: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Reads the options for the log.
pub(crate) fn open(words: &Words) -> Result<()> {
    let is_json = match words.get("log-format") {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => bail!("there is no --log-format {other}; give text or json"),
    };
    let path = words.get("log").filter(|path| !path.is_empty()).map(PathBuf::from);
    let has_details = words.has("debug") || words.get("log-level") == Some("debug");
    LOG.get_or_init(|| Log { path, is_json, has_details });
    Ok(())
}

/// Writes an error to the file, and to standard error.
pub(crate) fn tell(error: &anyhow::Error) -> Exit {
    let (exit, text) = (common::status_of(error), common::one_line(error));
    // Engines and tests look for the word.
    common::note(&format!("error: {text}"));
    LOG.get_or_init(Log::default).write("error", &text);
    // Engines know 126 and 127 of a command, and 1 for all else.
    if exit == Exit::SETUP { Exit::of_code(1) } else { exit }
}

/// Whether somebody reads what [`detail`] says.
pub(crate) fn has_details() -> bool {
    LOG.get_or_init(Log::default).has_details
}

/// Says more, for `--debug`: in the file, or else on standard error.
pub(crate) fn detail(text: fmt::Arguments) {
    let log = LOG.get_or_init(Log::default);
    match &log.path {
        _ if !log.has_details => {}
        Some(_) => log.write("debug", &text.to_string()),
        None => common::note(&format!("debug: {text}")),
    }
}

impl Log {
    fn write(&self, level: &str, text: &str) {
        let Some(path) = &self.path else { return };
        let time = utc(SystemTime::now());
        let line = match self.is_json {
            true => json!({ "level": level, "msg": text, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // Not before: it would be open in a new container.
        let written = open_file(path)
            .and_then(|mut file| Ok(file.write_all(format!("{line}\n").as_bytes())?));
        let written = written.with_context(|| format!("write to {}", path.display()));
        if let Err(error) = written {
            common::report(&error);
        }
    }
}

/// Opens the file to append to it, and waits for nobody. Another user who can change its
/// directory could have put a link or a FIFO there.
fn open_file(path: &Path) -> Result<File> {
    let (above, file) = common::directory_of(path)?;
    let above = File::from(above);
    let is_ours = !common::others_can_rename_in(&above.metadata()?)
        && file.symlink_metadata().is_ok_and(|found| common::is_trusted(found.uid()));
    let follow = if is_ours { 0 } else { libc::O_NOFOLLOW };
    let mut options = File::options();
    options.append(true).create(true).mode(0o644);
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | follow);
    let file = options.open(file)?;
    ensure!(is_ours || file.metadata()?.is_file(), "it is not a file");
    Ok(file)
}
