//! Lesson 18: the options of a mount, as in mount(8) and in the specification.

use anyhow::{Result, bail};
use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME, MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE,
};

/// What the options of a mount ask for. A `bool` says whether all mounts below it are
/// meant, too.
#[derive(Default)]
pub(crate) struct Options {
    /// Attributes of this mount alone, and of all mounts below it, too.
    pub(crate) this: Change,
    pub(crate) all: Change,
    /// How mounts spread.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// Whether it is a bind.
    pub(crate) bind: Option<bool>,
    /// Whether owners are mapped.
    pub(crate) idmap: Option<bool>,
    /// Whether the new file system begins with the files of its place.
    pub(crate) copy_up: bool,
    /// Options of the file system: `NAME` or `NAME=VALUE`.
    pub(crate) data: Vec<String>,
}

/// What changes in a mount; mount_setattr(2).
#[derive(Clone, Copy, Default)]
pub(crate) struct Change {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    /// The descriptor of a user namespace, for MOUNT_ATTR_IDMAP.
    pub(crate) user: u64,
}

impl Change {
    pub(crate) fn read_only() -> Change {
        Change { set: MOUNT_ATTR_RDONLY, ..Change::default() }
    }

    pub(crate) fn spread(propagation: u64) -> Change {
        Change { propagation, ..Change::default() }
    }
}

/// The attributes that an option sets, and those that it clears. With an `r` before the
/// name, they hold for all mounts below it, too.
#[rustfmt::skip]
pub(crate) const ATTRIBUTES: [(&str, [u64; 2]); 22] = [
    ("ro", [MOUNT_ATTR_RDONLY, 0]), ("rw", [0, MOUNT_ATTR_RDONLY]),
    ("nosuid", [MOUNT_ATTR_NOSUID, 0]), ("suid", [0, MOUNT_ATTR_NOSUID]),
    ("nodev", [MOUNT_ATTR_NODEV, 0]), ("dev", [0, MOUNT_ATTR_NODEV]),
    ("noexec", [MOUNT_ATTR_NOEXEC, 0]), ("exec", [0, MOUNT_ATTR_NOEXEC]),
    ("nodiratime", [MOUNT_ATTR_NODIRATIME, 0]), ("diratime", [0, MOUNT_ATTR_NODIRATIME]),
    ("nosymfollow", [MOUNT_ATTR_NOSYMFOLLOW, 0]),
    ("symfollow", [0, MOUNT_ATTR_NOSYMFOLLOW]),
    // The times of access are a field of several bits, which is zero for relatime.
    ("noatime", [MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME]),
    ("strictatime", [MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME]),
    ("norelatime", [0, MOUNT_ATTR__ATIME]),
    ("atime", [0, MOUNT_ATTR__ATIME]), ("relatime", [0, MOUNT_ATTR__ATIME]),
    ("nostrictatime", [0, MOUNT_ATTR__ATIME]), ("defaults", [0, 0]),
    // These change nothing in a new mount: it says nothing, and counts no versions.
    ("silent", [0, 0]), ("loud", [0, 0]), ("noiversion", [0, 0]),
];

/// How mounts spread; mount_namespaces(7). With an `r` before the name, as above.
#[rustfmt::skip]
pub(crate) const PROPAGATION: [(&str, u64); 4] = [
    ("private", MS_PRIVATE), ("shared", MS_SHARED), ("slave", MS_SLAVE),
    ("unbindable", MS_UNBINDABLE),
];

/// Finds a name in a table, perhaps after an `r`.
fn look_up<T: Copy>(table: &[(&str, T)], word: &str) -> Option<(T, bool)> {
    let find = |word: &str| table.iter().find(|row| row.0 == word).map(|row| row.1);
    let all = || Some((find(word.strip_prefix('r')?)?, true));
    find(word).map(|found| (found, false)).or_else(all)
}

/// The kind of propagation with this name, and whether it holds for all mounts below it.
pub(crate) fn propagation(word: &str) -> Option<(u64, bool)> {
    look_up(&PROPAGATION, word)
}

/// Reads the options. A later option counts before an earlier one.
pub(crate) fn read(words: &[String], is_bind: bool) -> Result<Options> {
    let mut options = Options { bind: is_bind.then_some(false), ..Options::default() };
    for word in words {
        if let Some(([set, clear], all)) = look_up(&ATTRIBUTES, word) {
            let change = if all { &mut options.all } else { &mut options.this };
            change.set = change.set & !clear | set;
            change.clear = change.clear & !set | clear;
            continue;
        }
        match (&**word, propagation(word)) {
            (_, Some(found)) => options.propagation.push(found),
            ("bind", _) => options.bind = Some(options.bind == Some(true)),
            ("rbind", _) => options.bind = Some(true),
            ("idmap", _) => options.idmap = Some(false),
            ("ridmap", _) => options.idmap = Some(true),
            ("tmpcopyup", _) => options.copy_up = true,
            ("remount", _) => {
                bail!(
                    "the option remount is not done here: each mount is new; leave it out"
                )
            }
            _ => options.data.push(word.clone()),
        }
    }
    if let (Some(_), Some(option)) = (options.bind, options.data.first()) {
        // As for mount(2).
        let why = "a bind has those of its file system";
        common::note(&format!("the option {option} of a mount changes nothing: {why}"));
    }
    Ok(options)
}
