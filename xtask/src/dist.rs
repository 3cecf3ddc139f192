//! `cargo xtask dist`: the steps as programs that you can copy to other machines.

use std::env::{self, consts::ARCH};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use layers::{Algorithm, Digest};
use lessons::Lesson;

use crate::cargo;
use crate::fetch_rootfs::is_static;
use crate::file::{self, make_dir};
use crate::say::{self, note};

/// Build the steps as static programs, in a directory
///
/// If the Rust target for musl is installed, cargo links the steps with musl.
/// Without it, they are release builds for this host, and need its C library.
/// `sha256sum --check SHA256SUMS` in the directory checks the programs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The architecture of the programs [default: this machine's]. Another one needs
    /// no other tool than its Rust target for musl
    #[arg(long, value_parser = ["x86_64", "aarch64"], default_value = ARCH, hide_default_value = true)]
    arch: String,
    /// The directory [default: dist/ in the workspace, and dist/ARCH for another
    /// architecture]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
}

/// The built steps.
pub(crate) struct Dist {
    /// The directory with the steps.
    pub(crate) dir: PathBuf,
    /// The C library of the steps, in words.
    pub(crate) libc: &'static str,
}

impl Dist {
    /// The steps in a directory that this task has made.
    pub(crate) fn at(dir: &Path) -> Result<Dist> {
        let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;
        for lesson in lessons::all()? {
            ensure!(
                dir.join(&lesson.name).is_file(),
                "find {} in {}: it is missing; build it with `cargo xtask dist --dest {1}`",
                lesson.name,
                dir.display()
            );
        }
        // Only musl is linked statically here.
        let libc = match is_static(&dir.join(lessons::last()?.name)) {
            true => "static, with musl",
            false => "dynamic, with the host's C library",
        };
        Ok(Dist { dir, libc })
    }
}

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        let usual = || {
            let dist = common::workspace().join("dist");
            if self.arch == ARCH { dist } else { dist.join(&self.arch) }
        };
        let dest = self.dest.unwrap_or_else(usual);
        let built = build(&self.arch)?;
        make_dir(&dest)?;
        let mut sums = String::new();
        for Lesson { name, .. } in lessons::all()? {
            let from = built.dir.join(&name);
            let program = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
            file::replace(&dest.join(&name), 0o777, |file| Ok(file.write_all(&program)?))?;
            let sum = Digest::of_bytes(&program, Algorithm::Sha256);
            sums += &format!("{sum}  {name}\n");
        }
        let to = dest.join("SHA256SUMS");
        file::replace(&to, 0o666, |file| Ok(file.write_all(sums.as_bytes())?))?;
        say::line(&format!("{}: the steps, {}", dest.display(), built.libc))
    }
}

/// Builds all steps for release, as static programs if possible. Those of another
/// architecture are static.
pub(crate) fn build(arch: &str) -> Result<Dist> {
    let musl = format!("{arch}-unknown-linux-musl");
    let installed = has_target(&musl);
    if !installed {
        let remedy = format!("`rustup target add {musl}`");
        ensure!(arch == ARCH, "build for {arch}: the target {musl} is not installed; run {remedy}");
        note(&format!(
            "the target {musl} is not installed, so the steps are not static; to install it, run {remedy}"
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
        // The steps have no C, so the linker that comes with Rust is enough.
        let linker = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_MUSL_LINKER", arch.to_uppercase());
        if arch != ARCH && env::var_os(&linker).is_none() {
            build.env(linker, "rust-lld");
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
