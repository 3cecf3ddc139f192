//! Lesson 13: what programs notice of the filter. `testkit/tests/e2e/calls.rs` asks it about
//! every system call.

use std::fs;

use testkit::{containers_work, skip, stderr, stdout, step};

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
