//! Commands that cannot be executed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use testkit::{containers_work, has_init, rootfs, step, steps};

use super::*;

/// The start of a program for `machine`, with the name of its loader; elf(5).
fn elf(machine: [u8; 2], loader: &str) -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 2; // a program
    elf[18..20].copy_from_slice(&machine);
    elf[20] = 1; // the version
    elf[32] = 64; // the offset of the segment table
    elf[52] = 64; // the size of this header
    elf[54] = 56; // the size of a segment's header
    elf[56] = 1; // the number of segments
    elf[64] = 3; // the type: names the loader
    elf[72] = 120; // the offset of the name
    elf[96] = u8::try_from(loader.len() + 1).expect("a short name");
    elf.extend(loader.bytes());
    elf.push(0);
    elf
}

#[test]
fn a_command_that_cannot_be_executed_says_why() {
    if !containers_work() {
        return;
    }
    // `#!` allows no newline, and at most 255 bytes.
    let layer = testkit::scratch_place();
    let this = fs::read(std::env::current_exe().expect("a test has a path")).expect("read it");
    let machine = [this[18], this[19]];
    // Any machine but this.
    let other = [machine[0] ^ 0x55, machine[1]];
    let found = layer.path().to_str().expect("UTF-8");
    let through = |link: &str| format!("#!LAYER/{link}\n").into_bytes();

    let foreign = "it is not a program for this machine, and not a script that begins with #!";
    let no_interpreter = "its interpreter /no/such/sh cannot be executed here; \
        install the interpreter, or run another program";
    let no_loader = "its loader /no/such/ld.so is not in this root; \
        use a program for this root, or a static program";
    let rows: [(&str, Vec<u8>, &str); 14] = [
        ("script", b"#!/no/such/sh -e\necho hi\n".into(), no_interpreter),
        ("blank", b"#! \t/no/such/sh\n".into(), no_interpreter),
        (
            "directory-as-interpreter",
            b"#!/etc\n".into(),
            "its interpreter /etc cannot be executed here; install the interpreter, or run another program",
        ),
        ("nameless", b"#!".into(), "its #! line names no interpreter"),
        (
            "windows",
            b"#!/bin/sh\r\necho hi\r\n".into(),
            "its #! line ends with a carriage return, as on Windows; save it without carriage returns",
        ),
        ("itself", through("itself"), "its #! lines lead from script to script without an end"),
        ("program", elf(machine, "/no/such/ld.so"), no_loader),
        ("foreign", elf(other, "/no/such/ld.so"), foreign),
        ("cut-off", elf(machine, "/no/such/ld.so")[..20].into(), foreign),
        ("empty", Vec::new(), foreign),
        ("text", b"echo hi\n".into(), foreign),
        ("bytes", vec![0xff; 5000], foreign),
        ("newline", b"\n#!/bin/sh\n".into(), foreign),
        (
            "unmarked",
            b"#!/bin/sh\n".into(),
            "Permission denied; this user cannot execute it; make it executable with chmod +x",
        ),
    ];
    for name in steps().filter(|name| !has_init(name) || *name == OVERLAY) {
        let dir = if name == OVERLAY { "" } else { found };
        for (file, content, why) in &rows {
            let at = layer.path().join(file);
            // A file names another file by the path that the step sees.
            let content = match str::from_utf8(content) {
                Ok(text) => text.replace("LAYER", dir).into_bytes(),
                Err(_binary) => content.clone(),
            };
            fs::write(&at, content).expect("write a file");
            let mode = if *file == "unmarked" { 0o644 } else { 0o755 };
            fs::set_permissions(&at, Permissions::from_mode(mode)).expect("set its mode");
            let mut command = step(name);
            if name == OVERLAY {
                command.arg("--lower").arg(layer.path()).arg("--lower").arg(rootfs());
            }
            let output = command.arg(format!("{dir}/{file}")).output().expect("start a step");
            ends(&output, name, file, 126, &format!("execute {dir}/{file}: {why}"));
        }
    }
}
