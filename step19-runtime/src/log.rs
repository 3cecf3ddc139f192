//! Lesson 19: errors, where the engine looks for them.

use std::fs::File;
use std::io::Write;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use common::{Exit, utc};
use serde_json::json;

/// The file of `--log`, and how lines look there.
#[derive(Default)]
pub(crate) struct Log {
    file: Option<File>,
    is_json: bool,
}

impl Log {
    pub(crate) fn open(path: Option<&str>, format: Option<&str>) -> Result<Log> {
        let is_json = match format {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => bail!("there is no --log-format {other}; give text or json"),
        };
        let open = |path| File::options().append(true).create(true).open(path);
        let file = path.filter(|path| !path.is_empty()).map(open);
        Ok(Log { file: file.transpose().context("open the file of --log")?, is_json })
    }

    /// Writes a line to the file, and to standard error.
    pub(crate) fn tell(&mut self, level: &str, error: &anyhow::Error) -> Exit {
        let exit = common::report(error);
        let (text, time) = (common::one_line(error), utc(SystemTime::now()));
        let line = match self.is_json {
            true => json!({ "level": level, "msg": text, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={text:?}"),
        };
        // The engine has the same words from standard error.
        let _ = self.file.as_mut().map(|file| file.write_all(format!("{line}\n").as_bytes()));
        // Engines know 126 and 127 of a command, and 1 for all else.
        if exit == Exit::SETUP { Exit::of_code(1) } else { exit }
    }
}
