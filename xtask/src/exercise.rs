//! `cargo xtask exercise`: a lesson for the learner to write.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use similar::{ChangeTag, TextDiff};
use toml::{Table, Value};

use crate::cargo;
use crate::lessons::{self, Lesson};
use crate::say::{self, quoted};

/// Lay out lesson N for you to write: the program of the lesson before it, with
/// the goals as comments where the new code goes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The lesson: 5, 05, step05 or step05-pid
    n: String,
    /// Build what you have written and verify it
    #[arg(long, conflicts_with = "force")]
    check: bool,
    /// Lay it out anew, and lose what you have written
    #[arg(long)]
    force: bool,
    /// Where exercises lie [default: exercises/ in the workspace]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let lesson = lessons::find(&self.n)?;
        let exercise = Exercise::new(lesson, self.dir.as_deref())?;
        if self.check {
            return exercise.check();
        }
        exercise.lay_out(self.force)?;
        exercise.say_what_to_do(self.dir.as_deref())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What lesson 1 starts from, as the others do from the one before.
const NOTHING: &str = "\
fn main() -> ExitCode {
    let step = common::step!();
    step.run(container)
}

/// Runs the command in the container and exits as it did.
fn container(args: &Args) -> Result<Exit> {
    Ok(Exit::SUCCESS)
}
";

/// Where cargo finds its aliases.
const CONFIG: &str = ".cargo/config.toml";

/// A lesson as a crate of its own, outside the workspace.
struct Exercise {
    lesson: Lesson,
    /// The crate's directory.
    dir: PathBuf,
    /// `common`, as the crate's manifest names it.
    common: PathBuf,
}

impl Exercise {
    fn new(lesson: Lesson, exercises: Option<&Path>) -> Result<Exercise> {
        let workspace = common::workspace();
        let (exercises, common) = match exercises {
            Some(dir) => (path::absolute(dir).context("use --dir")?, workspace.join("common")),
            // Relative, so that the checkout can be moved.
            None => (workspace.join("exercises"), "../../common".into()),
        };
        Ok(Exercise { dir: exercises.join(&lesson.name), lesson, common })
    }

    /// The crate's and its program's name. Not the step's, whose program may
    /// lie beside it.
    fn name(&self) -> String {
        self.lesson.name.replacen("step", "exercise", 1)
    }

    fn main(&self) -> PathBuf {
        self.dir.join("src/main.rs")
    }

    fn manifest(&self) -> PathBuf {
        self.dir.join("Cargo.toml")
    }

    fn lay_out(&self, force: bool) -> Result<()> {
        ensure!(
            force || !self.main().exists(),
            "lay out {}: your work is there already; go on with it, or lose it with --force",
            self.dir.display()
        );
        // The versions that are built already: no network is needed.
        let lock = common::workspace().join("Cargo.lock");
        let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
        let files = [
            (self.manifest(), self.manifest_text()?),
            (self.dir.join("Cargo.lock"), lock),
            (self.main(), with_goals(&self.lesson)?),
            (self.dir.join(CONFIG), self.config_text()?),
        ];
        for (file, text) in files {
            let dir = file.parent().unwrap_or(&self.dir);
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
            fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    /// A manifest without what the step's inherits from the workspace.
    fn manifest_text(&self) -> Result<String> {
        let workspace = manifest(&common::workspace().join("Cargo.toml"))?;
        let step = manifest(&self.lesson.dir().join("Cargo.toml"))?;
        let shared = &workspace["workspace"];
        let mut dependencies = Table::new();
        for name in step["dependencies"].as_table().into_iter().flat_map(Table::keys) {
            let mut dependency = shared["dependencies"][name].clone();
            if name == "common" {
                dependency["path"] = Value::from(self.common.display().to_string());
            }
            dependencies.insert(name.clone(), dependency);
        }
        let dependencies = Table::from_iter([("dependencies".to_owned(), dependencies.into())]);
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

    /// Lets `cargo xtask` work in the crate's directory, too, where cargo looks
    /// for it in the crate: the course's alias, with the way to the course.
    fn config_text(&self) -> Result<String> {
        let file = common::workspace().join(CONFIG);
        let config = manifest(&file)?;
        let alias = config.get("alias").and_then(|alias| alias.get("xtask")?.as_str());
        let alias = alias.with_context(|| format!("find xtask in {}", file.display()))?;
        let course = self.common.with_file_name("Cargo.toml").display().to_string();
        let option = format!("--manifest-path={course}");
        let (run, rest) = alias.split_once(' ').unwrap_or((alias, ""));
        // A text takes the place of the course's own where both are found, as
        // a list would not; but it is split at every blank.
        let alias = if course.contains(char::is_whitespace) {
            let words = [run, &option].into_iter().chain(rest.split(' '));
            Value::from(words.map(Value::from).collect::<Vec<_>>())
        } else {
            Value::from(format!("{run} {option} {rest}"))
        };
        let alias = Table::from_iter([("xtask".to_owned(), alias)]);
        Ok(Table::from_iter([("alias".to_owned(), Value::from(alias))]).to_string())
    }

    /// Builds the learner's program and verifies it in the place of the step's.
    fn check(&self) -> Result<ExitCode> {
        ensure!(
            self.main().exists(),
            "check {}: it is not laid out; `cargo xtask exercise {}` does that",
            self.dir.display(),
            self.lesson.number
        );
        // With the workspace's configuration: there the dependencies are built
        // already.
        let built = cargo::build(|build| {
            build.arg("--manifest-path").arg(self.manifest());
        })?;
        let this = env::current_exe().context("find this program")?;
        let error = Command::new(this)
            .args(["verify", &self.lesson.name, "--bin"])
            .arg(cargo::program(&built, &self.name())?)
            .exec();
        Err(error).context("start `cargo xtask verify`")
    }

    fn say_what_to_do(&self, exercises: Option<&Path>) -> Result<()> {
        let here = env::current_dir().unwrap_or_default();
        let near = |path: &Path| quoted(path.strip_prefix(&here).unwrap_or(path));
        let Lesson { number, goal, .. } = &self.lesson;
        let dir = exercises.map(|dir| format!(" --dir {}", quoted(dir))).unwrap_or_default();
        say::print(&format!(
            "Lesson {number}: {goal}\n\n\
             read   {}\n\
             edit   {}, where it says TODO\n\
             run    cargo run --manifest-path {} -- /bin/sh\n\
             check  cargo xtask exercise {number} --check{dir}\n",
            near(&self.lesson.dir().join("README.md")),
            near(&self.main()),
            near(&self.manifest()),
        ))
    }
}

fn manifest(file: &Path) -> Result<Table> {
    let doing = || format!("read {}", file.display());
    fs::read_to_string(file).with_context(doing)?.parse().with_context(doing)
}

/// The program of the lesson before, with this lesson's imports, and one of its
/// goals wherever it adds code.
fn with_goals(lesson: &Lesson) -> Result<String> {
    let source = lesson.source()?;
    let (imports, code) = split(&source)?;
    let before = match lesson.number {
        1 => NOTHING.to_owned(),
        number => split(&lessons::find(&(number - 1).to_string())?.source()?)?.1.to_owned(),
    };
    let mut goals = lesson.exercise.iter();
    let mut out = imports.to_owned();
    let mut added = String::new();
    let mut kept = String::new();
    let mut goal_of = |added: &mut String, out: &mut String| -> Result<()> {
        if !added.is_empty() {
            let goal = goals.next().with_context(|| missing(lesson))?;
            *out += &todo(lesson.number, goal, added);
            added.clear();
        }
        Ok(())
    };
    let diff = TextDiff::from_lines(before.as_str(), code);
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => added += change.value(),
            ChangeTag::Delete => kept += change.value(),
            ChangeTag::Equal => {
                goal_of(&mut added, &mut out)?;
                out += &kept;
                kept.clear();
                out += change.value();
            }
        }
    }
    goal_of(&mut added, &mut out)?;
    ensure!(goals.next().is_none(), missing(lesson));
    Ok(out)
}

fn missing(lesson: &Lesson) -> String {
    format!(
        "lay out {}: `package.metadata.exercise.goals` in its Cargo.toml must have a goal for \
         each place where it adds code, and no more",
        lesson.name
    )
}

/// What stands before `main`, and the rest.
fn split(source: &str) -> Result<(&str, &str)> {
    let main = source.find("fn main()").context("find main in a lesson")?;
    Ok(source.split_at(main))
}

/// A goal as a comment in the place of the code that is `added`: as far
/// indented, and with a blank line where that has one.
fn todo(number: u32, goal: &str, added: &str) -> String {
    let line = added.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    let start = format!("{indent}//");
    let mut out = String::new();
    if added.starts_with('\n') {
        out.push('\n');
    }
    let mut line = format!("{start} TODO(lesson {number}):");
    for word in goal.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out += &line;
            out.push('\n');
            line.clone_from(&start);
        }
        line.push(' ');
        line += word;
    }
    out += &line;
    out.push('\n');
    if added.ends_with("\n\n") {
        out.push('\n');
    }
    out
}

/// How wide a comment may be.
const WIDTH: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lesson_has_a_goal_for_each_place_where_it_adds_code() {
        for lesson in lessons::all().expect("lessons") {
            let source = with_goals(&lesson).expect(&lesson.name);
            let todo = format!("// TODO(lesson {}): ", lesson.number);
            assert_eq!(source.matches(&todo).count(), lesson.exercise.len(), "{source}");
            assert!(!lesson.exercise.is_empty());
        }
    }

    #[test]
    fn a_goal_stands_where_the_code_would() {
        let goal = "Make a thing. ".repeat(8);
        let made = todo(3, &goal, "\n    let thing = 1;\n");
        let expected = "\n    \
             // TODO(lesson 3): Make a thing. Make a thing. Make a thing. Make a thing. Make a\n    \
             // thing. Make a thing. Make a thing. Make a thing.\n";
        assert_eq!(made, expected);
    }
}
