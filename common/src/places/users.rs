//! The users and groups of a root, in its /etc/passwd and /etc/group.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};

use crate::Root;
use crate::args::limits;
use crate::places::open::{checked, whole};

/// A user of a root, with the groups of its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The number.
    pub uid: Uid,
    /// The group of a process.
    pub gid: Gid,
    /// The supplementary groups of a process: [`User::gid`] and others; credentials(7).
    pub groups: Vec<Gid>,
    /// The home directory. Root without an entry has the usual one.
    pub home: Option<String>,
}

/// The files; passwd(5), group(5).
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The most bytes of such a file.
const MOST_BYTES: u64 = 16 << 20;
/// The most supplementary groups of a process: NGROUPS_MAX in the kernel.
const MOST_GROUPS: usize = 65_536;

impl User {
    /// Root, without supplementary groups.
    pub fn root() -> User {
        User { uid: Uid::from_raw(0), gid: Gid::from_raw(0), groups: Vec::new(), home: None }
    }

    /// Finds `USER[:GROUP]` in the root, each by name or number. Digits are always a number, which
    /// needs no entry. Without a GROUP, the user has the group of its entry, or 0, and all groups
    /// that name it in /etc/group. Without an entry, the home directory is `/`. Fails when the
    /// root has no such user or group. Fails when a file is not a regular file, or too long. Fails
    /// when the user has too many groups.
    pub fn find(word: &str, root: &Root) -> Result<User> {
        let read = |path| read(root, path).with_context(|| format!("read {path} in the root"));
        let find = || User::find_in(word, &read(PASSWD)?, &read(GROUP)?);
        find().with_context(|| format!("find the user {word}"))
    }

    fn find_in(word: &str, passwd: &[u8], group: &[u8]) -> Result<User> {
        let (name, of_group) = word.split_once(':').map_or((word, None), |(a, b)| (a, Some(b)));
        let wanted = numbered(name)?;
        let is = |entry: &Entry| wanted.map_or(entry.name == name, |id| entry.id == id);
        let entry = entries(passwd).find(is);
        // The fields after the number: the group, a comment, the home directory.
        let own_group = |entry: &Entry| number(entry.fields[0]);
        let mut user = match (&entry, wanted) {
            (Some(entry), _) => User {
                uid: Uid::from_raw(entry.id),
                gid: Gid::from_raw(
                    own_group(entry).context("its group in /etc/passwd is no number")?,
                ),
                home: entry.fields.get(2).filter(|home| !home.is_empty()).map(|it| it.to_string()),
                ..User::root()
            },
            (None, Some(id)) => User { uid: Uid::from_raw(id), ..User::root() },
            (None, None) => {
                bail!(
                    "there is no user {name} in {PASSWD} of the root; give a name from there, or a number"
                )
            }
        };
        if user.home.is_none() && !user.uid.is_root() {
            user.home = Some("/".to_owned());
        }
        match of_group {
            Some(word) => user.gid = group_of(word, group)?,
            None => {
                let name = entry.map(|entry| entry.name);
                // The fields after the number: the names of its users.
                let is_in = |entry: &Entry| {
                    entry.fields.first().is_some_and(|it| it.split(',').any(|it| Some(it) == name))
                };
                let others = entries(group).filter(is_in).map(|entry| Gid::from_raw(entry.id));
                user.groups = others.filter(|gid| *gid != user.gid).collect();
            }
        }
        user.groups.insert(0, user.gid);
        ensure!(
            user.groups.len() <= MOST_GROUPS,
            "{GROUP} of the root has more than {MOST_GROUPS} groups of this user, and a process can have no more; give a GROUP"
        );
        Ok(user)
    }
}

/// The group with this name or number.
fn group_of(word: &str, group: &[u8]) -> Result<Gid> {
    let named = || entries(group).find(|it| it.name == word).map(|it| it.id);
    let id = numbered(word)?.or_else(named);
    id.map(Gid::from_raw).with_context(|| {
        format!(
            "there is no group {word} in {GROUP} of the root; give a name from there, or a number"
        )
    })
}

/// The number that a word is; nothing for a name.
fn numbered(word: &str) -> Result<Option<u32>> {
    ensure!(!word.is_empty(), "a name is empty; give USER or USER:GROUP, by name or number");
    if !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    number(word).map(Some).with_context(|| {
        format!("{word} is greater than any number of a user or group, {}", u32::MAX - 1)
    })
}

/// A line of /etc/passwd or /etc/group.
struct Entry<'a> {
    name: &'a str,
    id: u32,
    /// What follows.
    fields: Vec<&'a str>,
}

/// The lines that make sense. A number without sense must not mean root.
fn entries(file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    file.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = str::from_utf8(line).ok().filter(|line| !line.contains('\0'))?;
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, number(fields.next()?)?);
        let fields: Vec<&str> = fields.collect();
        (!name.is_empty() && !fields.is_empty()).then_some(Entry { name, id, fields })
    })
}

/// The number of a user or group. The greatest is none: it stands for no change.
fn number(digits: &str) -> Option<u32> {
    limits::number(digits)?.try_into().ok().filter(|id| *id != u32::MAX)
}

/// The bytes of a file in the root. A root without the file has an empty one.
fn read(root: &Root, path: &str) -> Result<Vec<u8>> {
    let file = match root.open_file(Path::new(path)) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
        opened => checked(opened?)?,
    };
    // A link of the root may lead to a file of the kernel, such as /proc/kmsg, which this process
    // may read, but not the container. These have no size.
    if file.metadata()?.len() == 0 {
        return Ok(Vec::new());
    }
    Ok(whole(file, MOST_BYTES)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::one_line;
    use crate::places::place::Place;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n\
        7:x:0:0::/:/bin/sh\n\
        ann:x:1000:100:Ann:/home/ann:/bin/sh\n\
        ann:x:0:0::/:/bin/sh\n\
        bad:x::0::/:\nminus:x:-1:0::/:\nlast:x:4294967295:0::/:\nshort:x:5\n\
        nul:x:6:6::/a\0b:\nlost:x:8:a::/:\nhomeless:x:9:9\n";
    const GROUPS: &str = "root:x:0:root\nusers:x:100:bob,ann\nwheel:x:10:root,ann\n7:x:0:ann\n\
        anna:x:11:anna, ann\nbroken:x::ann\nempty:x:12:\nlate:x:13:ann";

    /// The numbers of the user, the group and the supplementary groups, and the home.
    fn find(word: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        let user = User::find_in(word, USERS.as_bytes(), GROUPS.as_bytes());
        let user = user.map_err(|error| one_line(&error))?;
        let groups = user.groups.into_iter().map(Gid::as_raw).collect();
        Ok((user.uid.as_raw(), user.gid.as_raw(), groups, user.home.unwrap_or_default()))
    }

    #[test]
    fn a_file_of_the_kernel_has_no_users() {
        let root = Root::open("/proc").expect("open");
        assert!(!fs::read("/proc/version").expect("read").is_empty());
        assert_eq!(read(&root, "version").expect("read"), b"");
    }

    #[test]
    fn a_user_has_a_number_groups_and_a_home() {
        for (word, uid, gid, groups, home) in [
            ("root", 0, 0, &[0, 10][..], "/root"),
            ("0", 0, 0, &[0, 10], "/root"),
            ("ann", 1000, 100, &[100, 10, 0, 13], "/home/ann"),
            ("1000", 1000, 100, &[100, 10, 0, 13], "/home/ann"),
            ("ann:wheel", 1000, 10, &[10], "/home/ann"),
            ("1000:5", 1000, 5, &[5], "/home/ann"),
            ("ann:users", 1000, 100, &[100], "/home/ann"),
            // Digits are a number, and not a name.
            ("7", 7, 0, &[0], "/"),
            ("ann:7", 1000, 7, &[7], "/home/ann"),
            ("homeless", 9, 9, &[9], "/"),
            ("4294967294", 4_294_967_294, 0, &[0], "/"),
        ] {
            assert_eq!(find(word), Ok((uid, gid, groups.to_vec(), home.to_owned())), "{word}");
        }
    }

    #[test]
    fn a_user_without_sense_is_refused() {
        for word in [
            "", ":", "ann:", ":users", "4294967295", "99999999999", "nobody", "bad", "minus",
            "last", "short", "nul", "ann:nobody", "ann:broken", "-1", "+1", "ann:users:x", "lost",
            "ann ",
        ] {
            assert!(find(word).is_err(), "{word}: {:?}", find(word));
        }
        let many: String = (1..=65_537).map(|id| format!("g:x:{id}:ann\n")).collect();
        let refused = User::find_in("ann", USERS.as_bytes(), many.as_bytes());
        assert!(refused.is_err());
    }

    /// Whatever the files are, a user is root only if they say so.
    #[test]
    fn files_of_any_bytes_make_nobody_root() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let pieces: [&[u8]; 12] =
            [b"ann", b"bob", b":", b":", b":", b"\n", b"1", b"12", b"\0", b"\xff", b",", b"-"];
        for _ in 0..20_000 {
            let mut file = || -> Vec<u8> {
                (0..next() % 40).flat_map(|_| pieces[next() % pieces.len()]).copied().collect()
            };
            let (passwd, group) = (file(), file());
            for word in ["ann", "12", "ann:bob", "bob:1"] {
                if let Ok(user) = User::find_in(word, &passwd, &group) {
                    assert!(!user.uid.is_root(), "{word} {passwd:?} {group:?}");
                    assert_eq!(user.groups.first(), Some(&user.gid));
                    assert!(user.home.is_some_and(|home| !home.contains('\0')));
                }
            }
        }
    }

    #[test]
    fn only_a_file_of_the_root_is_read() {
        let place = Place::new();
        let root = Root::open(place.path("")).expect("open");
        assert_eq!(User::find("7", &root).expect("a number").uid.as_raw(), 7);
        assert!(User::find("ann", &root).is_err());
        fs::create_dir(place.path("etc")).expect("make a directory");
        let passwd = place.path("etc/passwd");
        let said = |word| User::find(word, &root).map_err(|error| one_line(&error));

        // A link of the root stays in the root.
        symlink("/../etc/users", &passwd).expect("make a link");
        assert!(said("root").is_err());
        fs::write(place.path("etc/users"), USERS).expect("write");
        assert_eq!(said("ann").expect("a user").uid.as_raw(), 1000);
        fs::remove_file(&passwd).expect("remove");

        for target in ["/proc/self/environ", "passwd"] {
            symlink(target, &passwd).expect("make a link");
            assert!(said("ann").is_err());
            fs::remove_file(&passwd).expect("remove");
        }
        mkfifo(&passwd, Mode::S_IRWXU).expect("make a FIFO");
        let refused = said("7").expect_err("a FIFO");
        assert_eq!(refused, "find the user 7: read /etc/passwd in the root: it is not a file");
        fs::remove_file(&passwd).expect("remove");
        File::create(&passwd).and_then(|file| file.set_len(MOST_BYTES + 1)).expect("a large file");
        assert!(
            said("7").expect_err("a large file").ends_with(": it is longer than 16777216 bytes")
        );
    }
}
