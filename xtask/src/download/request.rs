//! Makes one request.

use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_RANGE, HeaderName, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use ureq::http::{Response, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::{Failure, Server};

/// The maximum number of redirects.
const REDIRECTS: u32 = 10;

/// The maximum number of bytes that are read of an error's text.
const LONGEST_ERROR: usize = 16 << 10;

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The number of bytes of the file before the body, if the server sends a part.
    pub(super) from: Option<u64>,
    pub(super) body: Body,
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

impl Server {
    /// Asks for the file at `url` without the first `from` bytes, and follows redirects.
    /// The header Authorization goes to no other server. A redirect from https to http is
    /// not followed, nor from this machine to http elsewhere.
    pub(super) fn ask(
        &self,
        url: &str,
        mut headers: Vec<(HeaderName, String)>,
        from: u64,
        wait: Duration,
    ) -> Result<Answer, Failure> {
        if from > 0 {
            headers.push((RANGE, format!("bytes={from}-")));
        }
        let mut uri = self.parse(url)?;
        let mut is_first = true;
        for _ in 0..=REDIRECTS {
            let mut request = self
                .agent
                .get(&uri)
                .config()
                .timeout_resolve(Some(wait))
                // For all addresses of a name together.
                .timeout_connect(Some(wait * 3 / 4))
                .timeout_recv_response(Some(wait))
                .timeout_per_read(Some(self.timeout));
            if is_here(&uri) {
                request = request.proxy(None);
            }
            let mut request = request.build();
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            let answer = request.call().map_err(|error| self.failed(error, wait))?;
            let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let (301..=303 | 307 | 308, Some(location)) = (answer.status().as_u16(), location)
            else {
                return Ok(self.read_head(answer, is_first));
            };
            let to = self.parse(&join(&uri, location))?;
            let is_open = |uri: &Uri| uri.scheme_str() == Some("http");
            if is_open(&to) && (!is_open(&uri) || is_here(&uri) && !is_here(&to)) {
                return Err(self.fails(format!("it leads to {to}, which is not encrypted")).into());
            }
            if (to.scheme(), to.authority()) != (uri.scheme(), uri.authority()) {
                is_first = false;
                headers.retain(|(name, _)| *name != AUTHORIZATION);
            }
            uri = to;
        }
        Err(self.fails(format!("it leads through more than {REDIRECTS} redirects")).into())
    }

    fn parse(&self, url: &str) -> Result<Uri> {
        let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        uri.ok_or_else(|| self.fails(format!("{url:.200} is not an address of the web")))
    }

    fn read_head(&self, answer: Response<Body>, is_first: bool) -> Answer {
        let status = answer.status().as_u16();
        let text = |name| answer.headers().get_all(name).iter().filter_map(|it| it.to_str().ok());
        let range = text(CONTENT_RANGE).next();
        let from = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
        let from = from.and_then(|(from, _)| from.parse().ok());
        // The password is not for a server to which a redirect led.
        let challenges = text(WWW_AUTHENTICATE).filter(|_| is_first).map(str::to_owned).collect();
        let mut body = answer.into_body();
        let due = Instant::now() + self.timeout;
        let said = if status < 400 { None } else { error_of(&mut body, due) };
        Answer { status, from, body, challenges, said }
    }

    /// The reason why a request fails that waits this long for the answer.
    pub(super) fn failed(&self, error: ureq::Error, wait: Duration) -> Failure {
        Failure::MayPass(match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                return self.fails(error).into();
            }
            ureq::Error::HostNotFound => "the name of the host does not resolve".to_owned(),
            ureq::Error::Io(error) => match (error.kind(), error.raw_os_error()) {
                (ErrorKind::UnexpectedEof, _) => format!("{} broke off", self.name),
                (_, Some(errno)) => Errno::from_raw(errno).desc().to_owned(),
                // An error of TLS.
                (ErrorKind::InvalidData, None) => {
                    return anyhow!("{error}; {}", self.distrusted).into();
                }
                (_, None) => error.to_string(),
            },
            ureq::Error::Timeout(_) => {
                format!("no answer within {:.1} seconds", wait.as_secs_f64())
            }
            error => error.to_string(),
        })
    }
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

/// Whether the host of an address is this machine.
fn is_here(uri: &Uri) -> bool {
    is_loopback(uri.host().unwrap_or_default())
}

/// Whether a host is this machine, by its name or its address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    is_address || host.eq_ignore_ascii_case("localhost")
}

/// The code and the text of a registry's error, if it comes in time.
fn error_of(body: &mut Body, due: Instant) -> Option<String> {
    let (mut text, mut buffer) = (Vec::new(), vec![0; LONGEST_ERROR]);
    let mut reader = body.as_reader();
    while text.len() < LONGEST_ERROR && Instant::now() < due {
        match reader.read(&mut buffer) {
            Ok(count @ 1..) => text.extend_from_slice(&buffer[..count]),
            // The status counts, even if the text breaks off.
            _ => break,
        }
    }
    let found: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let first = found.get("errors")?.get(0)?;
    let words = ["code", "message"].into_iter().filter_map(|name| first.get(name)?.as_str());
    let said: String = words.collect::<Vec<_>>().join(": ").chars().take(200).collect();
    (!said.is_empty()).then_some(said)
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
