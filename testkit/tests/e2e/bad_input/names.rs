//! Odd names of directories, and odd paths to them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::{containers_work, lesson, rootfs, scratch_place, stderr, stdout, step};

use super::*;

/// Names a root, a layer and a scratch directory `name`. Fails unless the step uses
/// each of them.
fn arrives(place: &Path, name: &OsStr) -> Result<(), TestCaseError> {
    let [roots, layers, scratches] = ["roots", "layers", "scratches"].map(|dir| {
        fs::create_dir_all(place.join(dir)).expect("make a directory");
        Path::new(dir).join(name)
    });
    symlink(rootfs(), place.join(&roots)).expect("make a link");
    fs::create_dir(place.join(&layers)).expect("make a directory");
    fs::write(place.join(&layers).join("marker"), name.as_bytes()).expect("write a file");

    for step_name in with_root() {
        let mut command = step(step_name);
        command.current_dir(place).arg("--rootfs").arg(&roots);
        let output = command.args(["ls", "-di", "/"]).output().expect("start a step");
        prop_assert_eq!(stderr(&output), "", "{}", step_name);
        // An overlay is a separate file system.
        let root = fs::metadata(rootfs()).expect("a root").ino().to_string();
        let same = stdout(&output).split_whitespace().next() == Some(&*root);
        prop_assert!(same || lesson(step_name).has_layers, "{}: {}", step_name, stdout(&output));
    }
    let mut command = step(OVERLAY);
    command.current_dir(place).arg("--lower").arg(&layers).arg("--lower").arg(&roots);
    command.arg("--scratch").arg(&scratches);
    let output = command.args(["/bin/sh", "-c", "cat /marker && echo x >/x"]).output();
    let output = output.expect("start a step");
    prop_assert_eq!(stderr(&output), "");
    prop_assert_eq!(&output.stdout, name.as_bytes());
    prop_assert!(place.join(&scratches).join("upper/x").exists());
    Ok(())
}

#[test]
fn every_name_that_a_directory_can_have_will_do() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    let names: [&[u8]; 16] = [
        b" ",
        b"a b",
        b":",
        b"a:b",
        b",",
        b"a,upperdir=b",
        b"\\",
        b"\\:",
        b"end\\",
        b"\"'",
        b"$(id)",
        b"two\nlines",
        b"\x1b[31m",
        b"\xff\xfe",
        b"--rootfs",
        "na\u{ef}ve \u{2603}".as_bytes(),
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        arrives(place.path(), name).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

#[test]
fn whatever_bytes_a_name_is_made_of_it_arrives() {
    if !containers_work() {
        return;
    }
    let any = prop::collection::vec(any::<u8>(), 1..200);
    // Half of the names consist of characters with a special meaning. A name that
    // is not UTF-8 never gets into the options of the mount.
    let text = prop::collection::vec(prop::sample::select(&b"ab:,\\ =\n\"'$."[..]), 1..200);
    let name = prop_oneof![any, text].prop_map(|mut name| {
        name.retain(|byte| !matches!(byte, 0 | b'/'));
        OsString::from_vec(name)
    });
    let name = name.prop_filter("no name", |name| !matches!(name.as_bytes(), b"" | b"." | b".."));
    let mut runner = TestRunner::new(Config { cases: 32, ..Config::default() });
    let arrived = runner.run(&name, |name| arrives(scratch_place().path(), &name));
    arrived.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_way_to_a_directory_will_do() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let at = |dir: &str| place.path().join(dir);
    fs::create_dir_all(at("a/b")).expect("make a directory");
    fs::write(at("a/marker"), "found").expect("write a file");
    symlink("a", at("link")).expect("make a link");
    symlink("link", at("link-to-link")).expect("make a link");
    symlink(at("a"), at("absolute-link")).expect("make a link");
    let absolute = at("a").into_os_string().into_string().expect("UTF-8");
    // Almost the longest possible path, with /merged below it.
    let mut deep = absolute.clone();
    while deep.len() < 4000 {
        let part = (4080 - deep.len()).min(201) - 1;
        deep = format!("{deep}/{}", "d".repeat(part));
    }
    fs::create_dir_all(&deep).expect("make a directory");
    fs::write(format!("{deep}/marker"), "found").expect("write a file");
    for dir in [&absolute, &deep] {
        // A scratch directory with other files in it must be closed to other users.
        fs::set_permissions(dir, Permissions::from_mode(0o700)).expect("set the mode");
    }
    let ways = [
        &*absolute,
        &format!("{absolute}///"),
        "a",
        "a/",
        "./a//.",
        "a/b/..",
        "empty/../a",
        "link",
        "link/",
        "link/b/..",
        "link-to-link",
        "absolute-link",
        "absolute-link/b/../",
        &deep,
    ];
    for way in ways {
        let mut command = place.step(OVERLAY);
        command.args(["--lower", way, "--lower", "root", "cat", "/marker"]);
        let output = command.output().expect("start a step");
        ends(&output, OVERLAY, way, 0, "");
        assert_eq!(stdout(&output), "found", "{way}");

        // As a scratch directory, it has the new file in upper.
        let mut command = place.step(OVERLAY);
        command.args(["--scratch", way, "/bin/sh", "-c", "echo x >/x"]);
        ends(&command.output().expect("start a step"), OVERLAY, way, 0, "");
        for dir in ["upper", "work", "merged"] {
            let made = at(way).join(dir);
            assert!(dir != "upper" || made.join("x").exists(), "{way}");
            common::remove_tree(&made).expect("remove it");
        }
    }
    symlink(rootfs(), format!("{deep}/root")).expect("make a link");
    let deep = format!("{deep}/root");
    for way in ["root", "root/", "./root/.", "empty/../root", "root/etc/..", &deep] {
        for name in with_root() {
            let output = place.step(name).args(["--rootfs", way, "true"]).output();
            ends(&output.expect("start a step"), name, way, 0, "");
        }
    }
}
