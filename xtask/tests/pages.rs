//! Runs the console blocks of the lessons, and compares their output.
//!
//! A block that begins with `console,root` or `console,user` is only for that
//! caller. `console,ids` is only for a caller with subordinate IDs, `console,alpine`
//! only for an Alpine root. In place of the user ID 1000, the test expects the
//! caller's ID.

use std::env;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use testkit::{ALL, bin, containers_work, is_root, rootfs, skip, tempdir, workspace};

/// Stands for `cargo`: runs the built programs, without a build.
const SHIM: &str = r#"#!/bin/sh
unset CARGO
case $1 in
xtask)
    shift
    exec "${0%/*}/programs/xtask" "$@" ;;
run)
    while [ "$1" != -- ]; do
        [ "$1" != -p ] || name=$2
        shift
    done
    shift
    exec "${0%/*}/programs/$name" "$@" ;;
esac
"#;

/// Stands for `sudo`, which only blocks for root use.
const SUDO: &str = "#!/bin/sh\nexec \"$@\"\n";

#[test]
fn pages_show_what_happens() {
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    let cases = trycmd::TestCases::new();
    // A link whose name no page has to quote.
    let programs = dir.path().join("programs");
    symlink(bin("xtask").parent().expect("a directory"), &programs).expect("make a link");
    let programs = programs.to_str().expect("a UTF-8 path");
    for (name, script) in [("cargo", SHIM), ("sudo", SUDO)] {
        let shim = dir.path().join(name);
        fs::write(&shim, script).expect("write a shim");
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).expect("chmod");
        cases.register_bin(name, shim);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for tool in ["cat", "chmod", "cp", "find", "grep", "ls", "mkdir", "sed", "sh", "stat", "tar"] {
        let found = env::split_paths(&path).map(|dir| dir.join(tool)).find(|path| path.is_file());
        let Some(found) = found else {
            skip(&format!("the pages use {tool}, which is not installed"));
            return;
        };
        cases.register_bin(tool, found);
    }
    cases.env("CONTAINER_ROOTFS", rootfs().to_str().expect("a UTF-8 path"));
    cases.env("LC_ALL", "C");

    // In lesson 8, the learner works in a directory beside the root.
    symlink(rootfs(), dir.path().join("rootfs")).expect("link the root");
    // Lesson 16 has its layers there.
    cases.env("XDG_DATA_HOME", dir.path().join("data").to_str().expect("a UTF-8 path"));
    let alpine = rootfs().join("etc/alpine-release").exists();
    if !alpine {
        skip("some blocks from lesson 6 on show Alpine, and this root is not Alpine");
    }
    let ids = has_ids();
    if !ids {
        skip("some blocks of lesson 16 need newuidmap, and a range of subordinate IDs");
    }
    let holds = |word: &str| match word {
        "root" => is_root(),
        "user" => !is_root(),
        "alpine" => alpine,
        "ids" => ids,
        other => panic!("a block is for {other}"),
    };
    for step in ALL.iter().copied() {
        let page = fs::read_to_string(workspace().join(step).join("README.md")).expect("a page");
        // trycmd runs the blocks of a page in the directory `.in` beside it.
        let place = dir.path().join(format!("{step}.in"));
        fs::create_dir(&place).expect("make a directory");
        let file = dir.path().join(format!("{step}.md"));
        fs::write(&file, for_this_caller(&page, programs, holds)).expect("write the page");
        cases.case(&file);
    }
    cases.run();
}

/// The page without the blocks of other callers.
fn for_this_caller(page: &str, programs: &str, holds: impl Fn(&str) -> bool) -> String {
    let uid = nix::unistd::getuid();
    let kind = |line: &str| match line.strip_prefix("```console,") {
        Some(words) if words.split(',').all(&holds) => "```console".to_owned(),
        Some(_) => "```text".to_owned(),
        None => by_shell(line),
    };
    let page: Vec<_> = page.lines().map(kind).collect();
    (page.join("\n") + "\n")
        .replace("\"amd64\"", &format!("\"{}\"", architecture()))
        .replace(
            &format!("{:>10} {:>10} {:>10}", 0, 1000, 1),
            &format!("{:>10} {uid:>10} {:>10}", 0, 1),
        )
        .replace("\"$PWD/../target/debug/step08-overlay\"", "target/debug/step08-overlay")
        .replace("target/debug", programs)
}

/// A line of a page. A command that writes to a file needs a shell, because trycmd
/// is not a shell.
fn by_shell(line: &str) -> String {
    let writes = ["$ echo ", "$ printf "].iter().any(|word| line.starts_with(word));
    match line.strip_prefix("$ ") {
        Some(command) if command.contains(" >log") => {
            // A shell does not know the shim.
            let command = command.replace("cargo xtask", "unset CARGO; target/debug/xtask");
            format!("$ sh -c '{}'", command.replace('\'', r"'\''"))
        }
        Some(command) if writes => format!("$ sh -c '{}'", command.replace('\'', r"'\''")),
        _ => line.to_owned(),
    }
}

/// The name of this machine's architecture in an image.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Whether this user has a range in /etc/subuid and /etc/subgid. Another user than root needs
/// the programs to map it, too.
fn has_ids() -> bool {
    let name = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let Some(name) = name.map(|user| user.name) else { return false };
    (is_root() || ["newuidmap", "newgidmap"].iter().all(|tool| common::has_tool(tool)))
        && ["/etc/subuid", "/etc/subgid"].iter().all(|file| {
            let ranges = fs::read_to_string(file).unwrap_or_default();
            ranges.lines().any(|line| line.split(':').next() == Some(&name))
        })
}
