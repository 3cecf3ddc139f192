//! `cargo xtask dist`: the steps as programs that can be copied anywhere.

use std::env::{self, consts::ARCH};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::fetch_rootfs::is_static;
use crate::lessons;
use crate::say::{self, note};

/// Build the steps as static programs, in one folder.
///
/// They are linked with musl where its target is installed. Without it they
/// are release builds for this host, which need its C library.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder [default: dist/ in the workspace]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
}

/// What has been built.
pub(crate) struct Dist {
    /// The folder with the steps in it.
    pub(crate) dir: PathBuf,
    /// The C library they are linked with, in words.
    pub(crate) libc: &'static str,
}

impl Dist {
    /// The steps in a folder that this task has filled.
    pub(crate) fn at(dir: &Path) -> Result<Dist> {
        let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
        for lesson in lessons::all()? {
            ensure!(
                dir.join(&lesson.name).is_file(),
                "find {} in {}: it is not there; `cargo xtask dist --dest {1}` puts it there",
                lesson.name,
                dir.display()
            );
        }
        // Nothing but musl is linked statically here.
        let libc = match is_static(&dir.join(lessons::last()?.name)) {
            true => "static, with musl",
            false => "dynamic, with the host's C library",
        };
        Ok(Dist { dir, libc })
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let dest = self.dest.unwrap_or_else(|| common::workspace().join("dist"));
        let built = build()?;
        fs::create_dir_all(&dest).with_context(|| format!("make {}", dest.display()))?;
        for lesson in lessons::all()? {
            let (from, to) = (built.dir.join(&lesson.name), dest.join(&lesson.name));
            // Under another name first: a program that runs cannot be written.
            let new = to.with_extension("new");
            fs::copy(&from, &new).with_context(|| format!("copy {}", from.display()))?;
            fs::rename(&new, &to).with_context(|| format!("replace {}", to.display()))?;
        }
        say::line(&format!("{}: the steps, {}", dest.display(), built.libc))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds all steps for release, static where that is possible.
pub(crate) fn build() -> Result<Dist> {
    let musl = format!("{ARCH}-unknown-linux-musl");
    let installed = has_target(&musl);
    let mut command = cargo_build();
    command.current_dir(common::workspace()).arg("--release");
    for lesson in lessons::all()? {
        command.args(["--package", &lesson.name]);
    }
    if installed {
        command.args(["--target", &musl]);
    } else {
        note(&format!(
            "without the target {musl} the steps are not static; `rustup target add {musl}` brings it"
        ));
    }
    let target = target_dir()?;
    command.arg("--target-dir").arg(&target);
    let status = command.status().context("start cargo")?;
    ensure!(status.success(), "build the steps: cargo failed");
    let target = if installed { target.join(musl) } else { target };
    Dist::at(&target.join("release"))
}

/// The cargo that runs this task, else the one in `PATH`, about to build: all
/// that it says on a terminal, unless something is wrong, is a bar while it
/// compiles.
pub(crate) fn cargo_build() -> Command {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet"]);
    if io::stderr().is_terminal() {
        // As the alias `cargo xtask` has it.
        build.args(["--config=term.progress.when='always'", "--config=term.progress.width=80"]);
    }
    build
}

/// Whether the standard library for a target is installed.
fn has_target(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = asked else { return false };
    let dir = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(dir.trim()).exists()
}

/// Where cargo puts what it builds: above this program, whatever that is
/// called and wherever it lies.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let exe = env::current_exe().context("find this program")?;
    let dir = exe.ancestors().nth(2).context("find the target directory")?;
    Ok(dir.to_owned())
}
