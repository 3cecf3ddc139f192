//! A mirror that delays the task, and an output that takes nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::{bin, containers_work, stderr, stdout, workspace};

/// A mirror that answers at once, and then sends a byte from time to time for ever.
struct Dripping {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dripping {
    fn new() -> Dripping {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(AtomicBool::new(false));
        let of_thread = over.clone();
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if of_thread.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.expect("a connection");
                connections.push(thread::spawn(move || drip(stream)));
            }
            for connection in connections {
                connection.join().expect("no panic");
            }
        });
        Dripping { address, over, thread: Some(thread) }
    }
}

/// Sends until the client closes the connection.
fn drip(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n";
    let mut request = [0; 4096];
    let asked = stream.read(&mut request).is_ok_and(|n| n > 0);
    let mut sent = asked && stream.write_all(head.as_bytes()).is_ok();
    while sent {
        thread::sleep(Duration::from_millis(20));
        sent = stream.write_all(b"x").is_ok();
    }
}

impl Drop for Dripping {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(self.address));
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(joined, Some(Ok(()))));
    }
}

/// The output of a command, which must end by itself.
fn ended(command: &mut Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start xtask");
    let start = Instant::now();
    while child.try_wait().expect("look").is_none() {
        if start.elapsed() > Duration::from_secs(300) {
            child.kill().expect("end it");
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("wait")
}

#[test]
fn a_mirror_that_sends_a_byte_now_and_then_is_given_up() {
    let mirror = Dripping::new();
    let dir = testkit::tempdir();
    for (release, file) in [
        // For this release, the task first asks the mirror for a digest.
        ("3.99.1", "x86_64/alpine-minirootfs-3.99.1-x86_64.tar.gz.sha512"),
        ("3.15.4", "x86_64/alpine-minirootfs-3.15.4-x86_64.tar.gz"),
    ] {
        let mut command = Command::new(bin("xtask"));
        command.args(["fetch-rootfs", "--release", release, "--arch=x86_64", "--timeout=3"]);
        command.arg(format!("--mirror=http://{}", mirror.address));
        command.arg("--dest").arg(dir.path().join("rootfs")).stdin(Stdio::null());
        for proxy in ["http_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        let output = ended(&mut command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().expect("an error line");
        for part in [file, "only ", "bytes came within 3.0 seconds, at the last of 3 tries"] {
            assert!(last.contains(part), "no {part:?} in {last:?}");
        }
        // Before the error, the task prints the address for which it waits.
        let told = said
            .lines()
            .any(|line| line.starts_with("xtask: fetch http://") && line.ends_with(file));
        assert!(told, "{said}");
        assert!(!dir.path().join("rootfs").exists());
    }
}

const FULL: &str = "write to standard output: No space left on device; the file system of standard output is full; free some space";

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("open /dev/full")
}

/// All tasks with output, except those that first build something. clippy forbids
/// `println!`, which panics, in the tasks.
#[test]
fn a_full_output_is_told_in_one_line() {
    let dir = testkit::tempdir();
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let archive = path("archive.tar");
    let mut packed = tar::Builder::new(File::create(&archive).expect("make an archive"));
    packed.append_path_with_name("/bin/sh", "bin/sh").expect("pack");
    packed.finish().expect("pack");
    let dest = path("rootfs");
    let exercises = path("exercises");
    let mut tasks = vec![
        vec!["--help"],
        vec!["diff", "--help"],
        vec!["diff", "5", "6"],
        vec!["doctor"],
        vec!["exercise", "5", "--dir", &exercises],
        vec!["fetch-rootfs", "--archive", &archive, "--dest", &dest],
        vec!["verify", "1"],
    ];
    if containers_work() {
        tasks.push(vec!["isolation"]);
    }
    for task in tasks {
        let mut command = Command::new(bin("xtask"));
        let output = command.args(&task).stdout(full()).stdin(Stdio::null()).output();
        let output = output.expect("start xtask");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{task:?}: {said}");
        assert_eq!(said.lines().last(), Some(&*format!("xtask: {FULL}")), "{task:?}: {said}");
        assert_eq!(said.matches("write to standard output").count(), 1, "{task:?}: {said}");
    }
    assert!(Path::new(&dest).join("bin/sh").exists(), "only the message is lost");
}

#[test]
fn a_full_output_fails_a_script_that_checks() {
    let script = workspace().join("step01-run/verify.sh");
    let program = bin("step01-run");
    let run = |stdout: Stdio| {
        let mut command = Command::new("sh");
        command.arg(&script).arg(&program).stdout(stdout).output().expect("start sh")
    };
    let output = run(full().into());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("verify.sh: write to standard output: not all lines"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" >&-", "sh", "sh"]).arg(&script).arg(&program);
    let output = command.output().expect("start sh");
    let said = stderr(&output);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.ends_with("write to standard output: it is closed"), "{said}");
    // When the lines are written, no error is printed.
    let output = run(Stdio::piped());
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

/// Rust's runtime opens /dev/null in place of a closed standard output, and so does
/// cargo. Then the lines are lost, and nothing panics.
#[test]
fn a_closed_output_is_no_panic() {
    for task in [&["diff", "5", "6"][..], &["--help"], &["doctor"]] {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" >&-", "sh"]).arg(bin("xtask")).args(task);
        let output = command.output().expect("start sh");
        assert_ne!(output.status.code(), Some(101), "{}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}
