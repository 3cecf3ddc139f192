//! Lesson 9: a root without a way back.

use testkit::{containers_work, sh, stdout};

const STEP: &str = "step09-pivot";

#[test]
fn nothing_is_above_the_root() {
    if !containers_work() {
        return;
    }
    // Where the old root still lay on top, `..` would lead there.
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
