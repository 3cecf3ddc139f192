//! Lesson 19: the containers are on a file system that is full or read-only.

use std::process::Command;

use testkit::{bin, is_one_line, is_root, stderr, stdout, tempdir};

const STEP: &str = "step19-runtime";

/// Runs a script beside a bundle, in a mount namespace of its own. `runtime` is the step,
/// and has its containers in the directory `disk/all`. Returns what the script prints,
/// and the errors of the step.
#[track_caller]
fn ask(mount: &str, script: &str) -> (String, Vec<String>) {
    let place = tempdir();
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").current_dir(place.path());
    if !is_root() {
        unshare.arg("--map-root-user");
    }
    let begin = "set -e; step=$0; runtime() { \"$step\" --root disk/all \"$@\"; }; \
                 umask 77; runtime spec; mkdir disk";
    unshare.args(["sh", "-c", &format!("{begin}; {mount}; set +e; {script}; exit 0")]);
    let done = unshare.arg(bin(STEP)).output().expect("start unshare");
    assert!(done.status.success(), "{}", stderr(&done));
    let said: Vec<String> = stderr(&done).lines().map(str::to_owned).collect();
    assert!(said.iter().all(|it| is_one_line(STEP, it)), "{said:?}");
    (stdout(&done), said)
}

#[test]
fn a_full_file_system_is_an_error_of_create_that_leaves_nothing() {
    for (inodes, doing) in [(2, "make the container one"), (3, "keep the configuration")]
    {
        let mount =
            format!("mount -t tmpfs -o nr_inodes={inodes} disk disk; mkdir disk/all");
        let (printed, said) = ask(&mount, "runtime create one || ls disk/all");
        let remedy = "free some space, or name another place with --root";
        let whole = format!(
            "{STEP}: error: {doing}: No space left on device; the file system is full; \
             {remedy}"
        );
        assert_eq!((&printed[..], &said[..]), ("", &[whole][..]));
    }
}

#[test]
fn no_moment_of_a_full_file_system_leaves_a_pid_file() {
    if !is_root() {
        return;
    }
    let root = testkit::rootfs().display().to_string();
    let script = format!(
        "sed -i 's|\"rootfs\"|\"{root}\"|; s/\"terminal\": true/\"terminal\": false/' \
         config.json; runtime create --pid-file disk/pid one && echo made || \
         ! test -e disk/pid || echo left; runtime delete --force one; ls disk/all"
    );
    let tried = (3..9).map(|inodes| {
        let mount =
            format!("mount -t tmpfs -o nr_inodes={inodes} disk disk; mkdir disk/all");
        ask(&mount, &script).0
    });
    let tried: Vec<String> = tried.collect();
    // The first fails, and the last does not.
    assert!(tried[0].is_empty() && tried[5] == "made", "{tried:?}");
    assert!(tried.iter().all(|it| ["", "made"].contains(&&**it)), "{tried:?}");
}

#[test]
fn a_container_on_a_read_only_file_system_is_kept() {
    let mount =
        "mount -t tmpfs disk disk; mkdir -p disk/all/one; mount -o remount,bind,ro disk";
    let script = "runtime create two; runtime delete --force one; runtime list --quiet";
    let (printed, said) = ask(mount, script);
    let [create, delete] = &said[..] else { panic!("{said:?}") };
    assert!(
        create.ends_with(
            "Read-only file system; name a place that you can write to with --root"
        ),
        "{create}"
    );
    assert!(
        delete.contains("remove the container one: Read-only file system; mount"),
        "{delete}"
    );
    assert_eq!(printed, "one");
}

#[test]
fn a_verb_makes_no_directory_to_find_a_container_in() {
    let mount = "mount -t tmpfs -o ro disk disk";
    let script = "runtime delete --force one && echo removed; runtime state one; \
                  runtime create one";
    let (printed, said) = ask(mount, script);
    let [state, create] = &said[..] else { panic!("{said:?}") };
    assert_eq!(printed, "removed");
    assert!(state.contains("it does not exist"), "{state}");
    assert!(
        create.contains("Read-only file system; name another place with --root"),
        "{create}"
    );
    let (printed, _) = ask(":", "runtime state one || ls disk");
    assert_eq!(printed, "");
}
