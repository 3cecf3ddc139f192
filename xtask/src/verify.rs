//! Checks the claims of each lesson with the lesson's own `verify.sh`.

mod report;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use lessons::Lesson;
use nix::unistd::getuid;

use crate::bundle;
use crate::cargo;
use crate::rootfs::Root;
use crate::say;

pub(crate) use report::{Check, Checks, Format, Verdict};
use report::{Printer, print_line};

/// Check the claims of the lessons against the kernel's own evidence
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lessons: 8, step08 or step08-overlay [default: all lessons]
    #[arg(value_name = "STEP")]
    steps: Vec<String>,

    /// Check your own program, in any language, instead of the step
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,

    /// The root of the containers [default: $CONTAINER_ROOTFS, else rootfs/ in the
    /// workspace, else a new root from this machine's programs]
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,

    /// The format of the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lessons = match &self.steps[..] {
            [] => lessons::all()?,
            words => words.iter().map(|word| lessons::find(word)).collect::<Result<_>>()?,
        };
        ensure!(
            self.bin.is_none() || lessons.len() == 1,
            "check your own program: name exactly one STEP"
        );
        let binaries = lessons.iter().map(cargo::step).collect::<Result<Vec<_>>>()?;
        let root = Root::for_lessons(&lessons, self.rootfs)?;
        let text = self.format == Format::Text;
        let mut results = Vec::new();
        for (lesson, binary) in lessons.iter().zip(&binaries) {
            let program = self.bin.as_ref().unwrap_or(binary);
            let say = |line: &str| if text { print_line(line) } else { Ok(()) };
            let checks = verify(lesson, program, binary, root.as_ref(), say)?;
            if text && lessons.len() > 1 {
                say::print("\n")?;
            }
            results.push((lesson, checks));
        }
        if !text || lessons.len() > 1 {
            say::print(&self.format.all(&results)?)?;
        }
        let passed = results.iter().all(|(_, checks)| checks.count(Verdict::Failed) == 0);
        Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Verifies a learner's program instead of the lesson's step. With `show`, it prints
/// the lines of the script, but one line for the checks without a container.
pub(crate) fn program(lesson: &Lesson, program: &Path, show: bool) -> Result<Checks> {
    let root = Root::for_lessons(std::slice::from_ref(lesson), None)?;
    let mut printer = Printer::default();
    let say = |line: &str| if show { printer.print(line) } else { Ok(()) };
    verify(lesson, program, &cargo::step(lesson)?, root.as_ref(), say)
}

/// The reason why this host cannot run the lesson's step. It is `None` if the step
/// runs, or if the lesson shows a refusal.
fn refused(lesson: &Lesson, step: &Path, root: Option<&Root>) -> Result<Option<String>> {
    if lesson.needs_root && !getuid().is_root() || lesson.number == 1 {
        return Ok(None);
    }
    let (root, shell) = (root.map(Root::dir), ["/bin/sh", "-c", "exit 0"]);
    let (mut command, _bundle) = bundle::command(lesson, step, root, &shell)?;
    let tried = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", step.display()))?;
    let why = String::from_utf8_lossy(&tried.stderr).trim_end().to_owned();
    match tried.status.code() {
        Some(0) => Ok(None),
        Some(125) => Ok(Some(why)),
        // From lesson 19 on, engines want 1 for each error of the runtime.
        Some(1) if lesson.has_verbs => Ok(Some(why)),
        _ => Err(anyhow::Error::msg(why).context("run a shell in the root")),
    }
}

/// Runs a lesson's script on a program, and calls `say` with each of its lines.
fn verify(
    lesson: &Lesson,
    program: &Path,
    step: &Path,
    root: Option<&Root>,
    mut say: impl FnMut(&str) -> Result<()>,
) -> Result<Checks> {
    program.metadata().with_context(|| format!("check {}", program.display()))?;
    let refused = refused(lesson, step, root)?;
    let script = lesson.dir().join("verify.sh");
    let doing = || format!("run {}", script.display());
    // The functions that the scripts use are there.
    let library = common::workspace().join("xtask/src/verify");
    let library = fs::read_dir(library).with_context(doing)?.flatten().map(|file| file.path());
    for file in library.chain([script.clone()]) {
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        ensure!(
            !text.contains(&b'\r'),
            "run {}: it has the line ends of Windows, and no shell can read it; clone the course again",
            file.display()
        );
    }
    let program = path::absolute(program).context("name the program")?;
    say(&format!("{}: {}", lesson.name, lesson.goal))?;
    let mut command = Command::new("sh");
    command.arg(&script).arg(program).env("VERIFY_REFUSED", refused.unwrap_or_default());
    // Lesson 13 asks the filter with a task.
    command.env("VERIFY_XTASK", env::current_exe().context("name this program")?);
    if let Some(root) = root {
        command.env("CONTAINER_ROOTFS", root.dir());
    }
    let mut running = command.stdout(Stdio::piped()).spawn().with_context(doing)?;
    let out = running.stdout.take().context("read what the script says")?;

    let mut checks = Checks::default();
    let shown = BufReader::new(out).split(b'\n').try_for_each(|line| {
        let line = line.with_context(doing)?;
        // The checked program may have written it.
        let line = common::printable(&String::from_utf8_lossy(&line));
        checks.take(&line);
        say(&line)
    });
    // Without a reader, a script ends by itself and cleans up.
    let status = running.wait().with_context(doing)?;
    shown?;
    ensure!(
        status.code() == Some(i32::from(checks.count(Verdict::Failed) > 0)),
        "run {}: the script ended with {status} before its last line",
        script.display()
    );
    Ok(checks)
}
