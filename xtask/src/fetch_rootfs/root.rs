//! The kind of a root, and its record.

use super::releases::Release;

/// The directories of PATH in a container, with the usual directories first.
pub(crate) const PROGRAM_DIRS: [&str; 6] =
    ["usr/bin", "bin", "usr/sbin", "sbin", "usr/local/bin", "usr/local/sbin"];

/// The source of a root. The record has it as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    Alpine(Release),
    /// An archive of which only the SHA-256 is known.
    Archive(String),
    /// This machine's own programs, with libraries or in a busybox.
    Host {
        libraries: bool,
    },
}

const ARCHIVE: &str = "the archive with SHA-256 ";
const BUSYBOX: &str = "this machine's own busybox";
const LIBRARIES: &str = "this machine's own programs and their libraries";

impl std::fmt::Display for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Root::Alpine(release) => write!(f, "{release}"),
            Root::Archive(digest) => write!(f, "{ARCHIVE}{digest}"),
            Root::Host { libraries: false } => f.write_str(BUSYBOX),
            Root::Host { libraries: true } => f.write_str(LIBRARIES),
        }
    }
}

impl Root {
    /// The name of its archive in the cache, if it has an archive.
    pub(crate) fn archive(&self) -> Option<String> {
        match self {
            Root::Alpine(release) => Some(release.archive()),
            Root::Archive(digest) => Some(format!("{digest}.tar.gz")),
            Root::Host { .. } => None,
        }
    }

    /// The root that a record describes. Returns nothing for an unknown record.
    pub(crate) fn of_record(record: &str) -> Option<Root> {
        match record {
            BUSYBOX => return Some(Root::Host { libraries: false }),
            LIBRARIES => return Some(Root::Host { libraries: true }),
            _ => {}
        }
        if let Some(digest) = record.strip_prefix(ARCHIVE) {
            return Some(Root::Archive(digest.to_owned()));
        }
        Release::of_words(record.strip_prefix("Alpine ")?).map(Root::Alpine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_root_is_read_back() {
        let release = Release::new("3.15.4", Some("x86")).expect("a release");
        let host = [false, true].map(|libraries| Root::Host { libraries });
        for root in [Root::Alpine(release), Root::Archive("ab".into())].into_iter().chain(host) {
            assert_eq!(Root::of_record(&root.to_string()), Some(root));
        }
        assert_eq!(Root::of_record("Alpine of some kind"), None);
    }
}
