//! Makes one request in a thread.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::errno::Errno;

/// The parts of an answer, in order.
pub(super) enum Event {
    Answer { status: u16, length: Option<u64> },
    Bytes(Vec<u8>),
    End,
    Failed(ureq::Error),
}

/// Makes a request and sends the events, until the other side stops listening.
pub(super) fn request(url: &str, wait: Duration, window: Duration, events: &SyncSender<Event>) {
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
pub(super) fn why_failed(error: ureq::Error) -> Result<String> {
    Ok(match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::TooManyRedirects => bail!("{error}; name another mirror with --mirror"),
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
        ureq::Error::Io(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::UnexpectedEof, _) => "the mirror broke off".to_owned(),
            (_, Some(errno)) => Errno::from_raw(errno).desc().to_owned(),
            (_, None) => error.to_string(),
        },
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    })
}
