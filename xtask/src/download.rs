//! Downloads a file. It tries again after a failure that may be temporary, and asks for
//! the rest of the file if the server can send it.

mod request;

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::say::note;
use request::{Answer, Event, request, why_failed};

/// The number of tries for a file.
const TRIES: u32 = 3;

/// The lowest allowed rate, in bytes a second. An old modem is faster.
const LEAST_RATE: f64 = 1024.0;

/// A server, and its name in messages.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// Such as `the mirror`.
    pub(crate) name: &'static str,
    /// What it sends, beside the progress bar.
    pub(crate) sends: &'static str,
    /// What to do if the server fails.
    pub(crate) remedy: &'static str,
    /// What to do if the server cannot be reached.
    pub(crate) unreachable: &'static str,
    /// The time for a first answer, for all tries together. Then the server must
    /// send at [`LEAST_RATE`], on average over this time.
    pub(crate) timeout: Duration,
    /// Whether to print nothing about a try that fails, because the caller can do
    /// without the server.
    pub(crate) quiet: bool,
}

/// A part of a download.
pub(crate) enum Part<'a> {
    /// The start of the file: the bytes before do not count.
    Start,
    Bytes(&'a [u8]),
}

/// Takes the parts of a download, in order.
pub(crate) type Sink<'a> = dyn FnMut(Part<'_>) -> Result<()> + 'a;

/// At every try, the server did not answer, or broke off.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) why: String,
    remedy: &'static str,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

impl std::error::Error for Unreachable {}

/// The reason why a try failed.
enum Failure {
    /// The next try may succeed.
    MayPass(String),
    Lasts(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Lasts(error)
    }
}

impl Server {
    /// Downloads the file at `url`, of at most `longest` bytes. Returns whether the
    /// server has it. After the time `tell_after`, a note names the file.
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
        let tell = Some(Instant::now() + tell_after);
        let mut download =
            Download { server: self, url, longest, tell, answered: false, came: 0, sink };
        let pause = self.timeout / 12;
        let mut deadline = Instant::now() + self.timeout;
        let mut left = TRIES;
        loop {
            left -= 1;
            let share = deadline.saturating_duration_since(Instant::now());
            let share = share.saturating_sub(pause * left) / (left + 1);
            let why = match download.attempt(share) {
                Ok(found) => return Ok(found),
                Err(Failure::Lasts(error)) => return Err(error.context(doing)),
                Err(Failure::MayPass(why)) => why,
            };
            if download.answered {
                deadline = Instant::now() + self.timeout;
            }
            if left == 0 {
                let why = format!("{why}, at the last of {TRIES} tries");
                let remedy = self.unreachable;
                return Err(Error::new(Unreachable { why, remedy }).context(doing));
            }
            if !self.quiet {
                note(&format!("{doing}: {why}; try again, {left} of {TRIES} tries left"));
            }
            thread::sleep(pause);
        }
    }

    /// A failure that does not pass.
    fn fails(&self, why: impl fmt::Display) -> Error {
        anyhow!("{why}; {}", self.remedy)
    }
}

/// A download, in all its tries.
struct Download<'a> {
    server: &'a Server,
    url: &'a str,
    longest: u64,
    /// The time of a note that names the file, until it is printed.
    tell: Option<Instant>,
    /// Whether the server answered at this try.
    answered: bool,
    /// The number of bytes that came.
    came: u64,
    sink: &'a mut Sink<'a>,
}

impl Download<'_> {
    /// Tries once. The answer must begin within `wait`.
    ///
    /// A thread makes the request. This function stops waiting for a thread that
    /// takes too long: in the resolver, a connection, a handshake or an answer. The
    /// time-outs of ureq do not fit. The time for the whole body is too short for a
    /// slow network. The time for each read is too long for a server that sends a
    /// byte now and then.
    fn attempt(&mut self, wait: Duration) -> Result<bool, Failure> {
        let (sender, events) = sync_channel(4);
        let (url, from, window) = (self.url.to_owned(), self.came, self.server.timeout);
        thread::spawn(move || request(&url, from, wait, window, &sender));
        self.answered = false;
        let mut pace = Pace::new(wait, window);
        let mut bar = ProgressBar::hidden();
        loop {
            match self.next(&events, &pace)? {
                Event::Answer(answer) => {
                    if !self.begins(&answer)? {
                        return Ok(false);
                    }
                    bar = self.progress(answer.length);
                    pace.begin();
                }
                Event::Bytes(bytes) => {
                    self.take(&bytes)?;
                    bar.inc(bytes.len() as u64);
                    pace.count(bytes.len());
                }
                Event::End => return Ok(true),
                Event::Failed(error) => {
                    return Err(Failure::MayPass(why_failed(error, self.server)?));
                }
            }
        }
    }

    /// Waits for the next event.
    fn next(&mut self, events: &Receiver<Event>, pace: &Pace) -> Result<Event, Failure> {
        loop {
            if self.tell.take_if(|at| *at <= Instant::now()).is_some() {
                note(&format!("fetch {}", self.url));
            }
            let until = self.tell.map_or(pace.due, |tell| tell.min(pace.due));
            match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) if Instant::now() < pace.due => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::MayPass(pace.why_too_slow()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(anyhow!("the request ended without a result").into());
                }
            }
        }
    }

    /// Whether the server has the file and begins to send it, or the rest of it.
    fn begins(&mut self, answer: &Answer) -> Result<bool, Failure> {
        self.answered = true;
        let why = format!("{} answers with status {}", self.server.name, answer.status);
        match answer.status {
            200 => {
                self.came = 0;
                (self.sink)(Part::Start)?;
                Ok(true)
            }
            // Partial Content.
            206 if self.came > 0 && answer.from == Some(self.came) => Ok(true),
            404 => Ok(false),
            // Request Timeout, Too Many Requests, and errors of the server.
            408 | 429 | 500.. => Err(Failure::MayPass(why)),
            _ => Err(self.server.fails(why).into()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        (self.sink)(Part::Bytes(bytes))?;
        self.came += bytes.len() as u64;
        if self.came > self.longest {
            return Err(self.server.fails(format!("it is longer than {} bytes", self.longest)));
        }
        Ok(())
    }

    /// A progress bar. It is visible only on a terminal, until it is dropped.
    fn progress(&self, length: Option<u64>) -> ProgressBar {
        let style = ProgressStyle::with_template(BARS[usize::from(length.is_none())]);
        let length = length.map(|length| self.came + length);
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        // A test checks the templates.
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.with_prefix(self.server.sends).with_position(self.came)
    }
}

/// The time that the server has: for its answer, and then for each window of bytes.
struct Pace {
    wait: Duration,
    window: Duration,
    due: Instant,
    /// The number of bytes in this window. None before the answer.
    came: Option<usize>,
}

impl Pace {
    fn new(wait: Duration, window: Duration) -> Pace {
        Pace { wait, window, due: Instant::now() + wait, came: None }
    }

    /// Begins a window.
    fn begin(&mut self) {
        (self.came, self.due) = (Some(0), Instant::now() + self.window);
    }

    /// Counts bytes. If they are enough, the next window begins.
    fn count(&mut self, bytes: usize) {
        let came = self.came.unwrap_or_default() + bytes;
        self.came = Some(came);
        if came as f64 >= LEAST_RATE * self.window.as_secs_f64() {
            self.begin();
        }
    }

    fn why_too_slow(&self) -> String {
        match self.came {
            None => format!("no answer within {:.1} seconds", self.wait.as_secs_f64()),
            Some(came) => {
                let seconds = self.window.as_secs_f64();
                format!("only {came} bytes came within {seconds:.1} seconds")
            }
        }
    }
}

/// The forms of a progress bar for a known length, and for an unknown length.
const BARS: [&str; 2] = [
    "{prefix} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    "{prefix} {spinner} {bytes}, {bytes_per_sec}",
];

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
