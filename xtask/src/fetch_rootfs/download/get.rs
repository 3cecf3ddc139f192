//! Getting one file of a mirror's, in a few tries.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::errno::Errno;

use super::Mirror;
use crate::say::note;

/// How often to ask a mirror that may yet answer.
const TRIES: u32 = 3;

/// The least that a mirror must send, in bytes a second. An old modem sends more.
const LEAST_RATE: f64 = 1024.0;

/// A mirror that could not be reached, or broke off, at every try.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) why: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; check the network, name another mirror with --mirror, or make a root without a network with --from-host",
            self.why
        )
    }
}

impl std::error::Error for Unreachable {}

/// Where the bytes of an answer go.
pub(super) trait Body {
    /// Starts anew: a first or a further try has been answered.
    fn begin(&mut self, length: Option<u64>) -> Result<()>;
    fn add(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Whether the mirror has what it was asked for.
#[derive(Debug)]
pub(super) enum Found {
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
/// All tries for a first answer share the time-out, so that it is the time after
/// which a network without an answer is given up. From `slow` on
/// it is said what is waited for.
pub(super) fn get(
    url: &str,
    mirror: &Mirror<'_>,
    body: &mut dyn Body,
    mut slow: Option<Instant>,
) -> Result<Found> {
    let timeout = mirror.timeout;
    let pause = timeout / 12;
    let mut deadline = Instant::now() + timeout;
    let mut left = TRIES;
    loop {
        left -= 1;
        let share = deadline.saturating_duration_since(Instant::now());
        let share = share.saturating_sub(pause * left) / (left + 1);
        let why = match attempt(url, share, timeout, body, &mut slow) {
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
        if !mirror.quiet {
            note(&format!("{why}; try again, {left} of {TRIES} tries left"));
        }
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

/// Gets `url` once. The answer must begin within `wait`; then in each `window`
/// as much must come as [`LEAST_RATE`] says, until all is there. What ureq
/// offers is a time for the whole body, and one for each read: too short for a
/// slow network, and too long for a mirror that sends a byte now and then.
///
/// The request is made in a thread of its own, which is left to itself when it
/// takes too long: that covers names that nobody resolves, addresses that drop
/// packets, handshakes and answers alike.
fn attempt(
    url: &str,
    wait: Duration,
    window: Duration,
    body: &mut dyn Body,
    slow: &mut Option<Instant>,
) -> Result<Found, Failure> {
    let (sender, events) = sync_channel(4);
    let of_thread = url.to_owned();
    thread::spawn(move || request(&of_thread, wait, window, &sender));
    let least = LEAST_RATE * window.as_secs_f64();
    let mut due = Instant::now() + wait;
    let mut came = None;
    loop {
        if slow.is_some_and(|slow| slow <= Instant::now()) {
            note(&format!("fetch {url}"));
            *slow = None;
        }
        let until = slow.map_or(due, |slow| slow.min(due));
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Answer { status: 200, length }) => {
                body.begin(length)?;
                (came, due) = (Some(0), Instant::now() + window);
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
            Ok(Event::Bytes(bytes)) => {
                body.add(&bytes)?;
                let all = came.unwrap_or_default() + bytes.len();
                came = Some(all);
                if all as f64 >= least {
                    (came, due) = (Some(0), Instant::now() + window);
                }
            }
            Ok(Event::End) => return Ok(Found::Yes),
            Ok(Event::Failed(error)) => return Err(failure(error, came.is_some())),
            Err(RecvTimeoutError::Timeout) if Instant::now() < due => {}
            Err(RecvTimeoutError::Timeout) => {
                let why = match came {
                    None => format!("no answer within {:.1} seconds", wait.as_secs_f64()),
                    Some(came) => {
                        format!("only {came} bytes came within {:.1} seconds", window.as_secs_f64())
                    }
                };
                return Err(Failure::MayPass { why, answered: came.is_some() });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(anyhow!("the request ended without a result").into());
            }
        }
    }
}

/// Makes a request and sends what comes of it, until nobody listens any more.
fn request(url: &str, wait: Duration, window: Duration, events: &SyncSender<Event>) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(wait))
        // Shared by all addresses of a name; the rest is for the answer.
        .timeout_connect(Some(wait * 3 / 4))
        // Ends the thread where nobody waits for it any more, but never before that.
        .timeout_per_read(Some(2 * wait.max(window)))
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
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
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
