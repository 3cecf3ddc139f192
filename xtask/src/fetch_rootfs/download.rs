//! Fetching from a mirror: patient with what may pass, and with nothing else.

mod get;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::digest::{Algorithm, Digest, Hasher};
use super::releases::Release;
use crate::say::note;

pub(crate) use get::Unreachable;
use get::{Body, Found, get};

/// After this time it is said what is waited for, where that was not said. Three
/// tries that fail at once take less.
const SLOW: Duration = Duration::from_secs(3);

/// More than any archive or digest file has. A mirror that sends more is none.
const LONGEST_ARCHIVE: u64 = 1 << 30;
const LONGEST_DIGEST_FILE: usize = 64 << 10;

/// A mirror of Alpine's.
pub(crate) struct Mirror<'a> {
    pub(crate) url: &'a str,
    /// How long it may take to answer, all tries together, and the time in which
    /// it must send so many KiB.
    pub(crate) timeout: Duration,
    /// Whether to say nothing about a try that fails, because the caller can do
    /// without the mirror.
    pub(crate) quiet: bool,
}

impl Mirror<'_> {
    /// The digest that the mirror has beside a release's archive, and the
    /// digest file as it was.
    pub(crate) fn digest(&self, release: &Release) -> Result<(Digest, Vec<u8>)> {
        let archive = release.url(self.url);
        for algorithm in Algorithm::ALL {
            let url = format!("{archive}{}", algorithm.suffix());
            let mut file = DigestFile::default();
            if let Found::Yes = get(&url, self, &mut file, Some(Instant::now() + SLOW))? {
                let digest = Digest::of_name(&file.bytes, &release.archive(), algorithm);
                let digest = digest.with_context(|| {
                    format!(
                        "read {url}: it has no {algorithm} of {}; name another mirror with --mirror",
                        release.archive()
                    )
                })?;
                return Ok((digest, file.bytes));
            }
        }
        bail!(
            "fetch {archive}.sha512: it and .sha256 do not exist (404), and {release} needs a digest; the release may not exist, see {}",
            self.url
        )
    }

    /// Downloads a release's archive into `file`, which is new and lies at
    /// `path`.
    ///
    /// # Errors
    ///
    /// Also when its digest is not the one that is `wanted`.
    pub(crate) fn archive(
        &self,
        release: &Release,
        file: File,
        path: &Path,
        wanted: &Digest,
    ) -> Result<()> {
        let url = release.url(self.url);
        let slow = self.quiet.then(|| Instant::now() + SLOW);
        if !self.quiet {
            note(&format!("fetch {url}"));
        }
        let mut archive = Archive {
            file,
            path,
            algorithm: wanted.algorithm,
            hasher: Hasher::new(wanted.algorithm),
            length: 0,
            bar: ProgressBar::hidden(),
        };
        let found = get(&url, self, &mut archive, slow);
        archive.bar.finish_and_clear();
        if let Found::No = found? {
            bail!(
                "fetch {url}: it does not exist (404); the release may not exist, see {}",
                self.url
            );
        }
        let digest = archive.hasher.digest();
        if digest != *wanted {
            bail!(
                "check {url}: its {} is {digest}, but the release has {wanted}, so the archive is not kept; try again, or name another mirror with --mirror",
                wanted.algorithm
            );
        }
        Ok(())
    }
}

#[derive(Default)]
struct DigestFile {
    bytes: Vec<u8>,
}

impl Body for DigestFile {
    fn begin(&mut self, _length: Option<u64>) -> Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > LONGEST_DIGEST_FILE {
            bail!("it is too long for a digest file; name another mirror with --mirror");
        }
        Ok(())
    }
}

struct Archive<'a> {
    file: File,
    path: &'a Path,
    algorithm: Algorithm,
    hasher: Hasher,
    length: u64,
    bar: ProgressBar,
}

impl Body for Archive<'_> {
    fn begin(&mut self, length: Option<u64>) -> Result<()> {
        let again = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        again.with_context(|| format!("empty {}", self.path.display()))?;
        self.hasher = Hasher::new(self.algorithm);
        self.length = 0;
        self.bar.finish_and_clear();
        self.bar = bar(length);
        Ok(())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        if self.length > LONGEST_ARCHIVE {
            bail!("it is longer than {LONGEST_ARCHIVE} bytes; name another mirror with --mirror");
        }
        let written = self.file.write_all(bytes);
        written.with_context(|| format!("write {}", self.path.display()))?;
        self.hasher.add(bytes);
        self.bar.inc(bytes.len() as u64);
        Ok(())
    }
}

/// What a progress bar shows when the length is known, and when it is not.
const BARS: [&str; 2] = [
    "Alpine {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    "Alpine {spinner} {bytes}, {bytes_per_sec}",
];

/// A progress bar, which shows on a terminal only.
fn bar(length: Option<u64>) -> ProgressBar {
    let style = ProgressStyle::with_template(BARS[usize::from(length.is_none())]);
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // A test sees to it that the templates are right.
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
