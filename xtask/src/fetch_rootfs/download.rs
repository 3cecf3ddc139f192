//! Fetching from a mirror: patient with what may pass, and with nothing else.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::errno::Errno;

use super::digest::{Algorithm, Digest, Hasher};
use super::releases::Release;
use crate::say::note;

/// How often to ask a mirror that may yet answer.
const TRIES: u32 = 3;

/// More than any archive or digest file has. A mirror that sends more is none.
const LONGEST_ARCHIVE: u64 = 1 << 30;
const LONGEST_DIGEST_FILE: usize = 64 << 10;

/// A mirror that could not be reached, or broke off, at every try.
#[derive(Debug)]
pub(crate) struct Unreachable {
    why: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; look to the network, name another mirror with --mirror, or make a root without one with --from-host",
            self.why
        )
    }
}

impl std::error::Error for Unreachable {}

/// A mirror of Alpine's.
pub(crate) struct Mirror<'a> {
    pub(crate) url: &'a str,
    /// How long it may take to answer, all tries together, and how long it may
    /// be silent in the middle of an answer.
    pub(crate) timeout: Duration,
}

impl Mirror<'_> {
    /// The digest that the mirror has beside a release's archive, and the
    /// digest file as it was.
    pub(crate) fn digest(&self, release: &Release) -> Result<(Digest, Vec<u8>)> {
        let archive = release.url(self.url);
        for algorithm in Algorithm::ALL {
            let url = format!("{archive}{}", algorithm.suffix());
            let mut file = DigestFile::default();
            if let Found::Yes = get(&url, self.timeout, &mut file)? {
                let digest = Digest::of_name(&file.bytes, &release.archive(), algorithm);
                let digest = digest.with_context(|| {
                    format!(
                        "read {url}: it holds no {algorithm} of {}; name another mirror with --mirror",
                        release.archive()
                    )
                })?;
                return Ok((digest, file.bytes));
            }
        }
        bail!(
            "fetch {archive}.sha512: not found (404), nor .sha256, so there is nothing to check {release} against; there may be no such release, see {}",
            self.url
        )
    }

    /// Downloads a release's archive into `file`, which is new.
    ///
    /// # Errors
    ///
    /// Also when its digest is not the one that is `wanted`.
    pub(crate) fn archive(&self, release: &Release, file: &Path, wanted: &Digest) -> Result<()> {
        let url = release.url(self.url);
        note(&format!("fetch {url}"));
        let doing = || format!("write {}", file.display());
        let mut archive = Archive {
            file: File::create_new(file).with_context(doing)?,
            path: file,
            algorithm: wanted.algorithm,
            hasher: Hasher::new(wanted.algorithm),
            length: 0,
            bar: ProgressBar::hidden(),
        };
        let found = get(&url, self.timeout, &mut archive);
        archive.bar.finish_and_clear();
        if let Found::No = found? {
            bail!("fetch {url}: not found (404); there may be no such release, see {}", self.url);
        }
        let digest = archive.hasher.digest();
        if digest != *wanted {
            bail!(
                "check {url}: its {} is {digest} and should be {wanted}; it was not kept; try again, or name another mirror with --mirror",
                wanted.algorithm
            );
        }
        Ok(())
    }
}

/// Where the bytes of an answer go.
trait Body {
    /// Starts anew: a first or a further try has been answered.
    fn begin(&mut self, length: Option<u64>) -> Result<()>;
    fn add(&mut self, bytes: &[u8]) -> Result<()>;
}

#[derive(Default)]
struct DigestFile {
    bytes: Vec<u8>,
}

impl Body for DigestFile {
    fn begin(&mut self, _length: Option<u64>) -> Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > LONGEST_DIGEST_FILE {
            bail!("it is far too long for a digest file; name another mirror with --mirror");
        }
        Ok(())
    }
}

struct Archive<'a> {
    file: File,
    path: &'a Path,
    algorithm: Algorithm,
    hasher: Hasher,
    length: u64,
    bar: ProgressBar,
}

impl Body for Archive<'_> {
    fn begin(&mut self, length: Option<u64>) -> Result<()> {
        let again = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        again.with_context(|| format!("empty {}", self.path.display()))?;
        self.hasher = Hasher::new(self.algorithm);
        self.length = 0;
        self.bar.finish_and_clear();
        self.bar = bar(length);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.length > LONGEST_ARCHIVE {
            bail!("it is longer than {LONGEST_ARCHIVE} bytes; name another mirror with --mirror");
        }
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("write {}", self.path.display()))?;
        self.hasher.add(bytes);
        self.bar.inc(bytes.len() as u64);
        Ok(())
    }
}

/// What a progress bar shows when the length is known, and when it is not.
const BARS: [&str; 2] = [
    "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    "{spinner} {bytes}, {bytes_per_sec}",
];

/// A progress bar, which shows on a terminal only.
fn bar(length: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template(BARS[usize::from(length.is_none())]);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // A test sees to it that the templates are right.
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Whether the mirror has what it was asked for.
#[derive(Debug)]
enum Found {
    Yes,
    No,
}

/// Why a try came to nothing.
enum Failure {
    /// It may go better the next time.
    MayPass { why: String, answered: bool },
    /// It will not.
    Lasts(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Lasts(error)
    }
}

/// Gets `url` into `body`, in up to [`TRIES`] tries.
///
/// All tries for a first answer share `timeout`, so that it is the time after
/// which a network without an answer is given up.
fn get(url: &str, timeout: Duration, body: &mut dyn Body) -> Result<Found> {
    let pause = timeout / 12;
    let mut deadline = Instant::now() + timeout;
    let mut left = TRIES;
    loop {
        left -= 1;
        let share = deadline.saturating_duration_since(Instant::now());
        let share = share.saturating_sub(pause * left) / (left + 1);
        let why = match attempt(url, share, timeout, body) {
            Ok(found) => return Ok(found),
            Err(Failure::Lasts(error)) => return Err(error.context(format!("fetch {url}"))),
            Err(Failure::MayPass { why, answered }) => {
                if answered {
                    deadline = Instant::now() + timeout;
                }
                why
            }
        };
        if left == 0 {
            let why = format!("{why}, at the last of {TRIES} tries");
            return Err(anyhow::Error::new(Unreachable { why }).context(format!("fetch {url}")));
        }
        note(&format!("{why}; trying again, {left} of {TRIES} tries left"));
        thread::sleep(pause);
    }
}

/// What a request brings, in order.
enum Event {
    Answer { status: u16, length: Option<u64> },
    Bytes(Vec<u8>),
    End,
    Failed(ureq::Error),
}

/// Gets `url` once. The answer must begin within `wait`, and never pause for
/// longer than `silence`.
///
/// The request is made in a thread of its own, which is left to itself when it
/// takes too long: that covers names that nobody resolves, addresses that drop
/// packets, handshakes and answers alike.
fn attempt(
    url: &str,
    wait: Duration,
    silence: Duration,
    body: &mut dyn Body,
) -> Result<Found, Failure> {
    let (sender, events) = sync_channel(4);
    let of_thread = url.to_owned();
    thread::spawn(move || request(&of_thread, wait, silence, &sender));
    let mut patience = wait;
    let mut answered = false;
    loop {
        match events.recv_timeout(patience) {
            Ok(Event::Answer { status: 200, length }) => {
                body.begin(length)?;
                patience = silence;
                answered = true;
            }
            Ok(Event::Answer { status: 404, .. }) => return Ok(Found::No),
            Ok(Event::Answer { status, .. }) => {
                let why = format!("the mirror answers with status {status}");
                // Request Timeout, Too Many Requests, and the mirror's own.
                return Err(match status {
                    408 | 429 | 500.. => Failure::MayPass { why, answered: true },
                    _ => anyhow!("{why}; name another mirror with --mirror").into(),
                });
            }
            Ok(Event::Bytes(bytes)) => body.add(&bytes)?,
            Ok(Event::End) => return Ok(Found::Yes),
            Ok(Event::Failed(error)) => return Err(failure(error, answered)),
            Err(RecvTimeoutError::Timeout) => {
                let what = if answered { "nothing more came" } else { "no answer" };
                let why = format!("{what} within {:.1} seconds", patience.as_secs_f64());
                return Err(Failure::MayPass { why, answered });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("the request ended without a result").into());
            }
        }
    }
}

/// Makes a request and sends what comes of it, until nobody listens any more.
fn request(url: &str, wait: Duration, silence: Duration, events: &SyncSender<Event>) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(wait))
        // Shared by all addresses of a name; the rest is for the answer.
        .timeout_connect(Some(wait * 3 / 4))
        // Ends the thread where nobody waits for it any more.
        .timeout_per_read(Some(wait.max(silence)))
        .build();
    let result = ureq::Agent::from(config).get(url).call().and_then(|answer| {
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        if events.send(Event::Answer { status, length: body.content_length() }).is_err() {
            return Ok(());
        }
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = reader.read(&mut buffer)?;
            if n == 0 || events.send(Event::Bytes(buffer[..n].to_vec())).is_err() {
                return Ok(());
            }
        }
    });
    // An error here means that nobody listens.
    let _ = events.send(match result {
        Ok(()) => Event::End,
        Err(error) => Event::Failed(error),
    });
}

/// What a failed request means.
fn failure(error: ureq::Error, answered: bool) -> Failure {
    let why = match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TooManyRedirects => {
            return anyhow!("{error}; name another mirror with --mirror").into();
        }
        ureq::Error::HostNotFound => "the host's name cannot be resolved".to_owned(),
        ureq::Error::Io(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::UnexpectedEof, _) => "the mirror broke off".to_owned(),
            (_, Some(errno)) => Errno::from_raw(errno).desc().to_owned(),
            (_, None) => error.to_string(),
        },
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    };
    Failure::MayPass { why, answered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_are_right() {
        for template in BARS {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
