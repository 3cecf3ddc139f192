//! Wrong or hostile input: each table has the input, the exit status of the step,
//! and its message.

mod commands;
mod layers;
mod names;
mod roots;
mod scratch;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use testkit::{STEPS, has_init, is_one_line, lesson, rootfs, scratch_place, stderr, step};

const OVERLAY: &str = "step08-overlay";

/// A directory in which steps start. The tables below name its contents.
struct Place(testkit::Scratches);

impl Place {
    fn new() -> Place {
        let place = Place(scratch_place());
        for (link, target) in [("root", rootfs()), ("dangling", "gone".as_ref())] {
            symlink(target, place.path().join(link)).expect("make a link");
        }
        symlink("loop", place.path().join("loop")).expect("make a link");
        fs::write(place.path().join("file"), "").expect("write a file");
        for dir in ["empty", "m"] {
            fs::create_dir(place.path().join(dir)).expect("make a directory");
        }
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn step(&self, name: &str) -> Command {
        let mut command = step(name);
        command.current_dir(self.path());
        command
    }
}

/// Fails unless the step ended with this status and printed only `said`.
fn ends(output: &Output, name: &str, what: &str, status: i32, said: &str) {
    assert_eq!(output.status.code(), Some(status), "{name}, {what}: {}", stderr(output));
    let said = if said.is_empty() { String::new() } else { format!("{name}: {said}") };
    assert_eq!(stderr(output), said, "{name}, {what}");
    assert!(said.is_empty() || is_one_line(name, &stderr(output)), "{name}, {what}: {said}");
}

/// The steps that change their root.
fn with_root() -> impl Iterator<Item = &'static str> {
    STEPS.iter().copied().filter(|name| has_init(name))
}

/// The action of a step that finds that `dir` is not a root.
fn standing_in(name: &str, dir: &str) -> String {
    if lesson(name).has_layers {
        format!("open the layer {dir}")
    } else {
        format!("chroot to {dir}")
    }
}

const MISSING: &str = "No such file or directory; fetch a root with `cargo xtask fetch-rootfs`, \
    or name an existing directory";
const NO_DIRECTORY: &str = "Not a directory; name a directory";
const LOOP: &str =
    "Too many symbolic links encountered; a symbolic link in the path leads back to itself";
const TOO_LONG: &str =
    "File name too long; use a name of at most 255 bytes and a path of at most 4095";

const NO_LAYER: &str = "Invalid argument; a layer likely has mounts below it, as / has, \
    or is on a file system of the kernel, as /proc, or on an overlay on an overlay; \
    name another layer";
