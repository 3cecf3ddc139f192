//! Downloads a file. It tries again after a failure that may be temporary, and asks for
//! the rest of the file if the server can send it.

mod request;

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use layers::{Algorithm, Hasher};
use ureq::http::header::HeaderName;
use ureq::tls::RootCerts;
use ureq::{Agent, Body};

use crate::say::note;
pub(crate) use request::{Answer, is_loopback};

/// The number of tries for a file.
const TRIES: u32 = 3;

/// The lowest allowed rate, in bytes a second. An old modem is faster.
const LEAST_RATE: f64 = 1024.0;

/// After this time, a note names the file that is fetched.
pub(crate) const SLOW: Duration = Duration::from_secs(3);

/// A server, and its name in messages.
#[derive(Clone)]
pub(crate) struct Server {
    /// Such as `the mirror`.
    pub(crate) name: &'static str,
    /// What to do if the server fails.
    pub(crate) remedy: &'static str,
    /// What to do if the server cannot be reached.
    pub(crate) unreachable: &'static str,
    /// What to do if its certificate is not trusted.
    pub(crate) distrusted: &'static str,
    /// Whether to print nothing about a try that fails, because the caller can do
    /// without the server.
    pub(crate) quiet: bool,
    /// The time for a first answer, for all tries together. Then the server must
    /// send at [`LEAST_RATE`], on average over this time.
    timeout: Duration,
    agent: Agent,
}

/// A part of a download.
pub(crate) enum Part<'a> {
    /// The start of the file: the bytes before do not count.
    Start,
    Bytes(&'a [u8]),
}

/// Takes the parts of a download, in order.
pub(crate) type Sink<'a> = dyn FnMut(Part<'_>) -> Result<()> + 'a;

/// A sink that collects the bytes of a short file.
pub(crate) fn collect(text: &mut Vec<u8>) -> impl FnMut(Part<'_>) -> Result<()> {
    |part| {
        match part {
            Part::Start => text.clear(),
            Part::Bytes(bytes) => text.extend_from_slice(bytes),
        }
        Ok(())
    }
}

/// The open file at a path, which a download fills.
pub(crate) struct Saved<'a> {
    file: &'a mut File,
    path: &'a Path,
    /// Has all bytes of the file.
    pub(crate) hasher: Hasher,
    /// Their number.
    pub(crate) came: u64,
    /// Whether an earlier run wrote the first of them.
    pub(crate) goes_on: bool,
}

impl Saved<'_> {
    /// Reads what the file has.
    pub(crate) fn new<'a>(
        file: &'a mut File,
        path: &'a Path,
        algorithm: Algorithm,
    ) -> Result<Saved<'a>> {
        let mut hasher = Hasher::new(algorithm);
        let came = hasher.add(file).with_context(|| format!("write {}", path.display()))?;
        Ok(Saved { file, path, hasher, came, goes_on: came > 0 })
    }

    /// Takes a part of the download, as a [`Sink`].
    pub(crate) fn take(&mut self, part: Part<'_>) -> Result<()> {
        let written = match part {
            Part::Start => {
                (self.came, self.goes_on) = (0, false);
                self.hasher.reset();
                self.file.set_len(0).and_then(|()| self.file.rewind())
            }
            Part::Bytes(bytes) => {
                self.came += bytes.len() as u64;
                self.hasher.update(bytes);
                self.file.write_all(bytes)
            }
        };
        written.with_context(|| format!("write {}", self.path.display()))
    }
}

/// At every try, the server did not answer, or broke off.
#[derive(Debug)]
pub(crate) struct Unreachable {
    pub(crate) why: String,
    remedy: &'static str,
}

impl Unreachable {
    /// This, if it is the reason for an error.
    pub(crate) fn of(error: &Error) -> Option<&Unreachable> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }
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

/// The end of a download without a failure.
pub(crate) enum Outcome {
    Whole,
    /// The status is 401 or 404.
    Refused(Answer),
}

impl Server {
    /// A server that has `seconds` for an answer. `roots` sign its certificate.
    pub(crate) fn new(name: &'static str, seconds: f64, roots: RootCerts) -> Result<Server> {
        let timeout = Duration::try_from_secs_f64(seconds).ok();
        let timeout = timeout.filter(|it| (1..=3_600_000).contains(&it.as_millis()));
        let timeout = timeout.with_context(|| {
            format!("wait {seconds} seconds: name a time above 0 and up to 3600")
        })?;
        let agent = request::agent(roots);
        let (remedy, unreachable, distrusted) = ("", "", "");
        Ok(Server { name, remedy, unreachable, distrusted, quiet: false, timeout, agent })
    }

    /// The file at `url`, of at most `longest` bytes.
    pub(crate) fn download<'a>(&'a self, url: &'a str, longest: u64) -> Download<'a> {
        Download {
            server: self,
            url,
            longest,
            label: "",
            headers: Vec::new(),
            came: 0,
            bars: MultiProgress::new(),
            stop: &NEVER,
            tell: Some(Instant::now() + SLOW),
        }
    }

    /// The server does not send the file at `url`.
    pub(crate) fn refuses(&self, answer: &Answer, url: &str) -> Error {
        self.fails(answer.why(self)).context(format!("fetch {url}"))
    }

    /// A failure that does not pass.
    pub(crate) fn fails(&self, why: impl fmt::Display) -> Error {
        anyhow!("{why}; {}", self.remedy)
    }
}

/// A download, in all its tries.
pub(crate) struct Download<'a> {
    server: &'a Server,
    url: &'a str,
    longest: u64,
    /// The words beside the progress bar.
    pub(crate) label: &'a str,
    /// Further headers of the request.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// The number of bytes that the caller has. The server sends the rest, if it can.
    pub(crate) came: u64,
    /// The bars of all downloads.
    pub(crate) bars: MultiProgress,
    /// Ends the download when it becomes true.
    pub(crate) stop: &'a AtomicBool,
    /// The time of a note that names the file, until it is printed.
    pub(crate) tell: Option<Instant>,
}

/// Does not end a download.
static NEVER: AtomicBool = AtomicBool::new(false);

impl Download<'_> {
    /// Downloads the file, or the rest of it.
    ///
    /// All tries share the time-out for the first answer: after this time, the task gives
    /// up a network that does not answer.
    pub(crate) fn run(&mut self, sink: &mut Sink<'_>) -> Result<Outcome> {
        let doing = format!("fetch {}", self.url);
        let server = self.server;
        let pause = server.timeout / 12;
        let wait = (server.timeout - pause * (TRIES - 1)) / TRIES;
        let mut left = TRIES;
        loop {
            left -= 1;
            let why = match self.attempt(wait, sink) {
                Ok(outcome) => return Ok(outcome),
                Err(Failure::Lasts(error)) => return Err(error.context(doing)),
                Err(Failure::MayPass(why)) => why,
            };
            if left == 0 {
                let why = format!("{why}, at the last of {TRIES} tries");
                let remedy = server.unreachable;
                return Err(Error::new(Unreachable { why, remedy }).context(doing));
            }
            if !server.quiet {
                let line = format!("{doing}: {why}; try again, {left} of {TRIES} tries left");
                self.bars.suspend(|| note(&line));
            }
            thread::sleep(pause);
        }
    }

    /// Tries once. The answer must begin within `wait`.
    fn attempt(&mut self, wait: Duration, sink: &mut Sink<'_>) -> Result<Outcome, Failure> {
        self.go_on()?;
        let mut answer = self.server.ask(self.url, self.headers.clone(), self.came, wait)?;
        if matches!(answer.status, 401 | 404) {
            return Ok(Outcome::Refused(answer));
        }
        self.begin(&answer, sink)?;
        self.read(&mut answer.body, sink)?;
        Ok(Outcome::Whole)
    }

    /// Ends the download if another failed, and names the file when it is time.
    fn go_on(&mut self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "another download failed");
        if self.tell.take_if(|at| *at <= Instant::now()).is_some() {
            self.bars.suspend(|| note(&format!("fetch {}", self.url)));
        }
        Ok(())
    }

    /// Looks at the answer, before the file, or the rest of it, comes.
    fn begin(&mut self, answer: &Answer, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let why = answer.why(self.server);
        match answer.status {
            200 => {
                self.came = 0;
                sink(Part::Start)?;
            }
            // Partial Content.
            206 if self.came > 0 && answer.from == Some(self.came) => {}
            // Range Not Satisfiable: the next try asks for the whole file.
            416 if self.came > 0 => {
                self.came = 0;
                return Err(Failure::MayPass(why));
            }
            // Request Timeout, Too Many Requests, and errors of the server.
            408 | 429 | 500.. => return Err(Failure::MayPass(why)),
            _ => return Err(self.server.fails(why).into()),
        }
        Ok(())
    }

    /// Reads the file, or the rest of it. The time-outs of ureq do not fit: the time for
    /// the whole body is too short for a slow network, and the time for each read is too
    /// long for a server that sends a byte now and then.
    fn read(&mut self, body: &mut Body, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let bar = self.progress(body.content_length());
        let window = self.server.timeout;
        let enough = LEAST_RATE * window.as_secs_f64();
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 64 << 10];
        // The bytes of this window, and its end.
        let (mut came, mut due) = (0, Instant::now() + window);
        loop {
            self.go_on()?;
            let count = match reader.read(&mut buffer).map_err(ureq::Error::from) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(ureq::Error::Timeout(_)) => 0,
                Err(error) => return Err(self.server.failed(error, window)),
            };
            self.take(&buffer[..count], sink)?;
            bar.inc(count as u64);
            came += count;
            if came as f64 >= enough {
                (came, due) = (0, Instant::now() + window);
            } else if Instant::now() >= due {
                let seconds = window.as_secs_f64();
                let why = format!("only {came} bytes came within {seconds:.1} seconds");
                return Err(Failure::MayPass(why));
            }
        }
    }

    fn take(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<()> {
        self.came += bytes.len() as u64;
        if self.came > self.longest {
            return Err(self.server.fails(format!("it is longer than {} bytes", self.longest)));
        }
        sink(Part::Bytes(bytes))
    }

    /// A progress bar. It is visible only on a terminal, until it is dropped.
    fn progress(&self, length: Option<u64>) -> ProgressBar {
        let style = ProgressStyle::with_template(BARS[usize::from(length.is_none())]);
        let length = length.map(|length| self.came + length);
        let bar =
            self.bars.add(ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden()));
        // A test checks the templates.
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.with_prefix(self.label.to_owned()).with_position(self.came)
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
