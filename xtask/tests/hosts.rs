//! The files for other hosts fit the course and its page.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{ALL, bin, skip, stderr, workspace};

const PROFILE: &str = "hosts/apparmor.d/container-course";

fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap_or_else(|why| panic!("read {file}: {why}"))
}

#[test]
fn the_development_container_has_the_options_that_the_page_names() {
    let file: serde_json::Value =
        serde_json::from_str(&read(".devcontainer/devcontainer.json")).expect("JSON");
    let options = file["securityOpt"].as_array().expect("a list").iter();
    let options: BTreeSet<_> = options.map(|it| it.as_str().expect("a text")).collect();
    let page = read("docs/hosts.md");
    let docker = page.split("docker run").nth(1).expect("the command").split("IMAGE").next();
    let named = docker.expect("its options").split("--security-opt ").skip(1);
    let named: BTreeSet<_> = named.filter_map(|rest| rest.split_whitespace().next()).collect();
    assert_eq!(options, named);
    for hook in ["onCreateCommand", "updateContentCommand", "postCreateCommand"] {
        let command = file[hook].as_str().expect("a command");
        if let Some((_sh, script)) = command.split_once(" sh ") {
            assert!(workspace().join(script).exists(), "{hook} runs {script}");
        }
    }
}

/// The path pattern of the profile, with its variable filled in.
fn attachment() -> String {
    let profile = read(PROFILE);
    let line = |start: &str| profile.lines().find_map(|line| line.strip_prefix(start));
    let course = line("@{course}=").expect("a place");
    let path = line("profile container-course ").expect("a profile");
    path.replace("@{course}", course).split_once(" flags=").expect("flags").0.to_owned()
}

/// Whether a pattern of AppArmor fits a path: see "Globbing" in apparmor.d(5).
fn fits(pattern: &[u8], path: &[u8]) -> bool {
    let any = |rest: &[u8], may_be: fn(&u8) -> bool| {
        (0..=path.len()).any(|n| path[..n].iter().all(may_be) && fits(rest, &path[n..]))
    };
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*', rest @ ..] => any(rest, |_| true),
        [b'*', rest @ ..] => any(rest, |&c| c != b'/'),
        [b'[', b'0', b'-', b'9', b']', rest @ ..] => {
            path.first().is_some_and(u8::is_ascii_digit) && fits(rest, &path[1..])
        }
        [b'{', ..] => {
            let (choices, rest) = choices(pattern);
            choices.iter().any(|choice| fits(&[choice, rest].concat(), path))
        }
        [c, rest @ ..] => path.first() == Some(c) && fits(rest, &path[1..]),
    }
}

/// The alternatives in the braces at the start of a pattern, and the rest.
fn choices(pattern: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 1);
    for (at, c) in pattern.iter().enumerate() {
        match c {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        let ends = depth == 0;
        if ends || (depth == 1 && *c == b',') {
            found.push(&pattern[start..at]);
            start = at + 1;
        }
        if ends {
            break;
        }
    }
    (found, &pattern[start..])
}

#[test]
fn the_profile_is_for_the_programs_of_the_course_and_no_others() {
    let pattern = attachment();
    let fits = |path: &str| fits(pattern.as_bytes(), path.as_bytes());

    // The programs are in cargo's target directory, whose name may differ.
    let built = |program: &Path| {
        let mut parts: Vec<_> = program.iter().rev().take(2).collect();
        parts.reverse();
        parts.iter().collect::<std::path::PathBuf>().display().to_string()
    };
    let dir = testkit::tempdir();
    for &step in ALL.iter() {
        let laid_out = Command::new(bin("xtask"))
            .args(["exercise", step, "--dir"])
            .arg(dir.path())
            .output()
            .expect("start xtask");
        assert!(laid_out.status.success(), "{}", stderr(&laid_out));
        let manifest = fs::read_to_string(dir.path().join(step).join("Cargo.toml"));
        let manifest: toml::Table = manifest.expect("read").parse().expect("a manifest");
        let exercise = manifest["package"]["name"].as_str().expect("a name").to_owned();
        for course in ["/home/you/course", "/srv/a class/b"] {
            for program in [bin(step), bin("xtask"), bin("xtask").with_file_name(&exercise)] {
                let path = format!("{course}/target/{}", built(&program));
                assert!(fits(&path), "{path}");
            }
            for place in ["target/release", "target/aarch64-unknown-linux-musl/release", "dist"] {
                let path = format!("{course}/{place}/{step}");
                assert!(fits(&path), "{path}");
            }
        }
    }
    assert!(fits("/c/target/debug/examples/wrong"));

    for path in [
        "/usr/bin/unshare",
        "/home/you/xtask",
        "/home/you/course/step01-run",
        "/home/you/course/target/debug/other",
        "/home/you/course/target/debug/step1-run",
        "/home/you/course/target/debug/step01-run/other",
        "/home/you/course/target/debug/deps/xtask-0123456789abcdef",
        "/home/you/course/target/a/b-linux-musl/debug/step01-run",
        "/home/you/course/dist/xtask",
        "/home/you/course/not-target/debug/step01-run",
    ] {
        assert!(!fits(path), "{path}");
    }
}

#[test]
fn the_profile_can_be_loaded() {
    let parser = "/usr/sbin/apparmor_parser";
    let Ok(version) = Command::new(parser).arg("--version").output() else {
        skip("apparmor_parser is not installed");
        return;
    };
    // "AppArmor parser version 4.0.1"
    let version = String::from_utf8_lossy(&version.stdout);
    let number = version.lines().next().and_then(|line| line.split(' ').next_back());
    let major = number.and_then(|number| number.split('.').next()?.parse().ok());
    if major.is_none_or(|major: u32| major < 4) {
        skip("AppArmor before 4.0 knows no user namespaces");
        return;
    }
    let parsed = Command::new(parser)
        .args(["--skip-kernel-load", "--skip-cache"])
        .arg(workspace().join(PROFILE))
        .output()
        .expect("start apparmor_parser");
    assert!(parsed.status.success(), "{}", stderr(&parsed));
}
