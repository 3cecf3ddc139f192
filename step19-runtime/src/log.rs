//! Lesson 19: errors, where the engine looks for them.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use common::{Exit, utc};
use serde_json::json;

/// The file of `--log`, and how lines look there.
#[derive(Default)]
pub(crate) struct Log {
    path: Option<PathBuf>,
    is_json: bool,
}

impl Log {
    pub(crate) fn new(path: Option<&str>, format: Option<&str>) -> Result<Log> {
        let is_json = match format {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => bail!("there is no --log-format {other}; give text or json"),
        };
        let path = path.filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Log { path, is_json })
    }

    /// Writes a line to the file, and to standard error.
    pub(crate) fn tell(&self, level: &str, error: &anyhow::Error) -> Exit {
        let exit = common::status_of(error);
        // Engines and tests look for the word.
        common::note(&format!("{level}: {}", common::one_line(error)));
        let (text, time) = (common::one_line(error), utc(SystemTime::now()));
        let line = match self.is_json {
            true => json!({ "level": level, "msg": text, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // Not before: it would be open in a new container.
        let open = |path| File::options().append(true).create(true).open(path);
        if let Some(path) = &self.path {
            let written = open(path)
                .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
            let written = written.with_context(|| format!("write to {}", path.display()));
            if let Err(error) = written {
                common::report(&error);
            }
        }
        // Engines know 126 and 127 of a command, and 1 for all else.
        if exit == Exit::SETUP { Exit::of_code(1) } else { exit }
    }
}
