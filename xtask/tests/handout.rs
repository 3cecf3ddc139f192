//! A class with the hand-out, a single file, needs no network.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use testkit::{
    Scratches, bin, cargo, containers_work, copy_program, skip, stderr, stdout, tempdir, workspace,
};

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}{}", stdout(&output), stderr(&output));
    output
}

/// A checkout that git tracks, and a directory for the hand-out.
struct Class {
    dir: Scratches,
    course: PathBuf,
}

impl Class {
    /// Returns nothing without git or cargo.
    fn new() -> Option<Class> {
        for tool in [Some(Command::new("git")), cargo()] {
            let there = tool.is_some_and(|mut tool| tool.arg("--version").output().is_ok());
            if !there && !skip("a hand-out needs git and cargo") {
                return None;
            }
        }
        let dir = tempdir();
        let course = dir.path().canonicalize().expect("name it").join("a course");
        // This checkout may be a copy without git, or belong to another user.
        let git = |work_tree: &Path, words: &[&str]| {
            let mut git = Command::new("git");
            git.arg("--git-dir").arg(dir.path().join("git")).arg("--work-tree").arg(work_tree);
            done(git.args(words).current_dir(work_tree));
        };
        git(workspace(), &["init", "--quiet"]);
        git(workspace(), &["add", "--all"]);
        fs::create_dir(&course).expect("make a directory");
        git(&course, &["checkout-index", "--all"]);
        fs::write(course.join("deleted"), "").expect("write a file");
        for words in [&["init", "--quiet"][..], &["add", "--all"]] {
            done(Command::new("git").args(words).current_dir(&course));
        }
        fs::remove_file(course.join("deleted")).expect("remove a file");
        fs::write(course.join("untracked"), "").expect("write a file");
        let built = course.join("target/debug");
        fs::create_dir_all(&built).expect("make a directory");
        copy_program(&bin("xtask"), &built.join("xtask"));
        Some(Class { dir, course })
    }

    fn xtask(&self, words: &[&str]) -> Command {
        let mut xtask = Command::new(self.course.join("target/debug/xtask"));
        xtask.args(words).current_dir(&self.course).env("CARGO_NET_OFFLINE", "true");
        xtask.env_remove("CONTAINER_ROOTFS");
        xtask
    }

    /// A hand-out with the programs that are already built. Returns nothing if
    /// cargo does not have all crates.
    fn hand_out(&self) -> Option<PathBuf> {
        let file = self.dir.path().join("course.tar.gz");
        let programs = bin("xtask");
        let mut xtask = self.xtask(&["handout", "--dist"]);
        let made = xtask.arg(programs.parent().expect("a directory")).arg(&file).output();
        let made = made.expect("start xtask");
        let said = stderr(&made);
        if said.contains("--offline was specified") {
            skip("cargo does not have all crates; run `cargo fetch --locked`");
            return None;
        }
        assert!(made.status.success(), "{said}");
        Some(file)
    }
}

fn tar(file: &Path) -> tar::Archive<GzDecoder<File>> {
    tar::Archive::new(GzDecoder::new(File::open(file).expect("open the archive")))
}

#[test]
fn a_hand_out_needs_no_network() {
    let Some(class) = Class::new() else { return };
    // The archive is beside the root, as on the teacher's machine.
    let archive = std::env::var_os("CONTAINERS_TEST_ARCHIVE").map(PathBuf::from);
    let archive = archive.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let release =
        archive.and_then(|name| name.strip_prefix("alpine-minirootfs-")?.split('-').next());
    if let Some(archive) = std::env::var_os("CONTAINERS_TEST_ARCHIVE") {
        done(class.xtask(&["fetch-rootfs", "--archive"]).arg(archive));
    } else {
        skip("the hand-out has no Alpine: CONTAINERS_TEST_ARCHIVE names no archive");
    }
    let image = class.course.join("images/one/blobs/sha256");
    fs::create_dir_all(&image).expect("make a directory");
    fs::write(image.join("aa"), "a layer").expect("write");
    fs::write(class.course.join("images/one/index.json"), "{}").expect("write");
    fs::create_dir_all(class.course.join("images/half/blobs")).expect("make a directory");
    fs::write(class.course.join("images/half/blobs/x.part"), "").expect("write");
    let Some(file) = class.hand_out() else { return };

    // The archive is the same for any user and any directory.
    let here = workspace().to_str().expect("UTF-8").to_owned();
    let mut names = Vec::new();
    for entry in tar(&file).entries().expect("an archive") {
        let entry = entry.expect("an entry");
        let header = entry.header();
        assert_eq!((header.uid().ok(), header.gid().ok()), (Some(0), Some(0)));
        assert_eq!(header.mtime().ok(), Some(1_153_704_088));
        let name = entry.path().expect("a path").display().to_string();
        assert!(name.starts_with("course/") && !name.starts_with("course/target/"), "{name}");
        assert!(!name.contains(&here) && !name.ends_with("/untracked"), "{name}");
        names.push(name);
    }
    let sorted = |names: &[String]| names.is_sorted_by_key(|name| Path::new(name).to_owned());
    assert!(sorted(&names), "{names:?}");

    let learner = class.dir.path().join("learner");
    tar(&file).unpack(&learner).expect("unpack the hand-out");
    let course = learner.join("course");
    let image = course.join("images/one");
    assert_eq!(fs::read_to_string(image.join("blobs/sha256/aa")).expect("an image"), "a layer");
    assert_eq!(fs::metadata(image).expect("a directory").permissions().mode() & 0o777, 0o755);
    assert!(!course.join("images/half").exists(), "a killed pull left it");
    let config = fs::read_to_string(course.join(".cargo/config.toml")).expect("read");
    let ours = fs::read_to_string(class.course.join(".cargo/config.toml")).expect("read");
    assert!(config.starts_with(&ours) && config.contains("directory = \"vendor\"\n"), "{config}");

    if !containers_work() {
        return;
    }
    let built = course.join("target/debug");
    fs::create_dir_all(&built).expect("make a directory");
    copy_program(&bin("xtask"), &built.join("xtask"));
    // The container of lesson 4 has the files of the host, and its own network,
    // which is down.
    let within = |program: &Path, words: &[&str]| {
        let mut step = Command::new(bin("step04-uidmap"));
        step.arg(program).args(words).current_dir(&course);
        step.env("CARGO_HOME", learner.join("cargo-home"));
        for name in ["CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "CONTAINER_ROOTFS"] {
            step.env_remove(name);
        }
        done(&mut step)
    };
    let cargo = PathBuf::from(cargo().expect("it is there").get_program());
    // All crates are there, and the crates that the lessons need are complete.
    within(&cargo, &["metadata", "--locked", "--format-version=1"]);
    within(&cargo, &["build", "--locked", "--quiet", "--package=step01-run"]);
    let ran = Command::new(built.join("step01-run")).args(["echo", "it runs"]).output();
    assert_eq!(stdout(&ran.expect("start the step")), "it runs");
    if let Some(release) = release {
        let xtask = built.join("xtask");
        within(&xtask, &["fetch-rootfs", "--release", release]);
        let again = stdout(&within(&xtask, &["fetch-rootfs", "--force"]));
        assert!(again.contains(&format!("Alpine {release}")), "{again}");
        assert!(course.join("rootfs/etc/alpine-release").is_file());
    }
}

#[test]
fn a_hand_out_is_made_of_a_clone_into_an_archive() {
    let refused = |command: &mut Command| {
        let output = command.output().expect("start xtask");
        let said = stderr(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
        said
    };
    let mut xtask = Command::new(bin("xtask"));
    let said = refused(xtask.args(["handout", "/nonexistent/course.zip"]));
    assert!(said.ends_with("course.zip: name a file that ends with .tar.gz"), "{said}");

    let Some(class) = Class::new() else { return };
    let output = class.xtask(&["handout", "--dist", "/nonexistent", "course.tar.gz"]).output();
    let said = stderr(&output.expect("start xtask"));
    let note = "xtask: images/ has no image, so the hand-out has none for lesson 16; run `cargo xtask pull ";
    assert!(said.starts_with(note) && said.contains("\nxtask: find /nonexistent: "), "{said}");
    // In a repository of something else, such as a home directory.
    fs::remove_file(class.course.join(".git/index")).expect("forget the files");
    let said = refused(&mut class.xtask(&["handout", "course.tar.gz"]));
    assert!(
        said.ends_with("git tracks none of them; make the hand-out in a clone of the course"),
        "{said}"
    );
    fs::remove_dir_all(class.course.join(".git")).expect("remove the repository");
    let said = refused(class.xtask(&["handout", "course.tar.gz"]).env("LC_ALL", "C"));
    assert!(said.contains("git failed with \"fatal: "), "{said}");
}
