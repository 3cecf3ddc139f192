//! `cargo xtask`: builds the tasks with cargo, and runs a task. An alias cannot
//! distinguish a terminal from a log. This program can, and its build takes a
//! second.

use std::env;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The present path: the course may have moved since cargo built this program.
    let dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let mut cargo = start::quiet("run");
    cargo.arg("--manifest-path").arg(dir.join("../Cargo.toml")).arg("--");
    let error = cargo.args(env::args_os().skip(1)).exec();
    let _ = writeln!(io::stderr(), "xtask: start cargo: {error}");
    ExitCode::FAILURE
}
