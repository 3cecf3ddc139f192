//! Images that are as they should be.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::{ALL, STEPS, bin, copy_program, stderr, stdout, tempdir, workspace};

use crate::registry::{ARCH, Answer, DOCKER, Files, OCI, Registry, digest, layer};
use crate::{Place, refusal, sole_refusal, succeeds, wait_for};

/// An index in the way of BuildKit: other machines and an attestation come first.
fn with_index(files: &mut Files, types: &crate::registry::Types) {
    let note = files.document(types, "unknown", &["no image"]);
    let note = files.manifest(&note, "note");
    let other = files.document(types, "s390x", &["s390x"]);
    let other = files.manifest(&other, "other");
    let ours = files.image(types, "ours", &["one", "two"]);
    let on = |image: &Value, os: &str, arch: &str| {
        let mut image = image.clone();
        image["platform"] = json!({"os": os, "architecture": arch});
        image
    };
    let list =
        [on(&note, "unknown", "unknown"), on(&other, "linux", "s390x"), on(&ours, "linux", ARCH)];
    let index = json!({"schemaVersion": 2, "mediaType": types.index, "manifests": list});
    files.manifest(&index, "1");
}

#[test]
fn an_image_of_both_families_becomes_a_layout() {
    for types in [OCI, DOCKER] {
        let mut files = Files::default();
        with_index(&mut files, &types);
        let registry = Registry::with(files);
        let place = Place::new();
        let said = succeeds(&place.pull(&[&registry.reference("1")]));
        let name = registry.reference("1");
        assert!(said.starts_with(&format!("image: {name} for linux/{ARCH} in ")), "{said}");
        assert!(said.ends_with("(2 of 2 layers fetched)"), "{said}");
        let [(tag, manifest)] = &place.images()[..] else { panic!("one image") };
        assert_eq!(
            (&**tag, &manifest["config"]["mediaType"]),
            ("1", &json!("application/vnd.oci.image.config.v1+json"))
        );
        let layers: Vec<_> = manifest["layers"].as_array().expect("a list").iter().collect();
        for (found, text) in layers.iter().zip(["one", "two"]) {
            assert_eq!(found["digest"], digest(&layer(text)));
            assert_eq!(found["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        }
        for request in registry.asked("/manifests/") {
            for kind in
                [OCI.index, DOCKER.index, "oci.image.manifest", "docker.distribution.manifest.v2"]
            {
                assert!(request.accept.contains(kind), "no {kind}: {}", request.accept);
            }
        }
        // The second time, only the manifests are fetched.
        let asked = registry.asked("/blobs/").len();
        let said = succeeds(&place.pull(&[&registry.reference("1")]));
        assert!(said.ends_with("(0 of 2 layers fetched)"), "{said}");
        assert_eq!((registry.asked("/blobs/").len(), asked), (3, 3));
        assert_eq!(place.tags(), ["1"]);
    }
}

#[test]
fn an_index_without_the_machine_names_those_that_it_has() {
    let mut files = Files::default();
    with_index(&mut files, &OCI);
    let registry = Registry::with(files);
    let (place, name) = (Place::new(), registry.reference("1"));
    let words =
        [&format!("for linux/mips, only for linux/{ARCH}, linux/s390x; name one"), "--platform"];
    sole_refusal(&place.pull(&[&name, "--platform=linux/mips"]), &words);
    place.is_clean();
    // The same for an image without an index.
    let words = ["for linux/mips: the image is for linux/", ARCH];
    sole_refusal(&place.pull(&[&registry.reference("ours"), "--platform=linux/mips"]), &words);
    place.is_clean();
    succeeds(&place.pull(&[&name, "--platform=linux/s390x"]));
    let [(_, manifest)] = &place.images()[..] else { panic!("one image") };
    assert_eq!(manifest["layers"][0]["digest"], digest(&layer("s390x")));
}

#[test]
fn another_tag_comes_beside_the_first() {
    let mut files = Files::default();
    let one = files.image(&OCI, "1", &["base", "one"]);
    files.image(&OCI, "2", &["base", "two"]);
    let registry = Registry::with(files);
    let place = Place::new();
    succeeds(&place.pull(&[&registry.reference("1")]));
    // What another program has written stays.
    let index = place.layout().join("index.json");
    let mut changed: Value =
        serde_json::from_slice(&fs::read(&index).expect("read")).expect("JSON");
    changed["annotations"] = json!({"other": "yes"});
    fs::write(&index, changed.to_string()).expect("write");
    let said = succeeds(&place.pull(&[&registry.reference("2")]));
    assert!(said.ends_with("(1 of 2 layers fetched)"), "{said}");
    assert_eq!(place.tags(), ["1", "2"]);
    assert!(fs::read_to_string(&index).expect("read").contains(r#""other":"yes""#));
    // By its digest, and by both: the digest counts.
    let of_one = one["digest"].as_str().expect("a digest");
    let name = registry.reference("2");
    succeeds(&place.pull(&[&format!("{}@{of_one}", &name[..name.len() - 2])]));
    succeeds(&place.pull(&[&format!("{name}@{of_one}")]));
    let images = place.images();
    let of = |tag: &str| &images.iter().find(|(it, _)| it == tag).expect(tag).1;
    assert_eq!(of(&of_one.replace(':', "-")), of("1"));
    assert_eq!((of("2"), images.len()), (of("1"), 3));
}

#[test]
fn a_layer_that_is_in_an_image_twice_is_fetched_once() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["same", "same", "same", "other"]);
    let registry = Registry::with(files);
    let place = Place::new();
    succeeds(&place.pull(&[&registry.reference("1")]));
    assert_eq!(registry.asked("/blobs/").len(), 3);
    assert_eq!(place.images()[0].1["layers"].as_array().map(Vec::len), Some(4));
}

#[test]
fn four_layers_come_at_once() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["1", "2", "3", "4", "5", "6"]);
    let count = AtomicUsize::new(0);
    let first: std::collections::BTreeSet<_> =
        ["1", "2", "3", "4"].map(|text| digest(&layer(text))).into();
    let registry = Registry::new(move |request, _| {
        // Each of the first layers waits for the others.
        if request.path.rsplit('/').next().is_some_and(|name| first.contains(name)) {
            count.fetch_add(1, Ordering::SeqCst);
            wait_for(|| count.load(Ordering::SeqCst) >= 4);
        }
        files.answer(&request.path)
    });
    succeeds(&Place::new().pull(&[&registry.reference("1")]));
}

#[test]
fn a_spoilt_blob_is_fetched_again() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one"]);
    let registry = Registry::with(files);
    let place = Place::new();
    succeeds(&place.pull(&[&registry.reference("1")]));
    let blob = place.layout().join(format!("blobs/{}", digest(&layer("one")).replace(':', "/")));
    let length = fs::metadata(&blob).expect("look").len();
    for spoilt in [vec![b'x'; usize::try_from(length).expect("short")], vec![b'x']] {
        fs::write(&blob, spoilt).expect("write");
        let output = place.pull(&[&registry.reference("1")]);
        assert!(succeeds(&output).ends_with("(1 of 1 layers fetched)"));
        assert!(stderr(&output).contains("its digest is wrong"), "{}", stderr(&output));
        place.images();
    }
}

#[test]
fn a_directory_that_is_no_layout_stays_as_it_is() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one"]);
    let registry = Registry::with(files);
    let place = Place::new();
    let layout = place.layout();
    fs::create_dir(&layout).expect("make");
    fs::write(layout.join("letter"), "x").expect("write");
    let output = place.pull(&[&registry.reference("1")]);
    sole_refusal(&output, &["it is not an image layout: it has letter", "--dest"]);
    assert_eq!(crate::names(&layout), ["letter"]);
    // A link leads to no other place.
    fs::remove_file(layout.join("letter")).expect("remove");
    std::os::unix::fs::symlink("../home", layout.join("blobs")).expect("link");
    sole_refusal(&place.pull(&[&registry.reference("1")]), &["layout/blobs"]);
    assert_eq!(crate::names(&place.0.path().join("home")), [""; 0]);
    fs::remove_file(layout.join("blobs")).expect("remove");
    fs::write(layout.join("index.json"), "{}").expect("write");
    sole_refusal(&place.pull(&[&registry.reference("1")]), &["index.json: it lists no manifests"]);
}

#[test]
fn a_reference_that_is_none_is_refused_in_one_line() {
    let place = Place::new();
    for name in ["../x", "localhost:5000/../x", "localhost:5000/x/../../y", "Alpine", "a:b:c"] {
        sole_refusal(&place.pull(&[name]), &["read the reference", name, "such as alpine:3.20"]);
    }
    sole_refusal(
        &place.pull(&["example.invalid/x"]),
        &["--insecure is for a registry on this machine"],
    );
    place.is_clean();
}

/// Only here is `images/` in the place of a learner's.
#[test]
fn run_pulls_an_image_that_is_not_there() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one"]);
    let registry = Registry::with(files);
    let checkout = tempdir();
    let root = checkout.path().canonicalize().expect("name it");
    let built = root.join("target/debug");
    fs::create_dir_all(&built).expect("make");
    for step in ALL.iter() {
        let manifest = format!("{step}/Cargo.toml");
        fs::create_dir(root.join(step)).expect("make");
        fs::copy(workspace().join(&manifest), root.join(&manifest)).expect("copy");
    }
    copy_program(&bin("xtask"), &built.join("xtask"));
    // In the place of the step.
    copy_program("/bin/echo".as_ref(), &built.join(STEPS[STEPS.len() - 1]));
    let xtask = |words: &[&str]| {
        let mut command = Command::new(built.join("xtask"));
        command.args(words).current_dir(&root).env_remove("CARGO").env("HOME", &root);
        command.env_remove("CONTAINER_ROOTFS");
        command.stdin(Stdio::null()).output().expect("start xtask")
    };
    // The image of the step's own option is a root.
    for word in ["--image=./a", "--image"] {
        let output = xtask(&["run", "--", "--pids", "9", word, "./a"]);
        assert_eq!(stdout(&output), format!("--pids 9 {word} ./a"), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
    }
    assert!(!root.join("rootfs").exists());
    let name = registry.reference("1");
    let layout = root.join(format!("images/{}+a", name[..name.len() - 4].replace(':', "_")));
    // `run` asks only by https, but this registry speaks plain HTTP.
    let output = xtask(&["run", "--image", &name, "--", "id"]);
    refusal(&output, &[&format!("pull {name}: fetch https://{name}")[..30], "--insecure"]);
    assert!(!layout.exists());
    succeeds(&xtask(&["pull", &name, "--insecure", "--timeout=120"]));
    let asked = registry.asked("").len();
    let output = xtask(&["run", "--image", &name, "--", "--pids", "9", "id", "-u"]);
    let at = |tag: &str| format!("--image {}:{tag}", layout.display());
    assert_eq!(stdout(&output), format!("{} --pids 9 id -u", at("1")), "{}", stderr(&output));
    assert_eq!(stdout(&xtask(&["run", "--image", &name])), at("1"));
    assert_eq!(registry.asked("").len(), asked, "no network");
    // A layout is taken as it is.
    for word in [
        &at("1")[8..],
        "./none",
        &format!("images/{}+a:1", name[..name.len() - 4].replace(':', "_")),
    ] {
        assert_eq!(
            stdout(&xtask(&["run", "--image", word, "--", "id"])),
            format!("--image {word} id")
        );
    }
}

#[test]
fn an_answer_that_may_pass_is_asked_for_again() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one"]);
    let registry = Registry::new(move |request, nth| match nth {
        0 => {
            let said = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\u001b down"}]}"#;
            Answer::Status(429, String::new(), said.to_owned())
        }
        _ => files.answer(&request.path),
    });
    let place = Place::new();
    let output = place.pull(&[&registry.reference("1"), "--timeout=12"]);
    succeeds(&output);
    let said = stderr(&output);
    assert!(
        said.contains(r"status 429 (TOOMANYREQUESTS: slow\u{1b} down); try again, 2 of 3"),
        "{said}"
    );
}
