//! A place for a root, and the messages of fetch-rootfs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use testkit::{bin, stderr, stdout};

use crate::mirror::Mirror;
use crate::{NOWHERE, RELEASE, small};

/// A directory for one test, with a root in it.
pub(crate) struct Place {
    pub(crate) dir: testkit::Scratches,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = testkit::tempdir();
        fs::create_dir(dir.path().join("home")).expect("make a home");
        Place { dir }
    }

    /// A place with a root in it, made from an archive.
    pub(crate) fn with_root(mark: &str) -> Place {
        let place = Place::new();
        let archive = place.path("old.tar.gz");
        fs::write(&archive, small(mark)).expect("write");
        let output = place.fetch(&["--archive", text(&archive)]);
        assert!(output.status.success(), "{}", stderr(&output));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// A file of the directory beside the root.
    pub(crate) fn cache(&self, name: &str) -> PathBuf {
        self.path(".rootfs-cache").join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(args);
        command.current_dir(self.path("home")).env("HOME", self.path("home"));
        command.arg("--dest").arg(self.root());
        command
    }

    pub(crate) fn fetch(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("start xtask")
    }

    /// As [`Place::fetch`], but a proxy refuses every connection.
    pub(crate) fn without_network(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.arg("--timeout=0.5").envs(["http_proxy", "https_proxy"].map(|it| (it, NOWHERE)));
        command.output().expect("start xtask")
    }

    /// Fetches [`RELEASE`] from a mirror. By default, with time enough on a busy
    /// machine.
    pub(crate) fn fetch_from(&self, mirror: &Mirror, args: &[&str]) -> Output {
        let release = ["--release", RELEASE];
        self.fetch_pinned_from(mirror, &[&release, args].concat())
    }

    /// As [`Place::fetch_from`], but fetches the default release, whose digest is
    /// pinned.
    pub(crate) fn fetch_pinned_from(&self, mirror: &Mirror, args: &[&str]) -> Output {
        let url = mirror.url();
        let mut all = vec!["--arch", "x86_64", "--mirror", &url];
        if !args.iter().any(|arg| arg.starts_with("--timeout")) {
            all.push("--timeout=120");
        }
        self.fetch(&[&all[..], args].concat())
    }

    /// The mark of the present root.
    pub(crate) fn mark(&self) -> String {
        fs::read_to_string(self.root().join("mark")).unwrap_or_default()
    }

    /// Files beside the root that must not remain: all except archives, their
    /// digests, one record and the marker.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(".rootfs-cache")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("list").file_name());
        let names = names.map(|name| name.into_string().expect("UTF-8"));
        let ends = [".tar.gz", ".sha256", ".sha512"];
        names
            .filter(|it| {
                it != "made-by-fetch-rootfs"
                    && !it.starts_with("root-")
                    && !ends.iter().any(|end| it.ends_with(end))
            })
            .collect()
    }
}

pub(crate) fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(bin("xtask"));
    command.arg("fetch-rootfs").args(args).stdin(Stdio::null());
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Checks that the task failed, and that the last line of standard error contains
/// all of `words`. Returns this line.
pub(crate) fn refusal(output: &Output, words: &[&str]) -> String {
    let all = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert_eq!(stdout(output), "");
    assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
    let line = all.lines().last().expect("an error line").to_owned();
    assert!(line.starts_with("xtask: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
    line
}

/// As [`refusal`], and nothing else is printed.
pub(crate) fn sole_refusal(output: &Output, words: &[&str]) {
    let line = refusal(output, words);
    assert_eq!(line, stderr(output));
}

/// Waits until a condition is true.
pub(crate) fn wait_for(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "the condition never becomes true");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a running fetch-rootfs, which must still run.
pub(crate) fn kill(mut child: Child) {
    assert_eq!(child.try_wait().expect("wait"), None, "it ended too early");
    child.kill().expect("kill");
    child.wait().expect("wait");
}
