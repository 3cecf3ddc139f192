//! A container leaves no process, no mount and no directory, and removes no
//! directory that is in use.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::getuid;
use testkit::procs::{Proc, end_of, gone, having, line, running, scripted, token, wait_until};
use testkit::{Scratches, bin, containers_work, scratch_place, stderr, stdout, step, tempdir};

const STEP: &str = "step08-overlay";

/// Writes each word that it reads to a file, and prints the words of the file.
const WRITER: &str = r#"while read word; do echo "$word" >>/log && echo $(cat /log); done"#;

/// The place for the scratch directories of the containers in a test.
struct Place(Scratches);

impl Place {
    fn new() -> Place {
        Place(scratch_place())
    }

    fn step(&self) -> Command {
        let mut command = step(STEP);
        command.env("TMPDIR", self.0.path());
        command
    }

    /// The directory in which the step makes its scratch directories.
    fn home(&self) -> PathBuf {
        self.0.path().join(format!("containers-{}", getuid()))
    }

    /// The scratch directories that exist.
    fn scratches(&self) -> Vec<PathBuf> {
        let entries = self.home().read_dir().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// The mounts of a process that belong to a container of this place.
    fn mounts(&self, of: &str) -> Vec<String> {
        let mounts = fs::read_to_string(format!("/proc/{of}/mountinfo")).expect("its mounts");
        let place = self.0.path().to_str().expect("UTF-8");
        mounts.lines().filter(|line| line.contains(place)).map(str::to_owned).collect()
    }

    /// Fails if anything is left of this place's containers. Each of them had
    /// `token` on its command line.
    fn is_clean(&self, token: &str) {
        assert_eq!(having(token), []);
        assert_eq!(self.mounts("self"), [""; 0]);
        let left: Vec<_> = self.0.path().read_dir().expect("a directory").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Gives a [`WRITER`] a word, and returns its answer.
fn write(child: &mut Child, output: &mut impl BufRead, word: &str) -> String {
    let stdin = child.stdin.as_mut().expect("a pipe");
    writeln!(stdin, "{word}").expect("write a word");
    line(output)
}

/// The number of the runner's descriptors, and its memory in kB. Waits until the
/// runner is ready: the command can be ready earlier.
fn size(child: &Child) -> (usize, u64) {
    let runner = Proc::of(child);
    let is_signals = |link: &Path| link.as_os_str().to_string_lossy().contains("signalfd");
    wait_until("a runner that waits", || {
        runner.descriptors().iter().any(|(_, link)| is_signals(link)) && runner.state() == Some('S')
    });
    (runner.descriptors().len(), runner.memory())
}

#[test]
fn a_thousand_in_a_row_leave_nothing() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let token = token();
    // The first container runs all the time.
    let (mut first, mut output) = scripted(place.step(), WRITER, &token);
    assert_eq!(write(&mut first, &mut output, "before"), "before");
    let before = size(&first);
    for count in 0..1000 {
        let mut command = place.step();
        let output = command.args(["/bin/sh", "-c", "echo x >/x; exit 7", &token]).output();
        let output = output.expect("start a step");
        assert_eq!(output.status.code(), Some(7), "{count}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{count}");
    }
    assert_eq!(place.scratches().len(), 1);
    let then = size(&first);
    assert_eq!(then.0, before.0);
    assert!(then.1 <= before.1, "{before:?}, then {then:?}");
    assert_eq!(write(&mut first, &mut output, "after"), "before after");

    // A new container needs as much as the first container, give or take a few
    // pages.
    let (mut last, mut of_last) = scripted(place.step(), WRITER, &token);
    assert_eq!(write(&mut last, &mut of_last, "last"), "last");
    let after = size(&last);
    assert_eq!(after.0, before.0);
    assert!(after.1 <= before.1 + 64, "{before:?}, then {after:?}");

    // Show that a running container has mounts: below, none may be left.
    let inside = running("/bin/sh", &token);
    assert!(!place.mounts(&inside.0.to_string()).is_empty());
    for mut child in [first, last] {
        drop(child.stdin.take());
        assert_eq!(end_of(&mut child).code(), Some(0));
    }
    place.is_clean(&token);
}

#[test]
fn two_hundred_at_once_leave_nothing() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let token = token();
    let start = |_| {
        let mut command = place.step();
        command.args(["cat", "-", &token]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start a step")
    };
    let mut children: Vec<Child> = (0..200).map(start).collect();
    let run = |proc: &Proc| proc.words().first().is_some_and(|word| word == "cat");
    wait_until("two hundred commands", || {
        having(&token).into_iter().filter(run).count() == children.len()
    });
    // Each container has a runner, a process 1 and a command.
    assert_eq!(having(&token).len(), 3 * children.len());
    assert_eq!(place.scratches().len(), children.len());
    let sizes: Vec<_> = children.iter().map(size).collect();
    let (descriptors, memory): (Vec<_>, Vec<_>) = sizes.into_iter().unzip();
    assert!(descriptors.iter().all(|&count| count == descriptors[0]), "{descriptors:?}");
    let (least, most) = (memory.iter().min(), memory.iter().max());
    assert!(most <= least.map(|&least| least + 64).as_ref(), "{memory:?}");

    for child in &mut children {
        drop(child.stdin.take());
    }
    for child in &mut children {
        assert_eq!(end_of(child).code(), Some(1));
    }
    place.is_clean(&token);
}

#[test]
fn a_directory_in_use_is_never_touched() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let token = token();
    let (mut child, mut output) = scripted(place.step(), WRITER, &token);
    assert_eq!(write(&mut child, &mut output, "one"), "one");
    let [used] = &place.scratches()[..] else {
        panic!("{:?}", place.scratches());
    };

    // Kill other containers at every moment of their start. Each new container
    // looks for directories that the others left.
    for delay in 0..40 {
        let mut command = place.step();
        command.args(["cat", "-", &token]).stdin(Stdio::piped());
        let mut other = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let other = other.as_mut().expect("start a step");
        let until = Instant::now() + Duration::from_micros(delay * 200);
        while Instant::now() < until {}
        other.kill().expect("kill the runner");
        end_of(other);
    }
    // In another PID namespace, the ID of a process means another process, or none.
    // There the lock decides.
    let mut inside = step("step05-pid");
    inside.env("TMPDIR", place.0.path()).args(["/bin/sh", "-c", r#""$0" true && "$0" true"#]);
    let inside = inside.arg(bin(STEP)).output().expect("start a step");
    assert_eq!((inside.status.code(), stderr(&inside)), (Some(0), String::new()));

    assert_eq!(write(&mut child, &mut output, "two"), "one two");
    assert_eq!(fs::read(used.join("upper/log")).expect("read it"), b"one\ntwo\n");
    drop(child.stdin.take());
    assert_eq!(end_of(&mut child).code(), Some(0));
    gone(&token);
    wait_until("the end of those that were killed", || {
        let output = place.step().arg("true").output().expect("start a step");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        place.scratches().is_empty()
    });
    place.is_clean(&token);
}

#[test]
fn a_scratch_directory_is_for_one_container_and_stays() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let token = token();
    let kept = place.0.path().join("kept");
    let on_kept = || {
        let mut command = place.step();
        command.arg("--scratch").arg(&kept);
        command
    };
    let (mut child, mut output) = scripted(on_kept(), WRITER, &token);
    assert_eq!(write(&mut child, &mut output, "one"), "one");
    let second = on_kept().args(["cat", "/log"]).output().expect("start a step");
    assert_eq!((second.status.code(), stdout(&second)), (Some(125), String::new()));
    assert_eq!(
        stderr(&second),
        format!(
            "{STEP}: use the scratch directory {}: another container is using it; \
             wait until that container ends, or name another directory",
            kept.display()
        )
    );
    assert_eq!(write(&mut child, &mut output, "two"), "one two");
    // The directory stays after an ordinary end, and after SIGKILL.
    child.kill().expect("kill the runner");
    end_of(&mut child);
    gone(&token);
    for _ in 0..2 {
        // A process loses its lock after its command line.
        wait_until("the end of a lock", || {
            let next = on_kept().args(["cat", "/log"]).output().expect("start a step");
            stdout(&next) == "one\ntwo"
        });
    }
    common::remove_tree(&kept).expect("remove it");
    place.is_clean(&token);
}

#[test]
fn what_may_not_be_read_or_written_is_removed_as_well() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let outside = tempdir();
    fs::write(outside.path().join("file"), "mine").expect("write a file");
    let token = token();
    let script = r#"
        mkdir -p /a/b/c /full /locked /etc/x && echo x >/a/b/c/file && mkfifo /fifo &&
        for i in 1 2 3 4 5 6 7 8 9; do for j in 1 2 3 4 5 6 7 8 9; do : >/full/$i$j; done; done &&
        deep=/deep; for i in 1 2 3 4 5 6 7 8 9; do deep=$deep/0123456789; done; mkdir -p $deep &&
        : >"/a b$(printf '\n\t\377\\')c" && ln -s "$1" /link && ln -s / /etc/x/root &&
        rm /etc/passwd &&
        chmod 000 /a/b/c/file /a/b/c /a/b /locked $deep && chmod 555 /a /full /etc && echo done
        read word"#;
    let mut command = place.step();
    command.args(["/bin/sh", "-c", script, &token]).arg(outside.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().expect("start a step");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    assert_eq!(line(&mut output), "done");
    let [scratch] = &place.scratches()[..] else {
        panic!("{:?}", place.scratches());
    };
    for (dir, mode) in [("work/work", 0), ("upper/locked", 0), ("upper/full", 0o555)] {
        let found = fs::metadata(scratch.join(dir)).expect("look at it");
        assert_eq!(found.mode() & 0o777, mode, "{dir}");
    }
    drop(child.stdin.take());
    assert_eq!(end_of(child).code(), Some(1));
    place.is_clean(&token);
    assert_eq!(fs::read(outside.path().join("file")).expect("read it"), b"mine");
}
