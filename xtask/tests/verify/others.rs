//! The scripts count only the mounts of the program, and not those of other programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use testkit::{containers_work, rootfs, scratch_place, within};

use crate::{must_fail, must_pass, wrong};

/// Mounts again and again until `xtask` ends.
const OTHER: &str = r#"
    mkdir -p "$PLACE/at"
    mount -t tmpfs another "$PLACE/at"
    mount --make-rshared /
    while kill -0 $$ 2>/dev/null; do mount -t tmpfs another "$PLACE/at"; sleep 0.02; done &"#;

#[test]
fn the_mounts_of_other_programs_do_not_count() {
    if !containers_work() {
        return;
    }
    // Without unshare, a script cannot have mounts of its own.
    for unshare in ["", "exit 1"] {
        let place = scratch_place();
        if !unshare.is_empty() {
            let program = place.path().join("unshare");
            fs::write(&program, format!("#!/bin/sh\n{unshare}\n")).expect("write a program");
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        }
        let verify = |words: &[&str]| {
            let setup = format!("PATH=$PLACE:$PATH\n{OTHER}");
            let mut command = within(&setup, "xtask");
            command.arg("verify").args(words).env("PLACE", place.path()).env("VERIFY_LIMIT", "5");
            command.env("CONTAINER_ROOTFS", rootfs()).output().expect("start a step")
        };
        must_pass(&verify(&["1", "2", "5", "8"]));
        let leaks = wrong("leaks-mounts", place.path());
        let output = verify(&["2", "--bin", &leaks.display().to_string()]);
        must_fail(&output, &["the host does not have the mount"]);
    }
}
