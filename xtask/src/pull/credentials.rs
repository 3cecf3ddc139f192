//! The passwords that podman and Docker keep in files.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use common::open;
use serde_json::Value;

use super::reference::Reference;

/// The longest file.
const LONGEST: u64 = 1 << 20;

/// The names of Docker's hub in these files, beside its usual name.
const HUB: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The password for a registry, if a file has one.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Credentials {
    /// The user and the password, as the header of the request has them.
    pub(crate) basic: Option<String>,
    /// The place of credentials that this task does not read.
    pub(crate) unread: Option<String>,
}

impl Credentials {
    /// Looks into the files in the order of containers-auth.json(5), and then of Docker.
    pub(crate) fn find(reference: &Reference) -> Result<Credentials> {
        let var = |name| env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let below = |dir: Option<PathBuf>, name: &str| dir.map(|dir| dir.join(name));
        let named = var("REGISTRY_AUTH_FILE");
        if let Some(file) = &named {
            ensure!(
                file.exists(),
                "read {}, which REGISTRY_AUTH_FILE names: it is missing",
                file.display()
            );
        }
        let config = var("XDG_CONFIG_HOME").or_else(|| below(env::home_dir(), ".config"));
        let docker = var("DOCKER_CONFIG").or_else(|| below(env::home_dir(), ".docker"));
        let mut found = Credentials::default();
        for file in [
            named,
            below(var("XDG_RUNTIME_DIR"), "containers/auth.json"),
            below(config, "containers/auth.json"),
            below(docker, "config.json"),
        ] {
            let Some(file) = file.filter(|file| file.exists()) else { continue };
            let doing = || format!("read the passwords in {}", file.display());
            let text = open::regular(&file).and_then(|file| open::whole(file, LONGEST));
            let text = text.with_context(doing)?;
            let value = serde_json::from_slice(&text).with_context(doing)?;
            let here = of_file(&value, &file, reference);
            if here.basic.is_some() {
                return Ok(here);
            }
            found.unread = found.unread.or(here.unread);
        }
        Ok(found)
    }
}

/// The credentials for the image in a file: of its name, or of the longest part of it.
fn of_file(value: &Value, file: &Path, reference: &Reference) -> Credentials {
    let whole = format!("{}/{}", reference.host, reference.name);
    let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
    let mut names: Vec<&str> = ends.map(|end| &whole[..end]).collect();
    names.reverse();
    if reference.server() != reference.host {
        names.extend(HUB);
    }
    let entries = value["auths"].as_object();
    let entry = names.iter().find_map(|name| {
        let of_name = |(key, entry): (&String, _)| (server(key) == *name).then_some(entry);
        entries?
            .iter()
            .find_map(of_name)
            .filter(|entry| entry.as_object().is_some_and(|it| !it.is_empty()))
    });
    let text = |name| entry.and_then(|entry| entry[name].as_str()).filter(|text| !text.is_empty());
    // The coded form of a name and a password, which a header may have as it is.
    let is_code =
        |text: &&str| text.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=".contains(&it));
    let helpers = &value["credHelpers"];
    let helper = names.iter().find_map(|name| helpers[name].as_str());
    let helper = helper.or_else(|| value["credsStore"].as_str());
    let file = file.display();
    let unread = match (text("identitytoken"), helper) {
        (Some(_), _) => Some(format!("{file} has an identity token for it")),
        (None, Some(helper)) => Some(format!("{file} names the credential helper {helper:.40}")),
        (None, None) => None,
    };
    Credentials { basic: text("auth").filter(is_code).map(str::to_owned), unread }
}

/// The part of a key before which `https://` and after which `/v1/` may stand.
fn server(key: &str) -> &str {
    let (scheme, rest) = key.split_once("://").unwrap_or(("", key));
    let name = rest.trim_end_matches('/');
    if scheme.is_empty() { name } else { name.split('/').next().unwrap_or(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_with_the_longest_name_counts() {
        let file = serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": "aHVi"},
                "a.b:5000": {"auth": "aG9zdA=="},
                "a.b:5000/c": {"auth": "Zm9sZGVy"},
                "a.b:5000/c/empty": {},
                "odd.b": {"auth": "x\r\ny: z"},
                "null.b": null,
                "http://plain.b/": {"auth": "cGxhaW4="},
                "token.b": {"identitytoken": "t"},
            },
            "credHelpers": {"helped.b": "one"},
        });
        let of = |text: &str| {
            let reference = Reference::parse(text).expect("read");
            of_file(&file, Path::new("/f"), &reference)
        };
        for (text, basic) in [
            ("alpine", Some("aHVi")),
            ("docker.io/a/b", Some("aHVi")),
            ("a.b:5000/d", Some("aG9zdA==")),
            ("a.b:5000/c", Some("Zm9sZGVy")),
            ("a.b:5000/c/d/e", Some("Zm9sZGVy")),
            ("a.b:5000/c/empty", Some("Zm9sZGVy")),
            ("a.b:5000/cd", Some("aG9zdA==")),
            ("a.b/c", None),
            ("odd.b/x", None),
            ("null.b/x", None),
            ("plain.b/x", Some("cGxhaW4=")),
        ] {
            assert_eq!(of(text).basic.as_deref(), basic, "{text}");
            assert_eq!(of(text).unread, None, "{text}");
        }
        let unread = |text| of(text).unread.expect("told");
        assert_eq!(unread("helped.b/x"), "/f names the credential helper one");
        assert_eq!(unread("token.b/x"), "/f has an identity token for it");
        let store = serde_json::json!({"auths": {"a.b": {}}, "credsStore": "desktop"});
        let found = of_file(&store, Path::new("/f"), &Reference::parse("a.b/c").expect("read"));
        assert_eq!(found.unread.expect("told"), "/f names the credential helper desktop");
        for odd in [serde_json::json!([]), serde_json::json!({"auths": [1], "credHelpers": 1})] {
            let reference = Reference::parse("a.b/c").expect("read");
            assert_eq!(of_file(&odd, Path::new("/f"), &reference), Credentials::default());
        }
    }
}
