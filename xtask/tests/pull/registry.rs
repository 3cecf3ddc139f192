//! A registry on loopback that misbehaves on demand, and images for it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::archives::{Entry, gz, tar};

/// A request that came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// The path and the query.
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) accept: String,
    /// The number of bytes that the client has.
    pub(crate) from: Option<usize>,
}

/// How the registry answers.
pub(crate) enum Answer {
    /// The file, or the rest of it if the client asks for the rest.
    File(Vec<u8>),
    /// A status, header lines, and a body. In the header, `REALM` is the address of
    /// this server's tokens.
    Status(u16, String, String),
    /// Half of the file; then the connection ends.
    CutOff(Vec<u8>),
    /// Half of the file; then nothing.
    Stalls(Vec<u8>),
    /// Bytes, until the client closes the connection.
    Endless,
}

pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    /// A registry that `answer` serves. It gets a request, and the number of earlier
    /// requests for the same path.
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address");
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (requests, is_over) = (asked.clone(), over.clone());
        let answer = Arc::new(answer);
        let thread = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = stream.expect("a connection");
                let (answer, requests) = (answer.clone(), requests.clone());
                connections.push(thread::spawn(move || {
                    let request = read(&mut stream);
                    let nth = {
                        let mut requests: std::sync::MutexGuard<'_, Vec<Request>> =
                            requests.lock().expect("no panic");
                        requests.push(request.clone());
                        requests.iter().filter(|it| it.path == request.path).count() - 1
                    };
                    answer(&request, nth).send(stream, request.from);
                }));
            }
            for connection in connections {
                connection.join().expect("no panic");
            }
        });
        Registry { address, asked, over, thread: Some(thread) }
    }

    /// A registry with these files, in which nothing is wrong.
    pub(crate) fn with(files: Files) -> Registry {
        Registry::new(move |request, _| files.answer(&request.path))
    }

    /// The image `a` with this tag.
    pub(crate) fn reference(&self, tag: &str) -> String {
        format!("{}/a:{tag}", self.address)
    }

    /// The requests whose path has this part.
    pub(crate) fn asked(&self, part: &str) -> Vec<Request> {
        let asked = self.asked.lock().expect("no panic");
        asked.iter().filter(|it| it.path.contains(part)).cloned().collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(self.address));
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(joined, Some(Ok(()))));
    }
}

fn read(stream: &mut TcpStream) -> Request {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
        if head[0] != b'G' {
            // A client that speaks TLS.
            break;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let range = field("range");
    Request {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        authorization: field("authorization"),
        accept: field("accept"),
        from: range.strip_prefix("bytes=").and_then(|it| it.strip_suffix('-')?.parse().ok()),
    }
}

impl Answer {
    pub(crate) fn status(status: u16) -> Answer {
        Answer::Status(status, String::new(), String::new())
    }

    /// An answer of 401 with this challenge.
    pub(crate) fn challenge(challenge: &str) -> Answer {
        Answer::Status(401, format!("WWW-Authenticate: {challenge}\r\n"), String::new())
    }

    pub(crate) fn redirect(to: &str) -> Answer {
        Answer::Status(307, format!("Location: {to}\r\n"), String::new())
    }

    /// Sends the answer. A client that has gone is not an error.
    fn send(self, mut stream: TcpStream, from: Option<usize>) {
        let realm = stream.local_addr().map(|it| format!("http://{it}/token?x=1"));
        let realm = realm.unwrap_or_default();
        let mut send = |status: &str, fields: &str, length: usize, body: &[u8]| {
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
            );
            stream.write_all(&[head.as_bytes(), body].concat())
        };
        let sent = match self {
            Answer::File(body) => match from {
                Some(from) if from < body.len() => {
                    let end = body.len();
                    let range = format!("Content-Range: bytes {from}-{}/{end}\r\n", end - 1);
                    send("206 Partial Content", &range, end - from, &body[from..])
                }
                _ => send("200 OK", "", body.len(), &body),
            },
            Answer::Status(status, fields, body) => {
                let fields = fields.replace("REALM", &realm);
                send(&format!("{status} No"), &fields, body.len(), body.as_bytes())
            }
            Answer::CutOff(body) => send("200 OK", "", body.len(), &body[..body.len() / 2]),
            Answer::Stalls(body) => {
                let sent = send("200 OK", "", body.len(), &body[..body.len() / 2]);
                // Until the client has closed the connection.
                let _ = stream.read(&mut [0]);
                sent
            }
            Answer::Endless => {
                let mut sent = send("200 OK", "", 1 << 40, b"");
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 1 << 16]);
                }
                sent
            }
        };
        drop(sent);
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// The files of the image `a`, by their paths.
#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

/// The types of a family.
pub(crate) struct Types {
    pub(crate) index: &'static str,
    manifest: &'static str,
    config: &'static str,
    layer: &'static str,
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

pub(crate) const OCI: Types = Types {
    index: "application/vnd.oci.image.index.v1+json",
    manifest: OCI_MANIFEST,
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
};

pub(crate) const DOCKER: Types = Types {
    index: "application/vnd.docker.distribution.manifest.list.v2+json",
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
};

impl Files {
    pub(crate) fn answer(&self, path: &str) -> Answer {
        match self.0.get(path) {
            Some(file) => Answer::File(file.clone()),
            None => {
                let error =
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
                Answer::Status(404, String::new(), error.to_owned())
            }
        }
    }

    pub(crate) fn blob(&mut self, bytes: &[u8], kind: &str) -> Value {
        self.0.insert(format!("/v2/a/blobs/{}", digest(bytes)), bytes.to_vec());
        json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
    }

    /// A manifest or an index, by its digest and by a tag.
    pub(crate) fn manifest(&mut self, document: &Value, tag: &str) -> Value {
        let bytes = document.to_string().into_bytes();
        for name in [tag, &digest(&bytes)] {
            self.0.insert(format!("/v2/a/manifests/{name}"), bytes.clone());
        }
        let kind = &document["mediaType"];
        json!({"mediaType": kind, "digest": digest(&bytes), "size": bytes.len()})
    }

    /// The manifest of an image. Each layer has one file, with these contents.
    pub(crate) fn document(&mut self, types: &Types, arch: &str, layers: &[&str]) -> Value {
        let layers: Vec<Value> =
            layers.iter().map(|text| self.blob(&layer(text), types.layer)).collect();
        let config = json!({"architecture": arch, "os": "linux", "config": {}, "rootfs": {}});
        let config = self.blob(config.to_string().as_bytes(), types.config);
        json!({"schemaVersion": 2, "mediaType": types.manifest, "config": config, "layers": layers})
    }

    /// Adds an image with a tag, and returns its descriptor.
    pub(crate) fn image(&mut self, types: &Types, tag: &str, layers: &[&str]) -> Value {
        let document = self.document(types, ARCH, layers);
        self.manifest(&document, tag)
    }
}

/// A layer: an archive with one file.
pub(crate) fn layer(text: &str) -> Vec<u8> {
    gz(&tar(&[Entry::file("file", text)]))
}

/// This machine, in the words of Go.
pub(crate) const ARCH: &str = match () {
    () if cfg!(target_arch = "x86_64") => "amd64",
    () if cfg!(target_arch = "aarch64") => "arm64",
    () => std::env::consts::ARCH,
};
