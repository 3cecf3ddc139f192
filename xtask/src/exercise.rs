//! `cargo xtask exercise`: the learner writes a lesson.

mod hints;
mod layout;
mod progress;
mod watch;

use std::env;
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use lessons::{Lesson, MAIN, Source};
use toml::{Table, Value};

use crate::cargo::{self, CONFIG};
use crate::diff;
use crate::file::{self, read_toml};
use crate::say::{self, quoted};
use crate::verify::{self, Checks, Format, Verdict};

use layout::with_goals;

/// Make an exercise from lesson N: the program of the lesson before it, with a TODO
/// comment at each place for new code. Without N, list all lessons and your progress
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lesson: 5, 05, step05 or step05-pid
    n: Option<String>,
    #[command(flatten)]
    action: Action,
    /// How to print the results of --check
    #[arg(long, value_enum, default_value_t = Format::Text, requires = "check")]
    format: Format,
    /// The directory of the exercises [default: exercises/ in the workspace]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(multiple = false, requires = "n")]
struct Action {
    /// Build your program and verify it
    #[arg(long)]
    check: bool,
    /// Check again each time you save, until you press Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Show the next hint
    #[arg(long)]
    hint: bool,
    /// Compare your program with the lesson's program
    #[arg(long)]
    diff: bool,
    /// Make the exercise again, and delete your work
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Some(word) = &self.n else {
            say::print(&progress::list(self.dir.as_deref())?)?;
            return Ok(ExitCode::SUCCESS);
        };
        let exercise = Exercise::new(lessons::find(word)?, self.dir.as_deref())?;
        let Action { check, watch, hint, diff, force } = self.action;
        if !(check || watch || hint || diff) {
            if exercise.is_laid_out() && !force {
                say::print("Your work is already there; `--force` deletes it and begins again.\n")?;
            } else {
                exercise.lay_out()?;
            }
            exercise.say_what_to_do()?;
            return Ok(ExitCode::SUCCESS);
        }
        ensure!(
            exercise.is_laid_out(),
            "find your program in {}: the exercise does not exist yet; `cargo xtask exercise {}` makes it",
            exercise.dir.display(),
            exercise.lesson.number
        );
        if watch {
            return watch::until_interrupted(&exercise);
        }
        if check {
            let checks = exercise.check(self.format == Format::Text)?;
            let passed = checks.count(Verdict::Failed) == 0;
            say::print(&match self.format {
                Format::Text => progress::next(&exercise, &checks)?,
                format => format.all(&[(&exercise.lesson, checks)])?,
            })?;
            return Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if hint {
            say::print(&hints::next(&exercise)?)?;
        } else {
            let (yours, ours) = (exercise.program()?, exercise.lesson.program()?);
            diff::show(("your program", &yours), (&exercise.lesson.name, &ours), 3)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

const MANIFEST: &str = "Cargo.toml";

/// A file of a program beside its code.
const SPEC: &str = "spec.json";

/// A lesson as a separate crate, outside the workspace.
struct Exercise {
    lesson: Lesson,
    /// The crate's directory.
    dir: PathBuf,
    /// The path of the course in the crate's manifest.
    course: PathBuf,
    /// The option `--dir` for the next command, if the learner gave it.
    option: String,
}

impl Exercise {
    fn new(lesson: Lesson, option: Option<&Path>) -> Result<Exercise> {
        let workspace = common::workspace();
        let (exercises, course) = match option {
            Some(dir) => (path::absolute(dir).context("use --dir")?, workspace.to_owned()),
            // Relative: it stays right after the checkout moves.
            None => (workspace.join("exercises"), "../..".into()),
        };
        let option = option.map(|dir| format!(" --dir {}", quoted(dir))).unwrap_or_default();
        Ok(Exercise { dir: exercises.join(&lesson.name), lesson, course, option })
    }

    /// The name of the crate and its program. It differs from the step's name,
    /// because the step's program may be beside it.
    fn name(&self) -> String {
        self.lesson.name.replacen("step", "exercise", 1)
    }

    fn source_file(&self, name: &str) -> PathBuf {
        self.file("src").join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The files of the learner's program.
    fn program(&self) -> Result<Vec<Source>> {
        lessons::program(&self.dir)
    }

    fn is_laid_out(&self) -> bool {
        self.source_file(MAIN).exists()
    }

    /// Makes the exercise. The learner's work, if there is any, is lost.
    fn lay_out(&self) -> Result<()> {
        // The lock file names versions that are already built: cargo needs no network.
        let lock = file::read(&common::workspace().join("Cargo.lock"))?;
        let mut files = vec![
            (self.file(MANIFEST), self.manifest_text()?),
            (self.file("Cargo.lock"), lock),
            (self.file(CONFIG), self.config_text()?),
        ];
        // The program includes it.
        let spec = self.lesson.dir().join(SPEC);
        if spec.exists() {
            files.push((self.file(SPEC), file::read(&spec)?));
        }
        let program = with_goals(&self.lesson)?.into_iter();
        files.extend(program.map(|Source { name, text }| (self.source_file(&name), text)));
        // What was noted is about the old program.
        files.extend([progress::FILE, hints::FILE].map(|name| (self.file(name), String::new())));
        files.iter().try_for_each(|(file, text)| file::write(file, text))
    }

    /// A manifest that inherits nothing from the workspace.
    fn manifest_text(&self) -> Result<String> {
        let workspace = read_toml(&common::workspace().join(MANIFEST))?;
        let step = read_toml(&self.lesson.dir().join(MANIFEST))?;
        let shared = &workspace["workspace"];
        let mut dependencies = Table::new();
        for name in step["dependencies"].as_table().into_iter().flat_map(Table::keys) {
            let mut dependency = shared["dependencies"][name].clone();
            // A crate of the course: its path in the course's manifest.
            if let Some(path) = dependency.get_mut("path") {
                let found = self.course.join(path.as_str().unwrap_or_default());
                *path = Value::from(found.display().to_string());
            }
            dependencies.insert(name.clone(), dependency);
        }
        let dependencies = Table::from_iter([("dependencies".to_owned(), dependencies.into())]);
        let options = workspace["profile"]["dev"]["package"]["*"].as_table();
        let options = options.context("find the options for dependencies in Cargo.toml")?;
        Ok(format!(
            "[package]\n\
             name = \"{}\"\n\
             description = {}\n\
             version = \"0.0.0\"\n\
             edition = {}\n\
             rust-version = {}\n\
             publish = false\n\
             \n\
             {dependencies}\n\
             # As in the course: what is built for a step is not built again.\n\
             [profile.dev.package.\"*\"]\n\
             {options}\n\
             # The lesson's imports are there before they are used.\n\
             [lints.rust]\n\
             dead_code = \"allow\"\n\
             unused_imports = \"allow\"\n\
             unused_variables = \"allow\"\n\
             \n\
             # Not a member of the course's workspace.\n\
             [workspace]\n",
            self.name(),
            Value::from(self.lesson.goal.as_str()),
            shared["package"]["edition"],
            shared["package"]["rust-version"],
        ))
    }

    /// The course's alias `cargo xtask`, with the path to the course. Cargo looks for
    /// aliases in the crate, so the alias also works in the crate's directory.
    fn config_text(&self) -> Result<String> {
        let file = common::workspace().join(CONFIG);
        let config = read_toml(&file)?;
        let alias = config.get("alias").and_then(|alias| alias.get("xtask")?.as_str());
        let alias = alias.with_context(|| format!("find xtask in {}", file.display()))?;
        let course = self.course.join(MANIFEST).display().to_string();
        let option = format!("--manifest-path={course}");
        let (run, rest) = alias.split_once(' ').unwrap_or((alias, ""));
        // Where cargo finds both aliases, a string replaces the course's alias, and a
        // list does not. But cargo splits a string at every blank.
        let alias = if course.contains(char::is_whitespace) {
            let words = [run, &option].into_iter().chain(rest.split(' '));
            Value::from(words.map(Value::from).collect::<Vec<_>>())
        } else {
            Value::from(format!("{run} {option} {rest}"))
        };
        let alias = Table::from_iter([("xtask".to_owned(), alias)]);
        let mut out = Table::from_iter([("alias".to_owned(), Value::from(alias))]);
        // A hand-out has the crates in a directory of the course.
        if let Some(Value::Table(mut sources)) = config.get("source").cloned() {
            for (_name, source) in sources.iter_mut() {
                if let Some(directory) = source.get_mut("directory") {
                    let found = common::workspace().join(directory.as_str().unwrap_or_default());
                    *directory = Value::from(found.display().to_string());
                }
            }
            out.insert("source".to_owned(), Value::from(sources));
        }
        Ok(out.to_string())
    }

    /// Builds the learner's program, verifies it instead of the step's program, and
    /// notes the result. With `show`, it shows each check as the check ends.
    fn check(&self, show: bool) -> Result<Checks> {
        let program = self.program()?;
        // The workspace's configuration applies: the dependencies are already built
        // there.
        let built = cargo::build(|build| {
            build.arg("--manifest-path").arg(self.file(MANIFEST));
        })?;
        let checks = verify::program(&self.lesson, cargo::program(&built, &self.name())?, show)?;
        progress::note(self, &program, &checks)?;
        Ok(checks)
    }

    fn say_what_to_do(&self) -> Result<()> {
        let here = env::current_dir().unwrap_or_default();
        let near = |path: &Path| quoted(path.strip_prefix(&here).unwrap_or(path));
        let (Lesson { number, goal, .. }, option) = (&self.lesson, &self.option);
        // The files with goals, with a path to the first.
        let program = with_goals(&self.lesson)?.into_iter();
        let names = program.filter(|file| file.text.contains(&layout::mark(*number)));
        let mut names = names.map(|file| file.name);
        let first = near(&self.source_file(&names.next().unwrap_or_default()));
        let files = names.fold(first, |files, name| format!("{files}, {name}"));
        let command = if self.lesson.has_verbs { "run --bundle DIR NAME" } else { "/bin/sh" };
        say::print(&format!(
            "Lesson {number}: {goal}\n\n\
             read   {}\n\
             edit   {files}: put your code in the place of each TODO comment\n\
             run    cargo run --manifest-path {} -- {command}\n\
             check  cargo xtask exercise {number} --check{option}, or --watch\n\
             stuck  cargo xtask exercise {number} --hint{option}\n",
            near(&self.lesson.dir().join("README.md")),
            near(&self.file(MANIFEST)),
        ))
    }
}
