//! Lesson 10: devices, a terminal with a name, and directories of the host.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io, thread};

use testkit::pty::Terminal;
use testkit::{
    Scratches, bin, containers_work, is_one_line, is_root, rootfs, sh, skip, stderr, stdout, step,
};

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
    // The root has no such directory, and gets one.
    for link in ["up", "over", "magic"] {
        let output = bound(top.path(), dir.path(), &format!("/{link}/made"), "true");
        assert_eq!(output.status.code(), Some(0), "{link}: {}", stderr(&output));
    }
    symlink(outside.path(), top.path().join("dev")).expect("make a link");
    let output = bound(top.path(), dir.path(), "/place", "test -c /dev/null && readlink /dev");
    assert_eq!(stdout(&output), outside.path().to_string_lossy(), "{}", stderr(&output));
    let names: Vec<_> = fs::read_dir(outside.path()).expect("list it").flatten().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// Many roots have such a link at /etc/resolv.conf.
#[test]
fn a_bind_over_a_link_to_a_missing_file_makes_that_file() {
    if !containers_work() {
        return;
    }
    let (top, dir) = (testkit::tempdir(), host_dir());
    fs::create_dir(top.path().join("etc")).expect("make a directory");
    symlink("../run/a/stub", top.path().join("etc/link")).expect("make a link");
    symlink("link", top.path().join("etc/resolv.conf")).expect("make a link");
    symlink("loop", top.path().join("etc/loop")).expect("make a link");
    let file = dir.path().join("file");
    let output = bound(top.path(), &file, "/etc/resolv.conf", "cat /etc/resolv.conf /run/a/stub");
    assert_eq!(stdout(&output), "hosthost", "{}", stderr(&output));
    let output = bound(top.path(), &file, "/etc/loop", "true");
    assert_eq!(output.status.code(), Some(125), "{}", stderr(&output));
    assert!(is_one_line(STEP, &stderr(&output)), "{}", stderr(&output));
}

#[test]
fn root_is_told_whose_files_a_bind_shows() {
    if !containers_work() {
        return;
    }
    if !is_root() {
        skip("an ordinary user has no rights over such files outside either");
        return;
    }
    let (top, dir) = (testkit::tempdir(), host_dir());
    let output = bound(top.path(), dir.path(), "/place", "true");
    assert_eq!(stderr(&output), "");
    chown(dir.path(), Some(1234), None).expect("give it to a user");
    let output = bound(top.path(), dir.path(), "/place", "stat -c %u /place");
    assert_eq!(stdout(&output), "65534");
    let told = format!(
        "{} belongs to user 1234, whom the container does not have: ",
        dir.path().display()
    );
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    assert!(is_one_line(STEP, &stderr(&output)), "{}", stderr(&output));
}

/// Another container may have made the link, in a directory that it can write.
#[test]
fn no_link_leads_to_the_source_of_a_bind() {
    if !containers_work() {
        return;
    }
    let (top, volume, outside) = (testkit::tempdir(), testkit::tempdir(), host_dir());
    symlink(outside.path(), volume.path().join("link")).expect("make a link");
    for source in ["link", "link/file"] {
        let output = bound(top.path(), &volume.path().join(source), "/place", "cat /place*");
        let error = stderr(&output);
        assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(125)), "{error}");
        let remedy = "a part of the path is a symbolic link, which a container can make; name ";
        assert!(error.contains(remedy) && is_one_line(STEP, &error), "{error}");
    }
    // A container of an ordinary user cannot have made the links of root.
    for link in ["/bin", "/var/run"].into_iter().filter(|link| Path::new(link).is_symlink()) {
        let link = Path::new(link).join(".");
        let output = bound(top.path(), &link, "/place", "test -d /place");
        assert_eq!(output.status.success(), !is_root(), "{}", stderr(&output));
    }
}

/// A process that can write above the place of a bind swaps the place for a link to another
/// mount, again and again. The bind is read-only before it has a place.
#[test]
fn a_read_only_bind_is_never_writable() {
    if !containers_work() {
        return;
    }
    let (shared, source) = (testkit::tempdir(), host_dir());
    fs::create_dir(shared.path().join("place")).expect("make a directory");
    symlink("/tmp", shared.path().join("link")).expect("make a link");
    let ended = AtomicBool::new(false);
    let outputs: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                exchange(&shared.path().join("place"), &shared.path().join("link"));
            }
        });
        let start = |_| {
            let mut command = step(STEP);
            command.arg("--bind").arg(format!("{}:/shared", shared.path().display()));
            command.arg("--bind").arg(format!("{}:/shared/place:ro", source.path().display()));
            let write = "for dir in /shared/* /tmp; do (echo >$dir/file) 2>&-; done; true";
            command.args(["/bin/sh", "-c", write]).output()
        };
        let outputs = (0..100).map(start).collect();
        ended.store(true, Ordering::Relaxed);
        outputs
    });
    assert_eq!(fs::read(source.path().join("file")).expect("read it"), b"host");
    for output in outputs {
        let output = output.expect("start the step");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

/// Gives each of two files the name of the other; renameat2(2).
#[allow(unsafe_code, reason = "nix has renameat2(2) only for glibc")]
fn exchange(one: &Path, other: &Path) {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a name");
    let (one, other) = (name(one), name(other));
    let (here, flag) = (libc::AT_FDCWD, libc::RENAME_EXCHANGE);
    // SAFETY: both paths end with a zero, and live longer than the call.
    let renamed = unsafe {
        libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), flag)
    };
    assert_eq!(renamed, 0, "{}", io::Error::last_os_error());
}

/// The caller's directory takes the place of /dev, as it is. Files are still hidden, and not
/// by a file of that directory.
#[test]
fn a_bind_can_replace_dev() {
    if !containers_work() {
        return;
    }
    let (top, dir) = (testkit::tempdir(), host_dir());
    symlink("/etc/hostname", dir.path().join("null")).expect("make a link");
    let output = bound(top.path(), dir.path(), "/dev", "ls /dev; test -s /proc/timer_list");
    assert_eq!(stdout(&output), "file\nnull", "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
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
