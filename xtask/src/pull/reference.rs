//! The name of an image, as Docker reads it.

use std::fmt;
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use layers::Digest;
use regex_lite::Regex;

/// The registry of a name without a registry.
const HUB: &str = "docker.io";

/// The longest reference.
const LONGEST: usize = 512;

/// An image in a registry.
pub(crate) struct Reference {
    /// The name of the host, and the port if it has one.
    pub(crate) host: String,
    /// The name of the image there, such as `library/alpine`.
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Reference> {
        find(text).ok_or_else(|| {
            anyhow!(
                "read the reference {text:.200}: write [REGISTRY/]NAME[:TAG][@DIGEST], in lower case, such as alpine:3.20 or ghcr.io/a/b:1"
            )
        })
    }

    /// What the registry is asked for: the digest, else the tag.
    pub(crate) fn asks(&self) -> String {
        let digest = self.digest.as_ref().map(Digest::oci);
        digest.or_else(|| self.tag.clone()).unwrap_or_default()
    }

    /// The names of the image in its layout: the tag and the digest. The last is what
    /// the registry is asked for.
    pub(crate) fn tags(&self) -> Vec<String> {
        // A tag has no colon.
        let digest = self.digest.as_ref().map(|digest| digest.oci().replace(':', "-"));
        self.tag.clone().into_iter().chain(digest).collect()
    }

    /// The name of the directory for the layout. No two names have the same directory.
    pub(crate) fn directory(&self) -> String {
        match self.name.strip_prefix("library/") {
            Some(name) if self.host == HUB => name.to_owned(),
            // A host has no `_`. A name has no `+`.
            _ => format!("{}/{}", self.host.replace(':', "_"), self.name).replace('/', "+"),
        }
    }

    /// The host that answers.
    pub(crate) fn server(&self) -> &str {
        if self.host == HUB { "registry-1.docker.io" } else { &self.host }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{}", digest.oci()))
    }
}

/// The host with its port, the name, the tag and the digest. Docker's rule: a first part
/// that cannot be a name of the hub is a host.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let word = "[[:alnum:]]+(?:-+[[:alnum:]]+)*";
    let host = format!(r"localhost|{word}(?:\.{word})+|\[[[:xdigit:]:]+\]");
    let part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    let pattern = format!(
        r"^(?:((?:{host})(?::\d+)?|{word}:\d+)/)?({part}(?:/{part})*)(?::(\w[\w.-]{{0,127}}))?(?:@(.*))?$"
    );
    Regex::new(&pattern).expect("a pattern")
});

fn find(text: &str) -> Option<Reference> {
    let found = PATTERN.captures(text.get(..LONGEST).map_or(text, |_| ""))?;
    let part = |index| Some(found.get(index)?.as_str().to_owned());
    let digest = part(4).map(Digest::try_from).transpose().ok()?;
    let tag = part(3).or_else(|| digest.is_none().then(|| "latest".to_owned()));
    let host = part(1).map_or_else(|| HUB.to_owned(), |host| host.to_ascii_lowercase());
    let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
    port.map_or(Ok(0), |(_, port)| port.parse::<u16>()).ok()?;
    let name = part(2)?;
    let prefix = if host == HUB && !name.contains('/') { "library/" } else { "" };
    Some(Reference { name: format!("{prefix}{name}"), host, tag, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_reference_is_read_as_docker_reads_it() {
        for (text, whole, directory) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine"),
            ("docker.io/alpine:3.20", "docker.io/library/alpine:3.20", "alpine"),
            ("a/b", "docker.io/a/b:latest", "docker.io+a+b"),
            ("localhost/x", "localhost/x:latest", "localhost+x"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost_5000+x"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[__1]_5000+x"),
            ("ghcr.io/a/b_c/d--e:V1", "ghcr.io/a/b_c/d--e:V1", "ghcr.io+a+b_c+d--e"),
            ("GHCR.io/a", "ghcr.io/a:latest", "ghcr.io+a"),
        ] {
            let reference = Reference::parse(text).expect(text);
            assert_eq!(reference.to_string(), whole, "{text}");
            assert_eq!(reference.directory(), directory, "{text}");
        }
        let digest = format!("sha256:{HEX}");
        for (text, tags) in [
            (format!("ghcr.io/a/b@{digest}"), vec![format!("sha256-{HEX}")]),
            (format!("a:1@{digest}"), vec!["1".to_owned(), format!("sha256-{HEX}")]),
        ] {
            let reference = Reference::parse(&text).expect("read");
            assert_eq!((reference.asks(), reference.tags()), (digest.clone(), tags));
        }
        assert_eq!(Reference::parse("alpine:3.20").expect("read").tags(), ["3.20"]);
    }

    #[test]
    fn a_reference_that_is_none_is_refused() {
        for text in [
            "",
            ":",
            "/",
            "@",
            "a:",
            "a@",
            "a@sha256:00",
            "Alpine",
            "a/../b",
            "..",
            "../a",
            "a/..",
            "localhost:5000/../x",
            "localhost:5000/x/../../y",
            "a.b/./c",
            "localhost:99999/x",
            "a//b",
            "/a",
            "a/",
            "a:-b",
            "a:b/c:d:e",
            "a b",
            "http://a.b/c",
            "docker://a",
            "a___b",
            "-a",
            "a-",
            "a.b:x/c",
            ".a.b/c",
            "[::g]:1/a",
            "a\n",
            "a+b",
            "a.b\\c/d",
            "user@a.b/c",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
        assert!(Reference::parse(&"a".repeat(1000)).is_err());
        let digest = format!("sha256:{HEX}");
        assert!(Reference::parse(&format!("a@{digest}@{digest}")).is_err());
    }
}
