//! Lesson 13: what programs notice of the filter. `testkit/tests/e2e/calls.rs` asks it about
//! every system call.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use testkit::{containers_work, skip, stderr, stdout, step, tempdir};

const STEP: &str = "step13-seccomp";

/// Each of these uses other calls: threads, children, files, a traced process.
#[test]
fn ordinary_programs_do_not_notice() {
    if !containers_work() {
        return;
    }
    let threads = "python3 -c 'import threading, subprocess
threads = [threading.Thread(target=subprocess.run, args=([\"true\"],)) for _ in range(9)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]'";
    let compiler = "cd /tmp; echo 'int main(void) { return 0; }' >it.c; gcc -o it it.c; ./it";
    let versions = "mkdir /tmp/it; cd /tmp/it; git init -q; echo text >file; git add .;
        git -c user.name=x -c user.email=x commit -qm x; git fsck --strict --no-progress";
    let tracer = "strace -f -o /tmp/trace sh -c 'true & wait'; grep -q execve /tmp/trace";
    // These are in the host's directories, and the last one is in an Alpine root.
    let host = ["/usr", "/bin", "/lib", "/lib64", "/etc"];
    for (program, script, binds) in [
        ("python3", threads, &host[..]),
        ("gcc", compiler, &host),
        ("git", versions, &host),
        ("strace", tracer, &host),
        ("perl", "perl -e 'exit !(fork // die) || wait == -1'", &host),
        ("tar", "cd /etc; tar -cf /tmp/it.tar passwd; cd /tmp; tar -xof it.tar", &host),
        ("apk", "apk info 2>/dev/null", &[]),
    ] {
        let mut command = step(STEP);
        // A bind follows no link, such as /lib64.
        for (dir, real) in binds.iter().filter_map(|dir| Some((dir, fs::canonicalize(dir).ok()?))) {
            command.args(["--bind", &format!("{}:{dir}:ro", real.display())]);
        }
        let script = format!("command -v {program} || exit 99; {script}");
        let output = command.args(["/bin/sh", "-ec", &script]).output().expect("start the step");
        if output.status.code() == Some(99) {
            skip(&format!("there is no {program}"));
            continue;
        }
        let (said, error) = (stdout(&output), stderr(&output));
        assert!(output.status.success(), "{program}: {said}\n{error}");
        assert_eq!(error, "", "{program}");
    }
}

/// The filter refuses its calls, and "Segmentation fault" alone does not say so.
#[test]
fn a_program_for_32_bits_is_named() {
    if !containers_work() {
        return;
    }
    if !cfg!(target_arch = "x86_64") {
        skip("the program is for x86");
        return;
    }
    // A header, one segment, and exit(5) by the number that i386 has for it.
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 5, 0, 0, 0, 0xcd, 0x80];
    let (base, start, length) = (0x0804_8000u32, 84u32, 84 + code.len() as u32);
    let mut program = b"\x7fELF\x01\x01\x01".to_vec();
    program.resize(16, 0);
    let half = |values: &[u16]| values.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
    let word = |values: &[u32]| values.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
    program.extend([half(&[2, 3]), word(&[1, base + start, 52, 0, 0])].concat());
    program.extend(half(&[52, 32, 1, 0, 0, 0]));
    program.extend(word(&[1, 0, base, base, length, length, 5, 4096]));
    program.extend(code);
    let place = tempdir();
    let file = place.path().join("narrow");
    fs::write(&file, program).expect("write a program");
    fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("chmod");
    let mut command = step(STEP);
    command.args(["--bind", &format!("{}:/place", place.path().display()), "/place/narrow"]);
    let output = command.output().expect("start the step");
    let said = stderr(&output);
    assert!(said.starts_with(STEP) && said.contains("32 bits"), "{said}");
    assert!(!output.status.success());
}
