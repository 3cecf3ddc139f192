//! `cargo xtask`: has cargo build the tasks and run one. An alias cannot tell a
//! terminal from a log; this program can, and is built in a second.

use std::env;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    // As cargo says it now: the course may have moved since this was built.
    let dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let mut cargo = start::quiet("run");
    cargo.arg("--manifest-path").arg(dir.join("../Cargo.toml")).arg("--");
    let error = cargo.args(env::args_os().skip(1)).exec();
    let _ = writeln!(io::stderr(), "xtask: start cargo: {error}");
    ExitCode::FAILURE
}
