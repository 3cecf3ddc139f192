//! Files and devices on standard input, output and error: the container gets pipes in the
//! place of files, and devices of its own.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::pty::posix_openpt;
use nix::sys::eventfd::EventFd;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use testkit::procs::{Proc, end_of, gone, having, in_state, naptime, running, wait_until};
use testkit::{
    containers_work, has_init, is_one_line, is_root, lesson, skip, step, steps, tempdir,
};

/// The steps whose container has a root of its own.
fn rooted() -> impl Iterator<Item = &'static str> {
    steps().filter(|name| has_init(name))
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("open a file")
}

#[test]
fn a_directory_and_an_odd_descriptor_are_refused() {
    let directory = || OwnedFd::from(File::open("/").expect("open a directory"));
    let event = || OwnedFd::from(EventFd::new().expect("make an event"));
    let path = |name| {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_PATH).open(name);
        OwnedFd::from(file.expect("open a file"))
    };
    let master = || {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).expect("open a pseudoterminal");
        OwnedFd::from(master)
    };
    for name in rooted() {
        for (fd, words) in [
            (directory(), "is a directory"),
            (event(), "is no file"),
            (path("/proc/version"), "is no file"),
            (path("/dev/null"), "is no file"),
            (master(), "is no file"),
        ] {
            for number in 0..2 {
                let mut step = step(name);
                let fd = fd.try_clone().expect("copy a descriptor");
                match number {
                    0 => step.stdin(fd),
                    _ => step.stdout(fd),
                };
                let output = step.arg("true").stderr(Stdio::piped()).spawn();
                let output = output.and_then(|child| child.wait_with_output());
                let output = output.expect("start a step");
                let said = testkit::stderr(&output);
                assert!(is_one_line(name, &said) && said.contains(words), "{name}: {said}");
                assert_eq!(output.status.code(), Some(125), "{name}");
            }
        }
    }
}

#[test]
fn the_files_of_the_caller_stay_as_they_are() {
    if !containers_work() {
        return;
    }
    let place = tempdir();
    for name in rooted() {
        let files = ["in", "out", "err"].map(|file| place.path().join(file));
        for file in &files {
            fs::write(file, "before\n").expect("write a file");
            fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("chmod");
        }
        let append = |file| OpenOptions::new().append(true).open(file).expect("open a file");
        let script = "chmod 4755 /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2
            (: >/proc/self/fd/1); exit 0";
        let mut step = step(name);
        step.args(["sh", "-c", script]).stdin(open(&files[0]));
        let status = step.stdout(append(&files[1])).stderr(append(&files[2])).status();
        assert_eq!(status.expect("start a step").code(), Some(0), "{name}");
        for file in &files {
            let found = fs::metadata(file).expect("look at a file");
            assert_eq!(found.mode() & 0o7777, 0o600, "{name} {}", file.display());
            let text = fs::read_to_string(file).expect("read a file");
            assert!(text.starts_with("before\n"), "{name} {}: {text}", file.display());
        }
    }
}

#[test]
fn what_the_command_reads_and_writes_is_all_there_and_in_order() {
    if !containers_work() {
        return;
    }
    let place = tempdir();
    let (input, output) = (place.path().join("in"), place.path().join("out"));
    for name in rooted() {
        let both = File::create(&output).expect("make a file");
        let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 7";
        let mut lines = step(name);
        lines.args(["sh", "-c", script]).stdout(both.try_clone().expect("copy a descriptor"));
        assert_eq!(lines.stderr(both).status().expect("start a step").code(), Some(7));
        let said = fs::read_to_string(&output).expect("read a file");
        assert_eq!(said, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n", "{name}");

        let much: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_ne_bytes).collect();
        fs::write(&input, &much).expect("write a file");
        let mut copy = step(name);
        copy.arg("cat").stdin(open(&input)).stdout(File::create(&output).expect("make a file"));
        assert!(copy.status().expect("start a step").success(), "{name}");
        assert!(fs::read(&output).expect("read a file") == much, "{name}");

        // More than a pipe takes at once does not keep the copier from its end.
        let mut some = step(name);
        some.args(["head", "-c", "5000"]).stdin(open(&input)).stdout(Stdio::null());
        assert!(some.status().expect("start a step").success(), "{name}");

        // The caller reads on where the command has stopped; `read` takes byte by byte.
        fs::write(&input, "one\ntwo\nthree\n").expect("write a file");
        let (mut file, mut rest) = (open(&input), String::new());
        let mut first = step(name);
        first.args(["sh", "-c", "read word"]).stdin(file.try_clone().expect("copy a descriptor"));
        assert!(first.status().expect("start a step").success(), "{name}");
        file.read_to_string(&mut rest).expect("read a file");
        assert_eq!(rest, "two\nthree\n", "{name}");
    }
}

#[test]
fn a_file_that_takes_no_more_is_a_failure() {
    if !containers_work() {
        return;
    }
    let place = tempdir();
    for name in rooted() {
        let step = step(name);
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", "ulimit -f 1; exec \"$@\"", "sh"]).arg(step.get_program());
        limited.args(["sh", "-c", "head -c 5000 /etc/passwd /bin/sh 2>&1; exit 0"]);
        limited.env("CONTAINER_ROOTFS", testkit::rootfs()).stdin(Stdio::null());
        limited.stdout(File::create(place.path().join("out")).expect("make a file"));
        let output = limited.stderr(Stdio::piped()).spawn().and_then(|it| it.wait_with_output());
        let output = output.expect("start a step");
        let said = testkit::stderr(&output);
        assert!(is_one_line(name, &said) && said.contains("File too large"), "{name}: {said}");
        assert_eq!(output.status.code(), Some(125), "{name}");
    }
}

#[test]
fn after_a_killed_runner_the_file_has_what_was_written() {
    if !containers_work() {
        return;
    }
    let place = tempdir();
    let out = place.path().join("out");
    for name in rooted() {
        let time = naptime();
        let mut step = step(name);
        step.args(["sh", "-c", &format!("echo early; exec sleep {time}")]);
        let mut runner = step.stdout(File::create(&out).expect("make a file")).spawn();
        let runner = runner.as_mut().expect("start a step");
        running("sleep", &time);
        wait_until("the first line", || fs::read_to_string(&out).is_ok_and(|it| it == "early\n"));
        runner.kill().expect("kill the runner");
        runner.wait().expect("wait for the runner");
        gone(&time);
    }
}

/// As a file of a network that hangs.
#[test]
fn a_signal_ends_the_wait_for_the_copier() {
    if !containers_work() {
        return;
    }
    let place = tempdir();
    for name in rooted() {
        let time = naptime();
        let mut step = step(name);
        step.args(["sleep", &time]).stderr(Stdio::null());
        step.stdout(File::create(place.path().join("out")).expect("make a file"));
        let mut child = step.spawn().expect("start a step");
        let (runner, command) = (Proc::of(&child), running("sleep", &time));
        let all = having(&time);
        let is_copier =
            |it: &Proc| *it != runner && it.parent().is_none_or(|above| !all.contains(&above));
        let copier = *all.iter().find(|it| is_copier(it)).expect("find the copier");
        copier.kill(Signal::SIGSTOP);
        in_state(copier, "T");
        command.kill(Signal::SIGKILL);
        wait_until("the end of the child", || runner.children().is_empty());
        runner.kill(Signal::SIGTERM);
        let status = end_of(&mut child);
        copier.kill(Signal::SIGCONT);
        assert_eq!(status.code(), Some(143), "{name}");
        gone(&time);
    }
}

#[test]
fn the_mode_of_a_device_of_the_host_stays() {
    if !containers_work() {
        return;
    }
    if !is_root() {
        skip("only root can make a device");
        return;
    }
    let place = tempdir();
    let null = place.path().join("null");
    if let Err(error) = mknod(&null, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3)) {
        skip(&format!("make a device: {error}"));
        return;
    }
    let open = || OpenOptions::new().read(true).write(true).open(&null);
    for name in rooted().filter(|name| lesson(name).number >= 10) {
        let (Ok(stdin), Ok(stdout)) = (open(), open()) else {
            skip("devices do not work here");
            return;
        };
        let script = "chmod 777 /proc/self/fd/0 /proc/self/fd/1 2>/dev/null; echo $? >&2";
        let mut step = step(name);
        step.args(["sh", "-c", script]).stdin(stdin).stdout(stdout);
        let output = step.stderr(Stdio::piped()).spawn().and_then(|it| it.wait_with_output());
        assert_eq!(output.expect("start a step").stderr, b"1\n", "{name}");
        let found = fs::metadata(&null).expect("look at a device");
        assert_eq!(found.mode() & 0o7777, 0o600, "{name}");
    }
}
