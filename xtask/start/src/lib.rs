//! Calls cargo, for `cargo xtask` and its tasks.

use std::env;
use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// The cargo that runs this program, else the cargo in `PATH`.
///
/// It does not get the variables that cargo set for this program's package. Build
/// scripts such as ring's run again when these variables change, and the next call
/// would compile them again.
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

/// Cargo with the command `what`, without messages. On a terminal, it shows a bar
/// while it compiles: the first build takes a minute.
///
/// Together with `--quiet`, cargo shows a bar only with `always`. Then it does not
/// look for a terminal, and needs the width of the bar.
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
