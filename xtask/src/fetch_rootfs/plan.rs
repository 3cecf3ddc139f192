//! Decides what to do, from the options and the present root. This module does not
//! use a disk or a network.

use layers::Contents;

use super::from_host::FromHost;
use super::releases::Release;
use super::root::Root;

/// The root that the options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Release(Asked),
    /// The root in the named archive.
    Archive(Root),
    Host(FromHost),
}

/// A release of Alpine, as the options ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The named release, else the default release.
    pub(crate) release: Release,
    /// Whether the options name its version, its architecture, and a mirror.
    pub(crate) version: bool,
    pub(crate) arch: bool,
    pub(crate) mirror: bool,
    /// The programs of this machine that will also do, if the mirror does not answer.
    pub(crate) or: Option<FromHost>,
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
    /// The release. If the mirror does not answer, these programs of this machine.
    Release(Release, Option<FromHost>),
    /// The archive with this SHA-256 from the cache, else the release.
    Kept(String, Release),
    /// The named archive.
    Named,
    Host(FromHost),
}

impl Plan {
    pub(crate) fn new(wanted: &Wanted, there: &Contents, force: bool) -> Plan {
        let root = match there {
            Contents::Nothing => return Plan::Put(wanted.source()),
            Contents::Root(record) => Root::of_record(record),
            Contents::Other => None,
        };
        match root {
            Some(root) if force => Plan::Put(wanted.in_place_of(&root)),
            Some(root) if wanted.is(&root) => Plan::Stay(root),
            Some(root) => Plan::RefuseAnother(root),
            None if force => Plan::Put(wanted.source()),
            None => Plan::RefuseOther,
        }
    }
}

impl Wanted {
    /// Whether the present root is the wanted root.
    fn is(&self, there: &Root) -> bool {
        match (self, there) {
            (Wanted::Release(asked), Root::Alpine(there)) => {
                (!asked.version || asked.release.version() == there.version())
                    && (!asked.arch || asked.release.arch() == there.arch())
            }
            (Wanted::Release(asked), _) => !asked.version && !asked.arch,
            (Wanted::Archive(root), there) => root == there,
            (Wanted::Host(FromHost::Any), there) => matches!(there, Root::Host { .. }),
            (Wanted::Host(FromHost::Libraries), there) => *there == Root::Host { libraries: true },
        }
    }

    fn source(&self) -> Source {
        match self {
            Wanted::Release(asked) => Source::Release(asked.release.clone(), asked.or),
            Wanted::Archive(_) => Source::Named,
            Wanted::Host(which) => Source::Host(*which),
        }
    }

    /// The source for `--force`. Without options, it is the same root again: a
    /// release by its name, else a root from the same source.
    fn in_place_of(&self, there: &Root) -> Source {
        let Wanted::Release(asked) = self else { return self.source() };
        if asked.version || asked.arch {
            return self.source();
        }
        let default = || asked.release.clone();
        match there {
            Root::Alpine(there) => Source::Release(there.clone(), None),
            _ if asked.mirror => self.source(),
            Root::Archive(digest) => Source::Kept(digest.clone(), default()),
            Root::Host { libraries: true } => Source::Release(default(), Some(FromHost::Libraries)),
            Root::Host { libraries: false } => Source::Release(default(), Some(FromHost::Any)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, arch: &str) -> Release {
        Release::new(version, Some(arch)).expect("a release")
    }

    fn wanted(version: &str, arch: &str, named: &str) -> Wanted {
        let release = release(version, arch);
        let [version, arch, mirror] = ["version", "arch", "mirror"].map(|part| part == named);
        Wanted::Release(Asked { release, version, arch, mirror, or: None })
    }

    #[test]
    fn what_is_done_follows_from_what_is_asked_for_and_what_is_there() {
        let default = || release("3.15.4", "x86_64");
        let older = || release("3.15.11", "x86_64");
        let there = |root: Root| Contents::Root(root.to_string());
        let alpine = |release: Release| there(Root::Alpine(release));
        let only = |release: Release| Source::Release(release, None);
        let or = |which| Source::Release(default(), Some(which));
        let archive = || Root::Archive("ab".to_owned());
        let host = |libraries| Root::Host { libraries };
        let nothing_named = || wanted("3.15.4", "x86_64", "");
        let a_mirror = || wanted("3.15.4", "x86_64", "mirror");
        let (version, arch, mirror) = (false, false, false);
        let or_host = Asked { release: default(), version, arch, mirror, or: Some(FromHost::Any) };
        let (any, libraries) = (FromHost::Any, FromHost::Libraries);
        let put = Plan::Put;

        // The wanted root, the present root, the decision without force, the
        // decision with force.
        let table = [
            // No present root: the wanted root, with or without force.
            (nothing_named(), Contents::Nothing, put(only(default())), put(only(default()))),
            (Wanted::Release(or_host), Contents::Nothing, put(or(any)), put(or(any))),
            (Wanted::Archive(archive()), Contents::Nothing, put(Source::Named), put(Source::Named)),
            (Wanted::Host(any), Contents::Nothing, put(Source::Host(any)), put(Source::Host(any))),
            // A directory that fetch-rootfs did not make: only with force.
            (nothing_named(), Contents::Other, Plan::RefuseOther, put(only(default()))),
            (Wanted::Archive(archive()), Contents::Other, Plan::RefuseOther, put(Source::Named)),
            (Wanted::Host(any), Contents::Other, Plan::RefuseOther, put(Source::Host(any))),
            // Alpine: it stays, and force restores it, unless the options name
            // another root.
            (
                nothing_named(),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(only(older())),
            ),
            (a_mirror(), alpine(older()), Plan::Stay(Root::Alpine(older())), put(only(older()))),
            (
                wanted("3.15.11", "x86_64", "version"),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(only(older())),
            ),
            (
                wanted("3.15.4", "x86_64", "version"),
                alpine(older()),
                Plan::RefuseAnother(Root::Alpine(older())),
                put(only(default())),
            ),
            (
                wanted("3.15.4", "x86_64", "arch"),
                alpine(older()),
                Plan::Stay(Root::Alpine(older())),
                put(only(default())),
            ),
            (
                wanted("3.15.4", "x86", "arch"),
                alpine(default()),
                Plan::RefuseAnother(Root::Alpine(default())),
                put(only(release("3.15.4", "x86"))),
            ),
            // An archive: force restores it from the cache, unless the options name
            // a release or a mirror.
            (
                nothing_named(),
                there(archive()),
                Plan::Stay(archive()),
                put(Source::Kept("ab".to_owned(), default())),
            ),
            (a_mirror(), there(archive()), Plan::Stay(archive()), put(only(default()))),
            (
                wanted("3.15.4", "x86_64", "version"),
                there(archive()),
                Plan::RefuseAnother(archive()),
                put(only(default())),
            ),
            (
                Wanted::Archive(archive()),
                there(archive()),
                Plan::Stay(archive()),
                put(Source::Named),
            ),
            (
                Wanted::Archive(Root::Archive("cd".to_owned())),
                there(archive()),
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
            (nothing_named(), there(host(false)), Plan::Stay(host(false)), put(or(any))),
            (nothing_named(), there(host(true)), Plan::Stay(host(true)), put(or(libraries))),
            (a_mirror(), there(host(true)), Plan::Stay(host(true)), put(only(default()))),
            (
                wanted("3.15.4", "x86_64", "arch"),
                there(host(true)),
                Plan::RefuseAnother(host(true)),
                put(only(default())),
            ),
            (Wanted::Host(any), there(host(true)), Plan::Stay(host(true)), put(Source::Host(any))),
            (
                Wanted::Host(libraries),
                there(host(false)),
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
