//! Values for the process of the command, and for what it sees.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};

use crate::args::limits::parse_memory;

/// A directory in memory for the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// The path in the root, which begins with `/`.
    pub inside: String,
    /// The most bytes that its files may have; nothing for half of the memory.
    pub size: Option<u64>,
    /// The mode of the directory.
    pub mode: u32,
}

/// The mode of /tmp: every user may make files, and remove only its own.
const SHARED: u32 = 0o1777;

impl Tmpfs {
    /// Reads `DIR[:size=SIZE,mode=MODE]`.
    pub(crate) fn parse(word: &OsStr) -> Result<Tmpfs> {
        let text = word.to_str().unwrap_or_default();
        let (inside, options) = text.split_once(':').unwrap_or((text, ""));
        ensure!(
            is_place(inside.as_ref()),
            "--tmpfs {}: the path must begin with `/`, must not be `/` or in /proc, and must have no `..`",
            word.display()
        );
        let mut tmpfs = Tmpfs { inside: inside.to_owned(), size: None, mode: SHARED };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => {
                    let size = parse_memory(size.as_ref()).ok();
                    tmpfs.size = Some(size.with_context(|| {
                        format!("--tmpfs {text}: give size in bytes, or a number with K, M or G")
                    })?);
                }
                Some(("mode", mode)) => {
                    let digits = mode.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
                    let mode = u32::from_str_radix(mode, 8).ok();
                    let mode = mode.filter(|mode| digits && *mode <= 0o7777);
                    tmpfs.mode = mode.with_context(|| {
                        format!("--tmpfs {text}: give mode in octal digits, such as 0755")
                    })?;
                }
                _ => anyhow::bail!("--tmpfs {text}: the options are size=SIZE and mode=MODE"),
            }
        }
        Ok(tmpfs)
    }
}

/// Whether a path can be a place in a root: it begins with `/`, has no `..`, and has at most
/// 4095 bytes.
pub fn is_inside(path: &Path) -> bool {
    let is_short = path.as_os_str().len() < 4096;
    is_short && path.has_root() && !path.components().any(|part| part == Component::ParentDir)
}

/// Whether a mount of the caller can be at a path in a root. Lesson 7 mounts its proc later.
pub(crate) fn is_place(path: &Path) -> bool {
    let first = path.components().nth(1);
    is_inside(path) && first.is_some_and(|first| first != Component::Normal("proc".as_ref()))
}

/// Reads `--workdir`.
pub(crate) fn parse_workdir(word: OsString) -> Result<String> {
    let dir = text("--workdir", word)?;
    ensure!(
        is_inside(dir.as_ref()),
        "--workdir {dir}: the path must begin with `/`, must have no `..`, and at most 4095 bytes"
    );
    Ok(dir)
}

/// Reads `--hostname`. The name is written to files, so it has only characters of a name;
/// hostname(7).
pub(crate) fn parse_hostname(word: OsString) -> Result<String> {
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        begins && name.len() <= 64 && name.bytes().all(known)
    };
    let name = word.to_str().filter(|name| is_name(name)).map(str::to_owned);
    name.with_context(|| {
        format!(
            "--hostname {}: give at most 64 letters, digits, `-` and `.`, a letter or digit first",
            word.display()
        )
    })
}

/// Reads `--env`: a variable, or the name of a variable of the caller. Nothing if the caller
/// does not have it.
pub(crate) fn parse_env(word: OsString) -> Result<Option<CString>> {
    let whole: OsString = if word.as_bytes().contains(&b'=') {
        word.clone()
    } else {
        let Some(value) = env::var_os(&word) else { return Ok(None) };
        [word.as_os_str(), OsStr::new("="), &value].into_iter().collect()
    };
    let variable = variable(whole.into_vec()).ok();
    let variable =
        variable.with_context(|| format!("--env {}: give NAME=VALUE, or NAME", word.display()))?;
    Ok(Some(variable))
}

/// Reads a variable of a process: a name, `=` and a value; environ(7). Fails when it is something
/// else, or has a zero.
pub fn variable(text: impl Into<Vec<u8>>) -> Result<CString> {
    let text = text.into();
    let at = text.iter().position(|&byte| byte == b'=');
    let start = text.get(..40).unwrap_or(&text).escape_ascii().to_string();
    let variable = CString::new(text).ok().filter(|_| at.is_some_and(|at| at > 0));
    variable.with_context(|| format!("the variable {start} is not NAME=VALUE"))
}

/// Reads a value that is text.
pub(crate) fn text(option: &str, word: OsString) -> Result<String> {
    let text = word.into_string();
    text.map_err(|word| anyhow::anyhow!("{option} {}: it is not text", word.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_has_a_place_and_options() {
        let tmpfs = |inside: &str, size, mode| Tmpfs { inside: inside.into(), size, mode };
        for (word, read) in [
            ("/run", tmpfs("/run", None, 0o1777)),
            ("/run:", tmpfs("/run", None, 0o1777)),
            ("/a/b:size=64k", tmpfs("/a/b", Some(64 << 10), 0o1777)),
            ("/run:mode=755,size=1M", tmpfs("/run", Some(1 << 20), 0o755)),
        ] {
            assert_eq!(Tmpfs::parse(word.as_ref()).expect(word), read);
        }
        for word in [
            "", "run", "/", "/.", "/a/../b", "/proc/x", "/run:size=", "/run:size=1", "/run:exec",
            "/run:mode=8", "/run:mode=10000", "/run:mode=+7", "/run:size=1M:x",
        ] {
            assert!(Tmpfs::parse(word.as_ref()).is_err(), "{word}");
        }
    }

    #[test]
    fn a_hostname_is_a_name() {
        for name in ["a", "web-1.example", &"x".repeat(64)] {
            assert_eq!(parse_hostname(name.into()).expect(name), name);
        }
        for name in ["", "-a", ".a", "a b", "a\nb", "é", &"x".repeat(65)] {
            assert!(parse_hostname(name.into()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(variable("A=b=c").expect("good").as_c_str(), c"A=b=c");
        assert_eq!(variable("A=").expect("good").as_c_str(), c"A=");
        for text in ["", "A", "=b", "A=b\0c", &"A".repeat(1000)] {
            let said = variable(text).expect_err(text).to_string();
            assert!(said.len() < 80 && said.ends_with(" is not NAME=VALUE"), "{said}");
        }
        assert_eq!(parse_env("NO_SUCH_VARIABLE_IN_A_TEST".into()).ok(), Some(None));
        let path = parse_env("PATH".into()).expect("a name").expect("tests have PATH");
        assert!(path.to_bytes().starts_with(b"PATH="));
    }
}
