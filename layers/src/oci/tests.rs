use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use testkit::Scratches;

use super::*;
use crate::digest::Algorithm::{Sha256, Sha512};
use crate::unpack::tests::limits::Chance;

/// A layout in a directory.
struct Made(Scratches);

impl Made {
    fn new() -> Made {
        let made = Made(testkit::tempdir());
        for algorithm in ["sha256", "sha512"] {
            fs::create_dir_all(made.at("blobs").join(algorithm)).expect("make");
        }
        made.write("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#);
        made.write("index.json", br#"{"schemaVersion": 2, "manifests": []}"#);
        made
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at(name), bytes).expect("write");
    }

    fn open(&self) -> Layout {
        Layout::open(self.0.path()).expect("open")
    }

    fn blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of_bytes(bytes, Sha256);
        self.write(&path(&digest), bytes);
        described(digest, bytes.len() as u64)
    }

    /// The error line of a reader, without the path of the layout.
    fn refused<T>(&self, read: impl FnOnce(&Layout) -> Result<T>) -> String {
        let Err(error) = Layout::open(self.0.path()).and_then(|layout| read(&layout)) else {
            panic!("it is not refused");
        };
        let line = common::printable(&common::one_line(&error));
        assert!(line.len() < 600 && !line.contains('\n'), "{line}");
        line.replace(&self.0.path().display().to_string(), "AT")
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{digest}", digest.algorithm().oci())
}

fn described(digest: Digest, size: u64) -> Descriptor {
    let media_type = String::new();
    Descriptor { media_type, digest, size, platform: None, annotations: BTreeMap::new() }
}

#[test]
fn a_file_that_is_no_file_is_refused_without_waiting() {
    type Make = fn(&Path);
    let kinds: [(&str, Make); 4] = [
        ("No such file or directory", |_| {}),
        ("it is not a file", |path| mkfifo(path, Mode::S_IRWXU).expect("make a FIFO")),
        ("it is not a file", |path| fs::create_dir(path).expect("make")),
        // Even one that leads to the right bytes.
        ("it is a symbolic link, and not a file", |path| symlink("right", path).expect("link")),
    ];
    for (why, make) in kinds {
        let made = Made::new();
        let right = made.blob(b"{}");
        let replace = |name: &str| {
            let right = made.at(name).with_file_name("right");
            fs::rename(made.at(name), right).expect("move");
            make(&made.at(name));
        };
        replace("index.json");
        assert_eq!(made.refused(Layout::index), format!("read AT/index.json: {why}"));
        replace(&path(&right.digest));
        let blob = format!("open blob {} of AT: {why}", right.digest.oci());
        assert_eq!(made.refused(|it| it.blob(&right)), blob);
        assert_eq!(made.refused(|it| it.document::<serde_json::Value>(&right)), blob);
        replace("oci-layout");
        let line = made.refused(|_| Ok(()));
        let missing = "open the image layout AT: it has no file oci-layout, so it is not an image";
        assert!(
            line == format!("read AT/oci-layout: {why}") || line.starts_with(missing),
            "{line}"
        );
    }
}

#[test]
fn a_place_that_is_no_layout_is_named() {
    let made = Made::new();
    let fifo = made.at("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("make a FIFO");
    let refused = |path: &Path| common::one_line(&Layout::open(path).err().expect("refused"));
    let at = made.0.path().display();
    let no_directory = format!("open the image layout {at}/fifo: it is not a directory; ");
    assert!(refused(&fifo).starts_with(&no_directory));
    let missing = refused(&made.at("missing"));
    assert!(missing.starts_with(&format!("open the image layout {at}/missing: it is missing")));
    for (version, why) in [
        (
            r#"{"imageLayoutVersion": "2.0.0"}"#,
            "open the image layout AT: its version 2.0.0 is not 1",
        ),
        (
            r#"{"imageLayoutVersion": 1}"#,
            "read AT/oci-layout: invalid type: integer `1`, expected a string",
        ),
        ("{}", "read AT/oci-layout: missing field `imageLayoutVersion`"),
        ("", "read AT/oci-layout: EOF while parsing a value"),
        ("[[", "read AT/oci-layout: "),
        ("\u{1b}[2J\n", "read AT/oci-layout: expected value"),
    ] {
        made.write("oci-layout", version.as_bytes());
        let line = made.refused(|_| Ok(()));
        assert!(line.starts_with(why), "{line}");
    }
    let long = format!(r#"{{"imageLayoutVersion": "{}"}}"#, "x\\n".repeat(1 << 20));
    made.write("oci-layout", long.as_bytes());
    made.refused(|_| Ok(()));
    // A directory of another place in the place of the blobs.
    let made = Made::new();
    let right = made.blob(b"{}");
    for name in ["blobs/sha256", "blobs"] {
        let away = made.at("away").with_extension(name.replace('/', "-"));
        fs::rename(made.at(name), &away).expect("move");
        symlink(&away, made.at(name)).expect("link");
        let line = made.refused(|it| it.blob(&right));
        assert!(line.ends_with(" of AT: Not a directory"), "{line}");
    }
}

#[test]
fn sizes_and_digests_that_lie_are_named() {
    let made = Made::new();
    let text = b"{\"manifests\": []}";
    let right = made.blob(text);
    made.open().document::<Index>(&right).expect("an index");
    let name = right.digest.oci();
    for size in [0, 16, 18, u64::MAX] {
        let wrong = Descriptor { size, ..right.clone() };
        let line = made.refused(|it| it.blob(&wrong));
        assert_eq!(line, format!("open blob {name} of AT: it has 17 bytes, and not {size}"));
        made.refused(|it| it.document::<Index>(&wrong));
    }
    made.write(&path(&right.digest), b"{\"manifests\": 1}\n");
    let found = Digest::of_bytes(b"{\"manifests\": 1}\n", Sha256).oci();
    let line = made.refused(|it| it.document::<Index>(&right));
    assert_eq!(line, format!("read blob {name} of AT: its digest is {found}"));
    // The digest of the other algorithm.
    let sha512 = described(Digest::of_bytes(text, Sha512), 17);
    made.write(&path(&sha512.digest), text);
    made.open().document::<Index>(&sha512).expect("an index");
    // Files with holes, which are larger than this machine.
    let sparse = |name: &str| {
        File::options()
            .write(true)
            .open(made.at(name))
            .expect("open")
            .set_len(1 << 43)
            .expect("grow");
    };
    sparse(&path(&right.digest));
    let giant = Descriptor { size: 1 << 43, ..right.clone() };
    let line = made.refused(|it| it.document::<Index>(&giant));
    assert_eq!(line, format!("read blob {name} of AT: its size is 8796093022208"));
    sparse("index.json");
    assert_eq!(made.refused(Layout::index), "read AT/index.json: it is longer than 4194304 bytes");
    sparse("oci-layout");
    assert_eq!(made.refused(|_| Ok(())), "read AT/oci-layout: it is longer than 4194304 bytes");
}

#[test]
fn odd_json_is_refused_in_one_line() {
    let hex = "0".repeat(64);
    let entry = |digest: &str, size: &str| {
        format!(r#"{{"manifests": [{{"mediaType": "x", "digest": {digest}, "size": {size}}}]}}"#)
    };
    let digest = |text: &str| entry(&format!("{text:?}"), "1");
    let made = Made::new();
    for (text, why) in [
        (digest("sha256:../../../../etc/passwd"), "is not a digest"),
        (digest(&format!("sha256:{}", "../".repeat(22)[..64].to_owned())), "is not a digest"),
        (digest(&format!("sha256/../{hex}")), "is not a digest"),
        (digest(&format!("sha256:{}", hex.replace('0', "A"))), "is not a digest"),
        (digest(&format!("sha512:{hex}")), "is not a digest"),
        (digest(&format!("md5:{}", &hex[..32])), "is not a digest"),
        (digest(&hex), "is not a digest"),
        (entry(&format!("\"sha256:{hex}\\u0000\""), "1"), "is not a digest"),
        (digest(&"x".repeat(1 << 20)), "is not a digest"),
        (entry("7", "1"), "invalid type: integer `7`"),
        (entry("null", "1"), "invalid type: null"),
        (entry(&format!("\"sha256:{hex}\""), "-1"), "invalid value: integer `-1`"),
        (entry(&format!("\"sha256:{hex}\""), "1.5"), "invalid type: floating point `1.5`"),
        (entry(&format!("\"sha256:{hex}\""), "1e99"), "invalid type: floating point"),
        (entry(&format!("\"sha256:{hex}\""), "99999999999999999999"), "invalid type"),
        (entry(&format!("\"sha256:{hex}\""), "\"1\""), "invalid type: string \"1\""),
        (r#"{"manifests": {}}"#.to_owned(), "invalid type: map"),
        (r#"{"manifests": "x"}"#.to_owned(), "invalid type: string"),
        (r#"{"manifests": [], "manifests": []}"#.to_owned(), "duplicate field `manifests`"),
        (format!(r#"{{"x": {}"#, "[".repeat(1 << 20)), "EOF while parsing a list"),
        (format!(r#"{{"x": {}"#, "{\"a\":".repeat(1 << 19)), "EOF while parsing"),
        (r#"{"manifests": []} x"#.to_owned(), "trailing characters"),
        ("\0".repeat(100), "expected value"),
    ] {
        made.write("index.json", text.as_bytes());
        let line = made.refused(Layout::index);
        let shown = short(&text);
        assert!(line.starts_with("read AT/index.json: ") && line.contains(why), "{shown}: {line}");
    }
    made.write("index.json", b"{\"manifests\": [\"\xff\xfe\"]}");
    made.refused(Layout::index);
    let deep = made.blob(format!(r#"{{"x": {}"#, "[".repeat(1 << 20)).as_bytes());
    let line = made.refused(|it| it.document::<Configuration>(&deep));
    assert!(line.contains("recursion limit exceeded"), "{line}");
    // Programs in Go write null for an empty list.
    for text in [r#"{"manifests": null}"#, "{}"] {
        made.write("index.json", text.as_bytes());
        assert!(made.open().index().expect("an index").manifests.is_empty());
    }
}

/// Documents of every kind.
fn documents() -> [String; 3] {
    let hex = "0123456789abcdef".repeat(4);
    let entry = |kind: &str| {
        format!(
            r#"{{"mediaType": "application/vnd.oci.image.{kind}", "digest": "sha256:{hex}", "size": 1234,
            "platform": {{"architecture": "arm64", "os": "linux", "variant": "v8"}},
            "annotations": {{"org.opencontainers.image.ref.name": "latest", "a": "b"}}}}"#
        )
    };
    let manifest = entry("manifest.v1+json");
    let (config, layer) = (entry("config.v1+json"), entry("layer.v1.tar+gzip"));
    [
        format!(r#"{{"schemaVersion": 2, "manifests": [{manifest}, {manifest}]}}"#),
        format!(r#"{{"schemaVersion": 2, "config": {config}, "layers": [{layer}, {layer}]}}"#),
        format!(
            r#"{{"architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": {{"Cmd": ["/bin/sh"], "Entrypoint": null, "Env": ["A=b"], "User": "1000:1000",
            "WorkingDir": "/t", "StopSignal": "SIGTERM", "Labels": {{"a": "b"}}}},
            "history": [{{"created_by": "x"}}], "rootfs": {{"type": "layers",
            "diff_ids": ["sha256:{hex}", "sha256:{hex}"]}}}}"#
        ),
    ]
}

/// Texts that a mutation puts in the place of others.
const TEXTS: [&str; 16] = [
    "null", "-1", "1e400", "18446744073709551616", "\"\"", "[]", "{}", "true", "\"../..\"",
    "\"\\u0000\"", "\"\\ud800\"", "[[[[", "{\"a\":", "sha256:", "sha512:", "\u{1b}[2J",
];

fn mutated(text: &str, chance: &mut Chance) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(text.len());
        // To the end of a word, of a value, or of all.
        let more = match chance.below(4) {
            0 => 1,
            1 => chance.below(text.len() - at),
            _ => text[at..].iter().position(|it| b",:}]".contains(it)).unwrap_or(1),
        };
        match chance.below(4) {
            0 => text[at] = chance.byte(),
            1 => drop(text.drain(at..at + more)),
            2 => {
                let part = text[at..at + more].to_vec();
                text.splice(at..at, part);
            }
            _ => drop(text.splice(at..at + more, TEXTS[chance.below(TEXTS.len())].bytes())),
        }
        if text.is_empty() {
            break;
        }
    }
    text
}

/// `DOCUMENT_CASES` sets the number of documents.
#[test]
fn no_mutated_document_does_harm() {
    let cases = std::env::var("DOCUMENT_CASES").map_or(1000, |it| it.parse().expect("a number"));
    let made = Made::new();
    let layout = made.open();
    let documents = documents();
    let blob = made.blob(b"");
    let blob = File::options().write(true).open(made.at(&path(&blob.digest))).expect("open");
    let (mut read, mut reasons) = (0, std::collections::BTreeSet::new());
    for case in 0..cases {
        let mut chance = Chance(case);
        let text = mutated(&documents[chance.below(3)], &mut chance);
        // The blob has a new name for each document.
        blob.set_len(text.len() as u64).expect("truncate");
        blob.write_all_at(&text, 0).expect("write");
        let digest = Digest::of_bytes(&text, Sha256);
        let named = made.at(&path(&digest));
        let old = made.at(&path(&Digest::of_bytes(b"", Sha256)));
        fs::hard_link(&old, &named).expect("link");
        let what = described(digest, text.len() as u64);
        let results = [
            layout.document::<Index>(&what).map(drop),
            layout.document::<Manifest>(&what).map(drop),
            layout.document::<Configuration>(&what).map(drop),
        ];
        if named != old {
            fs::remove_file(named).expect("remove");
        }
        for result in results {
            let Err(error) = result else {
                read += 1;
                continue;
            };
            let line = common::printable(&common::one_line(&error));
            assert!(line.len() < 600 && !line.contains(char::is_control), "case {case}: {line}");
            let cause = error.root_cause().to_string();
            reasons.insert(cause.chars().take(16).collect::<String>());
        }
    }
    let line = format!("{cases} documents tried, {read} read, {} reasons\n", reasons.len());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    assert!(cases < 1000 || read > 100 && reasons.len() > 10, "{reasons:?}");
}

#[test]
fn a_platform_runs_on_its_machine_and_on_later_ones() {
    let platform = |text: &str| {
        let mut parts = text.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next().expect("an os"), parts.next().expect("another"));
        Platform { architecture, os, variant: parts.next() }
    };
    for (found, machine, rank) in [
        ("linux/amd64", "linux/amd64", Some(0)),
        ("linux/amd64/v1", "linux/amd64", Some(1)),
        // Not each machine has what this needs.
        ("linux/amd64/v3", "linux/amd64", None),
        ("linux/amd64/v3", "linux/amd64/v3", Some(0)),
        ("linux/arm64/v8", "linux/arm64", Some(1)),
        ("linux/arm/v6", "linux/arm", Some(2)),
        ("linux/arm64", "linux/amd64", None),
        ("windows/amd64", "linux/amd64", None),
        ("unknown/unknown", "linux/amd64", None),
        ("/", "linux/amd64", None),
    ] {
        assert_eq!(platform(found).rank_on(&platform(machine)), rank, "{found} on {machine}");
        assert_eq!(platform(found).to_string(), found);
    }
    assert!(platform(&Platform::here().to_string()).rank_on(&Platform::here()).is_some());
}

#[test]
fn a_name_is_a_path_and_perhaps_a_tag() {
    let made = Made::new();
    let root = made.0.path().to_owned();
    let twin = root.with_file_name(format!("{}:x", root.file_name().expect("a name").display()));
    let tag = |rest: &str| {
        let name = format!("{}{rest}", root.display());
        Layout::open_named(Path::new(&name)).map(|(layout, tag)| (layout.path().to_owned(), tag))
    };
    assert_eq!(tag("").expect("a layout"), (root.clone(), None));
    for found in ["1.0", "docker.io/library/app:1.0", "x"] {
        let (path, told) = tag(&format!(":{found}")).expect("a layout");
        assert_eq!((path, told.as_deref()), (root.clone(), Some(found)));
    }
    // A path with a colon that exists counts first.
    fs::create_dir(&twin).expect("make");
    let told = tag(":x").map(|_| ()).expect_err("it is empty").to_string();
    fs::remove_dir(&twin).expect("remove");
    assert!(told.contains(":x: it has no file oci-layout"), "{told}");
    let told = tag("-gone:1:2").map(|_| ()).expect_err("it is missing").to_string();
    assert!(told.contains("-gone: it is missing"), "{told}");
}

#[test]
fn an_image_is_called_by_its_tag_or_by_the_end_of_a_reference() {
    let mut image = described(Digest::of_bytes(b"", Sha256), 0);
    assert!(!image.is_called("latest") && !image.is_called(""));
    for (tag, called) in [("1.0", true), ("app:1.0", true), ("11.0", false), ("1.0-x", false)] {
        image.annotations.insert(TAG.to_owned(), tag.to_owned());
        assert_eq!(image.is_called("1.0"), called, "{tag}");
    }
    let names: Vec<String> = (0..20).map(|n| n.to_string().repeat(300)).collect();
    let shown = some_of(&names);
    assert!(shown.ends_with(" and 8 more") && shown.len() < 2000, "{shown}");
    let none: [&str; 0] = [];
    assert_eq!((some_of(&["a", "b"]), some_of(&none)), ("a, b".into(), "none".into()));
}
