//! `cargo xtask dist`: the steps as programs that can be copied anywhere.

use std::env::{self, consts::ARCH};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::fetch_rootfs::is_static;
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
                "find {} in {}: it is missing; `cargo xtask dist --dest {1}` builds it",
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
    if !installed {
        note(&format!(
            "the target {musl} is not installed, so the steps are not static; `rustup target add {musl}` installs it"
        ));
    }
    let lessons = lessons::all()?;
    let built = cargo::build(|build| {
        build.arg("--release");
        for lesson in &lessons {
            build.args(["--package", &lesson.name]);
        }
        if installed {
            build.args(["--target", &musl]);
        }
    })?;
    let last = cargo::program(&built, &lessons::last()?.name)?;
    Dist::at(last.parent().context("find the directory of the steps")?)
}

/// Whether the standard library for a target is installed.
fn has_target(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = asked else { return false };
    let dir = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(dir.trim()).exists()
}
