//! The releases of Alpine: their names, their addresses, and the pinned digests.

use std::env::consts::ARCH;
use std::fmt;

use anyhow::{Context, Result, bail};
use layers::Digest;

/// The default release: the release of the workshop in 2022.
pub(crate) const DEFAULT: &str = "3.15.4";

/// The release for the word `latest`: the newest release with a pinned digest.
pub(crate) const LATEST: &str = "3.24.2";

/// The default mirror.
pub(crate) const MIRROR: &str = "https://dl-cdn.alpinelinux.org/alpine";

/// The architectures of Alpine's releases, by Alpine's names.
const ARCHES: [&str; 9] =
    ["aarch64", "armhf", "armv7", "loongarch64", "ppc64le", "riscv64", "s390x", "x86", "x86_64"];

/// The pinned digests: release, architecture, digest. For these, the task asks no
/// mirror.
#[rustfmt::skip]
const PINNED: [(&str, &str, &str); 8] = [
    ("3.15.4", "x86_64", "6abd0409ccd6b27cb5311e0d475af5a284515eb219626334b29b1c3141d47653"),
    ("3.15.4", "aarch64", "f64073f09c26a3c5dea4985332de738a509a1c7a5f967507ef2f7ed13a37f54b"),
    ("3.15.11", "x86_64", "1040dc3c9cdf5c52778789e4fe5f7b44d10d24ce9167afbbf907e44789654b9d"),
    ("3.15.11", "aarch64", "ce07328724ad029c91616a35d4a174c40f14f729596ad49bbe0893923b6f467b"),
    ("3.20.3", "x86_64", "d4e6fd67dcf75e40c451560ac7265166c2b72a0f38ddc9aae756a7de3d1efa0c"),
    ("3.20.3", "aarch64", "041fa34a81788242df9e78fa69b97ab45b8ec47ddbf88864755610414a7bf3de"),
    ("3.24.2", "x86_64", "bb1cbdc0395826774d8843736624c8ddc225a76de7d70e04444f5390c54986e14b2fa3ad0ca367dfa36dddfc8ebe1d2b4cbcf5cc9993e85badaf96104518f1fc"),
    ("3.24.2", "aarch64", "c717aa68d67a354c7f46488eacb459c7a80951bcd7ea255f04a574aba1a6c5144f2117866e674f27fc92df0f05dd7685c1e6824b88ddd41994803d6fb025395c"),
];

/// A release of Alpine for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Release {
    version: String,
    arch: &'static str,
}

impl Release {
    /// The release `version` for the architecture `arch`, by default for this
    /// machine.
    /// Fails when the version does not have Alpine's form, or Alpine does not have the
    /// architecture.
    pub(crate) fn new(version: &str, arch: Option<&str>) -> Result<Release> {
        if !is_version(version) {
            bail!(
                "read the release {version}: it does not have the form MAJOR.MINOR.PATCH; name a release such as {DEFAULT}, or `latest`"
            );
        }
        let arch = arch.map_or_else(machine, known_arch)?;
        Ok(Release { version: version.to_owned(), arch })
    }

    /// The release whose archive has the name `name`.
    pub(crate) fn of_archive(name: &str) -> Option<Release> {
        let name = name.strip_prefix("alpine-minirootfs-")?.strip_suffix(".tar.gz")?;
        let (version, arch) = name.split_once('-')?;
        Release::new(version, Some(arch)).ok()
    }

    /// The release as [`fmt::Display`] writes it, without the first word.
    pub(crate) fn of_words(words: &str) -> Option<Release> {
        let (version, arch) = words.split_once(' ')?;
        Release::new(version, Some(arch)).ok()
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// A remark about the release.
    pub(crate) fn remark(&self) -> Option<String> {
        (self.version == DEFAULT).then(|| {
            format!(
                "the workshop of 2022 used Alpine {DEFAULT}; \
                 `cargo xtask fetch-rootfs --release latest --force` fetches {LATEST}"
            )
        })
    }

    pub(crate) fn arch(&self) -> &'static str {
        self.arch
    }

    /// The file name of the archive.
    pub(crate) fn archive(&self) -> String {
        format!("alpine-minirootfs-{}-{}.tar.gz", self.version, self.arch)
    }

    /// The address of the archive on a mirror.
    pub(crate) fn url(&self, mirror: &str) -> String {
        let branch = self.version.rsplit_once('.').map_or("", |(branch, _patch)| branch);
        format!("{mirror}/v{branch}/releases/{}/{}", self.arch, self.archive())
    }

    /// The pinned digest.
    pub(crate) fn pinned(&self) -> Option<Digest> {
        let row = PINNED.iter().find(|row| row.0 == self.version && row.1 == self.arch)?;
        Digest::parse(row.2)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alpine {} {}", self.version, self.arch)
    }
}

/// The version that a word of the command line means.
pub(crate) fn number(word: &str) -> &str {
    if word == "latest" { LATEST } else { word }
}

/// Whether `text` consists of three numbers with dots between them.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| {
        let digits = (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        digits && (part == "0" || !part.starts_with('0'))
    };
    text.split('.').count() == 3 && text.split('.').all(is_number)
}

/// Alpine's architecture `name`.
fn known_arch(name: &str) -> Result<&'static str> {
    let found = ARCHES.into_iter().find(|arch| *arch == name);
    found.with_context(|| format!("find the architecture {name}: Alpine has {}", ARCHES.join(", ")))
}

/// Alpine's name for the architecture of this machine.
fn machine() -> Result<&'static str> {
    known_arch(match ARCH {
        "arm" => "armv7",
        "powerpc64" => "ppc64le",
        other => other,
    })
    .context("find a release for this machine; name an architecture with --arch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_row_can_be_asked_for() {
        for (version, arch, hex) in PINNED {
            let release = Release::new(version, Some(arch)).expect(version);
            assert_eq!(release.pinned().expect(hex).to_string(), hex);
        }
        assert!(Release::new(DEFAULT, Some("x86")).expect("known").pinned().is_none());
        assert!(Release::new(DEFAULT, None).is_ok(), "this machine");
    }

    #[test]
    fn the_latest_release_is_a_word_away_and_pinned() {
        for (version, arch, _hex) in PINNED {
            assert!(Release::new(number("latest"), Some(arch)).expect(arch).pinned().is_some());
            let parts = |version: &str| -> Vec<u32> {
                version.split('.').map(|part| part.parse().expect(version)).collect()
            };
            assert!(parts(version) <= parts(LATEST), "{version}");
        }
        let remark = Release::new(DEFAULT, None).expect("known").remark().expect("it is old");
        assert!(remark.contains("--release latest") && remark.contains(LATEST), "{remark}");
        assert_eq!(Release::new(LATEST, None).expect("known").remark(), None);
    }

    #[test]
    fn a_release_has_three_numbers() {
        for version in ["3.15.4", "3.0.0", "10.20.30"] {
            assert!(Release::new(version, None).is_ok(), "{version}");
        }
        for version in [
            "", "3", "3.15", "3.15.", "3.15.4.1", "v3.15.4", "3.15.x", "03.1.1", "3.15.4/..",
            "edge",
        ] {
            assert!(Release::new(version, None).is_err(), "{version}");
        }
    }

    #[test]
    fn an_archive_is_found_by_its_name_and_lies_where_the_mirror_has_it() {
        let name = "alpine-minirootfs-3.20.3-x86_64.tar.gz";
        let release = Release::of_archive(name).expect("a good name");
        assert_eq!(release.archive(), name);
        assert_eq!(
            release.url("http://m/alpine"),
            "http://m/alpine/v3.20/releases/x86_64/alpine-minirootfs-3.20.3-x86_64.tar.gz"
        );
        assert_eq!(release.to_string(), "Alpine 3.20.3 x86_64");
        assert_eq!(Release::of_words("3.20.3 x86_64"), Some(release));
        for name in
            ["alpine-minirootfs-3.20.3-vax.tar.gz", "alpine-minirootfs-3.20-x86.tar.gz", "x"]
        {
            assert_eq!(Release::of_archive(name), None, "{name}");
        }
    }
}
