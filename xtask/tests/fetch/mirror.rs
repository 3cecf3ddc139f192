//! A mirror on loopback. It has the layout of Alpine's mirror, and misbehaves on
//! demand.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{NAME, PLACE, sha512};

/// How the mirror answers a request.
#[derive(Clone)]
pub(crate) enum Answer {
    Whole(Vec<u8>),
    /// Twenty pieces in eight seconds.
    Slowly(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Half of the file; then the connection ends.
    CutOff(Vec<u8>),
    /// Half of the file; then nothing.
    Stalls(Vec<u8>),
    /// Nothing at all.
    Silent,
    /// The rest of the file. A request for the whole file is refused.
    Rest(Vec<u8>),
}

/// A mirror: a list of answers for each path. It repeats the last answer.
pub(crate) struct Mirror {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    pub(crate) fn new(answers: &[(&str, &[Answer])]) -> Mirror {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let of_thread = (asked.clone(), over.clone());
        let answers: BTreeMap<String, Vec<Answer>> =
            answers.iter().map(|(path, answers)| ((*path).to_owned(), answers.to_vec())).collect();
        let thread = thread::spawn(move || {
            let (asked, over) = of_thread;
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = stream.expect("a connection");
                let (path, from) = request(&mut stream);
                let mut asked = asked.lock().expect("no panic");
                let nth = asked.iter().filter(|it| **it == path).count();
                let answer = answers.get(&path).map_or(Answer::Status(404), |answers| {
                    answers[nth.min(answers.len() - 1)].clone()
                });
                asked.push(path);
                connections.push(thread::spawn(move || answer.send(stream, from)));
            }
            for connection in connections {
                connection.join().expect("no panic");
            }
        });
        Mirror { address, asked, over, thread: Some(thread) }
    }

    /// A mirror with an archive of [`RELEASE`] and its digest.
    pub(crate) fn with(archive: &[u8]) -> Mirror {
        Mirror::new(&[
            (PLACE, &[Answer::Whole(archive.to_vec())]),
            (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(archive))]),
        ])
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/alpine", self.address)
    }

    /// The number of requests for a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|it| *it == path).count()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(self.address));
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(joined, Some(Ok(()))));
    }
}

/// Reads a request. Returns its path, and the number of bytes that the client has.
fn request(stream: &mut TcpStream) -> (String, Option<usize>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let range = head.lines().find_map(|line| {
        line.to_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok()
    });
    (head.split(' ').nth(1).unwrap_or_default().to_owned(), range)
}

impl Answer {
    /// Sends the answer. A client that has gone is not an error.
    fn send(self, mut stream: TcpStream, from: Option<usize>) {
        let head = |status: &str, rest: &str| {
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{rest}\r\n\r\n").into_bytes()
        };
        let ok = |body: &[u8]| head("200 OK", &format!("Content-Length: {}", body.len()));
        let _ = match self {
            Answer::Whole(body) => stream.write_all(&[ok(&body), body].concat()),
            Answer::Slowly(body) => stream.write_all(&ok(&body)).and_then(|()| {
                let mut pieces = body.chunks(body.len() / 20 + 1);
                pieces.try_for_each(|piece| {
                    thread::sleep(Duration::from_millis(400));
                    stream.write_all(piece)
                })
            }),
            Answer::Status(status) => {
                stream.write_all(&head(&format!("{status} No"), "Content-Length: 0"))
            }
            Answer::Redirect(to) => {
                let rest = format!("Location: {to}\r\nContent-Length: 0");
                stream.write_all(&head("302 Found", &rest))
            }
            Answer::CutOff(body) => {
                stream.write_all(&[&ok(&body), &body[..body.len() / 2]].concat())
            }
            Answer::Stalls(body) => {
                let sent = stream.write_all(&[&ok(&body), &body[..body.len() / 2]].concat());
                wait_for_the_end(&mut stream);
                sent
            }
            Answer::Rest(body) => {
                let rest = from.and_then(|from| body.get(from..)).unwrap_or_default();
                let (from, end) = (body.len() - rest.len(), body.len());
                let fields = format!(
                    "Content-Length: {}\r\nContent-Range: bytes {from}-{}/{end}",
                    rest.len(),
                    end - 1
                );
                let status = if from < end { "206 Partial Content" } else { "400 No" };
                stream.write_all(&[&head(status, &fields), rest].concat())
            }
            Answer::Silent => {
                wait_for_the_end(&mut stream);
                Ok(())
            }
        };
    }
}

/// Waits until the client has closed the connection.
fn wait_for_the_end(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}

pub(crate) fn sha512_file(archive: &[u8]) -> Vec<u8> {
    format!("{}  {NAME}\n", sha512(archive)).into()
}
