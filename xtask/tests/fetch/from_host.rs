//! Roots from this machine's own programs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::unistd::getuid;
use testkit::{bin, containers_work, stderr, stdout};

use crate::mirror::Mirror;
use crate::place::{Place, refusal, sole_refusal};
use crate::{NOWHERE, small};

#[test]
fn a_root_of_this_machines_programs_is_restored_without_a_network() {
    for which in ["--from-host", "--from-host=libraries"] {
        let place = Place::new();
        assert!(place.fetch(&[which]).status.success());
        let before = stdout(&place.fetch(&[]));
        fs::remove_file(place.root().join("etc/motd")).expect("remove");
        let output = place.without_network(&["--force"]);
        assert!(output.status.success(), "{output:?}");
        assert!(stderr(&output).contains("; this task makes a root from "), "{output:?}");
        let same = |line: &str| line.split(" in ").next().map(str::to_owned);
        assert_eq!(same(&stdout(&output)), same(&before));
        assert!(place.root().join("etc/motd").exists());
        // Other options do not fall back to this machine's programs.
        for other in [&["--release", "3.15.4"][..], &["--arch", "x86_64"], &["--mirror", NOWHERE]] {
            let output = place.without_network(&[other, &["--force"]].concat());
            refusal(&output, &["at the last of 3 tries"]);
        }
    }
    // When the mirror answers, the root is Alpine.
    let place = Place::new();
    assert!(place.fetch(&["--from-host"]).status.success());
    assert!(place.fetch_from(&Mirror::with(&small("one")), &["--force"]).status.success());
    assert_eq!(place.mark(), "one");
}

#[test]
fn a_root_of_this_machines_programs_can_be_stood_in() {
    for (which, of) in
        [("--from-host", "own "), ("--from-host=libraries", "programs and their libraries")]
    {
        let place = Place::new();
        let output = place.fetch(&[which]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("rootfs: this machine's own "), "{output:?}");
        assert!(stdout(&output).contains(of), "{output:?}");
        assert!(stdout(&place.fetch(&[which])).ends_with("(already there)"));
        assert!(stdout(&place.fetch(&[])).ends_with("(already there)"));
        sole_refusal(&place.fetch(&["--release", "3.15.4"]), &["this machine's own", "--force"]);
        // The modes and the owner are right, and the programs run in a container.
        let root = place.root();
        for (dir, mode) in [("tmp", 0o1777), ("root", 0o700), ("proc", 0o755), ("", 0o755)] {
            let found = fs::symlink_metadata(root.join(dir)).expect(dir);
            assert_eq!((found.mode() & 0o7777, found.uid()), (mode, getuid().as_raw()), "{dir}");
        }
        if containers_work() {
            let script = "ls / && id -u && echo $((6*7)) | sed s/2/3/ && cat /etc/hostname && ps >/tmp/ps && test -s /tmp/ps";
            let output = Command::new(bin("step07-proc"))
                .arg("--rootfs")
                .arg(&root)
                .args(["/bin/sh", "-e", "-c", script])
                .output()
                .expect("start a step");
            assert!(output.status.success(), "{which}: {}", stderr(&output));
            assert!(stdout(&output).ends_with("\n0\n43\ncontainer"), "{}", stdout(&output));
        }
        // The lessons' pages about Alpine's files also work on this root.
        let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).expect(name);
        assert_eq!(read("motd"), "A root of this machine's own programs.\n");
        assert!(!read("container-root").is_empty());
        // The task restores these files, too.
        fs::remove_dir_all(root.join("etc")).expect("remove");
        assert!(place.fetch(&[which, "--force"]).status.success());
        assert!(root.join("etc/passwd").exists());
        assert_eq!(place.leftovers(), [""; 0]);
    }
}
