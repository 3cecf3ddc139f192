//! Makes one request in a thread.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_RANGE, HeaderName, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::Server;

/// The maximum number of redirects.
const REDIRECTS: u32 = 10;

/// The maximum number of bytes that are read of an error's text.
const LONGEST_ERROR: u64 = 16 << 10;

/// A request.
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    /// The number of bytes that are there.
    pub(super) from: u64,
    pub(super) wait: Duration,
    pub(super) window: Duration,
}

/// The parts of an answer, in order.
pub(super) enum Event {
    Answer(Answer),
    Bytes(Vec<u8>),
    End,
    Failed(Failed),
}

/// The reason why a request has no answer.
pub(super) enum Failed {
    Http(ureq::Error),
    /// A redirect that is not followed.
    Redirect(String),
}

impl From<ureq::Error> for Failed {
    fn from(error: ureq::Error) -> Failed {
        Failed::Http(error)
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The number of bytes that follow, if the server says it.
    pub(super) length: Option<u64>,
    /// The number of bytes of the file before them, if the server sends a part.
    pub(super) from: Option<u64>,
    /// How to authenticate, if the server asks for it.
    pub(crate) challenges: Vec<String>,
    /// The text of an error.
    said: Option<String>,
}

impl Answer {
    /// The reason, if the server sends no file.
    pub(crate) fn why(&self, server: &Server) -> String {
        let said = self.said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
        format!("{} answers with status {}{said}", server.name, self.status)
    }
}

/// The agent for the requests of a server. It keeps connections.
pub(super) fn agent(roots: RootCerts) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build()
        .into()
}

/// Asks for the file, without the bytes that are there, and sends the events, until the
/// other side stops listening.
pub(super) fn request(agent: &Agent, asked: Asked, events: &SyncSender<Event>) {
    let result = follow(agent, asked).and_then(|(answer, is_first)| {
        let status = answer.status().as_u16();
        let text = |name| answer.headers().get_all(name).iter().filter_map(|it| it.to_str().ok());
        let range = text(CONTENT_RANGE).next();
        let from = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
        let from = from.and_then(|(from, _)| from.parse().ok());
        // The password is not for a server to which a redirect led.
        let challenges = text(WWW_AUTHENTICATE).filter(|_| is_first).map(str::to_owned).collect();
        let mut body = answer.into_body();
        let length = body.content_length();
        let said = if status < 400 { None } else { error_of(&mut body) };
        let answer = Answer { status, length, from, challenges, said };
        if events.send(Event::Answer(answer)).is_err() || status >= 400 {
            return Ok(());
        }
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = reader.read(&mut buffer).map_err(ureq::Error::from)?;
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

/// Makes the request, and follows redirects. The header Authorization goes to no other
/// server. A redirect from https to http is not followed, nor from this machine to
/// http elsewhere. Returns also whether the answer is from the first server.
fn follow(agent: &Agent, asked: Asked) -> Result<(Response<Body>, bool), Failed> {
    let mut url = asked.url;
    let mut headers = asked.headers;
    let mut is_first = true;
    for _ in 0..=REDIRECTS {
        let uri = parse(&url)?;
        let mut request = agent
            .get(&uri)
            .config()
            .timeout_resolve(Some(asked.wait))
            // For all addresses of a name together. The rest of the time is for the
            // answer.
            .timeout_connect(Some(asked.wait * 3 / 4))
            // Ends the thread, but never before the other side stops waiting.
            .timeout_per_read(Some(2 * asked.wait.max(asked.window)));
        if is_loopback(uri.host().unwrap_or_default()) {
            request = request.proxy(None);
        }
        let mut request = request.build();
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if asked.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", asked.from));
        }
        let answer = request.call()?;
        let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        let (301..=303 | 307 | 308, Some(location)) = (answer.status().as_u16(), location) else {
            return Ok((answer, is_first));
        };
        url = join(&uri, location);
        let to = parse(&url)?;
        let is_open = |uri: &Uri| uri.scheme_str() == Some("http");
        let is_here = |uri: &Uri| is_loopback(uri.host().unwrap_or_default());
        if is_open(&to) && (!is_open(&uri) || is_here(&uri) && !is_here(&to)) {
            let why = format!("it leads to {url}, which is not encrypted");
            return Err(Failed::Redirect(why));
        }
        if server(&to) != server(&uri) {
            is_first = false;
            headers.retain(|(name, _)| *name != AUTHORIZATION);
        }
    }
    Err(Failed::Redirect(format!("it leads through more than {REDIRECTS} redirects")))
}

fn parse(url: &str) -> Result<Uri, Failed> {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    uri.ok_or_else(|| Failed::Redirect(format!("{url:.200} is not an address of the web")))
}

/// The address of a redirect.
fn join(from: &Uri, to: &str) -> String {
    let (scheme, at) = (from.scheme_str().unwrap_or_default(), from.authority());
    let at = at.map(ToString::to_string).unwrap_or_default();
    let is_whole = to.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
    if is_whole {
        to.to_owned()
    } else if let Some(rest) = to.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if to.starts_with('/') {
        format!("{scheme}://{at}{to}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{at}{folder}/{to}")
    }
}

/// The scheme, the host and the port of an address.
fn server(uri: &Uri) -> (Option<&str>, Option<String>, u16) {
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host().map(str::to_ascii_lowercase);
    (uri.scheme_str(), host, uri.port_u16().unwrap_or(port))
}

/// Whether a host is this machine, by its name or its address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

/// The code and the text of a registry's error.
fn error_of(body: &mut Body) -> Option<String> {
    let mut text = Vec::new();
    // The status counts, even if the text breaks off.
    let _ = body.as_reader().take(LONGEST_ERROR).read_to_end(&mut text);
    let found: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let first = found.get("errors")?.get(0)?;
    let words = ["code", "message"].into_iter().filter_map(|name| first.get(name)?.as_str());
    let said: String = words.collect::<Vec<_>>().join(": ").chars().take(200).collect();
    (!said.is_empty()).then_some(said)
}

/// The reason for a failure that may be temporary.
///
/// # Errors
///
/// When the failure is permanent.
pub(super) fn why_failed(failed: Failed, server: &Server) -> Result<String> {
    let error = match failed {
        Failed::Http(error) => error,
        Failed::Redirect(why) => return Err(server.fails(why)),
    };
    Ok(match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            return Err(server.fails(error));
        }
        ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
        ureq::Error::Io(error) => match (error.kind(), error.raw_os_error()) {
            (ErrorKind::UnexpectedEof, _) => format!("{} broke off", server.name),
            (_, Some(errno)) => Errno::from_raw(errno).desc().to_owned(),
            // An error of TLS.
            (ErrorKind::InvalidData, None) => anyhow::bail!("{error}; {}", server.distrusted),
            (_, None) => error.to_string(),
        },
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_name_a_whole_address_or_a_part() {
        let from: Uri = "https://a.b:5000/v2/x/blobs/1?q=/".parse().expect("an address");
        for (to, whole) in [
            ("http://c/d", "http://c/d"),
            ("//c/d", "https://c/d"),
            ("/d?u=http://e", "https://a.b:5000/d?u=http://e"),
            ("2?u=http://e", "https://a.b:5000/v2/x/blobs/2?u=http://e"),
        ] {
            assert_eq!(join(&from, to), whole);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "127.0.0.1.example.com", "localhost.example.com", "0.0.0.0", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
