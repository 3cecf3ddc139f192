//! Layers of images: what they keep, and what their whiteouts hide below an overlay.

use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use rustix::fs::XattrFlags;
use testkit::namespace::{Ids, inside};

use super::formats::{plain, seed};
use super::limits::Chance;
use super::*;
use crate::digest::Algorithm::{Sha256, Sha512};

/// Whether this process runs the test in a user namespace, on a file system for layers.
fn enter(ids: Ids, name: &str) -> bool {
    if !inside(ids, module_path!(), name) {
        return false;
    }
    let place = Place::new();
    let set = rustix::fs::setxattr(place.0.path(), "user.x", b"", XattrFlags::empty());
    // tmpfs has them since Linux 6.6.
    set.is_ok() || testkit::skip_container("$TMPDIR, else /tmp, has no attributes of users")
}

const LIMITS: Limits = Limits { bytes: 64 << 10, entries: 60 };

/// A directory for layers. Layer 0 is the lowest.
struct Place(Scratches);

impl Place {
    fn new() -> Place {
        Place(testkit::tempdir())
    }

    fn layer(&self, number: usize) -> PathBuf {
        self.0.path().join(number.to_string())
    }

    fn blob(&self, blob: &[u8], digest: &Digest, diff_id: &Digest, number: usize) -> Result<Notes> {
        let file = self.0.path().join("blob");
        fs::write(&file, blob).expect("write");
        fs::create_dir(self.layer(number)).expect("make");
        let root = File::open(self.layer(number)).expect("open");
        unpack_layer(&File::open(file).expect("open"), digest, diff_id, &root, LIMITS)
    }

    fn tar(&self, tar: &[u8], number: usize) -> Result<Notes> {
        let blob = gz(tar);
        self.blob(&blob, &digest(&blob), &digest(tar), number)
    }

    fn unpack(&self, entries: &[Entry], number: usize) -> Result<Notes> {
        self.tar(&tar(entries), number)
    }

    /// Mounts the layers, topmost last, and lists all below `/`. Nothing if this host
    /// mounts no overlay in a user namespace.
    fn merged(&self, layers: usize) -> Option<Vec<String>> {
        let (empty, point) = (self.0.path().join("empty"), self.0.path().join("merged"));
        for dir in [&empty, &point] {
            fs::create_dir_all(dir).expect("make");
        }
        // An overlay without an upper directory needs two.
        let mut lower = vec![empty.display().to_string()];
        lower.extend((0..layers).map(|number| self.layer(number).display().to_string()));
        lower.reverse();
        let options = format!("userxattr,lowerdir={}", lower.join(":"));
        let overlay = Some("overlay");
        if let Err(errno) = mount(overlay, &point, overlay, MsFlags::MS_RDONLY, Some(&*options)) {
            testkit::skip_container(&format!("no overlay with userxattr: {}", errno.desc()));
            return None;
        }
        let mut found = Vec::new();
        list(&point, Path::new(""), &mut found);
        umount(&point).expect("unmount");
        found.sort();
        Some(found)
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of_bytes(bytes, Sha256)
}

fn list(root: &Path, path: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(path)).expect("list") {
        let path = path.join(entry.expect("list").file_name());
        let at = root.join(&path);
        let look = fs::symlink_metadata(&at).expect("look");
        let kind = look.file_type();
        let text = match () {
            () if kind.is_dir() => "/".to_owned(),
            () if kind.is_symlink() => {
                format!(" -> {}", fs::read_link(&at).expect("read").display())
            }
            () if kind.is_file() => format!(" {}", read(&at)),
            () => " special".to_owned(),
        };
        found.push(format!("{}{text}", path.display()));
        if kind.is_dir() {
            list(root, &path, found);
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("read")).into_owned()
}

fn attribute(path: &Path, name: &str) -> Vec<u8> {
    let mut value = [0; 100];
    let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap_or(0);
    value[..length].to_vec()
}

/// Permission to use raw sockets, as a program has it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Entries with everything that a layer keeps.
fn kept() -> Vec<Entry> {
    let owned = |owner, entry| Entry { owner, ..entry };
    let pax = |name: &str, value: &[u8]| Entry::pax(&[(&format!("SCHILY.xattr.{name}"), value)]);
    vec![
        owned((0, 7), Entry { mode: 0o2775, ..Entry::directory("./") }),
        owned((1000, 1001), Entry { mode: 0o6751, ..Entry::file("/bin/su", "x") }),
        owned((65_536, 0), Entry::file("bin/last", "x")),
        pax("security.capability", &CAPABILITY),
        owned((3, 0), Entry { mode: 0o4755, ..Entry::file("bin/ping", "x") }),
        pax("user.course", b"a\0b"),
        owned((0, 0), Entry { mode: 0o1777, ..Entry::directory("tmp") }),
        owned((0, 0), Entry { mode: 0o000, ..Entry::directory("closed") }),
        owned((5, 5), Entry::file("closed/in", "x")),
        owned((1, 2), Entry { mode: 0o620, ..Entry::new(b'6', "pipe") }),
        owned((8, 9), Entry::symlink("link", "/etc/passwd")),
        Entry::hard_link("bin/hard", "/bin/ping"),
        Entry::pax(&[("uid", b"6"), ("gid", b"4")]),
        Entry::file("by-pax", ""),
    ]
}

#[test]
fn a_layer_keeps_owners_modes_times_and_attributes() {
    const NAME: &str = "a_layer_keeps_owners_modes_times_and_attributes";
    if !enter(Ids::Many, NAME) {
        return;
    }
    let place = Place::new();
    let notes = place.unpack(&kept(), 0).expect("a good layer");
    assert_eq!(notes.lines().collect::<Vec<_>>(), [""; 0]);
    let root = place.layer(0);
    let look = |name: &str| fs::symlink_metadata(root.join(name)).expect(name);
    for (name, uid, gid, mode) in [
        ("", 0, 7, 0o42775),
        ("bin/su", 1000, 1001, 0o106751),
        ("bin/last", 65_536, 0, 0o100644),
        ("bin/ping", 3, 0, 0o104755),
        ("tmp", 0, 0, 0o41777),
        ("closed", 0, 0, 0o40000),
        ("closed/in", 5, 5, 0o100644),
        ("pipe", 1, 2, 0o10620),
        ("link", 8, 9, 0o120777),
        ("by-pax", 6, 4, 0o100644),
    ] {
        let found = look(name);
        assert_eq!(
            (found.uid(), found.gid(), format!("{:o}", found.mode()), found.mtime()),
            (uid, gid, format!("{mode:o}"), 1_000_000_000),
            "{name:?}"
        );
    }
    // A directory without an entry.
    assert_eq!((look("bin").mode(), look("bin").uid()), (0o40755, 0));
    assert_eq!(look("bin/hard").ino(), look("bin/ping").ino());
    assert_eq!(attribute(&root.join("bin/hard"), "security.capability"), CAPABILITY);
    assert_eq!(attribute(&root.join("tmp"), "user.course"), b"a\0b");
}

#[test]
fn an_owner_that_the_namespace_lacks_becomes_root_without_set_user_id() {
    const NAME: &str = "an_owner_that_the_namespace_lacks_becomes_root_without_set_user_id";
    if enter(Ids::One, NAME) {
        let place = Place::new();
        let notes = place.unpack(&kept(), 0).expect("a good layer");
        assert_eq!((notes.owners.count, &*notes.owners.first), (8, "./ of 0:7"));
        for (name, mode) in
            [("", 0o40775), ("bin/su", 0o100751), ("bin/ping", 0o100755), ("pipe", 0o10620)]
        {
            let found = fs::symlink_metadata(place.layer(0).join(name)).expect(name);
            let mode = format!("{mode:o}");
            assert_eq!((found.uid(), found.gid(), format!("{:o}", found.mode())), (0, 0, mode));
        }
        return;
    }
    if !enter(Ids::Many, NAME) {
        return;
    }
    let place = Place::new();
    let highest = u64::from(u32::MAX);
    let of = |owner, name| Entry { owner, mode: 0o6755, ..Entry::file(name, "") };
    let notes = place.unpack(
        &[
            // The second entry of a directory must not leave it to the first owner.
            Entry { owner: (5, 5), ..Entry::directory("d") },
            Entry { owner: (65_537, 1), ..Entry::directory("d") },
            of((65_537, 1), "a"),
            of((1, highest), "b"),
            of((highest + 5, 5), "c"),
        ],
        0,
    );
    let notes = notes.expect("a good layer");
    assert_eq!((notes.owners.count, &*notes.owners.first), (4, "d of 65537:1"));
    assert_eq!(
        notes.lines().collect::<Vec<_>>(),
        [
            "gave root 4 files, the first is d of 65537:1; the container has no user or group like that"
        ]
    );
    for (name, uid, gid, mode) in
        [("d", 0, 1, 0o755), ("a", 0, 1, 0o2755), ("b", 1, 0, 0o4755), ("c", 0, 5, 0o2755)]
    {
        let found = fs::symlink_metadata(place.layer(0).join(name)).expect(name);
        let found = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(found, (uid, gid, mode), "{name}");
    }
}

#[test]
fn attributes_for_overlay_and_refused_ones_are_left_out_with_a_note() {
    const NAME: &str = "attributes_for_overlay_and_refused_ones_are_left_out_with_a_note";
    if !enter(Ids::One, NAME) {
        return;
    }
    let with = |name: &str, entry| {
        let pax = Entry::pax(&[(&format!("SCHILY.xattr.{name}"), b"y")]);
        vec![pax, Entry { owner: (0, 0), ..entry }]
    };
    for (name, entry, why) in [
        ("user.overlay.opaque", Entry::directory("d"), "it is for overlay"),
        ("user.overlay.whiteout", Entry::file("d", ""), "it is for overlay"),
        ("trusted.overlay.opaque", Entry::directory("d"), "it is for overlay"),
        ("trusted.x", Entry::file("d", ""), "Operation not permitted"),
        ("user.x", Entry::symlink("d", "x"), "Operation not permitted"),
        ("nonsense", Entry::file("d", ""), Errno::EOPNOTSUPP.desc()),
        ("security.capability", Entry::file("d", ""), "Invalid argument"),
        (&"user.x".repeat(60), Entry::file("d", ""), Errno::ERANGE.desc()),
    ] {
        let place = Place::new();
        let notes = place.unpack(&with(name, entry), 0).expect(name);
        let shown = short(name.as_bytes());
        assert_eq!(
            notes.lines().collect::<Vec<_>>(),
            [format!("left out 1 extended attribute, {shown} of d ({why})")]
        );
        assert_eq!(attribute(&place.layer(0).join("d"), name), b"");
    }
}

#[test]
fn a_whiteout_hides_lower_layers_only_in_any_order() {
    const NAME: &str = "a_whiteout_hides_lower_layers_only_in_any_order";
    if !enter(Ids::One, NAME) {
        return;
    }
    let file = |name: &str| Entry::file(name, name);
    let lower = [
        "t/keep", "t/gone", "t/dir/old", "t/all/old", "t/back", "t/again/old", "t/implied/old",
        "t/merged/old", "t/to-dir", "t/to-file/old", "t/link/old", "t/a/b/c/old",
    ];
    let upper = [
        file("t/.wh.gone"),
        file("t/dir/.wh.old"),
        file("t/dir/new"),
        Entry::directory("t/all"),
        file("t/all/.wh..wh..opq"),
        file("t/all/new"),
        file("t/.wh.back"),
        file("t/back"),
        // A directory in the place of what the whiteout hides is opaque.
        file("t/.wh.again"),
        Entry::directory("t/again"),
        file("t/again/new"),
        file("./t/.wh.implied"),
        file("t/implied/new"),
        file("t/merged/new"),
        file("t/to-dir/new"),
        file("t/to-file"),
        Entry::symlink("t/link", "keep"),
        file("t/.wh.link"),
        file("t/a/.wh.b"),
        file("t/a/b/c/new"),
        file("t/.wh.never"),
        Entry { kind: b'5', ..file("/t/.wh.never-too/") },
    ];
    let wanted = [
        "t/",
        "t/a/",
        "t/a/b/",
        "t/a/b/c/",
        "t/a/b/c/new t/a/b/c/new",
        "t/again/",
        "t/again/new t/again/new",
        "t/all/",
        "t/all/new t/all/new",
        "t/back t/back",
        "t/dir/",
        "t/dir/new t/dir/new",
        "t/implied/",
        "t/implied/new t/implied/new",
        "t/keep t/keep",
        "t/link -> keep",
        "t/merged/",
        "t/merged/new t/merged/new",
        "t/merged/old t/merged/old",
        "t/to-dir/",
        "t/to-dir/new t/to-dir/new",
        "t/to-file t/to-file",
    ];
    for case in 0..30 {
        let mut chance = Chance(case);
        let mut entries = upper.to_vec();
        for last in (1..entries.len()).rev() {
            entries.swap(last, chance.below(last + 1));
        }
        let place = Place::new();
        place.unpack(&lower.map(file), 0).expect("the lower layer");
        let names = || entries.iter().map(|it| String::from_utf8_lossy(&it.name));
        let names = names().collect::<Vec<_>>();
        place.unpack(&entries, 1).unwrap_or_else(|error| panic!("{names:?}: {error:#}"));
        let Some(found) = place.merged(2) else { return };
        assert_eq!(found, wanted, "{names:?}");
    }
}

/// Overlay lists such a whiteout as a file that nobody can open, unless its directory has
/// an attribute.
#[test]
fn a_whiteout_of_nothing_does_not_show() {
    const NAME: &str = "a_whiteout_of_nothing_does_not_show";
    if !enter(Ids::One, NAME) {
        return;
    }
    let place = Place::new();
    let file = |name: &str| Entry::file(name, "");
    let entries = [
        file(".wh.x"),
        file("d/.wh.x"),
        file(".wh.e"),
        file("e/.wh.y"),
        file("f/.wh..wh..opq"),
        file("f/.wh.x"),
    ];
    place.unpack(&[file("e/y"), file("f/x")], 0).expect("the lower layer");
    place.unpack(&entries, 1).expect("a good layer");
    let Some(found) = place.merged(2) else { return };
    assert_eq!(found, ["d/", "e/", "f/"]);
}

#[test]
fn an_entry_may_come_again_as_another_type() {
    const NAME: &str = "an_entry_may_come_again_as_another_type";
    if !enter(Ids::One, NAME) {
        return;
    }
    let of = |kind: &str| -> Vec<Entry> {
        match kind {
            "file" => vec![Entry::file("x", "file")],
            "directory" => vec![Entry::directory("x"), Entry::file("x/in", "new")],
            "implied" => vec![Entry::file("x/in", "new")],
            "link" => vec![Entry::symlink("x", "/etc")],
            "pipe" => vec![Entry::new(b'6', "x")],
            "hard" => vec![Entry::hard_link("x", "y")],
            "whiteout" => vec![Entry::file(".wh.x", "")],
            _ => vec![Entry::directory("x"), Entry::file("x/.wh..wh..opq", "")],
        }
    };
    let kinds = ["file", "directory", "implied", "link", "pipe", "hard", "whiteout", "opaque"];
    for (first, second) in kinds.iter().flat_map(|a| kinds.map(|b| (*a, b))) {
        let place = Place::new();
        let old = [Entry::file("x/old", "old"), Entry::file("y", "y")];
        place.unpack(&old, 0).expect("the lower layer");
        let entries = [vec![Entry::file("y", "y")], of(first), of(second)].concat();
        let unpacked = place.unpack(&entries, 1);
        let is_dir = |kind| matches!(kind, "directory" | "implied" | "opaque");
        // A file below another kind of file, without an entry for its directory.
        if second == "implied" && !is_dir(first) && first != "whiteout" {
            let line = common::one_line(&unpacked.expect_err(first));
            let why = "entry x/in: its path leads through x, which is a symbolic link or a file";
            assert_eq!(line, why);
            continue;
        }
        unpacked.unwrap_or_else(|error| panic!("{first}, {second}: {error:#}"));
        // A whiteout is no entry.
        let shown = if second == "whiteout" { first } else { second };
        let is_merged = [first, second].iter().all(|it| matches!(*it, "directory" | "implied"));
        let mut wanted = match shown {
            "file" => vec!["x file"],
            "directory" | "implied" => vec!["x/", "x/in new"],
            "link" => vec!["x -> /etc"],
            "pipe" => vec!["x special"],
            "hard" => vec!["x y"],
            "whiteout" => vec![],
            _ if is_dir(first) && first != "opaque" => vec!["x/", "x/in new"],
            _ => vec!["x/"],
        };
        if is_merged {
            wanted.push("x/old old");
        }
        wanted.push("y y");
        let Some(found) = place.merged(2) else { return };
        assert_eq!(found, wanted, "{first}, then {second}");
    }
}

/// The error line of a layer.
fn refused_layer(entries: &[Entry]) -> String {
    let place = Place::new();
    let outside = place.0.path().join("outside");
    fs::create_dir(&outside).expect("make");
    fs::write(outside.join("canary"), "alive").expect("write");
    let refused = place.unpack(entries, 0).expect_err("it is refused");
    assert_eq!(fs::read(outside.join("canary")).expect("it is there"), b"alive");
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 1);
    common::one_line(&refused)
}

#[test]
fn a_hostile_layer_is_refused_in_one_line() {
    const NAME: &str = "a_hostile_layer_is_refused_in_one_line";
    if !enter(Ids::One, NAME) {
        return;
    }
    let file = |name: &str| Entry::file(name, "");
    let link = || Entry::symlink("t", "../outside");
    let through = "its path leads through t, which is a symbolic link or a file";
    let long = |name: &str| {
        [Entry { data: name.into(), ..Entry::new(b'L', "") }, Entry::file("x", "")].to_vec()
    };
    let no_name = "it is a whiteout, but names no entry";
    for (entries, line) in [
        (vec![file("../x")], "entry ../x: it has .. in its path".to_owned()),
        (vec![file("a/../../x")], "entry a/../../x: it has .. in its path".to_owned()),
        (vec![file("/../x")], "entry /../x: it has .. in its path".to_owned()),
        (vec![link(), file("t/canary")], format!("entry t/canary: {through}")),
        (vec![link(), file("t/.wh.canary")], format!("entry t/.wh.canary: {through}")),
        (vec![link(), file("t/.wh..wh..opq")], format!("entry t/.wh..wh..opq: {through}")),
        (
            vec![Entry::directory("t"), file("t/x"), link(), file("t/x")],
            format!("entry t/x: {through}"),
        ),
        (
            vec![link(), Entry::hard_link("x", "t/canary")],
            format!("entry x: hard link to t/canary: {through}"),
        ),
        (
            vec![Entry::hard_link("x", "/../outside/canary")],
            "entry x: hard link to /../outside/canary: it has .. in its path".to_owned(),
        ),
        (
            vec![Entry::hard_link("x", "lower")],
            "entry x: hard link to lower: no earlier entry has that name".to_owned(),
        ),
        // A whiteout is no entry, and a link to it would be another whiteout.
        (
            vec![file(".wh.y"), Entry::hard_link("x", "y")],
            "entry x: hard link to y: no earlier entry has that name".to_owned(),
        ),
        (vec![file(".wh.")], format!("entry .wh.: {no_name}")),
        (vec![file("a/.wh..")], format!("entry a/.wh..: {no_name}")),
        (vec![file(".wh...")], format!("entry .wh...: {no_name}")),
        (vec![file(".wh.a/b")], "entry .wh.a/b: its path leads through a whiteout".to_owned()),
        (
            vec![file(".wh..wh..opq")],
            "entry .wh..wh..opq: it hides all lower layers, and an overlay cannot".to_owned(),
        ),
        (
            vec![Entry::new(b'M', "x")],
            "entry x: a root cannot have this kind of entry: M".to_owned(),
        ),
        (
            long(&"d/".repeat(1001)),
            format!("entry {}…: it is more than 200 directories deep", "d/".repeat(60)),
        ),
        (
            vec![Entry { declared: Some(2 << 20), ..Entry::new(b'x', "x") }],
            "an entry has extended headers of 2097152 bytes".to_owned(),
        ),
        (
            vec![file("a"), Entry { declared: Some(1 << 40), ..file("b") }],
            "entry b: its files are larger than a root may be".to_owned(),
        ),
    ] {
        assert_eq!(refused_layer(&entries), line);
    }
}

#[test]
fn a_bomb_is_refused_before_it_fills_the_disk() {
    const NAME: &str = "a_bomb_is_refused_before_it_fills_the_disk";
    if !enter(Ids::One, NAME) {
        return;
    }
    let place = Place::new();
    let start = tar(&[Entry { declared: Some(1 << 30), ..Entry::file("a", "") }]);
    let blob = [gz(&start[..512]), gz(&vec![0; 1 << 20]).repeat(1024)].concat();
    let refused = place.blob(&blob, &digest(&blob), &digest(b""), 0).expect_err("it is refused");
    assert!(common::one_line(&refused).ends_with("its files are larger than a root may be"));
    // Zeros after the end, which become no file.
    let blob = [gz(&tar(&[Entry::directory("a")])), gz(&vec![0; 1 << 20]).repeat(1024)].concat();
    let refused = place.blob(&blob, &digest(&blob), &digest(b""), 1).expect_err("it is refused");
    assert_eq!(common::one_line(&refused), "its files are larger than a root may be");
    let many: Vec<_> = (0..61).map(|n| Entry::file(&n.to_string(), "")).collect();
    let why = "it has more than 60 entries and directories";
    assert_eq!(refused_layer(&many), why);
    let whiteouts: Vec<_> = (0..61).map(|n| Entry::file(&format!("{n}/.wh.x"), "")).collect();
    assert!(refused_layer(&whiteouts).ends_with(why));
}

#[test]
fn names_of_aufs_and_device_nodes_are_left_out() {
    const NAME: &str = "names_of_aufs_and_device_nodes_are_left_out";
    if !enter(Ids::One, NAME) {
        return;
    }
    let place = Place::new();
    let notes = place.unpack(
        &[
            Entry::directory(".wh..wh.plnk"),
            Entry::file(".wh..wh.plnk/1.2", ""),
            Entry::file(".wh..wh.plnk/.wh.x", ""),
            Entry::hard_link("d/.wh..wh.aufs", ".wh..wh.aufs"),
            Entry::file(".wh..wh.", ""),
            // Overlay would take this device node for a whiteout.
            Entry::new(b'3', "zero"),
            Entry::new(b'4', "disk"),
        ],
        0,
    );
    let notes = notes.expect("a good layer");
    assert_eq!(
        notes.lines().collect::<Vec<_>>(),
        ["left out 2 device nodes, the first is zero; a container gets its own"]
    );
    assert_eq!(fs::read_dir(place.layer(0)).expect("list").count(), 0);
}

#[test]
fn a_digest_that_is_wrong_is_named_with_the_right_one() {
    const NAME: &str = "a_digest_that_is_wrong_is_named_with_the_right_one";
    if !enter(Ids::One, NAME) {
        return;
    }
    let zero = Digest::parse(&"0".repeat(64)).expect("a digest");
    let (tar, zst) = (plain(&seed("pax.tar.zst")), seed("pax.tar.zst"));
    let blobs = [tar.clone(), gz(&tar), zst];
    for (number, blob) in blobs.iter().enumerate() {
        let place = Place::new();
        for algorithm in [Sha256, Sha512] {
            let (a, b) = (Digest::of_bytes(blob, algorithm), Digest::of_bytes(&tar, algorithm));
            let unpacked = unpacked_blob(&place, blob, &a, &b);
            unpacked.unwrap_or_else(|error| panic!("{number}: {error:#}"));
        }
        let (right, diff_id) = (digest(blob), digest(&tar));
        let refused = |blob: &[u8], a: &Digest, b: &Digest| {
            common::one_line(&unpacked_blob(&place, blob, a, b).expect_err("it is refused"))
        };
        let said = |found: &Digest, wanted: &Digest| {
            format!("its digest is {}, and not {}", found.oci(), wanted.oci())
        };
        assert_eq!(refused(blob, &zero, &diff_id), said(&right, &zero));
        let line = format!(
            "the digest of its archive is {}, and not the diff_id {}",
            diff_id.oci(),
            zero.oci()
        );
        assert_eq!(refused(blob, &right, &zero), line);
        // The digest is the reason, and not what it makes of the archive. All bytes count,
        // to the end of the file.
        for changed in [
            &blob[..blob.len() - 1],
            &blob[..300],
            &[blob, &b"x"[..]].concat(),
            &[&b"x"[..], blob].concat(),
            b"",
        ] {
            assert_eq!(refused(changed, &right, &diff_id), said(&digest(changed), &right));
        }
    }
}

/// Unpacks a blob into a new directory, and removes it.
fn unpacked_blob(place: &Place, blob: &[u8], digest: &Digest, diff_id: &Digest) -> Result<()> {
    let file = place.0.path().join("blob");
    fs::write(&file, blob).expect("write");
    let root = place.layer(0);
    fs::create_dir(&root).expect("make");
    let dir = File::open(&root).expect("open");
    let file = File::open(file).expect("open");
    let unpacked = unpack_layer(&file, digest, diff_id, &dir, Limits::GENEROUS);
    common::remove_tree(&root).expect("remove");
    unpacked.map(drop)
}

#[test]
fn a_layer_may_end_without_zeros_and_a_root_may_not() {
    const NAME: &str = "a_layer_may_end_without_zeros_and_a_root_may_not";
    if !enter(Ids::One, NAME) {
        return;
    }
    let whole = tar(&[Entry { owner: (0, 0), ..Entry::file("a", "x") }]);
    let place = Place::new();
    // Without the end, and without the padding of the last file.
    for (number, length) in [1024, 513, 700].into_iter().enumerate() {
        place.tar(&whole[..length], number).expect("a complete layer");
        assert_eq!(fs::read(place.layer(number).join("a")).expect("read"), b"x");
        let root = place.layer(number + 10);
        fs::create_dir(&root).expect("make");
        unpack_bytes(&whole[..length], &root, SMALL).expect_err("it is cut off");
    }
    for (number, length) in [300, 512].into_iter().enumerate() {
        let refused = place.tar(&whole[..length], number + 20).expect_err("it is cut off");
        assert!(common::one_line(&refused).ends_with("it is cut off"));
    }
}

#[test]
fn a_file_system_without_attributes_is_named() {
    const NAME: &str = "a_file_system_without_attributes_is_named";
    if !enter(Ids::One, NAME) {
        return;
    }
    let place = Place::new();
    let ram = place.0.path().join("ram");
    fs::create_dir(&ram).expect("make");
    mount(Some("ramfs"), &ram, Some("ramfs"), MsFlags::empty(), None::<&str>).expect("mount");
    let layer = tar(&[Entry { owner: (0, 0), ..Entry::file("d/.wh..wh..opq", "") }]);
    let blob = place.0.path().join("blob");
    fs::write(&blob, &layer).expect("write");
    let (blob, root) = (File::open(blob).expect("open"), File::open(&ram).expect("open"));
    let refused = unpack_layer(&blob, &digest(&layer), &digest(&layer), &root, LIMITS);
    drop(root);
    umount(&ram).expect("unmount");
    assert_eq!(
        common::one_line(&refused.expect_err("it has no attributes")),
        "entry d/.wh..wh..opq: set user.overlay.opaque, which needs a file system with attributes of users: Operation not supported on transport endpoint"
    );
}

/// A layer with everything, for mutations.
fn everything() -> Vec<u8> {
    let more = [
        Entry::file("t/.wh.gone", ""),
        Entry::file("t/.wh.d", ""),
        Entry::directory("t/d"),
        Entry::file("t/d/.wh..wh..opq", ""),
        Entry::file("t/again", ""),
        Entry::directory("t/again"),
        Entry::symlink("t/again", "../../outside"),
        Entry::new(b'3', "t/null"),
        Entry::file(".wh..wh.aufs", ""),
        Entry::pax(&[("path", b"t/long"), ("SCHILY.xattr.user.overlay.opaque", b"y")]),
        Entry::directory("t/x"),
    ];
    tar(&[kept(), more.into()].concat())
}

/// The names that a mutation brings in.
const NAMES: [&[u8]; 12] = [
    b".wh.", b".wh..", b".wh...", b".wh..wh..opq", b"t/.wh.again", b"../outside/canary", b"/t",
    b"t/again/canary", b"bin/.wh.su", b".wh.t", b"t", b".",
];

fn mutated(whole: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut layer = whole.to_vec();
    let headers = limits::headers(&layer);
    for _ in 0..chance.below(3) {
        let at = headers[chance.below(headers.len())];
        // The name, or the target of a link.
        let field = &mut layer[at + [0, 157][chance.below(2)]..][..100];
        let name = NAMES[chance.below(NAMES.len())];
        field.fill(0);
        field[..name.len()].copy_from_slice(name);
    }
    limits::sum(&mut layer);
    if chance.below(4) > 0 {
        layer = limits::mutate(&layer, chance);
    }
    if chance.below(16) == 0 {
        layer.truncate(chance.below(layer.len()));
    }
    layer
}

/// `LAYER_CASES` sets the number of layers.
#[test]
fn no_mutated_layer_does_harm() {
    const NAME: &str = "no_mutated_layer_does_harm";
    if !enter(Ids::Many, NAME) {
        return;
    }
    let cases = std::env::var("LAYER_CASES").map_or(300, |it| it.parse().expect("a number"));
    let place = Place::new();
    let (outside, root) = (place.0.path().join("outside"), place.layer(0));
    fs::create_dir(&outside).expect("make");
    fs::write(outside.join("canary"), "alive").expect("write");
    let look = || {
        [outside.clone(), outside.join("canary")].map(|path| {
            let found = fs::symlink_metadata(path).expect("look");
            (found.mode(), found.uid(), found.nlink(), found.ctime(), found.ctime_nsec())
        })
    };
    let before = look();
    let whole = everything();
    let memory = rustix::fs::memfd_create("blob", rustix::fs::MemfdFlags::CLOEXEC);
    let blob = File::from(memory.expect("memory"));
    let (mut unpacked, mut reasons) = (0, std::collections::BTreeMap::<_, u32>::new());
    for case in 0..cases {
        let layer = mutated(&whole, &mut Chance(case));
        blob.set_len(layer.len() as u64).expect("truncate");
        blob.write_all_at(&layer, 0).expect("write");
        let right = digest(&layer);
        fs::create_dir(&root).expect("make");
        let dir = File::open(&root).expect("open");
        let result = unpack_layer(&blob, &right, &right, &dir, LIMITS);
        // Overlay takes what was unpacked.
        if result.is_ok() && unpacked < 50 {
            for name in place.merged(1).into_iter().flatten() {
                assert!(!name.contains(".wh."), "case {case}: {name}");
            }
            for dir in ["empty", "merged"] {
                fs::remove_dir(place.0.path().join(dir)).expect("remove");
            }
        }
        common::remove_tree(&root).expect("remove");
        let names = fs::read_dir(place.0.path()).expect("list").count();
        assert_eq!((names, look()), (1, before), "case {case} made or changed something outside");
        match result {
            Ok(_) => unpacked += 1,
            Err(error) => {
                let line = common::printable(&common::one_line(&error)).to_string();
                assert!(line.len() < 1000 && !line.contains('\n'), "case {case}: {line}");
                let cause = error.root_cause().to_string();
                let start = cause.split([':', ';', ',']).next();
                *reasons.entry(start.unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    let (refused, kinds) = (cases - unpacked, reasons.len());
    let _ = writeln!(
        stderr(),
        "{NAME}: {cases} tried, {unpacked} unpacked, {refused} refused, for {kinds} reasons"
    );
    // Otherwise the mutations make only layers that prove nothing.
    assert!(cases < 200 || unpacked > 20 && kinds > 8, "{reasons:?}");
}
