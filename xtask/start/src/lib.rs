//! Cargo, as `cargo xtask` and its tasks call it.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// The cargo that runs this program, else the one in `PATH`.
///
/// It is not told what cargo has told this program about its package: build
/// scripts such as ring's are run anew when that changes, and then the next call
/// would compile them again for nothing.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _value) in env::vars_os() {
        let told: [&[u8]; 2] = [b"CARGO_PKG_", b"CARGO_MANIFEST_"];
        if told.iter().any(|start| name.as_bytes().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Cargo, to do `what` and say nothing. A terminal shows a bar while it
/// compiles: the first time takes a minute.
///
/// Cargo shows a bar beside `--quiet` only when told always to. Then it does not
/// look for a terminal itself, and must be told how wide the bar is.
#[must_use]
pub fn quiet(what: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([what, "--quiet"]);
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
    if io::stderr().is_terminal() && !dumb && !in_ci {
        cargo.args(["--config=term.progress.when='always'", "--config=term.progress.width=80"]);
    }
    cargo
}
