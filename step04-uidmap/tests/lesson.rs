//! Lesson 4: root inside, yourself outside.

use nix::unistd::{getgid, getuid};
use testkit::{containers_work, sh, stdout};

const STEP: &str = "step04-uidmap";

#[test]
fn one_is_root() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "id -u; id -g")), "0\n0");
}

#[test]
fn the_maps_say_who_root_is() {
    if !containers_work() {
        return;
    }
    let map = |file| {
        let text = stdout(&sh(STEP, &format!("cat /proc/self/{file}")));
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(map("uid_map"), ["0", &getuid().to_string(), "1"]);
    assert_eq!(map("gid_map"), ["0", &getgid().to_string(), "1"]);
    assert_eq!(map("setgroups"), ["deny"]);
}

#[test]
fn root_may_change_the_hostname() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "hostname box && uname -n")), "box");
}
