//! Hostile registries: one line, and nothing that stays.

use serde_json::{Value, json};

use crate::registry::{Answer, Files, OCI, Registry, digest, layer};
use crate::{Place, refusal, sole_refusal};

/// Changes the manifest of an image with the layers `one` and `two`.
fn with(change: impl Fn(&mut Files, &mut Value)) -> Files {
    let mut files = Files::default();
    let mut document = files.document(&OCI, crate::registry::ARCH, &["one", "two"]);
    change(&mut files, &mut document);
    files.manifest(&document, "1");
    files
}

fn is_refused(files: Files, words: &[&str]) {
    let registry = Registry::with(files);
    let place = Place::new();
    sole_refusal(&place.pull(&[&registry.reference("1")]), words);
    place.is_clean();
}

/// Changes the files, or the manifest.
type Change<'a> = &'a dyn Fn(&mut Files, &mut Value);

#[test]
fn a_document_that_lies_is_refused() {
    let one = || format!("/v2/a/blobs/{}", digest(&layer("one")));
    let owner = "tell the owner of the registry";
    let long = "x".repeat(100_000);
    let cases: [(Change<'_>, &[&str]); _] = [
        (&|files, _| drop(files.0.insert(one(), layer("oNe"))), &["its digest is sha256:", owner]),
        (&|files, _| drop(files.0.insert(one(), vec![1])), &["it has 1 bytes, and not ", owner]),
        (&|files, _| drop(files.0.insert(one(), vec![1; 9999])), &["it is longer than ", owner]),
        (&|files, _| drop(files.0.remove(&one())), &["status 404"]),
        (&|_, it| it["layers"][0]["size"] = json!(1), &["it is longer than 1 bytes"]),
        (&|_, it| it["layers"][0]["size"] = json!(9999), &["bytes, and not 9999"]),
        (&|_, it| it["layers"][0]["size"] = json!(u64::MAX), &["its layers have more than 16 GiB"]),
        (&|_, it| it["layers"][0]["size"] = json!(-1), &["read the manifest", "-1"]),
        (&|_, it| it["layers"][0]["digest"] = json!("sha256:../../x"), &["is not a digest"]),
        (&|_, it| it["layers"][0]["digest"] = json!(format!("md5:{long}")), &["is not a digest"]),
        (&|_, it| it["layers"][0] = json!(long), &["read the manifest"]),
        (
            &|_, it| it["layers"][1] = json!({"mediaType": it["layers"][0]["mediaType"], "digest": it["layers"][0]["digest"], "size": 7}),
            &["two sizes"],
        ),
        (
            &|_, it| it["layers"] = json!(vec![it["layers"][0].clone(); 1000]),
            &["it has 1000 layers"],
        ),
        (
            &|_, it| {
                it["layers"][0]["mediaType"] =
                    json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
            },
            &["foreign layer"],
        ),
        (
            &|_, it| it["config"]["size"] = json!(1_u64 << 40),
            &["its configuration has 1099511627776 bytes"],
        ),
        (
            &|_, it| it["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"),
            &["this is no image"],
        ),
        (
            &|files, it| {
                it["config"] = files.blob(b"[", it["config"]["mediaType"].as_str().expect("a type"))
            },
            &["read the configuration"],
        ),
        (&|_, it| it["manifests"] = json!([]), &["it is an index, too"]),
        (&|_, it| *it = json!({"schemaVersion": 1, "fsLayers": []}), &["it has no configuration"]),
        (&|_, it| *it = json!([[]]), &["it has no configuration"]),
        (&|_, it| *it = json!({"manifests": 7}), &["read the manifest", "invalid type"]),
        (&|_, it| *it = json!({"manifests": []}), &["only for none"]),
    ];
    for (change, words) in cases {
        is_refused(with(change), words);
    }
    let mut text = with(|_, _| {});
    text.0.insert("/v2/a/manifests/1".to_owned(), "[".repeat(1 << 20).into_bytes());
    is_refused(text, &["read the manifest sha256:"]);
}

#[test]
fn a_manifest_that_is_another_is_refused() {
    // The index names a digest, and the registry sends other bytes for it.
    let nested = |size: Value| {
        with(|files, document| {
            let mut image = files.manifest(document, "inner");
            if !size.is_null() {
                image["size"] = size.clone();
            }
            *document = json!({"manifests": [image]});
        })
    };
    let inner = |files: &Files| {
        let name = files.0.keys().filter(|it| it.contains("/manifests/sha256:"));
        name.cloned().collect::<Vec<_>>()
    };
    let mut files = nested(Value::Null);
    for name in inner(&files) {
        files.0.insert(name, b"{}".to_vec());
    }
    is_refused(files, &["check http://", "its digest is sha256:"]);
    is_refused(nested(json!(7)), &["read the manifest sha256:", "bytes, and not 7"]);
    let by_digest = format!("a@{}", digest(b"other"));
    let registry = Registry::new(|_, _| Answer::File(b"{}".to_vec()));
    let place = Place::new();
    let output = place.pull(&[&format!("{}/{by_digest}", registry.address)]);
    sole_refusal(&output, &["check http://", "its digest is sha256:"]);
}

#[test]
fn an_index_that_never_ends_is_left() {
    // Each index names the next. The last is no index.
    let mut files = Files::default();
    let mut next = files.image(&OCI, "1", &["one"]);
    for _ in 0..5 {
        next = files.manifest(&json!({"mediaType": OCI.index, "manifests": [next]}), "1");
    }
    is_refused(files, &["it is in more than 4 indexes"]);
    // An index cannot name itself by its digest, but a registry can say so.
    let own = digest(b"x");
    let index = json!({"manifests": [{"digest": own, "size": 1}]}).to_string();
    let registry = Registry::new(move |_, _| Answer::File(index.clone().into_bytes()));
    let place = Place::new();
    sole_refusal(&place.pull(&[&registry.reference("1")]), &[&own, "its digest is"]);
    assert_eq!(registry.asked("").len(), 2);
    place.is_clean();
}

#[test]
fn an_answer_without_an_end_is_left() {
    let files = with(|_, _| {});
    for part in ["/manifests/", "/blobs/", "/token"] {
        let files = files.clone();
        let registry = Registry::new(move |request, _| match request.path.contains(part) {
            true => Answer::Endless,
            false if part == "/token" => Answer::challenge("Bearer realm=\"REALM\""),
            false => files.answer(&request.path),
        });
        let place = Place::new();
        sole_refusal(&place.pull(&[&registry.reference("1")]), &["it is longer than "]);
        place.is_clean();
    }
}

#[test]
fn a_file_without_certificates_is_told() {
    let place = Place::new();
    let file = place.0.path().join("home/ca.pem");
    let option = format!("--ca={}", file.display());
    sole_refusal(&place.pull(&["localhost/a", &option]), &["read the certificates in", "ca.pem"]);
    std::fs::write(&file, "no certificate").expect("write");
    sole_refusal(&place.pull(&["localhost/a", &option]), &["ca.pem: it has no certificate"]);
}

#[test]
fn redirects_without_an_end_are_left() {
    let registry = Registry::new(|request, _| Answer::redirect(&request.path));
    let place = Place::new();
    sole_refusal(&place.pull(&[&registry.reference("1")]), &["more than 10 redirects"]);
    assert_eq!(registry.asked("").len(), 11);
    for to in ["ftp://127.0.0.1/x", "http://", "http://[", "http:///x"] {
        let registry = Registry::new(move |_, _| Answer::redirect(to));
        refusal(&place.pull(&[&registry.reference("1")]), &["fetch http://"]);
    }
    place.is_clean();
}

#[test]
fn a_missing_image_is_told_in_the_words_of_the_registry() {
    let registry = Registry::with(Files::default());
    let place = Place::new();
    let words = ["status 404 (MANIFEST_UNKNOWN: manifest unknown)", "check the reference"];
    sole_refusal(&place.pull(&[&registry.reference("1")]), &words);
    assert_eq!(registry.asked("").len(), 1);
    place.is_clean();
}
