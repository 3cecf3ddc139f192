//! `cargo xtask pull` against a registry on loopback.
//!
//! It speaks plain HTTP.

mod bad;
mod broken;
mod good;
mod password;
mod registry;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{bin, stderr, stdout};

use registry::digest;

/// A directory for the layout of one test.
struct Place(testkit::Scratches);

impl Place {
    fn new() -> Place {
        let place = Place(testkit::tempdir());
        fs::create_dir(place.0.path().join("home")).expect("make a home");
        place
    }

    fn layout(&self) -> PathBuf {
        self.0.path().join("layout")
    }

    /// The task, without a network, passwords and a home.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(bin("xtask"));
        command.arg("pull").args(args).arg("--insecure").arg("--dest").arg(self.layout());
        if !args.iter().any(|arg| arg.starts_with("--timeout")) {
            command.arg("--timeout=120");
        }
        let home = self.0.path().join("home");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(&home).env("HOME", &home).env("http_proxy", "http://127.0.0.1:9");
        for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"] {
            command.env_remove(name);
        }
        command
    }

    fn pull(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("start xtask")
    }

    /// Checks that the layout is whole, and returns the tags and the manifests.
    fn images(&self) -> Vec<(String, Value)> {
        let layout = self.layout();
        let read = |name: &str| fs::read(layout.join(name)).expect(name);
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
        assert_eq!(json(&read("oci-layout"))["imageLayoutVersion"], "1.0.0");
        let blob = |descriptor: &Value| {
            let name = descriptor["digest"].as_str().expect("a digest");
            let bytes = read(&format!("blobs/{}", name.replace(':', "/")));
            assert_eq!(digest(&bytes), name);
            assert_eq!(descriptor["size"], bytes.len());
            bytes
        };
        for name in self.blobs() {
            assert!(!name.ends_with(".part"), "{name}");
        }
        let index = json(&read("index.json"));
        let images = index["manifests"].as_array().expect("a list").iter().map(|image| {
            let manifest = json(&blob(image));
            assert_eq!(image["mediaType"], registry::OCI_MANIFEST);
            assert_eq!(manifest["mediaType"], registry::OCI_MANIFEST);
            blob(&manifest["config"]);
            manifest["layers"].as_array().expect("a list").iter().for_each(|it| drop(blob(it)));
            let tag = &image["annotations"]["org.opencontainers.image.ref.name"];
            (tag.as_str().expect("a tag").to_owned(), manifest)
        });
        images.collect()
    }

    fn tags(&self) -> Vec<String> {
        self.images().into_iter().map(|(tag, _)| tag).collect()
    }

    fn blobs(&self) -> Vec<String> {
        names(&self.layout().join("blobs/sha256"))
    }

    /// Checks that a failed pull has left nothing.
    fn is_clean(&self) {
        assert_eq!(names(self.0.path()), ["home"]);
        assert_eq!(names(&self.0.path().join("home")), [""; 0]);
    }
}

/// The sorted names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("list").file_name();
    let mut names: Vec<_> =
        entries.map(|entry| name(entry).into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output)
}

/// Checks that the task failed, and that the last line of standard error has all of
/// `words`. Returns this line.
fn refusal(output: &Output, words: &[&str]) -> String {
    let all = stderr(output);
    assert_eq!((output.status.code(), &*stdout(output)), (Some(1), ""), "{all}");
    assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
    let line = all.lines().last().expect("an error line").to_owned();
    assert!(line.starts_with("xtask: ") && line.len() < 2000, "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
    line
}

/// As [`refusal`], and nothing else is printed.
fn sole_refusal(output: &Output, words: &[&str]) {
    let line = refusal(output, words);
    assert_eq!(line, stderr(output));
}

/// Waits until a condition is true.
fn wait_for(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "the condition never becomes true");
        thread::sleep(Duration::from_millis(1));
    }
}

fn kill(mut child: Child) {
    assert_eq!(child.try_wait().expect("wait"), None, "it ended too early");
    child.kill().expect("kill");
    child.wait().expect("wait");
}
