//! The code that the tests of all crates share: the steps' programs, a root, archives,
//! and a reason to skip a test on a host that cannot run containers.
//!
//! A function panics if the system refuses what it needs: the test then fails.

pub mod archives;
pub mod images;
pub mod namespace;
pub mod procs;
pub mod pty;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, OnceLock};

use lessons::Lesson;
use nix::unistd::getuid;
use tempfile::TempDir;

/// The lessons, in order.
static LESSONS: LazyLock<Vec<Lesson>> = LazyLock::new(|| lessons::all().expect("list the lessons"));

/// The names of the steps that take a command, in order.
pub static STEPS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    LESSONS.iter().filter(|lesson| !lesson.has_verbs).map(|lesson| &*lesson.name).collect()
});

/// The names of all steps, in order.
pub static ALL: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| LESSONS.iter().map(|lesson| &*lesson.name).collect());

/// A step's manifest.
pub fn lesson(step: &str) -> &'static Lesson {
    LESSONS.iter().find(|lesson| lesson.name == step).expect("a step")
}

/// The steps that this user can run: some need root.
pub fn steps() -> impl Iterator<Item = &'static str> {
    STEPS.iter().copied().filter(|step| is_root() || !lesson(step).needs_root)
}

/// Whether the child forks the command, and does not itself become the command.
pub fn has_init(step: &str) -> bool {
    lesson(step).has_rootfs
}

/// Whether the step has a PID namespace.
pub fn has_pid_namespace(step: &str) -> bool {
    lesson(step).has_pids
}

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    common::workspace()
}

/// The path of a program of the workspace, beside the running test. If one is missing, as
/// after `cargo test -p PACKAGE` on a new checkout, cargo builds them all.
pub fn bin(name: &str) -> PathBuf {
    static PROFILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
        let mut programs = ALL.iter().chain(&["xtask"]);
        if !programs.all(|program| profile.join(program).exists()) {
            build(profile);
        }
        profile.to_owned()
    });
    let bin = PROFILE.join(name);
    assert!(bin.exists(), "{} is missing; build it with `cargo build`", bin.display());
    bin
}

/// Builds every program of the workspace into a directory target/PROFILE, if cargo runs
/// the test.
fn build(profile: &Path) {
    let (Some(mut cargo), Some(target), Some(name)) =
        (cargo(), profile.parent(), profile.file_name())
    else {
        return;
    };
    let name = if name == "debug" { OsStr::new("dev") } else { name };
    cargo.args(["build", "--quiet", "--workspace", "--profile"]).arg(name);
    cargo.arg("--target-dir").arg(target).current_dir(workspace());
    let built = cargo.status().expect("start cargo");
    assert!(built.success(), "build the programs that the tests start: cargo failed");
}

/// The cargo that runs the tests, without arguments yet, or nothing without a
/// cargo.
pub fn cargo() -> Option<Command> {
    std::env::var_os("CARGO").map(|_| start::cargo())
}

/// Copies a program, so that it can be started at once.
///
/// cp(1) does it. If this process had the copy open for writing, a program that
/// another thread starts would inherit that. execve(2) of the copy then fails with
/// "Text file busy".
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.expect("start cp").success(), "copy {}", from.display());
}

/// A step without arguments yet, with [`rootfs`] as the root.
pub fn step(name: &str) -> Command {
    let mut command = Command::new(bin(name));
    command.env("CONTAINER_ROOTFS", rootfs()).stdin(Stdio::null());
    command
}

/// Runs a shell script in a step's container.
pub fn sh(name: &str, script: &str) -> Output {
    step(name).args(["/bin/sh", "-c", script]).output().expect("start a step")
}

/// The test `name` of the running program, as the command of a step: it gets the variable
/// INSIDE. The root of the container may have no loader for it, so its root is the host's.
pub fn inside(step_name: &str, name: &str) -> Command {
    let mut command = step(step_name);
    command.args(["--bind", "/:/host", "sh", "-c", "INSIDE=1 exec chroot /host \"$@\"", "sh"]);
    command.arg(std::env::current_exe().expect("a test has a path"));
    command.args(["--exact", name, "--nocapture"]);
    command
}

/// A program of the workspace that the script `setup` starts in the container of
/// lesson 4: as root of a user namespace, with its own mounts, which end with it.
///
/// The script has the root in `$ROOT`, the workspace's programs in `$BIN`, and the
/// program to start, with its arguments, in `$@`.
pub fn within(setup: &str, program: &str) -> Command {
    let program = bin(program);
    let mut command = step("step04-uidmap");
    command.args(["/bin/sh", "-c", &format!("set -e\n{setup}\nexec \"$@\""), "sh"]);
    command.arg(&program).env("ROOT", rootfs());
    command.env("BIN", program.parent().expect("a program is in a directory"));
    command
}

/// The standard output of a process, as text without the last newline.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// The standard error of a process, as text without the last newline.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

/// Whether a text is a right message of a step: one readable line that begins with
/// the step's name.
pub fn is_one_line(name: &str, text: &str) -> bool {
    text.starts_with(&format!("{name}: "))
        && !text.contains("os error")
        && !text.contains(char::is_control)
}

/// A temporary directory. It is removed with all files that containers left in it.
pub struct Scratches(TempDir);

impl Scratches {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A directory that can hold an overlay, in memory if possible: not every `/tmp`
/// can hold an overlay.
pub fn scratch_place() -> Scratches {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in(tmpdir()));
    Scratches(place.expect("make a directory"))
}

/// A directory in `$TMPDIR`, else in `/tmp`.
pub fn tempdir() -> Scratches {
    Scratches(tempfile::tempdir_in(tmpdir()).expect("make a directory"))
}

/// Differs from std: an empty `TMPDIR` does not count.
fn tmpdir() -> PathBuf {
    let named = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty());
    named.map_or_else(|| "/tmp".into(), PathBuf::from)
}

impl Drop for Scratches {
    fn drop(&mut self) {
        // std cannot remove an overlay's directories of mode 000.
        if common::remove_tree(self.path()).is_err() {
            remove_in_container(self.path());
        }
    }
}

/// Removes the files of subordinate IDs in a directory: root of a container can.
fn remove_in_container(dir: &Path) {
    let dir = dir.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let mut step = step(STEPS[STEPS.len() - 1]);
    step.arg("--bind").arg(format!("{dir}:/mnt"));
    // The mount point itself stays, and the drop of the `TempDir` removes it.
    let _ = step.args(["sh", "-c", "rm -rf /mnt/* /mnt/.[!.]*"]).output();
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    getuid().is_root()
}

/// The root of the containers: `$CONTAINER_ROOTFS`, else `rootfs/` in the workspace
/// if this user owns it, else a new root from this machine's programs.
pub fn rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| common::own_rootfs().unwrap_or_else(|| host_rootfs().to_owned()))
}

/// A root from this machine's programs.
pub fn host_rootfs() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        let root = dir_of_this_process().join("rootfs");
        let made = Command::new(bin("xtask"))
            .args(["fetch-rootfs", "--from-host", "--dest"].map(OsStr::new))
            .arg(&root)
            .output()
            .expect("start xtask");
        assert!(made.status.success(), "make a root: {}", stderr(&made));
        root
    })
}

/// A directory that is removed after this process ends, for any reason.
pub fn dir_of_this_process() -> &'static Path {
    static DIR: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (dir, _remover) = DIR.get_or_init(|| {
        // Statics are never dropped. When this process ends, the child sees the end
        // of its standard input. Ctrl-C does not reach its process group.
        let mut remover = Command::new(bin("xtask"))
            .arg("temporary")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("start xtask");
        let mut dir = Vec::new();
        let out = remover.stdout.take().expect("a pipe");
        BufReader::new(out).read_until(0, &mut dir).expect("read a path");
        assert_eq!(dir.pop(), Some(0), "xtask makes no temporary directory");
        let dir = PathBuf::from(OsString::from_vec(dir));
        (dir, remover)
    });
    dir
}

/// The programs that the tests run in a root. The root of every system has them.
const PROGRAMS: &str = "cat chmod env grep id ls mkdir readlink rm sleep touch";

/// The reason why containers cannot run here, if any.
fn refusal() -> Option<&'static str> {
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    let refusal = REFUSAL.get_or_init(|| {
        // The root has no /dev/null.
        let script = format!("for it in {PROGRAMS}; do command -v $it >&2 || echo $it; done");
        let tried = sh(STEPS[STEPS.len() - 1], &script);
        let lacks = stdout(&tried).replace('\n', ", ");
        match (tried.status.success(), lacks.is_empty()) {
            (false, _) => Some(stderr(&tried)),
            (true, false) => Some(format!("the root {} has no {lacks}", rootfs().display())),
            (true, true) => None,
        }
    });
    refusal.as_deref()
}

/// Whether containers can run here. If not, prints why the test is skipped. With
/// `CONTAINERS_MUST_WORK=1`, a skip is a failure.
pub fn containers_work() -> bool {
    refusal().is_none_or(skip_container)
}

/// As [`skip`], on a host that cannot run containers. With `CONTAINERS_MUST_WORK=1`, it
/// is a failure.
pub fn skip_container(why: &str) -> bool {
    let must = std::env::var_os("CONTAINERS_MUST_WORK").is_some_and(|value| value == "1");
    assert!(!must, "containers must work here: {why}");
    skip(why)
}

/// Whether a container can have limits here: this user owns a control group, v2. If
/// not, prints why the test is skipped. See cgroups(7).
pub fn limits_work() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    if !mounts.lines().any(|line| line.contains(" /sys/fs/cgroup cgroup2 ")) {
        return skip("this host does not use control groups v2 alone");
    }
    let tried = step("step11-cgroups").args(["--pids", "20", "true"]).output();
    let said = stderr(&tried.expect("start a step"));
    !said.contains("owns no control group") || skip("this user owns no control group here")
}

/// Whether `/proc` shows processes of other users. If not, prints why the test is
/// skipped. See `hidepid` in proc(5).
pub fn processes_show() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    let hidden = |line: &str| line.contains(" /proc proc ") && line.contains("hidepid=");
    !mounts.lines().any(hidden) || skip("/proc is mounted with hidepid here")
}

/// Prints why a test is skipped, and returns `false`. The line avoids the capture
/// of the test's output. It is one write: the lines of other processes and of the test
/// runner do not come in between.
pub fn skip(why: &str) -> bool {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // The output of `eprintln!` is lost when the test passes.
    let _ = std::io::stderr().write_all(format!("skipped {test}: {why}\n").as_bytes());
    false
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A datagram is one write.
    #[test]
    fn a_skip_is_written_at_once() {
        const NAME: &str = "tests::a_skip_is_written_at_once";
        if std::env::var_os("SKIP").is_some() {
            skip("of this");
            return;
        }
        let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
        let mut test = Command::new(std::env::current_exe().expect("a test has a path"));
        test.args(["--exact", NAME]).env("SKIP", "1").stdout(Stdio::null());
        let ended = test.stderr(OwnedFd::from(theirs)).status().expect("start this test");
        assert!(ended.success());
        let mut line = [0; 200];
        let length = ours.recv(&mut line).expect("a datagram");
        assert_eq!(line[..length], *format!("skipped {NAME}: of this\n").as_bytes());
    }
}
