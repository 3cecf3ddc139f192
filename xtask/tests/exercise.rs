//! The task can lay out every lesson as an exercise, and a learner can do it.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use testkit::{ALL, bin, cargo, containers_work, rootfs, skip, stderr, stdout, tempdir, workspace};

/// Whether there is a cargo to build exercises with.
fn cargo_works() -> bool {
    let asked = cargo().and_then(|mut cargo| cargo.arg("--version").output().ok());
    asked.is_some_and(|asked| asked.status.success()) || skip("cargo is not installed")
}

/// Two exercises of one name have the same program in the directory for what cargo builds.
static BUILT: Mutex<()> = Mutex::new(());

fn exercise(dir: &Path, arguments: &[&str]) -> Output {
    command(dir, arguments).output().expect("start xtask")
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(bin("xtask"));
    command.arg("exercise").args(arguments).args([OsStr::new("--dir"), dir.as_os_str()]);
    command.env("CONTAINER_ROOTFS", rootfs()).env("CARGO_NET_OFFLINE", "true");
    command
}

#[test]
fn an_exercise_fails_until_it_is_done() {
    if !cargo_works() || !containers_work() {
        return;
    }
    let dir = tempdir();
    for step in ALL.iter().copied() {
        let _alone = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        let laid_out = exercise(dir.path(), &[step]);
        assert!(laid_out.status.success(), "{step}: {}", stderr(&laid_out));
        // Its checks fail, so they do not wait for what a slow machine still does.
        let mut todo = command(dir.path(), &[step, "--check"]);
        let todo = todo.env("VERIFY_LIMIT", "5").output().expect("start xtask");
        // The exercise was built: otherwise no check would run.
        assert!(stdout(&todo).contains("\nFAIL"), "{step}: {}{}", stdout(&todo), stderr(&todo));
        assert_eq!(todo.status.code(), Some(1), "{step}: {}", stderr(&todo));

        copy_program(step, dir.path());
        let done = exercise(dir.path(), &[step, "--check", "--format", "json"]);
        assert!(done.status.success(), "{step}: {}{}", stdout(&done), stderr(&done));
        let found: serde_json::Value = serde_json::from_str(&stdout(&done)).expect("JSON");
        assert_eq!((&found["lessons"][0]["name"], &found["failed"]), (&step.into(), &0.into()));
        let same = format!("your program and {step} are the same");
        assert_eq!(stdout(&exercise(dir.path(), &[step, "--diff"])), same);
    }
}

#[test]
fn a_save_is_checked_again() {
    if !cargo_works() || !containers_work() {
        return;
    }
    let dir = tempdir();
    let step = "step03-userns";
    let _alone = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(exercise(dir.path(), &[step]).status.success());
    let mut watch = command(dir.path(), &[step, "--watch"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("start xtask");
    let mut said = BufReader::new(watch.stdout.take().expect("a pipe"));
    // In the place of the file, as an editor writes it, and into the file.
    let main = dir.path().join(step).join("src/main.rs");
    let todo = fs::read_to_string(&main).expect("read the exercise");
    let solution = fs::read_to_string(workspace().join(step).join("src/main.rs"));
    let solution = solution.expect("read the solution");
    let new = main.with_file_name("main.rs~");
    let mut until = |text: &str| {
        let found = said.by_ref().lines().map_while(Result::ok).any(|line| line.contains(text));
        assert!(found, "xtask ended before it said {text:?}");
    };
    until("press Ctrl-C to stop");
    fs::write(&new, &solution).expect("write");
    fs::rename(&new, &main).expect("rename");
    until("now passes: ");
    until("press Ctrl-C to stop");
    fs::write(&main, &todo).expect("write");
    until("now fails:  ");
    // In the place of the directory, and of the directory above, as git writes them.
    let src = dir.path().join(step).join("src");
    let replaced =
        [(&src, &solution, "now passes: "), (&dir.path().join(step), &todo, "now fails:  ")];
    for (place, text, found) in replaced {
        until("press Ctrl-C to stop");
        let old = place.with_extension("old");
        fs::rename(place, &old).expect("rename");
        let copied = Command::new("cp").arg("-r").arg(&old).arg(place).status();
        assert!(copied.expect("start cp").success());
        fs::write(&main, text).expect("write");
        until(found);
    }
    until("press Ctrl-C to stop");
    fs::write(&main, &solution).expect("write");
    until("now passes: ");
    // A caller in the background can ignore SIGINT, and xtask with it.
    watch.kill().expect("it runs");
    watch.wait().expect("wait for xtask");
}

/// In the learner's crate, cargo looks for the course there.
#[test]
fn the_tasks_work_in_an_exercises_own_directory() {
    // The usual directory, which the alias finds by a relative path.
    let dir = tempdir();
    let course = dir.path().canonicalize().expect("name it").join("my course");
    for file in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        copy(file, &course);
    }
    for step in ALL.iter() {
        copy(&format!("{step}/Cargo.toml"), &course);
        copy_program(step, &course);
    }
    fs::create_dir_all(course.join("target/debug")).expect("make a directory");
    let xtask = course.join("target/debug/xtask");
    testkit::copy_program(&bin("xtask"), &xtask);
    let lay_out = |args: &[&str]| {
        let laid_out = Command::new(&xtask).args(["exercise", "3"]).args(args).output();
        let laid_out = laid_out.expect("start xtask");
        assert!(laid_out.status.success(), "{}", stderr(&laid_out));
    };
    lay_out(&[]);
    let exercise_3 = course.join("exercises/step03-userns");
    let found = alias(&exercise_3);
    let words: Vec<_> = found.as_str().expect("a text").split(' ').collect();
    assert_eq!(words[..2], ["run", "--manifest-path=../../Cargo.toml"]);
    assert!(exercise_3.join("../../Cargo.toml").exists());
    // With other options, cargo builds the dependencies again.
    let options = |dir: &Path| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).expect("read");
        let manifest: toml::Table = manifest.parse().expect("a manifest");
        manifest["profile"]["dev"]["package"]["*"].clone()
    };
    assert_eq!(options(&exercise_3), options(workspace()));

    // Another directory. The path to the course has a blank, and the course is a
    // hand-out.
    let config = course.join(".cargo/config.toml");
    let mut text = fs::read_to_string(&config).expect("read");
    if !text.contains("[source.") {
        text += "\n[source.vendored-sources]\ndirectory = \"vendor\"\n";
        fs::write(&config, text).expect("write");
    }
    let elsewhere = dir.path().join("elsewhere");
    lay_out(&["--dir", elsewhere.to_str().expect("UTF-8")]);
    let found = alias(&elsewhere.join("step03-userns"));
    let way = format!("--manifest-path={}/Cargo.toml", course.display());
    assert_eq!(found[1].as_str(), Some(&*way));
    let laid_out = fs::read_to_string(elsewhere.join("step03-userns/.cargo/config.toml"));
    let laid_out: toml::Table = laid_out.expect("read").parse().expect("a configuration");
    let crates = course.join("vendor").display().to_string();
    assert_eq!(laid_out["source"]["vendored-sources"]["directory"].as_str(), Some(&*crates));

    // A directory whose own name has a blank.
    if !cargo_works() {
        return;
    }
    let dir = tempdir();
    let dir = dir.path().join("my exercises");
    let laid_out = exercise(&dir, &["3"]);
    let said = stdout(&laid_out);
    assert!(said.contains(&format!("--dir '{}'", dir.display())), "{said}");
    let before = ring_was_built();
    let mut cargo = cargo().expect("it works");
    cargo.args(["xtask", "diff", "3", "3"]).current_dir(dir.join("step03-userns"));
    let output = cargo.env("CARGO_NET_OFFLINE", "true").output().expect("start cargo");
    let said = stderr(&output);
    assert!(said.ends_with("lessons, as in `cargo xtask diff 7 8`"), "{said}");
    assert_eq!(ring_was_built(), before, "ring is built again at every second `cargo xtask`");
}

/// The times at which the build script of ring ran. The script depends on cargo's
/// variables about the package that cargo runs.
fn ring_was_built() -> Vec<(PathBuf, SystemTime)> {
    let build = bin("xtask").with_file_name("build");
    let scripts = fs::read_dir(build).expect("list").map(|it| it.expect("list").path());
    let ring = scripts.filter(|it| it.display().to_string().contains("/ring-"));
    let mut run: Vec<_> = ring
        .map(|it| it.join("invoked.timestamp"))
        .filter_map(|it| Some((it.clone(), it.metadata().ok()?.modified().ok()?)))
        .collect();
    run.sort();
    assert!(!run.is_empty(), "ring was not built; if no crate needs ring, remove this test");
    run
}

fn copy(file: &str, to: &Path) {
    let to = to.join(file);
    fs::create_dir_all(to.parent().expect("above")).expect("make a directory");
    fs::copy(workspace().join(file), to).expect("copy a file");
}

fn copy_program(step: &str, to: &Path) {
    for file in fs::read_dir(workspace().join(step).join("src")).expect("list").flatten() {
        // A directory has only tests.
        if file.path().is_file() {
            copy(&format!("{step}/src/{}", file.file_name().display()), to);
        }
    }
}

/// The alias `cargo xtask` in a directory.
fn alias(dir: &Path) -> toml::Value {
    let config = fs::read_to_string(dir.join(".cargo/config.toml")).expect("read");
    let config: toml::Table = config.parse().expect("a configuration");
    config["alias"]["xtask"].clone()
}

#[test]
fn what_the_learner_wrote_stays_unless_forced() {
    let dir = tempdir();
    let main = dir.path().join("step05-pid/src/main.rs");
    let unchecked = exercise(dir.path(), &["5", "--check"]);
    assert_eq!(unchecked.status.code(), Some(1));
    assert!(
        stderr(&unchecked).contains("the exercise does not exist yet"),
        "{}",
        stderr(&unchecked)
    );

    let first = exercise(dir.path(), &["5"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let laid_out = fs::read_to_string(&main).expect("read the exercise");
    fs::write(&main, "mine").expect("write the exercise");

    let again = exercise(dir.path(), &["5"]);
    assert_eq!((again.status.code(), stderr(&again)), (Some(0), String::new()));
    let there = "Your work is already there; `--force` deletes it and begins again.\n";
    assert_eq!(stdout(&again), format!("{there}{}", stdout(&first)));
    assert_eq!(fs::read_to_string(&main).expect("read the exercise"), "mine");

    assert!(exercise(dir.path(), &["5", "--force"]).status.success());
    assert_eq!(fs::read_to_string(&main).expect("read the exercise"), laid_out);
}
