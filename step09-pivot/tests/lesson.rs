//! Lesson 9: a root without a way back.

use std::fs;

use testkit::{containers_work, sh, skip, stdout};

const STEP: &str = "step09-pivot";

#[test]
fn nothing_is_above_the_root() {
    if !containers_work() {
        return;
    }
    // If the old root were still on top, `..` would lead there.
    assert_eq!(stdout(&sh(STEP, "ls -di /.. /. | cut -d / -f 1 | uniq | wc -l")), "1");
    assert_eq!(stdout(&sh(STEP, "ls /..")), stdout(&sh(STEP, "ls /")));
}

#[test]
fn it_has_two_mounts() {
    if !containers_work() {
        return;
    }
    let points = stdout(&sh(
        STEP,
        "while read -r a b c d point e; do echo $point; done </proc/self/mountinfo",
    ));
    assert_eq!(points, "/\n/proc");
}

/// A key in the caller's session keyring can be read without its file.
#[test]
fn the_keys_of_the_caller_stay_outside() {
    if !containers_work() {
        return;
    }
    let session = |keys: &str| -> Vec<String> {
        let rings = keys.lines().filter(|line| line.contains(" _ses"));
        rings.filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect()
    };
    let Ok(ours) = fs::read_to_string("/proc/keys") else {
        skip("this kernel shows no keys");
        return;
    };
    let (ours, inside) = (session(&ours), session(&stdout(&sh(STEP, "cat /proc/keys"))));
    assert!(inside.iter().any(|ring| !ours.contains(ring)), "{inside:?} is of {ours:?}");
}
