//! Checks what the lessons claim, with each lesson's own `verify.sh`.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use nix::unistd::getuid;

use crate::lessons::{self, Lesson};
use crate::rootfs::Root;
use crate::say::print;
use crate::style::{Style, colour};

/// The first lesson that an ordinary user can run, other than the very first.
const USERNS: u32 = 3;

/// Check what the lessons claim against the kernel's own evidence.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lessons: 8, step08 or step08-overlay; without any, all of them.
    #[arg(value_name = "STEP")]
    steps: Vec<String>,

    /// Check your own program, in any language, in the place of the step's.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,

    /// The root of the containers [default: $CONTAINER_ROOTFS, else rootfs/ in
    /// the workspace, else one made from this machine's programs].
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lessons = match &self.steps[..] {
            [] => lessons::all()?,
            words => words.iter().map(|word| lessons::find(word)).collect::<Result<_>>()?,
        };
        ensure!(
            self.bin.is_none() || lessons.len() == 1,
            "check a program of your own: name the one STEP that it is for"
        );
        let binaries = lessons.iter().map(Lesson::binary).collect::<Result<Vec<_>>>()?;
        let needs_root = lessons.iter().any(Lesson::has_rootfs);
        let root = needs_root.then(|| Root::find(self.rootfs)).transpose()?;
        let canonical = |root: &Root| {
            let dir = root.dir();
            dir.canonicalize().with_context(|| format!("use the root {}", dir.display()))
        };
        let dir = root.as_ref().map(canonical).transpose()?;
        let root = dir.as_deref();

        let mut total = Counts::default();
        for (lesson, binary) in lessons.iter().zip(&binaries) {
            let program = self.bin.as_ref().unwrap_or(binary);
            program.metadata().with_context(|| format!("check {}", program.display()))?;
            let refused = refused(lesson, binary, root)?;
            let counts = verify(lesson, program, root, refused.as_deref())?;
            if lessons.len() > 1 {
                say("")?;
            }
            total.add(&counts);
        }
        if lessons.len() > 1 {
            say(&total.to_string())?;
        }
        Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Why this host runs no containers of a lesson, tried with the lesson's own
/// step; nothing when it does, or when being refused is the lesson.
fn refused(lesson: &Lesson, step: &Path, root: Option<&Path>) -> Result<Option<String>> {
    if lesson.number < USERNS && !getuid().is_root() || lesson.number == 1 {
        return Ok(None);
    }
    let mut command = Command::new(step);
    command.args(["/bin/sh", "-c", "exit 0"]).stdin(Stdio::null());
    if let Some(root) = root {
        command.env("CONTAINER_ROOTFS", root);
    }
    let tried = command.output().with_context(|| format!("start {}", step.display()))?;
    let why = String::from_utf8_lossy(&tried.stderr).trim_end().to_owned();
    match tried.status.code() {
        Some(0) => Ok(None),
        Some(125) => Ok(Some(why)),
        _ => Err(anyhow::Error::msg(why).context("run a shell in the root")),
    }
}

/// Runs a lesson's script on a program, shows what it says and counts it.
fn verify(
    lesson: &Lesson,
    program: &Path,
    root: Option<&Path>,
    refused: Option<&str>,
) -> Result<Counts> {
    let script = lesson.dir().join("verify.sh");
    let doing = || format!("run {}", script.display());
    for file in [&script, &common::workspace().join("xtask/verify-lib.sh")] {
        let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        ensure!(
            !text.contains(&b'\r'),
            "run {}: it has the line ends of Windows, with which no shell can read it; clone the course anew",
            file.display()
        );
    }
    let program = path::absolute(program).context("name the program")?;
    say(&format!("{}: {}", lesson.name, lesson.goal))?;
    let mut command = Command::new("sh");
    command.arg(&script).arg(program).env("VERIFY_REFUSED", refused.unwrap_or_default());
    if let Some(root) = root {
        command.env("CONTAINER_ROOTFS", root);
    }
    let mut running = command.stdout(Stdio::piped()).spawn().with_context(doing)?;
    let out = running.stdout.take().context("read what the script says")?;

    let mut counts = Counts::default();
    let shown = BufReader::new(out).split(b'\n').try_for_each(|line| {
        let line = line.with_context(doing)?;
        let line = String::from_utf8_lossy(&line);
        counts.count(&line);
        say(&line)
    });
    // A script whose lines nobody takes any more ends by itself, and cleans up.
    let status = running.wait().with_context(doing)?;
    shown?;
    ensure!(
        status.code() == Some(i32::from(counts.failed > 0)),
        "run {}: it ended with {status} before its last line",
        script.display()
    );
    Ok(counts)
}

/// Writes a line of the results, in its colour on a terminal.
fn say(line: &str) -> Result<()> {
    let style = Style::new(colour(&io::stdout()));
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    print(&match word {
        "ok" => format!("{} {rest}\n", style.green(word)),
        "FAIL" => format!("{} {rest}\n", style.red(word)),
        "skip" => format!("{} {rest}\n", style.blue(word)),
        _ => format!("{line}\n"),
    })
}

/// How many checks passed, failed and were skipped.
#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Counts {
    fn count(&mut self, line: &str) {
        match line.split(' ').next() {
            Some("ok") => self.passed += 1,
            Some("FAIL") => self.failed += 1,
            Some("skip") => self.skipped += 1,
            _ => {}
        }
    }

    fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}
