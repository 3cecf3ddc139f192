//! The console blocks of the lessons are run, and their output compared.
//!
//! A block that begins with `console,root` or `console,user` is for that
//! caller alone. Where a page shows the user ID 1000, the caller's is meant.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use testkit::{STEPS, bin, containers_work, is_root, rootfs, skip, workspace};

/// The pages whose output is that of Alpine's programs.
const ON_ALPINE: [&str; 3] = ["step06-chroot", "step07-proc", "step08-overlay"];

/// Stands for `cargo`: runs what is built, without building it again.
const SHIM: &str = r#"#!/bin/sh
unset CARGO
case $1 in
xtask)
    shift
    exec BIN/xtask "$@" ;;
run)
    while [ "$1" != -- ]; do
        [ "$1" != -p ] || name=$2
        shift
    done
    shift
    exec "BIN/$name" "$@" ;;
esac
"#;

#[test]
fn pages_show_what_happens() {
    if !containers_work() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let cases = trycmd::TestCases::new();
    let shim = dir.path().join("cargo");
    let bins = bin("xtask").parent().expect("a directory").display().to_string();
    fs::write(&shim, SHIM.replace("BIN", &bins)).expect("write the shim");
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).expect("chmod");
    cases.register_bin("cargo", shim);
    for tool in ["cat", "cp", "find", "grep", "ls", "mkdir", "sh", "stat", "tar"] {
        let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(tool));
        let found = found.into_iter().find(|path| path.exists());
        cases.register_bin(tool, found.unwrap_or_else(|| panic!("no {tool} here")));
    }
    cases.env("CONTAINER_ROOTFS", rootfs().to_str().expect("a UTF-8 path"));
    cases.env("LC_ALL", "C");

    let alpine = rootfs().join("etc/alpine-release").exists();
    for step in STEPS {
        if ON_ALPINE.contains(&step) && !alpine {
            skip(&format!("the page of {step} shows Alpine, and the root is another"));
            continue;
        }
        let page = fs::read_to_string(workspace().join(step).join("README.md")).expect("a page");
        // trycmd runs the blocks of a page in the directory `.in` beside it.
        let place = dir.path().join(format!("{step}.in"));
        fs::create_dir(&place).expect("make a directory");
        furnish(&place);
        let file = dir.path().join(format!("{step}.md"));
        fs::write(&file, for_this_caller(&page, &bins)).expect("write the page");
        cases.case(&file);
    }
    cases.run();
}

/// The page with the blocks of other callers taken out.
fn for_this_caller(page: &str, bins: &str) -> String {
    let (mine, other) = if is_root() { ("root", "user") } else { ("user", "root") };
    let uid = nix::unistd::getuid();
    page.replace(&format!("```console,{mine}"), "```console")
        .replace(&format!("```console,{other}"), "```text")
        .replace(
            &format!("{:>10} {:>10} {:>10}", 0, 1000, 1),
            &format!("{:>10} {uid:>10} {:>10}", 0, 1),
        )
        .replace("target/debug", bins)
}

/// What the pages find in the directory that they are followed in.
fn furnish(place: &Path) {
    symlink(rootfs(), place.join("rootfs")).expect("link the root");
    fs::write(place.join("hello"), "hello from the top layer\n").expect("write a file");
    fs::write(place.join("image.tar"), image()).expect("write an image");
}

/// An image as `docker save` writes one: two layers, a manifest and a
/// description. The lower layer is the root that the tests use.
fn image() -> Vec<u8> {
    let mut base = tar::Builder::new(Vec::new());
    base.follow_symlinks(false);
    base.append_dir_all(".", rootfs()).expect("archive the root");
    let mut app = tar::Builder::new(Vec::new());
    add(&mut app, "bin/app", 0o755, b"#!/bin/sh\necho this is the app, on top of base\n");
    let manifest = r#"[{"Config":"config.json","RepoTags":["course:latest"],"Layers":["base/layer.tar","app/layer.tar"]}]"#;
    let config = r#"{"architecture":"amd64","config":{"Cmd":["/bin/app"]},"os":"linux","rootfs":{"type":"layers"}}"#;
    let mut image = tar::Builder::new(Vec::new());
    add(&mut image, "base/layer.tar", 0o644, &base.into_inner().expect("a layer"));
    add(&mut image, "app/layer.tar", 0o644, &app.into_inner().expect("a layer"));
    add(&mut image, "manifest.json", 0o644, format!("{manifest}\n").as_bytes());
    add(&mut image, "config.json", 0o644, format!("{config}\n").as_bytes());
    image.into_inner().expect("an image")
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes).expect("add to an archive");
}
