//! A mirror of Alpine.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use layers::{Algorithm, Digest};
use ureq::tls::RootCerts;

use super::Release;
use crate::download::{Outcome, SLOW, Saved, Server, Sink, collect};

/// The maximum length of an archive, and of a digest file.
const LONGEST_ARCHIVE: u64 = 1 << 30;
const LONGEST_DIGEST_FILE: u64 = 64 << 10;

#[derive(Clone)]
pub(crate) struct Mirror<'a> {
    url: &'a str,
    server: Server,
}

impl<'a> Mirror<'a> {
    /// The mirror at `url`, and the time for it in seconds.
    pub(crate) fn new(url: &'a str, seconds: f64) -> Result<Mirror<'a>> {
        let (scheme, host) = url.split_once("://").unwrap_or_default();
        let is_web = ["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it));
        ensure!(is_web, "use the mirror {url}: it must begin with http:// or https://");
        ensure!(
            !host.trim_matches('/').is_empty(),
            "use the mirror {url}: the name of the host is missing"
        );
        let mut server = Server::new("the mirror", seconds, RootCerts::WebPki)?;
        server.remedy = "name another mirror with --mirror";
        server.distrusted = server.remedy;
        server.unreachable = "check the network, name another mirror with --mirror, or make a root without a network with --from-host";
        Ok(Mirror { url: url.trim_end_matches('/'), server })
    }

    /// The same mirror, without notes about tries that fail.
    pub(crate) fn quiet(&self) -> Mirror<'a> {
        let mut mirror = self.clone();
        mirror.server.quiet = true;
        mirror
    }

    /// Downloads the file at `url`, and names it after this time. Returns whether the mirror
    /// has it.
    fn get(&self, url: &str, longest: u64, tell: Duration, sink: &mut Sink<'_>) -> Result<bool> {
        let mut download = self.server.download(url, longest);
        download.tell = Some(Instant::now() + tell);
        download.label = "Alpine";
        match download.run(sink)? {
            Outcome::Whole => Ok(true),
            Outcome::Refused(answer) if answer.status == 404 => Ok(false),
            Outcome::Refused(answer) => Err(self.server.refuses(&answer, url)),
        }
    }

    /// Downloads the archive of a release to the file at `path`, and checks its digest.
    pub(crate) fn archive(
        &self,
        release: &Release,
        wanted: &Digest,
        file: &mut File,
        path: &Path,
    ) -> Result<()> {
        let url = release.url(self.url);
        let algorithm = wanted.algorithm();
        let mut saved = Saved::new(file, path, algorithm)?;
        let found =
            self.get(&url, LONGEST_ARCHIVE, Duration::ZERO, &mut |part| saved.take(part))?;
        ensure!(
            found,
            "fetch {url}: it does not exist (404); the release may not exist, see {}",
            self.url
        );
        let digest = saved.hasher.finish();
        ensure!(
            digest == *wanted,
            "check {url}: its {algorithm} is {digest}, but the release has {wanted}, so the archive is not kept; try again, or name another mirror with --mirror"
        );
        Ok(())
    }

    /// The digest of a release's archive.
    pub(crate) fn digest(&self, release: &Release) -> Result<Digest> {
        let archive = release.url(self.url);
        for algorithm in Algorithm::ALL {
            let url = format!("{archive}.{}", algorithm.oci());
            let mut text = Vec::new();
            let found = self.get(&url, LONGEST_DIGEST_FILE, SLOW, &mut collect(&mut text));
            if found? {
                let name = release.archive();
                let digest = Digest::of_name(&text, &name, algorithm);
                return digest.with_context(|| {
                    format!(
                        "read {url}: it has no {algorithm} of {name}; name another mirror with --mirror"
                    )
                });
            }
        }
        bail!(
            "fetch {archive}.sha512: it and .sha256 do not exist (404), and {release} needs a digest; the release may not exist, see {}",
            self.url
        )
    }
}
