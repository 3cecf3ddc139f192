//! A registry: its documents and blobs, and the tokens that it asks for.
//!
//! Sources: "Pull" in the OCI distribution specification, version 1.1, and "Token
//! Authentication" in the documentation of CNCF Distribution.

use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use indicatif::MultiProgress;
use layers::oci::{Descriptor, INDEXES, LONGEST_DOCUMENT, MANIFESTS};
use layers::{Algorithm, Digest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode as coded};
use regex_lite::Regex;
use ureq::http::Uri;
use ureq::http::header::{ACCEPT, AUTHORIZATION};

use super::credentials::Credentials;
use super::reference::Reference;
use crate::download::{Answer, Outcome, Server, Sink, collect, is_loopback};

/// The longest answer with a token.
const LONGEST_TOKEN: u64 = 256 << 10;

/// An image in its registry.
pub(crate) struct Registry {
    server: Server,
    /// The address of the image.
    url: String,
    scope: String,
    credentials: Credentials,
    /// The present value of the header Authorization.
    authorization: Mutex<Option<String>>,
    /// Ends all downloads when it becomes true.
    pub(crate) stop: AtomicBool,
    bars: MultiProgress,
}

impl Registry {
    pub(crate) fn new(reference: &Reference, server: Server, is_open: bool) -> Result<Registry> {
        let scheme = if is_open { "http" } else { "https" };
        Ok(Registry {
            server,
            url: format!("{scheme}://{}/v2/{}", reference.server(), reference.name),
            scope: format!("repository:{}:pull", reference.name),
            credentials: Credentials::find(reference)?,
            authorization: Mutex::new(None),
            stop: AtomicBool::new(false),
            bars: MultiProgress::new(),
        })
    }

    /// An index or a manifest: a tag's, or that of a digest, which is checked.
    pub(crate) fn manifest(&self, asked: &str) -> Result<(Vec<u8>, Digest)> {
        let wanted = Digest::try_from(asked.to_owned()).ok();
        let algorithm = wanted.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let url = format!("{}/manifests/{asked}", self.url);
        let mut text = Vec::new();
        let types = [INDEXES, MANIFESTS].concat().join(", ");
        self.get(&url, LONGEST_DOCUMENT, Some(&types), "manifest", 0, &mut collect(&mut text))?;
        let digest = Digest::of_bytes(&text, algorithm);
        ensure!(
            wanted.is_none_or(|wanted| wanted == digest),
            "check {url}: its digest is {}; try again, or tell the owner of the registry",
            digest.oci()
        );
        Ok((text, digest))
    }

    /// A blob, without the first `came` bytes.
    pub(crate) fn blob(&self, blob: &Descriptor, came: u64, sink: &mut Sink<'_>) -> Result<()> {
        let digest = blob.digest.oci();
        let url = format!("{}/blobs/{digest}", self.url);
        self.get(&url, blob.size, None, &digest[..19], came, sink)
    }

    /// Downloads a file. If the registry asks for it, authenticates first, once.
    fn get(
        &self,
        url: &str,
        longest: u64,
        accept: Option<&str>,
        label: &str,
        came: u64,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let mut download = self.server.download(url, longest);
        (download.label, download.came) = (label, came);
        (download.stop, download.bars) = (&self.stop, self.bars.clone());
        let mut is_new = false;
        loop {
            let authorization = self.authorization().clone();
            let of_accept = accept.map(|types| (ACCEPT, types.to_owned()));
            let of_authorization = authorization.clone().map(|value| (AUTHORIZATION, value));
            download.headers = of_accept.into_iter().chain(of_authorization).collect();
            match download.run(sink)? {
                Outcome::Whole => return Ok(()),
                Outcome::Refused(answer) if answer.status != 401 => {
                    return Err(self.server.refuses(&answer, url));
                }
                Outcome::Refused(answer) => {
                    let known = if is_new {
                        Err(self.denied(&answer))
                    } else {
                        self.authenticate(&answer, authorization)
                    };
                    known.with_context(|| format!("fetch {url}"))?;
                    is_new = true;
                }
            }
        }
    }

    fn authorization(&self) -> MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a challenge with the password, or with a token. `used` was refused.
    fn authenticate(&self, answer: &Answer, used: Option<String>) -> Result<()> {
        let mut present = self.authorization();
        if *present != used {
            // Another download has a new token.
            return Ok(());
        }
        let challenges = || answer.challenges.iter().filter_map(|it| it.split_once(' '));
        let of = |wanted: &str| challenges().find(|(it, _)| it.eq_ignore_ascii_case(wanted));
        let value = match (of("Bearer"), of("Basic"), &self.credentials.basic) {
            (Some((_, challenge)), _, _) => format!("Bearer {}", self.token(challenge)?),
            (None, Some(_), Some(basic)) => format!("Basic {basic}"),
            _ => return Err(self.denied(answer)),
        };
        *present = Some(value);
        Ok(())
    }

    /// Asks for a token, with the password if there is one.
    fn token(&self, challenge: &str) -> Result<String> {
        let parameter = |name: &str| parameter(challenge, name);
        let realm = parameter("realm").context("ask for a token: the registry names no address")?;
        let doing = || format!("ask {realm:.200} for a token");
        let uri = realm.parse::<Uri>().unwrap_or_default();
        let is_here = is_loopback(uri.host().unwrap_or_default());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_here && self.url.starts_with("http:") => {}
            _ => bail!("{}: it is not encrypted, so it gets no password", doing()),
        }
        let scope = parameter("scope").unwrap_or_else(|| self.scope.clone());
        let mut url = format!(
            "{realm}{}scope={}",
            if realm.contains('?') { '&' } else { '?' },
            coded(&scope, NON_ALPHANUMERIC)
        );
        if let Some(service) = parameter("service") {
            url += &format!("&service={}", coded(&service, NON_ALPHANUMERIC));
        }
        let mut download = self.server.download(&url, LONGEST_TOKEN);
        (download.label, download.stop) = ("token", &self.stop);
        let basic = self.credentials.basic.iter();
        download.headers = basic.map(|basic| (AUTHORIZATION, format!("Basic {basic}"))).collect();
        let mut text = Vec::new();
        match download.run(&mut collect(&mut text))? {
            Outcome::Whole => {}
            Outcome::Refused(answer) if answer.status == 401 => {
                return Err(self.denied(&answer).context(doing()));
            }
            Outcome::Refused(answer) => return Err(self.server.refuses(&answer, &url)),
        }
        let found: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|_| anyhow!("{}: the answer is not JSON", doing()))?;
        let token = ["token", "access_token"].iter().find_map(|name| found.get(name)?.as_str());
        let is_token = |it: &&str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_graphic());
        let token =
            token.filter(is_token).with_context(|| format!("{}: the answer has none", doing()))?;
        Ok(token.to_owned())
    }

    /// The registry does not let this user in.
    fn denied(&self, answer: &Answer) -> anyhow::Error {
        let errors = answer.challenges.iter().find_map(|it| parameter(it, "error"));
        let error = errors.map(|error| format!(", {error:.40}")).unwrap_or_default();
        let known = match (&self.credentials.basic, &self.credentials.unread) {
            (Some(_), _) => "the password is wrong, or this user may not read the image".to_owned(),
            (None, Some(unread)) => {
                format!("{unread}, which this task does not read; run `podman login`")
            }
            (None, None) => {
                "no password is known for it; run `podman login`, if the image exists".to_owned()
            }
        };
        anyhow!("{}{error}; {known}", answer.why(&self.server))
    }
}

/// A parameter of a challenge, such as `realm="https://a.b/token"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    static PARAMETER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"([\w-]+)=(?:"([^"]*)"|([^",]+))"#).expect("a pattern"));
    let mut all = PARAMETER.captures_iter(challenge);
    let found = all.find(|it| it[1].eq_ignore_ascii_case(name))?;
    Some(found.get(2).or_else(|| found.get(3))?.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_has_parameters() {
        let challenge = "Bearer realm=\"https://a.b/t?x=1,y\",service=s,scope=\"r:a:pull,push\"";
        for (name, value) in [
            ("realm", Some("https://a.b/t?x=1,y")),
            ("Service", Some("s")),
            ("scope", Some("r:a:pull,push")),
            ("x", None),
        ] {
            assert_eq!(parameter(challenge, name).as_deref(), value, "{name}");
        }
        for odd in ["", "Bearer", "realm", "realm=\"", "=", "\"=\""] {
            assert!(parameter(odd, "realm").is_none(), "{odd}");
        }
    }
}
