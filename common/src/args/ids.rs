//! The IDs of the host that a container gets, from /etc/subuid and /etc/subgid.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::get_no_new_privs;
use nix::unistd::{Gid, Uid, User, getgid, getuid};

use crate::places::open::text;
use crate::{Args, has_tool, note};

/// IDs of the host that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first ID.
    pub first: u32,
    /// How many there are; at least 1.
    pub count: u32,
}

/// The users and groups of a container: 0 inside is the caller, and 1 and the following IDs
/// are in these ranges, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The caller.
    pub uid: Uid,
    /// The caller's group.
    pub gid: Gid,
    /// The other users of the container.
    pub uids: Vec<IdRange>,
    /// The other groups of the container.
    pub gids: Vec<IdRange>,
}

/// The files with the ranges of all users; subuid(5), subgid(5).
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// The most IDs of a container without the caller's: as many as useradd(8) gives to a user.
const MOST_IDS: u64 = 65_536;
/// The most ranges. Together they are the name of a directory, [`Ids::name`].
const MOST_RANGES: usize = 5;
/// The first ID that useradd(8) gives away: SUB_UID_MIN in login.defs(5).
const FIRST_FREE: u64 = 100_000;

impl Args {
    /// The users and groups of the container: those that `--ids` names, else the caller's. Nothing
    /// if the container has only one user: with `--ids one`, or when the caller has no range of
    /// IDs or lacks newuidmap(1). Then it says what is missing, on a terminal: a script gets the
    /// same lines on each host. Fails when `--ids` names another user, and the caller is not root.
    pub fn ids(&self) -> Result<Option<Ids>> {
        let word = self.ids.as_deref();
        if word == Some("one") {
            return Ok(None);
        }
        let owner = Owner::of(word);
        ensure!(
            getuid().is_root() || owner.uid == Some(getuid()),
            "--ids {}: only root can use the IDs of another user; leave --ids out, or give one",
            owner.name
        );
        match Ids::of(&owner) {
            Ok(ids) => Ok(Some(ids)),
            Err(why) if word.is_some() => Err(why).with_context(|| format!("--ids {}", owner.name)),
            Err(why) => {
                if io::stderr().is_terminal() {
                    note(&format!("the container has only one user: {why}"));
                }
                Ok(None)
            }
        }
    }
}

/// A user by name and number, as in the first field of a line of [`FILES`].
struct Owner {
    /// The name, or the number in digits.
    name: String,
    uid: Option<Uid>,
    /// The group in /etc/passwd.
    gid: Option<Gid>,
}

impl Owner {
    /// The user that a word names, else the caller. A name that is in the files, but not in
    /// /etc/passwd, is good too.
    fn of(word: Option<&str>) -> Owner {
        let id = |word| number(word).and_then(|id| u32::try_from(id).ok()).map(Uid::from_raw);
        let uid = word.map_or_else(|| Some(getuid()), id);
        let named = word.and_then(|word| User::from_name(word).ok().flatten());
        match named.or_else(|| User::from_uid(uid?).ok().flatten()) {
            Some(user) => Owner { name: user.name, uid: Some(user.uid), gid: Some(user.gid) },
            None => {
                let name = word.map_or_else(|| getuid().to_string(), str::to_owned);
                Owner { name, uid, gid: None }
            }
        }
    }
}

impl Ids {
    /// The caller's own ranges. Fails with what is missing, and how to get it.
    pub fn of_caller() -> Result<Ids> {
        Ids::of(&Owner::of(None))
    }

    fn of(owner: &Owner) -> Result<Ids> {
        let (uid, gid, name) = (getuid(), getgid(), &owner.name);
        ensure!(
            uid.is_root() || owner.gid.is_some(),
            "user {name} has no name, and newuidmap(1) needs it; add the user to /etc/passwd"
        );
        // A file that cannot be read gives no range.
        let files = FILES.map(|file| text(file).unwrap_or_default());
        let own = |file: &str, id| ranges(file, name, owner.uid.map(Uid::as_raw), id);
        let ids = Ids {
            uid,
            gid,
            uids: own(&files[0], uid.as_raw()),
            gids: own(&files[1], gid.as_raw()),
        };
        let lacks = [ids.uids.is_empty(), ids.gids.is_empty()];
        if lacks.contains(&true) {
            let missing = FILES.iter().zip(lacks).filter(|(_, lacks)| *lacks).map(|it| *it.0);
            let missing = missing.collect::<Vec<_>>().join(" and ");
            anyhow::bail!(
                "{name} has no range of IDs in {missing}; as root: {}",
                remedy(name, lacks, &files)
            );
        }
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|it| text(it).ok());
        let inside = |map: &Option<String>, ranges: &[IdRange]| {
            map.as_ref().is_none_or(|map| ranges.iter().all(|range| range.is_in(map)))
        };
        ensure!(
            inside(&maps[0], &ids.uids) && inside(&maps[1], &ids.gids),
            "this process is in a user namespace that does not have all IDs of {name} in {} and {}; start the step outside of it, or give --ids one",
            FILES[0],
            FILES[1]
        );
        if !uid.is_root() {
            ensure!(
                TOOLS.iter().all(|tool| has_tool(tool)),
                "newuidmap(1) and newgidmap(1) are missing; as root: apt-get install uidmap"
            );
            ensure!(
                !get_no_new_privs()?,
                "this process has no_new_privs, so newuidmap(1) gets no rights; start the step from another shell"
            );
            // newuidmap(1) would fail: it looks at the caller's entry in /etc/passwd.
            ensure!(
                owner.gid == Some(gid),
                "group {gid} is not the group of {name} in /etc/passwd, and newuidmap(1) needs that group; log in again, or start the step without newgrp(1)"
            );
        }
        Ok(ids)
    }

    /// How many users the container has.
    pub fn users(&self) -> u32 {
        1 + self.uids.iter().map(|range| range.count).sum::<u32>()
    }

    /// How many groups the container has.
    pub fn groups(&self) -> u32 {
        1 + self.gids.iter().map(|range| range.count).sum::<u32>()
    }

    /// A name for this map, with at most 200 characters: files whose owners are in another map
    /// belong to other users inside.
    pub fn name(&self) -> String {
        let list = |own: u32, ranges: &[IdRange]| {
            let ranges = ranges.iter().map(|range| format!("+{}.{}", range.first, range.count));
            ranges.fold(own.to_string(), |name, range| name + &range)
        };
        let (uids, gids) =
            (list(self.uid.as_raw(), &self.uids), list(self.gid.as_raw(), &self.gids));
        if uids == gids { uids } else { format!("{uids},{gids}") }
    }
}

/// The tools that write the maps of a user.
const TOOLS: [&str; 2] = ["newuidmap", "newgidmap"];

/// The command that gives a user a range that nobody has.
fn remedy(name: &str, lacks: [bool; 2], files: &[String; 2]) -> String {
    let ends = files.iter().flat_map(|file| file.lines().filter_map(line));
    let first = ends.map(|(_, first, count)| first.saturating_add(count)).max();
    let first = first.unwrap_or_default().max(FIRST_FREE);
    let range = format!("{first}-{}", first.saturating_add(MOST_IDS - 1));
    let options = ["--add-subuids", "--add-subgids"].iter().zip(lacks).filter(|(_, lacks)| *lacks);
    let options = options.map(|(option, _)| format!("{option} {range} "));
    format!("usermod {}{name}", options.collect::<String>())
}

/// The owner, the first ID and the number of IDs in a line, as newuidmap(1) reads it.
fn line(line: &str) -> Option<(&str, u64, u64)> {
    let mut fields = line.split(':');
    let owner =
        fields.next().filter(|owner| !owner.is_empty() && !owner.starts_with(['+', '-']))?;
    let (first, count) = (number(fields.next()?)?, number(fields.next()?)?);
    // The tool has room for lines of that length.
    (fields.next().is_none() && line.len() < 1024).then_some((owner, first, count))
}

/// A number as in strtoul(3), without a sign: decimal, octal after 0, hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_alphanumeric());
    u64::from_str_radix(digits, radix).ok().filter(|_| is_number)
}

/// The ranges of a user in a file, without the ID `own` and without an ID twice: the kernel
/// refuses such a map. Not more than [`MOST_IDS`].
fn ranges(file: &str, name: &str, uid: Option<u32>, own: u32) -> Vec<IdRange> {
    let uid = uid.map(u64::from);
    let is_owner = |owner: &str| owner == name || uid.is_some() && number(owner) == uid;
    let mut taken = vec![(u64::from(own), u64::from(own) + 1)];
    let mut found = Vec::<IdRange>::new();
    let mut left = MOST_IDS;
    for (_, first, count) in file.lines().filter_map(line).filter(|(owner, ..)| is_owner(owner)) {
        // The greatest number is no ID.
        let end = first.saturating_add(count).min(u64::from(u32::MAX));
        for (first, end) in without(first, end, &taken) {
            let count = (end - first).min(left);
            let range = u32::try_from(first).ok().zip(u32::try_from(count).ok());
            let Some((first, count)) = range.filter(|_| count > 0 && found.len() < MOST_RANGES)
            else {
                continue;
            };
            left -= u64::from(count);
            found.push(IdRange { first, count });
        }
        taken.push((first, end));
    }
    found
}

/// The parts of `first..end` that are in none of `taken`.
fn without(first: u64, end: u64, taken: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut parts = vec![(first, end)];
    for &(from, to) in taken {
        let cut = |(first, end): (u64, u64)| [(first, end.min(from)), (first.max(to), end)];
        parts = parts.into_iter().flat_map(cut).filter(|(first, end)| first < end).collect();
    }
    parts
}

impl IdRange {
    /// Whether a user namespace with this map has all of the IDs; user_namespaces(7).
    fn is_in(self, map: &str) -> bool {
        let (first, end) = (u64::from(self.first), u64::from(self.first) + u64::from(self.count));
        let mut taken = Vec::new();
        for line in map.lines() {
            let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
            if let (Some(Some(from)), Some(Some(count))) = (fields.next(), fields.nth(1)) {
                taken.push((from, from.saturating_add(count)));
            }
        }
        without(first, end, &taken).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &str) -> Vec<(u32, u32)> {
        let found = ranges(file, "ann", Some(1000), 1000);
        found.into_iter().map(|range| (range.first, range.count)).collect()
    }

    #[test]
    fn ranges_are_read_as_newuidmap_reads_them() {
        for (file, found) in [
            ("ann:100000:65536", &[(100_000, 65_536)][..]),
            ("1000:100000:65536\n", &[(100_000, 65_536)]),
            ("bob:1:1\nann:100000:10\nann:200000:5", &[(100_000, 10), (200_000, 5)]),
            ("ann:100000:99999\nann:1:1", &[(100_000, 65_536)]),
            ("ann:0x10:010", &[(16, 8)]),
            // The caller, and an ID for the second time.
            ("ann:998:5", &[(998, 2), (1001, 2)]),
            ("ann:10:5\nann:12:5", &[(10, 5), (15, 2)]),
            ("ann:4294967290:100", &[(4_294_967_290, 5)]),
            ("ann:100:0\nann:4294967295:1\nann:99999999999999999999:1", &[]),
            ("anna:1:1\n ann:1:1\n#ann:1:1\n+ann:1:1\nann:1\nann:1:1:1\nann::1\nann:1:", &[]),
            ("ann:-1:1\nann:+1:1\nann: 1:1\nann:1:1 \nann:1k:1\nann:08:1\nann:0x:1", &[]),
            ("", &[]),
        ] {
            assert_eq!(of(file), found, "{file}");
        }
        assert_eq!(of(&format!("ann:1:0{}1", "0".repeat(1024))), []);
    }

    #[test]
    fn the_remedy_names_a_range_that_nobody_has() {
        let files = ["bob:100000:65536\neve:300000:5\n".to_owned(), "bob:100000:65536".to_owned()];
        assert_eq!(
            remedy("ann", [true, true], &files),
            "usermod --add-subuids 300005-365540 --add-subgids 300005-365540 ann"
        );
        let none = ["", ""].map(str::to_owned);
        assert_eq!(remedy("ann", [false, true], &none), "usermod --add-subgids 100000-165535 ann");
    }

    #[test]
    fn a_range_is_in_a_map_with_all_of_its_ids() {
        let range = IdRange { first: 10, count: 10 };
        for (map, is) in [
            ("         0          0 4294967295\n", true),
            ("0 1000 1\n1 100000 65536\n", true),
            ("0 1000 15\n15 3000 5", true),
            ("0 1000 1\n", false),
            ("11 1000 100", false),
        ] {
            assert_eq!(range.is_in(map), is, "{map}");
        }
    }

    #[test]
    fn a_name_differs_with_the_map() {
        let range = |first, count| IdRange { first, count };
        let ids = |uids: &[IdRange], gids: &[IdRange]| Ids {
            uid: Uid::from_raw(1000),
            gid: Gid::from_raw(1000),
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        };
        let (one, two) = ([range(100_000, 65_536)], [range(200_000, 7), range(5, 1)]);
        assert_eq!(ids(&one, &one).name(), "1000+100000.65536");
        assert_eq!(ids(&one, &two).name(), "1000+100000.65536,1000+200000.7+5.1");
        let longest = [range(u32::MAX - 9, 9); MOST_RANGES];
        assert!(ids(&longest, &two).name().len() < 200);
    }

    #[test]
    fn no_id_comes_twice() {
        let mut state = 1_u64;
        let mut below = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % most
        };
        for _ in 0..2000 {
            let lines: Vec<(u64, u64)> = (0..below(8)).map(|_| (below(40), below(40))).collect();
            let own = below(40) as u32;
            let file: String = lines.iter().map(|(at, n)| format!("ann:{at}:{n}\n")).collect();
            let found = ranges(&file, "ann", None, own);
            let mut all: Vec<u32> =
                found.iter().flat_map(|range| range.first..range.first + range.count).collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), count, "{file}");
            assert!(!all.contains(&own), "{file}");
            let has = |id: u32| lines.iter().any(|(at, n)| (*at..at + n).contains(&id.into()));
            assert!(all.into_iter().all(has), "{file}");
        }
    }
}
