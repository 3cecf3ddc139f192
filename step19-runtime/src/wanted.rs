//! Lesson 19: what the caller wants of a new container.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::Pid;

use crate::words::Words;

/// What the caller wants of a new container.
pub(crate) struct Wanted {
    pub(crate) bundle: PathBuf,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) console: Option<PathBuf>,
    /// How many open files of the caller, from 3 on, the command gets.
    pub(crate) passed: u16,
    pub(crate) new_keyring: bool,
    /// Whether the caller's streams are those of a terminal of the container.
    pub(crate) relays: bool,
}

impl Wanted {
    pub(crate) fn of(words: &Words, passed: u16, relays: bool) -> Result<Wanted> {
        ensure!(
            !words.has("no-pivot"),
            "--no-pivot is not done here: root inside could leave the root; leave it out"
        );
        let bundle = Path::new(words.get("bundle").unwrap_or("."));
        let path = |name| words.get(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        Ok(Wanted {
            bundle: bundle
                .canonicalize()
                .with_context(|| format!("open the bundle {}", bundle.display()))?,
            pid_file: path("pid-file"),
            console: path("console-socket"),
            passed,
            new_keyring: !words.has("no-new-keyring"),
            relays,
        })
    }
}

/// Closes all files of the caller but those that it passes on, and says how many these
/// are. Call it before this process has opened a file that stays open.
pub(crate) fn keep_passed(words: &Words) -> Result<u16> {
    let passed = words.number("preserve-fds")?.unwrap_or(0);
    for number in 3..3 + u32::from(passed) {
        // Otherwise, a file of this process would get the number, and be passed on.
        let is_open = fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
        ensure!(
            is_open,
            "--preserve-fds {passed}: the descriptor {number} is not open; pass on fewer"
        );
    }
    common::close_descriptors_but(passed, &[]).map(|()| passed)
}

/// Refuses options before the verb that are not done.
pub(crate) fn check(global: &Words) -> Result<()> {
    for (option, done, remedy) in [
        ("cgroup-manager", &["cgroupfs"][..], "use cgroupfs"),
        ("systemd-cgroup", &[], "use cgroupfs"),
        // Limits that a user may not set would be lost.
        ("rootless", &["auto", "false"], "leave it out"),
    ] {
        let wrong = global.get(option).filter(|it| !done.contains(it)).unwrap_or("");
        ensure!(wrong.is_empty(), "--{option} {wrong} is not done here; {remedy}");
    }
    Ok(())
}

/// Writes the number of a process to a file. A reader finds the whole number, or no file.
pub(crate) fn write_pid(file: &Path, process: Pid) -> Result<()> {
    let doing = || format!("make the file {}", file.display());
    let (_open, file) = common::directory_of(file).with_context(doing)?;
    let mut new = file.clone().into_os_string();
    new.push(".new");
    // What is there may be a link of another user.
    let _ = fs::remove_file(&new);
    // The caller's umask may be zero.
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)
        .and_then(|mut file| file.write_all(process.to_string().as_bytes()))
        .and_then(|()| fs::rename(&new, &file));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.with_context(doing)
}
