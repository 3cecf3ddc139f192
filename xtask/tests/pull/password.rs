//! Passwords and tokens: the registry gets them, and nobody else.

use std::fs;

use serde_json::json;

use crate::registry::{Answer, Files, OCI, Registry};
use crate::{Place, refusal, sole_refusal, succeeds};

/// The user alice with the password secret.
const ALICE: &str = "YWxpY2U6c2VjcmV0";

/// Writes the password for a registry as podman does.
fn know(place: &Place, server: &str) {
    let dir = place.0.path().join("home/.config/containers");
    fs::create_dir_all(&dir).expect("make");
    let auths = json!({"auths": {server: {"auth": ALICE}}});
    fs::write(dir.join("auth.json"), auths.to_string()).expect("write");
}

fn files() -> Files {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one", "two"]);
    files
}

#[test]
fn a_password_is_sent_when_the_registry_asks_for_it() {
    let files = files();
    let registry =
        Registry::new(move |request, _| match *request.authorization == format!("Basic {ALICE}") {
            true => files.answer(&request.path),
            false => Answer::challenge("Basic realm=\"x\""),
        });
    let (place, name) = (Place::new(), registry.reference("1"));
    sole_refusal(&place.pull(&[&name]), &["status 401", "no password is known", "podman login"]);
    place.is_clean();
    know(&place, &registry.address.to_string());
    succeeds(&place.pull(&[&name]));
    assert_eq!(place.tags(), ["1"]);
    // A file of another place comes first.
    let file = place.0.path().join("auth.json");
    let wrong = json!({"auths": {registry.address.to_string(): {"auth": "eDp5"}}});
    fs::write(&file, wrong.to_string()).expect("write");
    let pull = || {
        let asked = registry.asked("").len();
        let output = place.command(&[&name]).env("REGISTRY_AUTH_FILE", &file).output();
        (output.expect("start xtask"), registry.asked("").len() - asked)
    };
    let (output, asked) = pull();
    sole_refusal(&output, &["status 401", "the password is wrong"]);
    assert_eq!(asked, 2);
    for text in ["{", "[]]"] {
        fs::write(&file, text).expect("write");
        sole_refusal(&pull().0, &["read the passwords in", "auth.json"]);
    }
    fs::remove_file(&file).expect("remove");
    sole_refusal(&pull().0, &["which REGISTRY_AUTH_FILE names: it is missing"]);
}

#[test]
fn a_helper_is_named_because_it_is_not_read() {
    let registry = Registry::new(|_, _| Answer::challenge("Basic realm=\"x\""));
    let place = Place::new();
    let docker = place.0.path().join("home/.docker");
    fs::create_dir_all(&docker).expect("make");
    fs::write(docker.join("config.json"), r#"{"credsStore":"desktop"}"#).expect("write");
    let words = [".docker/config.json names the credential helper desktop", "not read"];
    sole_refusal(&place.pull(&[&registry.reference("1")]), &words);
}

/// A registry with tokens: its own server gives them out.
fn with_tokens(needs_password: bool, token: &'static str) -> Registry {
    let files = files();
    Registry::new(move |request, _| {
        let knows = request.authorization == format!("Basic {ALICE}");
        if request.path.starts_with("/token?") {
            let is_scope =
                request.path.ends_with("?x=1&scope=repository%3Aa%3Apull&service=the%20one");
            return match knows || !needs_password {
                true if is_scope => {
                    Answer::File(json!({ "token": token }).to_string().into_bytes())
                }
                true => Answer::status(400),
                false => Answer::challenge("Basic realm=\"x\""),
            };
        }
        match &*request.authorization {
            "Bearer good" => files.answer(&request.path),
            "" => Answer::challenge(
                "Bearer realm=\"REALM\",service=\"the one\",scope=\"repository:a:pull\"",
            ),
            _ => Answer::challenge("Bearer realm=\"REALM\",error=\"insufficient_scope\""),
        }
    })
}

#[test]
fn a_token_is_fetched_once() {
    for needs_password in [false, true] {
        let registry = with_tokens(needs_password, "good");
        let (place, name) = (Place::new(), registry.reference("1"));
        if needs_password {
            sole_refusal(
                &place.pull(&[&name]),
                &["for a token", "status 401", "no password is known"],
            );
            know(&place, &registry.address.to_string());
        }
        let before = registry.asked("").len();
        succeeds(&place.pull(&[&name]));
        // A request without a token, the token, the manifest, the configuration, and two
        // layers.
        assert_eq!(registry.asked("").len() - before, 6);
        assert_eq!(place.tags(), ["1"]);
    }
}

#[test]
fn a_token_that_is_not_enough_is_asked_for_once() {
    let registry = with_tokens(false, "bad");
    let place = Place::new();
    let output = place.pull(&[&registry.reference("1")]);
    sole_refusal(&output, &["status 401, insufficient_scope; no password is known for it"]);
    assert_eq!((registry.asked("/token").len(), registry.asked("/v2/").len()), (1, 2));
    place.is_clean();
}

#[test]
fn a_token_that_is_none_is_refused() {
    for (token, words) in [("good\r\nX: y", "the answer has none"), ("", "the answer has none")] {
        let registry = with_tokens(false, token);
        sole_refusal(&Place::new().pull(&[&registry.reference("1")]), &["for a token", words]);
    }
}

#[test]
fn no_password_goes_to_a_realm_that_is_not_encrypted() {
    for realm in
        ["http://192.0.2.1/token", "http://localhost.example.com/token", "file:///etc/passwd", "x"]
    {
        let registry =
            Registry::new(move |_, _| Answer::challenge(&format!("Bearer realm=\"{realm}\"")));
        let place = Place::new();
        know(&place, &registry.address.to_string());
        let output = place.pull(&[&registry.reference("1")]);
        sole_refusal(&output, &[&format!("ask {realm} for a token: it is not encrypted")]);
    }
}

#[test]
fn a_redirect_takes_no_password_along() {
    let images = files();
    let blobs = files();
    let other = Registry::new(move |request, _| blobs.answer(&request.path));
    let to = other.address;
    let registry = Registry::new(move |request, _| {
        if request.authorization.is_empty() {
            return Answer::challenge("Basic realm=\"x\"");
        }
        match request.path.strip_prefix("/here") {
            Some(path) => images.answer(path),
            // Another path of the same server, and another server.
            None if request.path.contains("/manifests/") => {
                Answer::redirect(&format!("/here{}", request.path))
            }
            None => Answer::redirect(&format!("http://{to}{}", request.path)),
        }
    });
    let place = Place::new();
    know(&place, &registry.address.to_string());
    succeeds(&place.pull(&[&registry.reference("1")]));
    let asked = other.asked("");
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.authorization.is_empty()), "{asked:?}");
    assert!(registry.asked("/here").iter().all(|it| it.authorization == format!("Basic {ALICE}")));
}

#[test]
fn another_server_that_asks_for_a_password_gets_none() {
    let other = Registry::new(|_, _| Answer::challenge("Bearer realm=\"REALM\""));
    let to = other.address;
    let registry = Registry::new(move |_, _| Answer::redirect(&format!("http://{to}/")));
    let place = Place::new();
    know(&place, &registry.address.to_string());
    refusal(&place.pull(&[&registry.reference("1")]), &["status 401"]);
    assert!(other.asked("").iter().all(|request| request.authorization.is_empty()));
    // Nor does a server elsewhere get an open request.
    let registry = Registry::new(|_, _| Answer::redirect("http://192.0.2.1/x"));
    let output = place.pull(&[&registry.reference("1")]);
    sole_refusal(&output, &["it leads to http://192.0.2.1/x, which is not encrypted"]);
}
