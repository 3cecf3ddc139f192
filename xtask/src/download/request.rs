//! Makes one request in a thread.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use ureq::http::header::{CONTENT_RANGE, RANGE};

use super::Server;

/// The parts of an answer, in order.
pub(super) enum Event {
    Answer(Answer),
    Bytes(Vec<u8>),
    End,
    Failed(ureq::Error),
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// The number of bytes that follow, if the server says it.
    pub(super) length: Option<u64>,
    /// The number of bytes of the file before them, if the server sends a part.
    pub(super) from: Option<u64>,
}

/// Asks for the file, without its first `from` bytes, and sends the events, until the
/// other side stops listening.
pub(super) fn request(
    url: &str,
    from: u64,
    wait: Duration,
    window: Duration,
    events: &SyncSender<Event>,
) {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(wait))
        // For all addresses of a name together. The rest of the time is for the
        // answer.
        .timeout_connect(Some(wait * 3 / 4))
        // Ends the thread, but never before the other side stops waiting.
        .timeout_per_read(Some(2 * wait.max(window)))
        .build();
    let mut asked = ureq::Agent::from(config).get(url);
    if from > 0 {
        asked = asked.header(RANGE, format!("bytes={from}-"));
    }
    let result = asked.call().and_then(|answer| {
        let status = answer.status().as_u16();
        let range = answer.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let from = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
        let from = from.and_then(|(from, _)| from.parse().ok());
        let mut body = answer.into_body();
        let answer = Answer { status, length: body.content_length(), from };
        if events.send(Event::Answer(answer)).is_err() {
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
    // An error means that the other side has stopped listening.
    let _ = events.send(match result {
        Ok(()) => Event::End,
        Err(error) => Event::Failed(error),
    });
}

/// The reason for a failure that may be temporary.
///
/// # Errors
///
/// When the failure is permanent.
pub(super) fn why_failed(error: ureq::Error, server: &Server) -> Result<String> {
    Ok(match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TooManyRedirects => return Err(server.fails(error)),
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
        ureq::Error::Io(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::UnexpectedEof, _) => format!("{} broke off", server.name),
            (_, Some(errno)) => Errno::from_raw(errno).desc().to_owned(),
            (_, None) => error.to_string(),
        },
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    })
}
