//! A mirror of Alpine.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use layers::{Algorithm, Digest, Hasher};

use super::Release;
use crate::download::{Part, Server};

/// The maximum length of an archive, and of a digest file.
const LONGEST_ARCHIVE: u64 = 1 << 30;
const LONGEST_DIGEST_FILE: u64 = 64 << 10;

/// After this time, a note names the file that is fetched, unless it is already
/// named. Three tries that fail at once need less time.
const SLOW: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
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
        let timeout = Duration::try_from_secs_f64(seconds).ok();
        let timeout = timeout.filter(|it| (1..=3_600_000).contains(&it.as_millis()));
        let timeout = timeout.with_context(|| {
            format!("wait {seconds} seconds: name a time above 0 and up to 3600")
        })?;
        let server = Server {
            name: "the mirror",
            sends: "Alpine",
            remedy: "name another mirror with --mirror",
            unreachable: "check the network, name another mirror with --mirror, or make a root without a network with --from-host",
            timeout,
            quiet: false,
        };
        Ok(Mirror { url: url.trim_end_matches('/'), server })
    }

    /// The same mirror, without notes about tries that fail.
    pub(crate) fn quiet(self) -> Mirror<'a> {
        Mirror { server: Server { quiet: true, ..self.server }, ..self }
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
        let mut hasher = Hasher::new(algorithm);
        let tell_after = if self.server.quiet { SLOW } else { Duration::ZERO };
        let found = self.server.get(&url, LONGEST_ARCHIVE, tell_after, &mut |part| {
            let written = match part {
                Part::Start => {
                    hasher = Hasher::new(algorithm);
                    file.set_len(0).and_then(|()| file.rewind())
                }
                Part::Bytes(bytes) => {
                    hasher.update(bytes);
                    file.write_all(bytes)
                }
            };
            written.with_context(|| format!("write {}", path.display()))
        })?;
        ensure!(
            found,
            "fetch {url}: it does not exist (404); the release may not exist, see {}",
            self.url
        );
        let digest = hasher.finish();
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
            let url = format!("{archive}{}", algorithm.suffix());
            let mut text = Vec::new();
            let found = self.server.get(&url, LONGEST_DIGEST_FILE, SLOW, &mut |part| {
                match part {
                    Part::Start => text.clear(),
                    Part::Bytes(bytes) => text.extend_from_slice(bytes),
                }
                Ok(())
            });
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
