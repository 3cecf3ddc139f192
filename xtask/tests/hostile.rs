//! A mirror that keeps the task waiting.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::{bin, stderr};

/// A mirror that answers at once, and then sends a byte now and then for ever.
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

/// Until the client has gone.
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

/// What a command says, which must end by itself.
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
    let dir = tempfile::tempdir().expect("make a directory");
    for (release, file) in [
        // Of this one the mirror is asked for a digest first.
        ("3.99.1", "x86_64/alpine-minirootfs-3.99.1-x86_64.tar.gz.sha512"),
        ("3.15.4", "x86_64/alpine-minirootfs-3.15.4-x86_64.tar.gz"),
    ] {
        let mut command = Command::new(bin("xtask"));
        command.args(["fetch-rootfs", "--release", release, "--arch=x86_64", "--timeout=1"]);
        command.arg(format!("--mirror=http://{}", mirror.address));
        command.arg("--dest").arg(dir.path().join("rootfs")).stdin(Stdio::null());
        for proxy in ["http_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        let output = ended(&mut command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().expect("an error line");
        for part in [file, "only ", "bytes came within 1.0 seconds, at the last of 3 tries"] {
            assert!(last.contains(part), "no {part:?} in {last:?}");
        }
        // What is waited for is told before that.
        let told = said
            .lines()
            .any(|line| line.starts_with("xtask: fetch http://") && line.ends_with(file));
        assert!(told, "{said}");
        assert!(!dir.path().join("rootfs").exists());
    }
}
