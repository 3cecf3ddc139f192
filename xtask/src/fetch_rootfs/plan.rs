//! Decides what to do, from the options and the present root. This module does not
//! use a disk or a network.

use super::from_host::FromHost;
use super::releases::Release;
use super::root::Root;
use super::store::There;

/// The root that the options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A release of Alpine, with the options that were given.
    Release {
        /// The named release, else the default release.
        release: Release,
        version: bool,
        arch: bool,
        mirror: bool,
        /// Whether the programs of this machine also do, if the mirror does not answer.
        or_host: bool,
    },
    /// The root in the named archive.
    Archive(Root),
    Host(FromHost),
}

/// The decision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Keep this root: it is the wanted root.
    Stay(Root),
    /// Refuse: another root is there.
    RefuseAnother(Root),
    /// Refuse: fetch-rootfs did not make the present directory.
    RefuseOther,
    /// Replace the present root with a root from this source.
    Put(Source),
}

/// The source of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Release(Release),
    /// The archive with this SHA-256 from the cache, else the release.
    Kept(String, Release),
    /// The named archive.
    Named,
    Host(FromHost),
    /// The release. If the mirror does not answer, the host's programs.
    ReleaseOrHost(Release, FromHost),
}

impl Plan {
    pub(crate) fn new(wanted: &Wanted, there: &There, force: bool) -> Plan {
        match there {
            There::Root(root) if force => Plan::Put(wanted.in_place_of(root)),
            There::Root(root) if wanted.is(root) => Plan::Stay(root.clone()),
            There::Root(root) => Plan::RefuseAnother(root.clone()),
            There::Other if !force => Plan::RefuseOther,
            There::Other | There::Nothing => Plan::Put(wanted.source()),
        }
    }
}

impl Wanted {
    /// Whether the present root is the wanted root.
    fn is(&self, there: &Root) -> bool {
        match (self, there) {
            (Wanted::Release { release, version, arch, .. }, Root::Alpine(there)) => {
                (!version || release.version() == there.version())
                    && (!arch || release.arch() == there.arch())
            }
            (Wanted::Release { version, arch, .. }, _) => !version && !arch,
            (Wanted::Archive(root), there) => root == there,
            (Wanted::Host(FromHost::Any), there) => matches!(there, Root::Host { .. }),
            (Wanted::Host(FromHost::Libraries), there) => *there == Root::Host { libraries: true },
        }
    }

    fn source(&self) -> Source {
        match self {
            Wanted::Release { release, or_host: true, .. } => {
                Source::ReleaseOrHost(release.clone(), FromHost::Any)
            }
            Wanted::Release { release, .. } => Source::Release(release.clone()),
            Wanted::Archive(_) => Source::Named,
            Wanted::Host(which) => Source::Host(*which),
        }
    }

    /// The source for `--force`. Without options, it is the same root again: a
    /// release by its name, else a root from the same source.
    fn in_place_of(&self, there: &Root) -> Source {
        let Wanted::Release { release, version: false, arch: false, mirror, .. } = self else {
            return self.source();
        };
        match there {
            Root::Alpine(there) => Source::Release(there.clone()),
            Root::Archive(digest) if !mirror => Source::Kept(digest.clone(), release.clone()),
            Root::Host { libraries } if !mirror => {
                let which = if *libraries { FromHost::Libraries } else { FromHost::Any };
                Source::ReleaseOrHost(release.clone(), which)
            }
            _ => self.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, arch: &str) -> Release {
        Release::new(version, Some(arch)).expect("a release")
    }

    /// A wanted release. The letters `v`, `a` and `m` say that the options name a
    /// version, an architecture or a mirror, and `h` that the host's programs do.
    fn wanted(version: &str, arch: &str, named: &str) -> Wanted {
        let [version_named, arch_named, mirror, or_host] =
            ["v", "a", "m", "h"].map(|it| named.contains(it));
        let release = release(version, arch);
        Wanted::Release { release, version: version_named, arch: arch_named, mirror, or_host }
    }

    #[test]
    fn what_is_done_follows_from_what_is_asked_for_and_what_is_there() {
        let default = || release("3.15.4", "x86_64");
        let older = || release("3.15.11", "x86_64");
        let alpine = |release: Release| There::Root(Root::Alpine(release));
        let archive = || Root::Archive("ab".to_owned());
        let host = |libraries| Root::Host { libraries };
        let nothing_named = || wanted("3.15.4", "x86_64", "");
        let a_mirror = || wanted("3.15.4", "x86_64", "m");
        let (any, libraries) = (FromHost::Any, FromHost::Libraries);
        let put = Plan::Put;

        // The wanted root, the present root, the decision without force, the
        // decision with force.
        let table = [
            // No present root: the wanted root, with or without force.
            (
                nothing_named(),
                There::Nothing,
                put(Source::Release(default())),
                put(Source::Release(default())),
            ),
            (
                wanted("3.15.4", "x86_64", "h"),
                There::Nothing,
                put(Source::ReleaseOrHost(default(), any)),
                put(Source::ReleaseOrHost(default(), any)),
            ),
            (Wanted::Archive(archive()), There::Nothing, put(Source::Named), put(Source::Named)),
            (Wanted::Host(any), There::Nothing, put(Source::Host(any)), put(Source::Host(any))),
            // A directory that fetch-rootfs did not make: only with force.
            (nothing_named(), There::Other, Plan::RefuseOther, put(Source::Release(default()))),
            (Wanted::Archive(archive()), There::Other, Plan::RefuseOther, put(Source::Named)),
            (Wanted::Host(any), There::Other, Plan::RefuseOther, put(Source::Host(any))),
            // Alpine: it stays, and force restores it, unless the options name
            // another root.
            (
                nothing_named(),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(Source::Release(older())),
            ),
            (
                a_mirror(),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(Source::Release(older())),
            ),
            (
                wanted("3.15.11", "x86_64", "v"),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(Source::Release(older())),
            ),
            (
                wanted("3.15.4", "x86_64", "v"),
                alpine(older()),
                Plan::RefuseAnother(Root::Alpine(older())),
                put(Source::Release(default())),
            ),
            (
                wanted("3.15.4", "x86_64", "a"),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(Source::Release(default())),
            ),
            (
                wanted("3.15.4", "x86", "a"),
                alpine(default()),
                Plan::RefuseAnother(Root::Alpine(default())),
                put(Source::Release(release("3.15.4", "x86"))),
            ),
            // An archive: force restores it from the cache, unless the options name
            // a release or a mirror.
            (
                nothing_named(),
                There::Root(archive()),
                Plan::Stay(archive()),
                put(Source::Kept("ab".to_owned(), default())),
            ),
            (
                a_mirror(),
                There::Root(archive()),
                Plan::Stay(archive()),
                put(Source::Release(default())),
            ),
            (
                wanted("3.15.4", "x86_64", "v"),
                There::Root(archive()),
                Plan::RefuseAnother(archive()),
                put(Source::Release(default())),
            ),
            (
                Wanted::Archive(archive()),
                There::Root(archive()),
                Plan::Stay(archive()),
                put(Source::Named),
            ),
            (
                Wanted::Archive(Root::Archive("cd".to_owned())),
                There::Root(archive()),
                Plan::RefuseAnother(archive()),
                put(Source::Named),
            ),
            (
                Wanted::Archive(Root::Alpine(default())),
                alpine(default()),
                Plan::Stay(Root::Alpine(default())),
                put(Source::Named),
            ),
            // The host's programs: force takes Alpine if the mirror answers.
            (
                nothing_named(),
                There::Root(host(false)),
                Plan::Stay(host(false)),
                put(Source::ReleaseOrHost(default(), any)),
            ),
            (
                nothing_named(),
                There::Root(host(true)),
                Plan::Stay(host(true)),
                put(Source::ReleaseOrHost(default(), libraries)),
            ),
            (
                a_mirror(),
                There::Root(host(true)),
                Plan::Stay(host(true)),
                put(Source::Release(default())),
            ),
            (
                wanted("3.15.4", "x86_64", "a"),
                There::Root(host(true)),
                Plan::RefuseAnother(host(true)),
                put(Source::Release(default())),
            ),
            (
                Wanted::Host(any),
                There::Root(host(true)),
                Plan::Stay(host(true)),
                put(Source::Host(any)),
            ),
            (
                Wanted::Host(libraries),
                There::Root(host(false)),
                Plan::RefuseAnother(host(false)),
                put(Source::Host(libraries)),
            ),
            (
                Wanted::Host(any),
                alpine(older()),
                Plan::RefuseAnother(Root::Alpine(older())),
                put(Source::Host(any)),
            ),
        ];
        for (wanted, there, without, with) in table {
            let plan = |force| Plan::new(&wanted, &there, force);
            assert_eq!(plan(false), without, "{wanted:?}, {there:?}");
            assert_eq!(plan(true), with, "{wanted:?}, {there:?}, by force");
        }
    }
}
