//! Every lesson can be laid out as an exercise, and the exercise be done.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testkit::{STEPS, bin, containers_work, rootfs, skip, stderr, stdout, workspace};

/// Whether there is a cargo to build exercises with.
fn cargo_works() -> bool {
    let cargo = env::var_os("CARGO").unwrap_or_default();
    let asked = Command::new(cargo).arg("--version").output();
    asked.is_ok_and(|asked| asked.status.success()) || skip("there is no cargo to build with")
}

fn exercise(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(bin("xtask"));
    command.arg("exercise").args(arguments).args([OsStr::new("--dir"), dir.as_os_str()]);
    command.env("CONTAINER_ROOTFS", rootfs()).env("CARGO_NET_OFFLINE", "true");
    command.output().expect("start xtask")
}

#[test]
fn an_exercise_fails_until_it_is_done() {
    if !cargo_works() || !containers_work() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for step in STEPS {
        let laid_out = exercise(dir.path(), &[step]);
        assert!(laid_out.status.success(), "{step}: {}", stderr(&laid_out));
        let todo = exercise(dir.path(), &[step, "--check"]);
        // It was built, or nothing would have been verified.
        assert!(stdout(&todo).contains("\nFAIL"), "{step}: {}{}", stdout(&todo), stderr(&todo));
        assert_eq!(todo.status.code(), Some(1), "{step}: {}", stderr(&todo));

        let main = "src/main.rs";
        fs::copy(workspace().join(step).join(main), dir.path().join(step).join(main))
            .expect("copy a solution");
        let done = exercise(dir.path(), &[step, "--check"]);
        assert!(done.status.success(), "{step}: {}{}", stdout(&done), stderr(&done));
    }
}

#[test]
fn what_the_learner_wrote_stays_unless_forced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let main = dir.path().join("step05-pid/src/main.rs");
    let unchecked = exercise(dir.path(), &["5", "--check"]);
    assert_eq!(unchecked.status.code(), Some(1));
    assert!(stderr(&unchecked).contains("it is not laid out"), "{}", stderr(&unchecked));

    assert!(exercise(dir.path(), &["5"]).status.success());
    let laid_out = fs::read_to_string(&main).expect("read the exercise");
    fs::write(&main, "mine").expect("write the exercise");

    let again = exercise(dir.path(), &["5"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert_eq!(stderr(&again).lines().count(), 1);
    assert_eq!(fs::read_to_string(&main).expect("read the exercise"), "mine");

    assert!(exercise(dir.path(), &["5", "--force"]).status.success());
    assert_eq!(fs::read_to_string(&main).expect("read the exercise"), laid_out);
}
