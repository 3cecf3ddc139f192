//! Lesson 10: devices, a terminal with a name, and directories of the host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use testkit::pty::Terminal;
use testkit::{Scratches, bin, containers_work, is_one_line, rootfs, sh, stderr, stdout, step};

const STEP: &str = "step10-dev";

/// A directory of the host with a file in it.
fn host_dir() -> Scratches {
    let dir = testkit::tempdir();
    fs::write(dir.path().join("file"), "host").expect("write a file");
    dir
}

/// Runs a script with `dir` bound to `inside`, over a layer `top`.
fn bound(top: &Path, dir: &Path, inside: &str, script: &str) -> Output {
    let mut command = step(STEP);
    command.arg("--lower").arg(top).arg("--lower").arg(rootfs());
    command.arg("--bind").arg(format!("{}:{inside}", dir.display()));
    command.args(["/bin/sh", "-c", script]).output().expect("start the step")
}

#[test]
fn a_terminal_has_a_name_and_the_container_makes_others() {
    if !containers_work() {
        return;
    }
    let mut terminal = Terminal::shell("/bin/sh");
    terminal.line(&format!("{STEP} /bin/sh"));
    terminal.line(r#"PS1="in""> ""#);
    terminal.see("in> ");
    terminal.line("for fd in 0 1 2; do readlink /proc/self/fd/$fd; done; echo end''ed");
    let said = terminal.see("ended");
    assert_eq!(said.matches("/dev/console").count(), 3, "{said}");
    terminal.line("exec 3<>/dev/ptmx; echo /dev/pts/*; echo end''ed");
    let said = terminal.see("ended");
    assert!(said.contains("/dev/pts/0 /dev/pts/ptmx"), "{said}");
    terminal.line("exit");
    terminal.see("host> ");
}

#[test]
fn what_is_not_the_terminal_stays_as_it_is() {
    if !containers_work() {
        return;
    }
    assert_eq!(stdout(&sh(STEP, "test -e /dev/console || echo none")), "none");
    assert_eq!(stdout(&sh(STEP, "readlink /proc/self/fd/0")), "/dev/null");
}

#[test]
fn a_bind_shows_the_host_and_may_be_read_only() {
    if !containers_work() {
        return;
    }
    let (top, dir) = (testkit::tempdir(), host_dir());
    let output =
        bound(top.path(), dir.path(), "/new/place", "cat /new/place/file; echo x >/new/place/made");
    assert_eq!(stdout(&output), "host", "{}", stderr(&output));
    assert!(dir.path().join("made").exists());
    let output = bound(top.path(), dir.path(), "/new/place:ro", "echo x >/new/place/file");
    assert!(stderr(&output).contains("Read-only file system"), "{}", stderr(&output));
    assert_eq!(fs::read(dir.path().join("file")).expect("read it"), b"host");
    assert!(!top.path().join("new").exists(), "the mount point was made in a lower layer");
}

/// The author of the root can put any link into it.
#[test]
fn no_link_in_the_root_leads_out_of_it() {
    if !containers_work() {
        return;
    }
    let (top, dir, outside) = (testkit::tempdir(), host_dir(), host_dir());
    let up = format!("../../../../../../../../../../../..{}", outside.path().display());
    fs::create_dir(top.path().join("elsewhere")).expect("make a directory");
    for (link, target) in [
        ("inside", "../../../elsewhere"),
        ("up", &up),
        ("over", outside.path().to_str().expect("UTF-8")),
        ("magic", "/proc/self/cwd"),
    ] {
        symlink(target, top.path().join(link)).expect("make a link");
    }
    let output = bound(top.path(), dir.path(), "/inside/made", "cat /elsewhere/made/file");
    assert_eq!(stdout(&output), "host", "{}", stderr(&output));
    for link in ["up", "over", "magic"] {
        let output = bound(top.path(), dir.path(), &format!("/{link}/made"), "true");
        assert_eq!(output.status.code(), Some(125), "{link}: {}", stderr(&output));
    }
    symlink(outside.path(), top.path().join("dev")).expect("make a link");
    let output = bound(top.path(), dir.path(), "/place", "true");
    assert!(stderr(&output).contains("symbolic link to a missing file"), "{}", stderr(&output));
    let names: Vec<_> = fs::read_dir(outside.path()).expect("list it").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// The mount of proc follows such a link to the old root. The step would then
/// unmount that proc in place of the old root.
#[test]
fn no_link_at_proc_keeps_the_old_root() {
    if !containers_work() {
        return;
    }
    for target in ["..", "/", "/.."] {
        let top = testkit::tempdir();
        symlink(target, top.path().join("proc")).expect("make a link");
        for step in ["step09-pivot", STEP] {
            let mut command = testkit::step(step);
            command.arg("--lower").arg(top.path()).arg("--lower").arg(rootfs());
            let output = command.args(["/bin/ls", "/.."]).output().expect("start the step");
            assert_eq!(output.status.code(), Some(125), "{step} {target}: {}", stdout(&output));
            assert!(is_one_line(step, &stderr(&output)), "{step} {target}: {}", stderr(&output));
        }
    }
}

/// A mount below a bound directory is also bound and read-only.
#[test]
fn read_only_holds_for_what_is_mounted_below() {
    if !containers_work() {
        return;
    }
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/below && mount -t tmpfs none /mnt/below && \
         exec \"$0\" --bind /mnt:/x:ro /bin/sh -c 'echo x >/x/below/file || echo x >/x/file || echo refused'";
    let mut command = step("step04-uidmap");
    command.args(["/bin/sh", "-c", script]).arg(bin(STEP));
    let output = command.output().expect("start the step");
    assert_eq!(stdout(&output), "refused", "{}", stderr(&output));
}

#[test]
fn a_place_of_the_wrong_kind_is_refused() {
    if !containers_work() {
        return;
    }
    let (top, dir) = (host_dir(), host_dir());
    let output = bound(top.path(), dir.path(), "/file", "true");
    assert_eq!(output.status.code(), Some(125));
    assert!(
        stderr(&output).contains("a file is there, but a directory is needed"),
        "{}",
        stderr(&output)
    );
    let output = bound(top.path(), &dir.path().join("file"), "/etc", "true");
    assert!(
        stderr(&output).contains("a directory is there, but a file is needed"),
        "{}",
        stderr(&output)
    );
}
