//! `cargo xtask fetch-rootfs` against a mirror on loopback, which has the
//! layout of Alpine's and misbehaves on demand.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::getuid;
use sha2::{Digest, Sha256, Sha512};
use testkit::{bin, containers_work, skip, stderr, stdout, workspace};

mod archives;
use archives::{Entry, gz, tar};

/// A release that is not pinned.
const RELEASE: &str = "3.99.1";
const NAME: &str = "alpine-minirootfs-3.99.1-x86_64.tar.gz";
const PLACE: &str = "/alpine/v3.99/releases/x86_64/alpine-minirootfs-3.99.1-x86_64.tar.gz";
/// One that is.
const PINNED: &str = "/alpine/v3.15/releases/x86_64/alpine-minirootfs-3.15.4-x86_64.tar.gz";
const PINNED_SHA256: &str = "6abd0409ccd6b27cb5311e0d475af5a284515eb219626334b29b1c3141d47653";

/// An address on loopback at which nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A root in a few bytes, with files of a user that is nobody here.
fn small(mark: &str) -> Vec<u8> {
    gz(&tar(&[
        Entry::new(b'5', "./"),
        Entry::new(b'5', "./bin/"),
        Entry { mode: 0o4755, ..Entry::file("./bin/busybox", "#!") },
        Entry::symlink("./bin/sh", "/bin/busybox"),
        Entry::file("./mark", mark),
    ]))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the mirror answers a request.
#[derive(Clone)]
enum Answer {
    Whole(Vec<u8>),
    /// A byte now and then, but never a long pause.
    Slowly(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Half of it, and the connection ends.
    CutOff(Vec<u8>),
    /// Half of it, and then nothing.
    Stalls(Vec<u8>),
    /// Nothing at all.
    Silent,
}

/// A mirror: for each path what it answers, the last answer for ever.
struct Mirror {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    fn new(answers: &[(&str, &[Answer])]) -> Mirror {
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
                let path = request(&mut stream);
                let mut asked = asked.lock().expect("no panic");
                let nth = asked.iter().filter(|it| **it == path).count();
                let answer = answers.get(&path).map_or(Answer::Status(404), |answers| {
                    answers[nth.min(answers.len() - 1)].clone()
                });
                asked.push(path);
                connections.push(thread::spawn(move || answer.send(stream)));
            }
            for connection in connections {
                connection.join().expect("no panic");
            }
        });
        Mirror { address, asked, over, thread: Some(thread) }
    }

    /// A mirror with an archive of [`RELEASE`] and its digest.
    fn with(archive: &[u8]) -> Mirror {
        Mirror::new(&[
            (PLACE, &[Answer::Whole(archive.to_vec())]),
            (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(archive))]),
        ])
    }

    fn url(&self) -> String {
        format!("http://{}/alpine", self.address)
    }

    /// How often a path was asked for.
    fn asked(&self, path: &str) -> usize {
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

/// Reads a request and returns its path.
fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

impl Answer {
    /// Sends it. A client that has gone is no failure of the mirror's.
    fn send(self, mut stream: TcpStream) {
        let head = |status: &str, rest: &str| {
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{rest}\r\n\r\n").into_bytes()
        };
        let ok = |body: &[u8]| head("200 OK", &format!("Content-Length: {}", body.len()));
        let _ = match self {
            Answer::Whole(body) => stream.write_all(&[ok(&body), body].concat()),
            Answer::Slowly(body) => stream.write_all(&ok(&body)).and_then(|()| {
                let mut pieces = body.chunks(body.len() / 20 + 1);
                pieces.try_for_each(|piece| {
                    thread::sleep(Duration::from_millis(50));
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
            Answer::Silent => {
                wait_for_the_end(&mut stream);
                Ok(())
            }
        };
    }
}

/// Until the other side has closed the connection.
fn wait_for_the_end(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]);
}

fn sha512_file(archive: &[u8]) -> Vec<u8> {
    format!("{}  {NAME}\n", sha512(archive)).into()
}

/// A directory for one test, and a root in it.
struct Place {
    dir: testkit::Scratches,
}

impl Place {
    fn new() -> Place {
        let dir = testkit::tempdir();
        fs::create_dir(dir.path().join("home")).expect("make a home");
        Place { dir }
    }

    /// A place with a root in it, made from an archive.
    fn with_root(mark: &str) -> Place {
        let place = Place::new();
        let archive = place.path("old.tar.gz");
        fs::write(&archive, small(mark)).expect("write");
        let output = place.fetch(&["--archive", text(&archive)]);
        assert!(output.status.success(), "{}", stderr(&output));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// A file of the directory beside the root.
    fn cache(&self, name: &str) -> PathBuf {
        self.path(".rootfs-cache").join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(args);
        command.current_dir(self.path("home")).env("HOME", self.path("home"));
        command.arg("--dest").arg(self.root());
        command
    }

    fn fetch(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("start xtask")
    }

    /// As [`Place::fetch`], where the way to every mirror is refused.
    fn without_network(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.arg("--timeout=0.5").envs(["http_proxy", "https_proxy"].map(|it| (it, NOWHERE)));
        command.output().expect("start xtask")
    }

    /// Fetches [`RELEASE`] from a mirror that is not waited for long.
    fn fetch_from(&self, mirror: &Mirror, args: &[&str]) -> Output {
        let url = mirror.url();
        let mut all = vec!["--release", RELEASE, "--arch", "x86_64", "--mirror", &url];
        if !args.iter().any(|arg| arg.starts_with("--timeout")) {
            all.push("--timeout=2");
        }
        self.fetch(&[&all[..], args].concat())
    }

    /// The mark of the root that is there.
    fn mark(&self) -> String {
        fs::read_to_string(self.root().join("mark")).unwrap_or_default()
    }

    /// What is left beside the root and must not be: all but archives, their
    /// digests and one record.
    fn leftovers(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(".rootfs-cache")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("list").file_name());
        let names = names.map(|name| name.into_string().expect("UTF-8"));
        let ends = [".tar.gz", ".sha256", ".sha512"];
        names
            .filter(|it| !it.starts_with("root-") && !ends.iter().any(|end| it.ends_with(end)))
            .collect()
    }
}

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(bin("xtask"));
    command.arg("fetch-rootfs").args(args).stdin(Stdio::null());
    for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy).env_remove(proxy.to_uppercase());
    }
    command
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Checks that it failed with one line at the end of standard error, in which
/// all of `words` stand, and returns it.
fn refusal(output: &Output, words: &[&str]) -> String {
    let all = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{all}");
    assert_eq!(stdout(output), "");
    assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
    let line = all.lines().last().expect("an error line").to_owned();
    assert!(line.starts_with("xtask: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in {line:?}");
    }
    line
}

/// As [`refusal`], where nothing else is said.
fn sole_refusal(output: &Output, words: &[&str]) {
    let line = refusal(output, words);
    assert_eq!(line, stderr(output));
}

#[test]
fn an_archive_is_fetched_checked_unpacked_and_kept() {
    let archive = small("one");
    let mirror = Mirror::with(&archive);
    let place = Place::new();
    let output = place.fetch_from(&mirror, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let root = fs::canonicalize(place.root()).expect("a root");
    assert_eq!(
        stdout(&output),
        format!(
            "rootfs: Alpine 3.99.1 x86_64 in {} (checked against the SHA-512 from the mirror)",
            root.display()
        )
    );
    // No bar where there is no terminal.
    assert_eq!(
        stderr(&output),
        format!("xtask: fetch {}{}", mirror.url(), &PLACE["/alpine".len()..])
    );
    assert_eq!(place.mark(), "one");
    for name in ["", "bin", "bin/busybox", "bin/sh", "mark"] {
        let found = fs::symlink_metadata(root.join(name)).expect(name);
        assert_eq!(found.uid(), getuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o6000, 0, "{name}");
    }
    assert_eq!(fs::read(place.cache(NAME)).expect("kept"), archive);

    // A second time there is nothing to do.
    let asked = mirror.asked.lock().expect("no panic").len();
    for args in [&["--release", RELEASE, "--arch", "x86_64"][..], &["--arch", "x86_64"], &[]] {
        let again = place.fetch(args);
        assert!(again.status.success() && stdout(&again).ends_with("(there already)"), "{again:?}");
    }
    // Another one was asked for.
    for args in [["--release", "3.15.4"], ["--arch", "aarch64"], ["--from-host", "--force=x"]] {
        let other = place.fetch(&args[..args.len() - usize::from(args[0] == "--from-host")]);
        sole_refusal(&other, &["Alpine 3.99.1 x86_64 is there", "--force"]);
    }
    assert_eq!(mirror.asked.lock().expect("no panic").len(), asked);

    // Without a network: a pristine root again, of the same release.
    drop(mirror);
    fs::write(root.join("mark"), "spoilt").expect("write");
    fs::set_permissions(root.join("bin"), fs::Permissions::from_mode(0o000)).expect("chmod");
    let output = place.fetch(&["--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.mark(), "one");
    assert!(root.join("bin/busybox").exists());
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn a_kept_archive_that_is_spoilt_is_fetched_again() {
    let mirror = Mirror::with(&small("one"));
    let place = Place::new();
    assert!(place.fetch_from(&mirror, &[]).status.success());
    assert!(place.fetch_from(&mirror, &["--force"]).status.success());
    assert_eq!(mirror.asked(PLACE), 1);
    fs::write(place.cache(NAME), small("evil")).expect("write");
    let output = place.fetch_from(&mirror, &["--force"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("throw away"), "{}", stderr(&output));
    assert_eq!((mirror.asked(PLACE), place.mark()), (2, "one".to_owned()));
}

#[test]
fn the_older_digest_will_do_and_none_will_not() {
    let archive = small("one");
    let sha256_file = format!("{}  {NAME}\n", sha256(&archive)).into();
    let whole = [Answer::Whole(archive)];
    let mirror = Mirror::new(&[
        (PLACE, &whole),
        (&format!("{PLACE}.sha256"), &[Answer::Whole(sha256_file)]),
    ]);
    let output = Place::new().fetch_from(&mirror, &[]);
    assert!(
        stdout(&output).ends_with("(checked against the SHA-256 from the mirror)"),
        "{output:?}"
    );

    let mirror = Mirror::new(&[(PLACE, &whole)]);
    let place = Place::new();
    let output = place.fetch_from(&mirror, &[]);
    let words = [PLACE, ".sha512", ".sha256", "404", "there may be no such release"];
    sole_refusal(&output, &words);
    assert!(!place.root().exists());

    for wrong in [b"<html>Log in to this network</html>".to_vec(), vec![b'x'; 100_000]] {
        let mirror =
            Mirror::new(&[(PLACE, &whole), (&format!("{PLACE}.sha512"), &[Answer::Whole(wrong)])]);
        let place = Place::new();
        sole_refusal(
            &place.fetch_from(&mirror, &[]),
            &[".sha512", "name another mirror with --mirror"],
        );
        assert!(!place.root().exists());
    }
}

#[test]
fn wrong_bytes_are_not_kept() {
    let (right, wrong) = (small("right"), small("wrong"));
    let place = Place::with_root("old");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Whole(wrong.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&right))]),
        (PINNED, &[Answer::Whole(wrong.clone())]),
    ]);
    let output = place.fetch_from(&mirror, &["--force"]);
    refusal(&output, &[PLACE, "SHA-512", &sha512(&right), &sha512(&wrong), "not kept"]);
    // What is pinned is not asked of the mirror.
    let pinned = ["--arch", "x86_64", "--mirror", &mirror.url(), "--force"];
    let output = place.fetch(&pinned);
    refusal(&output, &[PINNED, "SHA-256", PINNED_SHA256, &sha256(&wrong), "not kept"]);
    assert_eq!((mirror.asked(PLACE), mirror.asked(PINNED)), (1, 1), "no further try");
    assert_eq!(mirror.asked(&format!("{PINNED}.sha256")), 0);
    assert_eq!(place.mark(), "old");
    assert_eq!(place.leftovers(), [""; 0]);
    assert!(!place.cache(NAME).exists());
}

#[test]
fn a_release_that_is_not_there_is_not_tried_again() {
    let mirror = Mirror::new(&[]);
    let place = Place::new();
    let output = place.fetch(&["--arch", "x86_64", "--mirror", &mirror.url()]);
    refusal(
        &output,
        &[&mirror.url(), &PINNED["/alpine".len()..], "404", "there may be no such release"],
    );
    assert_eq!(mirror.asked(PINNED), 1);
    assert!(!place.root().exists());
    assert_eq!(place.leftovers(), [""; 0]);

    let mirror = Mirror::new(&[(PINNED, &[Answer::Status(403)])]);
    let output = place.fetch(&["--arch", "x86_64", "--mirror", &mirror.url()]);
    refusal(&output, &[&mirror.url(), "403", "--mirror"]);
    assert_eq!(mirror.asked(PINNED), 1);
}

#[test]
fn what_may_pass_is_tried_again() {
    let archive = small("one");
    let whole = Answer::Whole(archive.clone());
    for (bad, why) in [
        (Answer::Status(503), "status 503"),
        (Answer::CutOff(archive.clone()), "the mirror broke off"),
        (Answer::Stalls(archive.clone()), " bytes came within"),
        (Answer::Silent, "no answer within"),
    ] {
        let digest = (format!("{PLACE}.sha512"), [Answer::Whole(sha512_file(&archive))]);
        let mirror = Mirror::new(&[
            (PLACE, &[bad.clone(), bad.clone(), whole.clone()]),
            (&digest.0, &digest.1),
        ]);
        let place = Place::new();
        let output = place.fetch_from(&mirror, &["--timeout=1"]);
        assert!(output.status.success(), "{why}: {}", stderr(&output));
        assert_eq!((mirror.asked(PLACE), place.mark()), (3, "one".to_owned()), "{why}");
        assert_eq!(stderr(&output).matches(why).count(), 2, "{}", stderr(&output));

        let mirror = Mirror::new(&[(PLACE, &[bad]), (&digest.0, &digest.1)]);
        let place = Place::with_root("old");
        let output = place.fetch_from(&mirror, &["--force", "--timeout=1"]);
        refusal(&output, &[PLACE, why, "at the last of 3 tries", "--from-host"]);
        assert_eq!((mirror.asked(PLACE), place.mark()), (3, "old".to_owned()), "{why}");
        assert_eq!(place.leftovers(), [""; 0]);
    }
}

#[test]
fn a_slow_mirror_is_waited_for() {
    // More than a mirror must send in a second.
    let noise: String = (0..100_u8).map(|n| sha512(&[n])).collect();
    let archive = [small("one"), gz(noise.as_bytes())].concat();
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Slowly(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    // A second in all, and more than any one try may take to begin.
    let output = Place::new().fetch_from(&mirror, &["--timeout=0.6"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(mirror.asked(PLACE), 1);
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let archive = small("one");
    let target = Mirror::with(&archive);
    let to = |end: &str| [Answer::Redirect(format!("http://{}{PLACE}{end}", target.address))];
    let mirror = Mirror::new(&[(PLACE, &to("")), (&format!("{PLACE}.sha512"), &to(".sha512"))]);
    let place = Place::new();
    assert!(place.fetch_from(&mirror, &[]).status.success());
    assert_eq!(place.mark(), "one");

    let mirror = Mirror::new(&[(PINNED, &[Answer::Redirect(PINNED.to_owned())])]);
    let output = Place::new().fetch(&["--arch", "x86_64", "--mirror", &mirror.url()]);
    refusal(&output, &[PINNED, "redirects"]);
}

#[test]
fn a_mirror_that_cannot_be_reached_is_noticed_in_time() {
    let place = Place::new();
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.local_addr().expect("an address")
    };
    // One whose queue of connections is full drops what comes.
    let full = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = full.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
        assert!(queue.len() < 10_000, "the queue is never full");
    }
    for (mirror, timeout, why) in [
        (format!("http://{refused}"), "2", "Connection refused"),
        (format!("http://{address}"), "2", "no answer"),
        ("http://nowhere.invalid".to_owned(), "2", "http://nowhere.invalid"),
    ] {
        let start = Instant::now();
        let output = place.fetch(&["--mirror", &mirror, "--timeout", timeout]);
        let took = start.elapsed();
        refusal(&output, &[&mirror, why, "at the last of 3 tries", "--mirror", "--from-host"]);
        assert!(took < Duration::from_secs(4), "{mirror}: {took:?}");
        assert!(!place.root().exists());
    }
    // As it is without --timeout.
    let start = Instant::now();
    refusal(&place.fetch(&["--mirror", &format!("http://{address}")]), &["no answer"]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_request_without_sense_is_refused_in_one_line() {
    let place = Place::with_root("old");
    for (args, words) in [
        (&["--release", "3.15"][..], &["3.15", "MAJOR.MINOR.PATCH"][..]),
        (&["--release", "latest"], &["latest", "MAJOR.MINOR.PATCH"]),
        (&["--release", "3.15.4/../.."], &["MAJOR.MINOR.PATCH"]),
        (&["--release", "\n\x1b[1m"], &["\\n\\u{1b}[1m", "MAJOR.MINOR.PATCH"]),
        (&["--arch", "vax"], &["vax", "x86_64", "aarch64", "riscv64"]),
        (&["--arch", ""], &["x86_64"]),
        (&["--mirror", "ftp://m/alpine"], &["ftp://m/alpine", "http://"]),
        (&["--mirror", "http://"], &["http://", "no host"]),
        (&["--mirror", "/srv/alpine"], &["/srv/alpine", "http://"]),
        (&["--timeout", "0"], &["0 seconds"]),
        (&["--timeout", "NaN"], &["NaN seconds"]),
        (&["--archive", "nowhere"], &["nowhere", "No such file"]),
        (&["--archive", "/"], &["it is not a file"]),
        (&["--archive", "/dev/zero"], &["/dev/zero", "it is not a file"]),
    ] {
        sole_refusal(&place.fetch(&[args, &["--force"]].concat()), words);
        assert_eq!(place.mark(), "old", "{args:?}");
    }
    for mirror in ["http://a b/", "http://[", "https://\n/"] {
        refusal(
            &place.fetch(&["--mirror", mirror, "--force", "--timeout=1"]),
            &["xtask: fetch http"],
        );
        assert_eq!(place.mark(), "old", "{mirror:?}");
    }
}

#[test]
fn an_archive_is_checked_when_something_is_known_about_it() {
    let place = Place::new();
    let archive = small("one");
    let unknown = place.path("root.tar.gz");
    fs::write(&unknown, &archive).expect("write");
    let output = place.fetch(&["--archive", text(&unknown)]);
    let line = stdout(&output);
    assert!(line.contains(&sha256(&archive)) && line.contains("nothing is known"), "{output:?}");
    assert_eq!((stderr(&output), place.mark()), (String::new(), "one".to_owned()));
    // The same again is there; another is not.
    assert!(stdout(&place.fetch(&["--archive", text(&unknown)])).contains("there already"));
    fs::write(&unknown, small("two")).expect("write");
    sole_refusal(&place.fetch(&["--archive", text(&unknown)]), &["--force"]);
    assert!(place.fetch(&["--archive", text(&unknown), "--force"]).status.success());
    assert_eq!(place.mark(), "two");

    // A name that is known, or a release that is named, and the wrong bytes.
    let known = place.path("alpine-minirootfs-3.15.4-x86_64.tar.gz");
    fs::write(&known, &archive).expect("write");
    let output = place.fetch(&["--archive", text(&known), "--force"]);
    sole_refusal(&output, &[&sha256(&archive), PINNED_SHA256, "Alpine 3.15.4 x86_64"]);
    let named = ["--archive", text(&unknown), "--release", "3.15.4", "--arch", "x86_64", "--force"];
    sole_refusal(&place.fetch(&named), &[PINNED_SHA256]);
    // A release that is not pinned: the mirror knows.
    let mirror = Mirror::with(&archive);
    sole_refusal(
        &place.fetch_from(&mirror, &["--archive", text(&unknown), "--force"]),
        &[&sha512(&archive)],
    );
    assert_eq!(place.mark(), "two");
    fs::write(&unknown, &archive).expect("write");
    let output = place.fetch_from(&mirror, &["--archive", text(&unknown), "--force"]);
    assert!(stdout(&output).contains("Alpine 3.99.1 x86_64 in"), "{output:?}");
    assert_eq!((place.mark(), mirror.asked(PLACE)), ("one".to_owned(), 0));
}

#[test]
fn an_archive_that_was_named_is_kept_like_one_that_was_fetched() {
    let place = Place::new();
    let archive = place.path("root.tar.gz");
    let restored = |how: &str| {
        fs::remove_file(&archive).expect("remove");
        fs::write(place.root().join("mark"), "spoilt").expect("write");
        let output = place.without_network(&["--force"]);
        assert!(stdout(&output).ends_with(how), "{output:?}");
        assert_eq!((stderr(&output), place.mark()), (String::new(), "one".to_owned()));
    };
    fs::write(&archive, small("two")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive)]).status.success());
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive), "--force"]).status.success());
    for _ in 0..2 {
        fs::write(&archive, "").expect("write");
        restored("(as it was kept)");
    }
    // Those of roots that are gone are not.
    let kept = |bytes: &[u8]| place.cache(&format!("{}.tar.gz", sha256(bytes))).exists();
    assert!(kept(&small("one")) && !kept(&small("two")));

    // Of a release that is not pinned, with the mirror's digest.
    let mirror = Mirror::with(&small("one"));
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch_from(&mirror, &["--archive", text(&archive), "--force"]).status.success());
    drop(mirror);
    restored("(checked against the SHA-512 from the mirror)");
    assert!(place.fetch(&[]).status.success() && !kept(&small("one")));

    // One that is no longer what it was is not taken for it.
    fs::write(&archive, small("one")).expect("write");
    assert!(place.fetch(&["--archive", text(&archive), "--force"]).status.success());
    fs::write(place.cache(&format!("{}.tar.gz", sha256(&small("one")))), "evil").expect("write");
    let output = place.without_network(&["--force"]);
    assert!(stderr(&output).contains("whose digest is wrong"), "{output:?}");
    assert_eq!((output.status.code(), place.mark()), (Some(1), "one".to_owned()));
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn a_root_of_this_machines_programs_is_restored_without_a_network() {
    for which in ["--from-host", "--from-host=libraries"] {
        let place = Place::new();
        assert!(place.fetch(&[which]).status.success());
        let before = stdout(&place.fetch(&[]));
        fs::remove_file(place.root().join("etc/motd")).expect("remove");
        let output = place.without_network(&["--force"]);
        assert!(output.status.success(), "{output:?}");
        assert!(stderr(&output).contains("Alpine cannot be reached, so "), "{output:?}");
        let same = |line: &str| line.split(" in ").next().map(str::to_owned);
        assert_eq!(same(&stdout(&output)), same(&before));
        assert!(place.root().join("etc/motd").exists());
        // Not where something else was asked for.
        for other in [&["--release", "3.15.4"][..], &["--arch", "x86_64"], &["--mirror", NOWHERE]] {
            let output = place.without_network(&[other, &["--force"]].concat());
            refusal(&output, &["at the last of 3 tries"]);
        }
    }
    // Alpine comes where it can.
    let place = Place::new();
    assert!(place.fetch(&["--from-host"]).status.success());
    assert!(place.fetch_from(&Mirror::with(&small("one")), &["--force"]).status.success());
    assert_eq!(place.mark(), "one");
}

#[test]
fn a_file_that_is_no_archive_is_refused() {
    let place = Place::with_root("old");
    let whole = small("one");
    let stripped = &whole[..whole.len() - 8];
    let mut spoilt = whole.clone();
    let sum = spoilt.len() - 6;
    spoilt[sum] ^= 1;
    for (name, bytes) in [
        ("empty", &[][..]),
        ("text", b"not an archive"),
        ("half", &whole[..whole.len() / 2]),
        ("without its sum", stripped),
        ("with a wrong sum", &spoilt),
        ("compressed text", &gz(&[b'x'; 2000])),
    ] {
        let file = place.path(name);
        fs::write(&file, bytes).expect("write");
        sole_refusal(
            &place.fetch(&["--archive", text(&file), "--force"]),
            &["unpack ", name, "it is "],
        );
        assert_eq!(place.mark(), "old", "{name}");
        assert_eq!(place.leftovers(), [""; 0], "{name}");
    }
}

/// The hostile archives: their files, why each is refused, and what they are.
fn hostile() -> Vec<(&'static str, &'static str, Vec<Entry>)> {
    let file = Entry::file;
    let long = "x".repeat(300);
    vec![
        ("absolute", "it is an absolute path", vec![file("/tmp/xtask-was-here", "x")]),
        ("climbs", "it climbs up with ..", vec![file("a/../../was-here", "x")]),
        (
            "through-absolute-link",
            "it would go through a, which is a symbolic link or a file",
            vec![Entry::symlink("a", "/tmp"), file("a/xtask-was-here", "x")],
        ),
        (
            "through-relative-link",
            "it would go through d/a, which is a symbolic link or a file",
            vec![Entry::symlink("d/a", "../.."), Entry::new(b'5', "d/a/was-here")],
        ),
        (
            "through-link-to-link",
            "it would go through b, which is a symbolic link or a file",
            vec![Entry::symlink("a", ".."), Entry::symlink("b", "a"), file("b/was-here", "x")],
        ),
        (
            "hard-link-absolute",
            "hard link to /etc/passwd: it is an absolute path",
            vec![Entry::hard_link("a", "/etc/passwd"), file("a", "x")],
        ),
        (
            "hard-link-climbs",
            "hard link to ../mark: it climbs up with ..",
            vec![Entry::hard_link("a", "../mark")],
        ),
        (
            "hard-link-through-link",
            "it would go through a, which is a symbolic link or a file",
            vec![Entry::symlink("a", "/etc"), Entry::hard_link("b", "a/passwd")],
        ),
        ("hard-link-to-nothing", "no such file comes before it", vec![Entry::hard_link("a", "b")]),
        (
            "hard-link-to-itself",
            "it is a link to itself",
            vec![file("a", "x"), Entry::hard_link("a", "./a")],
        ),
        (
            "hard-link-to-directory",
            "hard link to d: it is a directory",
            vec![Entry::new(b'5', "d"), Entry::hard_link("a", "d")],
        ),
        (
            "file-over-directory",
            "entry d: it would replace a directory",
            vec![file("d/x", "x"), file("d", "x")],
        ),
        (
            "link-over-directory",
            "entry d: it would replace a directory",
            vec![Entry::new(b'5', "d"), Entry::symlink("d", "/tmp")],
        ),
        (
            "directory-over-link",
            "it is a directory, and would replace what is none",
            vec![Entry::symlink("d", "/tmp"), Entry::new(b'5', "d")],
        ),
        ("root-is-a-link", "it is the root, and no directory", vec![Entry::symlink(".", "/tmp")]),
        (
            "zero-byte",
            "entry a\\u{0}b: there is a zero byte in it",
            vec![Entry::pax(&[("path", b"a\0b")]), file("a", "x")],
        ),
        (
            "forges-a-line",
            "entry /\\nrootfs: all is well\\u{1b}[2K: it is an absolute path",
            vec![file("/\nrootfs: all is well\x1b[2K", "x")],
        ),
        (
            "not-utf8",
            "entry \u{fffd}/..: it climbs up with ..",
            vec![Entry { name: b"\xff/..".to_vec(), ..file("", "x") }],
        ),
        (
            "name-too-long",
            "xxx…: File name too long",
            vec![Entry { data: long.clone().into(), ..Entry::new(b'L', "") }, file("x", "x")],
        ),
        (
            "pax-climbs",
            "entry ../was-here: it climbs up with ..",
            vec![Entry::pax(&[("path", b"../was-here")]), file("harmless", "x")],
        ),
        (
            "two-sizes",
            "entry a: it has two different sizes",
            vec![Entry::pax(&[("size", b"0")]), file("a", &"x".repeat(512))],
        ),
        (
            "damaged-pax",
            "it has a damaged pax header",
            vec![Entry { data: b"99 x".into(), ..Entry::pax(&[]) }],
        ),
        ("sparse", "entry a: it is a sparse file", vec![Entry { kind: b'S', ..file("a", "x") }]),
        (
            "sparse-pax",
            "entry a: it is a sparse file",
            vec![Entry::pax(&[("GNU.sparse.realsize", b"9")]), file("a", "x")],
        ),
        (
            "huge-size",
            "entry a: it is larger than a root may be once unpacked",
            vec![Entry { declared: Some(1 << 40), ..file("a", "x") }],
        ),
        (
            "huge-name",
            "it has an extended header of 1099511627776 bytes",
            vec![Entry { declared: Some(1 << 40), ..Entry::new(b'L', "") }],
        ),
        (
            "unknown-kind",
            "it is of a kind that has no place in a root: M",
            vec![Entry::new(b'M', "volume")],
        ),
        ("link-to-nothing", "it is a symbolic link to nothing", vec![Entry::symlink("a", "")]),
        (
            "announces-nothing",
            "announces an entry that does not come",
            vec![Entry { data: b"a".into(), ..Entry::new(b'L', "") }],
        ),
    ]
}

fn corpus() -> PathBuf {
    workspace().join("xtask/tests/corpus")
}

/// Writes the corpus anew, after a change to [`hostile`].
#[test]
#[ignore = "changes the sources"]
fn write_the_corpus() {
    for (name, _, entries) in hostile() {
        fs::write(corpus().join(format!("{name}.tar.gz")), gz(&tar(&entries))).expect("write");
    }
}

#[test]
fn hostile_archives_are_refused_and_nothing_changes() {
    let place = Place::with_root("old");
    let hostile = hostile();
    let files = fs::read_dir(corpus()).expect("a corpus").count();
    assert_eq!(files, hostile.len());
    for (name, why, _) in hostile {
        let archive = corpus().join(format!("{name}.tar.gz"));
        let output = place.fetch(&["--archive", text(&archive), "--force"]);
        sole_refusal(&output, &[&format!("{name}.tar.gz: "), why]);
        assert_eq!(place.mark(), "old", "{name}");
        assert_eq!(place.leftovers(), [""; 0], "{name}");
        let mut names: Vec<_> = fs::read_dir(place.dir.path())
            .expect("list")
            .map(|it| it.expect("list").file_name())
            .collect();
        names.sort();
        assert_eq!(names, [".rootfs-cache", "home", "old.tar.gz", "rootfs"], "{name}");
    }
    assert!(!Path::new("/tmp/xtask-was-here").exists());
}

/// A member of a compressed archive that is a mebibyte of zeros.
fn mebibyte() -> Vec<u8> {
    gz(&vec![0; 1 << 20])
}

/// An archive with a file of many mebibytes, in few bytes.
fn large(mebibytes: u64) -> Vec<u8> {
    let entry = Entry { declared: Some(mebibytes << 20), ..Entry::file("zeros", "") };
    let header = tar(&[entry])[..512].to_vec();
    let mut archive = gz(&header);
    let zeros = mebibyte();
    for _ in 0..mebibytes {
        archive.extend(&zeros);
    }
    archive.extend(gz(&[0; 1024]));
    archive
}

#[test]
fn an_archive_without_an_end_is_refused() {
    let place = Place::with_root("old");
    let mut archive = gz(&tar(&[Entry::file("a", "x")]));
    let zeros = mebibyte();
    for _ in 0..1025 {
        archive.extend(&zeros);
    }
    let bomb = place.path("bomb.tar.gz");
    fs::write(&bomb, archive).expect("write");
    let output = place.fetch(&["--archive", text(&bomb), "--force"]);
    sole_refusal(&output, &["it is larger than a root may be once unpacked"]);
    assert_eq!(place.mark(), "old");
}

#[test]
fn device_nodes_are_left_out_and_named() {
    let place = Place::new();
    let archive = place.path("a.tar.gz");
    let nodes =
        [Entry::new(b'3', "dev/null"), Entry::new(b'6', "dev/\n"), Entry::file("mark", "x")];
    fs::write(&archive, gz(&tar(&nodes))).expect("write");
    let output = place.fetch(&["--archive", text(&archive)]);
    assert!(output.status.success());
    assert!(
        stderr(&output).starts_with("xtask: left out 2 device nodes or pipes of "),
        "{output:?}"
    );
    assert!(stderr(&output).ends_with("the first dev/null"), "{output:?}");
    assert_eq!(place.mark(), "x");
}

#[test]
fn a_place_that_is_not_for_a_root_stays_as_it_is() {
    let place = Place::new();
    let archive = place.path("a.tar.gz");
    fs::write(&archive, small("one")).expect("write");
    let home = place.path("home");
    let to = |dest: &str, force: &[&str]| {
        let args = [&["--archive", text(&archive), "--dest", dest], force].concat();
        xtask(&args)
            .current_dir(&home)
            .env("HOME", place.path("home"))
            .output()
            .expect("start xtask")
    };
    let file = place.path("file");
    fs::write(&file, "text").expect("write");
    symlink("nowhere", place.path("dangling")).expect("link");
    let above = workspace().parent().expect("a directory above");
    for (dest, why) in [
        ("/", "the root of this machine"),
        (".", "the current directory is there"),
        ("..", "the current directory is there"),
        (text(place.dir.path()), "the current directory is there"),
        (text(workspace()), "the workspace is there"),
        (
            text(above),
            "it is the root of this machine|the current directory is there|the workspace is there",
        ),
        (text(&file), "it is not a directory"),
        (text(&place.path("dangling")), "a symbolic link to nothing"),
        (text(&place.path("file/below")), "Not a directory"),
        (text(&place.path("missing/..")), "its name says no directory"),
        ("/sys/rootfs", "name a directory of your own with --dest"),
        ("/proc/self/rootfs", "/proc/"),
    ] {
        for force in [&[][..], &["--force"]] {
            let output = to(dest, force);
            let line = refusal(&output, &[]);
            assert!(why.split('|').any(|why| line.contains(why)), "{dest}: {line}");
        }
    }
    // The home directory, when one stands elsewhere.
    let args = ["--archive", text(&archive), "--force", "--dest", text(&home)];
    let output = xtask(&args).current_dir("/").env("HOME", &home).output().expect("start xtask");
    sole_refusal(&output, &["the home directory is there"]);
    assert_eq!(fs::read(&file).expect("read"), b"text");

    // A directory with something in it goes by force alone, an empty one so.
    let other = place.path("other");
    fs::create_dir(&other).expect("make");
    fs::write(other.join("mine"), "").expect("write");
    sole_refusal(&to(text(&other), &[]), &["fetch-rootfs did not make what is there", "--force"]);
    assert!(other.join("mine").exists());
    assert!(to(text(&other), &["--force"]).status.success());
    assert!(!other.join("mine").exists() && other.join("mark").exists());
    let empty = place.path("new/empty");
    fs::create_dir_all(&empty).expect("make");
    assert!(to(text(&empty), &[]).status.success() && empty.join("mark").exists());
    // A link to a directory stays one.
    symlink("other", place.path("link")).expect("link");
    let output = to(text(&place.path("link")), &["--force"]);
    assert!(stdout(&output).contains("/other (") && place.path("link").is_symlink(), "{output:?}");
    // One that somebody else could change.
    let shared = place.path(".shared-cache");
    fs::create_dir(&shared).expect("make");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("chmod");
    sole_refusal(&to(text(&place.path("shared")), &[]), &[".shared-cache", "this user alone"]);
}

#[test]
fn a_root_of_another_user_is_told_apart() {
    if !testkit::is_root() {
        skip("only root can play another user");
        return;
    }
    // Where that user may do as it likes, but for the root.
    let place = Place::with_root("old");
    let (dir, nobody) = (place.dir.path(), 65534);
    chown(dir, Some(nobody), Some(nobody)).expect("chown");
    fs::remove_dir_all(place.path(".rootfs-cache")).expect("remove");
    let archive = place.path("old.tar.gz");
    let args = ["--archive", text(&archive), "--force"];
    // The workspace may lie in a directory that is root's alone.
    let program = place.path("xtask");
    fs::copy(bin("xtask"), &program).expect("copy a program");
    let mut command = Command::new(&program);
    command.arg("fetch-rootfs").args(args).arg("--dest").arg(place.root()).current_dir(dir);
    let output = match command.uid(nobody).gid(nobody).output() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            skip(&format!("another user cannot start a program in {}", dir.display()));
            return;
        }
        output => output.expect("start xtask"),
    };
    let remedy = format!(
        "Permission denied; it belongs to another user: remove it as that user (sudo rm -r {}), \
         or name another with --dest",
        place.root().canonicalize().expect("a root").display()
    );
    sole_refusal(&output, &["put ", &remedy]);
    assert_eq!(place.mark(), "old");
}

#[test]
fn a_directory_that_may_not_be_written_to_stays_as_it_is() {
    if testkit::is_root() {
        skip("root may write to every directory");
        return;
    }
    let place = Place::with_root("old");
    let parent = place.dir.path();
    fs::remove_dir_all(place.path(".rootfs-cache")).expect("remove");
    fs::set_permissions(parent, fs::Permissions::from_mode(0o555)).expect("chmod");
    let output = place.fetch(&["--archive", text(&place.path("old.tar.gz")), "--force"]);
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).expect("chmod");
    sole_refusal(&output, &["Permission denied", "name a directory of your own with --dest"]);
    assert_eq!(place.mark(), "old");
}

#[test]
fn a_full_file_system_is_told_and_the_old_root_stays() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let (small_one, large_one) = (place.path("small.tar.gz"), place.path("large.tar.gz"));
    fs::write(&small_one, small("old")).expect("write");
    fs::write(&large_one, large(4)).expect("write");
    fs::create_dir(place.path("full")).expect("make");
    let script = "mount -t tmpfs -o size=2m none full && \
        xtask=$1 small=$2 large=$3 && \
        $xtask fetch-rootfs --dest full/rootfs --archive $small >/dev/null && \
        if $xtask fetch-rootfs --dest full/rootfs --archive $large --force; then exit 7; else status=$?; fi && \
        cat full/rootfs/mark >&3 && ls full/.rootfs-cache | grep -v -e ^root- -e '^[0-9a-f]*\\.tar\\.gz' >&3; exit $status";
    let output = Command::new(bin("step04-uidmap"))
        .args(["/bin/sh", "-c", &format!("exec 3>said; {script}"), "sh"])
        .arg(bin("xtask"))
        .args([&small_one, &large_one])
        .current_dir(place.dir.path())
        .output()
        .expect("start a step");
    sole_refusal(
        &output,
        &["large.tar.gz: entry zeros: No space left on device; free some room", "--dest"],
    );
    assert!(!stderr(&output).contains("--scratch"));
    assert_eq!(fs::read_to_string(place.path("said")).expect("said"), "old");
}

/// Waits for a file to be there, and not empty.
fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never comes");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Kills a running fetch-rootfs, which must not have ended by itself.
fn kill(mut child: Child) {
    assert_eq!(child.try_wait().expect("wait"), None, "it ended too early");
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn a_run_killed_while_it_downloads_harms_nothing() {
    let archive = small("new");
    let place = Place::with_root("old");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Stalls(archive.clone()), Answer::Whole(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    let url = mirror.url();
    let args = ["--release", RELEASE, "--arch", "x86_64", "--mirror", &url, "--force"];
    let child = place.command(&args).stderr(Stdio::null()).spawn().expect("start xtask");
    let part = place.cache(&format!("{NAME}.part"));
    wait_for(|| part.metadata().is_ok_and(|part| part.len() > 0));
    kill(child);
    assert_eq!(place.mark(), "old");
    assert!(part.exists() && !place.cache(NAME).exists());
    // One that has nothing else to do clears away as well.
    assert!(place.fetch(&[]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0));
    assert!(place.fetch_from(&mirror, &["--force"]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("new".to_owned(), 0));
}

#[test]
fn a_run_killed_while_it_unpacks_harms_nothing() {
    let place = Place::with_root("old");
    let archive = place.path("large.tar.gz");
    fs::write(&archive, large(900)).expect("write");
    let args = ["--archive", text(&archive), "--force"];
    let child = place.command(&args).stderr(Stdio::null()).spawn().expect("start xtask");
    let begun = || {
        let new = place.leftovers().pop().map(|new| place.cache(&new).join("zeros"));
        new.and_then(|zeros| zeros.metadata().ok()).is_some_and(|zeros| zeros.len() > 0)
    };
    wait_for(begun);
    kill(child);
    assert_eq!(place.mark(), "old");
    assert_eq!(place.leftovers().len(), 1, "what it was about to make");
    assert!(place.fetch(&[]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0));
}

#[test]
fn the_root_is_never_missing_while_it_is_replaced() {
    let place = Place::with_root("one");
    let mark = place.root().join("mark");
    let over = Arc::new(AtomicBool::new(false));
    let of_thread = over.clone();
    let watcher = thread::spawn(move || {
        let mut looks = 0;
        while !of_thread.load(Ordering::SeqCst) {
            assert!(mark.exists(), "after {looks} looks");
            looks += 1;
        }
        looks
    });
    for _ in 0..20 {
        let output = place.fetch(&["--archive", text(&place.path("old.tar.gz")), "--force"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    over.store(true, Ordering::SeqCst);
    assert!(watcher.join().expect("it is there at each look") > 20);
}

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let archive = small("one");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Slowly(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    let url = mirror.url();
    for force in [&[][..], &["--force"]] {
        let place = Place::new();
        let before = mirror.asked(PLACE);
        let args = [&["--release", RELEASE, "--arch", "x86_64", "--mirror", &url], force].concat();
        let start = || {
            let mut command = place.command(&args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start xtask")
        };
        let outputs =
            [start(), start(), start()].map(|child| child.wait_with_output().expect("wait"));
        for output in &outputs {
            assert!(output.status.success(), "{}", stderr(output));
        }
        let waited = outputs.iter().filter(|output| stderr(output).contains("waiting for it"));
        assert_eq!(waited.count(), 2);
        assert_eq!((mirror.asked(PLACE) - before, place.mark()), (1, "one".to_owned()));
        assert_eq!(place.leftovers(), [""; 0]);
    }
}

#[test]
fn a_root_of_this_machines_programs_can_be_stood_in() {
    for (which, of) in
        [("--from-host", "own "), ("--from-host=libraries", "programs and their libraries")]
    {
        let place = Place::new();
        let output = place.fetch(&[which]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("rootfs: this machine's own "), "{output:?}");
        assert!(stdout(&output).contains(of), "{output:?}");
        assert!(stdout(&place.fetch(&[which])).ends_with("(there already)"));
        assert!(stdout(&place.fetch(&[])).ends_with("(there already)"));
        sole_refusal(&place.fetch(&["--release", "3.15.4"]), &["this machine's own", "--force"]);
        // Its links do not lead out to this machine when it is moved there.
        let root = place.root();
        for (dir, mode) in [("tmp", 0o1777), ("root", 0o700), ("proc", 0o755), ("", 0o755)] {
            let found = fs::symlink_metadata(root.join(dir)).expect(dir);
            assert_eq!((found.mode() & 0o7777, found.uid()), (mode, getuid().as_raw()), "{dir}");
        }
        if containers_work() {
            let script = "ls / && id -u && echo $((6*7)) | sed s/2/3/ && cat /etc/hostname && ps >/tmp/ps && test -s /tmp/ps";
            let output = Command::new(bin("step07-proc"))
                .arg("--rootfs")
                .arg(&root)
                .args(["/bin/sh", "-e", "-c", script])
                .output()
                .expect("start a step");
            assert!(output.status.success(), "{which}: {}", stderr(&output));
            assert!(stdout(&output).ends_with("\n0\n43\ncontainer"), "{}", stdout(&output));
        }
        // A page about Alpine's root can be followed on this one.
        let read = |name: &str| fs::read_to_string(root.join("etc").join(name)).expect(name);
        assert_eq!(read("motd"), "A root of this machine's own programs.\n");
        assert!(!read("container-root").is_empty());
        // Restored as well, whatever was done to it.
        fs::remove_dir_all(root.join("etc")).expect("remove");
        assert!(place.fetch(&[which, "--force"]).status.success());
        assert!(root.join("etc/passwd").exists());
        assert_eq!(place.leftovers(), [""; 0]);
    }
}

#[test]
fn the_real_archive_is_fetched() {
    let Some(archive) = std::env::var_os("CONTAINERS_TEST_ARCHIVE") else {
        skip("CONTAINERS_TEST_ARCHIVE names no archive of Alpine 3.15.11 for x86_64");
        return;
    };
    let archive = fs::read(archive).expect("read the archive");
    let path = "/alpine/v3.15/releases/x86_64/alpine-minirootfs-3.15.11-x86_64.tar.gz";
    let mirror = Mirror::new(&[(path, &[Answer::Whole(archive)])]);
    let place = Place::new();
    let url = format!("{}/", mirror.url());
    let output = place.fetch(&["--release", "3.15.11", "--arch", "x86_64", "--mirror", &url]);
    assert!(stdout(&output).ends_with("(checked against the pinned SHA-256)"), "{output:?}");
    let release = fs::read_to_string(place.root().join("etc/alpine-release")).expect("read");
    assert_eq!(release, "3.15.11\n");
    assert_eq!(
        fs::read_link(place.root().join("bin/sh")).expect("a link"),
        Path::new("/bin/busybox")
    );
    // 97 directories, 331 symbolic links, 82 files and one hard link.
    let mut counts = [0; 3];
    let mut left = vec![place.root()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).expect("look");
        assert_eq!(found.uid(), getuid().as_raw(), "{path:?}");
        counts[if found.is_dir() { 0 } else { 1 + usize::from(found.is_file()) }] += 1;
        if found.is_dir() {
            left.extend(fs::read_dir(&path).expect("list").map(|it| it.expect("list").path()));
        }
    }
    assert_eq!(counts, [97, 331, 83]);
}
