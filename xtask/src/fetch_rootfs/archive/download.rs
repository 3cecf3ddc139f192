//! Downloads a file from a mirror of Alpine. It tries again after a failure that
//! may be temporary.

mod request;

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::say::note;
use request::{Event, request, why_failed};

/// The number of tries for a file.
const TRIES: u32 = 3;

/// The lowest allowed rate, in bytes a second. An old modem is faster.
const LEAST_RATE: f64 = 1024.0;

/// A mirror of Alpine.
pub(crate) struct Mirror<'a> {
    pub(crate) url: &'a str,
    /// The time for a first answer, for all tries together. Then the mirror must
    /// send at [`LEAST_RATE`], on average over this time.
    pub(crate) timeout: Duration,
    /// Whether to print nothing about a try that fails, because the caller can make
    /// a root without the mirror.
    pub(crate) quiet: bool,
}

/// A part of a download.
pub(crate) enum Part<'a> {
    /// The start of a try: the bytes of the last try do not count.
    Start,
    Bytes(&'a [u8]),
}

/// Takes the parts of a download, in order.
pub(crate) type Sink<'a> = dyn FnMut(Part<'_>) -> Result<()> + 'a;

/// At every try, the mirror did not answer, or broke off.
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

/// The reason why a try failed.
enum Failure {
    /// The next try may succeed.
    MayPass {
        why: String,
        answered: bool,
    },
    Lasts(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Lasts(error)
    }
}

impl Mirror<'_> {
    /// Downloads the file at `url`, of at most `longest` bytes. Returns whether the
    /// mirror has it. After the time `tell_after`, a note names the file.
    ///
    /// All tries for a first answer share the time-out: after this time, the task
    /// gives up a network that does not answer.
    pub(crate) fn get(
        &self,
        url: &str,
        longest: u64,
        tell_after: Duration,
        sink: &mut Sink<'_>,
    ) -> Result<bool> {
        let doing = format!("fetch {url}");
        let pause = self.timeout / 12;
        let mut deadline = Instant::now() + self.timeout;
        let mut tell = Some(Instant::now() + tell_after);
        let mut left = TRIES;
        loop {
            left -= 1;
            let share = deadline.saturating_duration_since(Instant::now());
            let share = share.saturating_sub(pause * left) / (left + 1);
            let why = match self.attempt(url, share, longest, &mut tell, sink) {
                Ok(found) => return Ok(found),
                Err(Failure::Lasts(error)) => return Err(error.context(doing)),
                Err(Failure::MayPass { why, answered }) => {
                    if answered {
                        deadline = Instant::now() + self.timeout;
                    }
                    why
                }
            };
            if left == 0 {
                let why = format!("{why}, at the last of {TRIES} tries");
                return Err(Error::new(Unreachable { why }).context(doing));
            }
            if !self.quiet {
                note(&format!("{doing}: {why}; try again, {left} of {TRIES} tries left"));
            }
            thread::sleep(pause);
        }
    }

    /// Tries once. The answer must begin within `wait`.
    ///
    /// A thread makes the request. This function stops waiting for a thread that
    /// takes too long: in the resolver, a connection, a handshake or an answer. The
    /// time-outs of ureq do not fit. The time for the whole body is too short for a
    /// slow network. The time for each read is too long for a mirror that sends a
    /// byte now and then.
    fn attempt(
        &self,
        url: &str,
        wait: Duration,
        longest: u64,
        tell: &mut Option<Instant>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, Failure> {
        let window = self.timeout;
        let (sender, events) = sync_channel(4);
        let of_thread = url.to_owned();
        thread::spawn(move || request(&of_thread, wait, window, &sender));
        let mut due = Instant::now() + wait;
        // The number of bytes in this window. None before the answer.
        let mut came = None;
        let mut length = 0;
        let mut bar = ProgressBar::hidden();
        loop {
            if tell.take_if(|at| *at <= Instant::now()).is_some() {
                note(&format!("fetch {url}"));
            }
            let until = tell.map_or(due, |tell| tell.min(due));
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Answer { status: 200, length }) => {
                    sink(Part::Start)?;
                    bar = progress(length);
                    (came, due) = (Some(0), Instant::now() + window);
                }
                Ok(Event::Answer { status: 404, .. }) => return Ok(false),
                Ok(Event::Answer { status, .. }) => {
                    let why = format!("the mirror answers with status {status}");
                    // Request Timeout, Too Many Requests, and errors of the server.
                    return Err(match status {
                        408 | 429 | 500.. => Failure::MayPass { why, answered: true },
                        _ => anyhow!("{why}; name another mirror with --mirror").into(),
                    });
                }
                Ok(Event::Bytes(bytes)) => {
                    sink(Part::Bytes(&bytes))?;
                    length += bytes.len() as u64;
                    if length > longest {
                        let why = format!("it is longer than {longest} bytes");
                        return Err(anyhow!("{why}; name another mirror with --mirror").into());
                    }
                    bar.inc(bytes.len() as u64);
                    let all = came.unwrap_or_default() + bytes.len();
                    came = Some(all);
                    if all as f64 >= LEAST_RATE * window.as_secs_f64() {
                        (came, due) = (Some(0), Instant::now() + window);
                    }
                }
                Ok(Event::End) => return Ok(true),
                Ok(Event::Failed(error)) => {
                    let why = why_failed(error)?;
                    return Err(Failure::MayPass { why, answered: came.is_some() });
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < due => {}
                Err(RecvTimeoutError::Timeout) => {
                    let why = match came {
                        None => format!("no answer within {:.1} seconds", wait.as_secs_f64()),
                        Some(came) => {
                            let seconds = window.as_secs_f64();
                            format!("only {came} bytes came within {seconds:.1} seconds")
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
}

/// The forms of a progress bar for a known length, and for an unknown length.
const BARS: [&str; 2] = [
    "Alpine {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    "Alpine {spinner} {bytes}, {bytes_per_sec}",
];

/// A progress bar. It is visible only on a terminal, until it is dropped.
fn progress(length: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template(BARS[usize::from(length.is_none())]);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // A test checks the templates.
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
