//! `cargo xtask bench`: compares the start-up of the containers with other
//! programs.

mod chart;
mod measure;
mod peers;
mod tools;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::bundle;
use crate::dist::{self, Dist};
use crate::fetch_rootfs;
use crate::file::make_dir;
use crate::say::{self, note, quoted};
use crate::style::Style;
use crate::table::{Format, Table};
use crate::temporary::Temporary;
use lessons::Lesson;
use measure::Turns;

/// Measure the time to start and end a container, and compare the steps with
/// bubblewrap, crun, runc and unshare, if they are installed
///
/// Needs hyperfine. Builds the same programs as `dist`. Each command starts the
/// same program on the same small root. If you name no step, a second table shows
/// the time that each step adds. --tools measures lessons 16 to 19.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Steps to measure besides the last step, by name or number [default: all]
    steps: Vec<String>,
    /// The number of runs of each command
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure the steps in DIR, which `dist` made, and build nothing
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Compare lessons 16 to 19 with podman, umoci, skopeo, nsenter, runc and crun, which
    /// do the same. One table has the ratios
    #[arg(long, conflicts_with = "steps")]
    tools: bool,
    /// The format of the tables. The picture is a bar chart of the first table
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A command to measure.
struct Contender {
    name: String,
    /// For a step: its goal. For another program: the differences from the step.
    remark: String,
    command: String,
}

/// A contender and its times, in milliseconds.
struct Row {
    name: String,
    remark: String,
    median: f64,
    fastest: f64,
}

/// Above this ratio of the median to the fastest run, other programs disturb the
/// measurement. On a quiet virtual machine, the ratio is below 1.5.
const DISTURBED: f64 = 1.8;

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        ensure!(
            !(self.tools && self.format == Format::Svg),
            "measure lessons 16 to 19: they have no picture; name another format"
        );
        let last = lessons::last_with_command()?;
        let steps = self.steps(&last)?;
        let asked = Command::new("hyperfine").arg("--version").stdout(Stdio::null()).status();
        ensure!(
            asked.is_ok_and(|status| status.success()),
            "measure: hyperfine is not installed; install it with `cargo install hyperfine` or as a package"
        );
        let built = match &self.dir {
            Some(dir) => Dist::at(dir)?,
            None => dist::build(env::consts::ARCH)?,
        };
        if self.tools {
            return tools::compare(&self, &built);
        }
        let place = Temporary::new()?;
        let root = place.dir().join("root");
        make_dir(&root.join("proc"))?;
        // This program ends at once. The first steps start it on the host, the
        // other steps in this root. There it has another path, because lesson 10
        // may cover the path on the host.
        let program = built.dir.join(&lessons::all()?[0].name);
        fetch_rootfs::bring(&program, &root)?;
        let inside = Path::new("/program");
        fs::copy(&program, root.join("program")).context("copy a program to the root")?;

        let mut contenders = Vec::new();
        for step in steps {
            let program = if step.has_root() { inside } else { &program };
            let binary = built.dir.join(&step.name);
            let command = command_line(&step, &binary, program, place.dir())?;
            contenders.push(Contender { name: step.name, remark: step.goal, command });
        }
        contenders.extend(peers::find(&root, place.dir())?);
        let turns = Turns { runs: self.runs, place: place.dir(), prepare: None };
        contenders.retain(|it| turns.works(it));
        let rows = turns.measure(&contenders)?;
        drop(place);

        let first = rows.iter().find(|row| row.name == last.name).with_context(|| {
            format!("measure {}: it does not run here; read the message above", last.name)
        })?;
        if first.median > DISTURBED * first.fastest {
            note(&format!(
                "other programs disturb the measurement: the median of {} is {:.1} times its fastest run; measure again on a quiet machine",
                first.name,
                first.median / first.fastest
            ));
        }
        say::print(&self.render(&rows, first, circumstances(self.runs, built.libc))?)
    }

    /// The steps to measure, in order.
    fn steps(&self, last: &Lesson) -> Result<Vec<Lesson>> {
        let mut steps = match self.steps.as_slice() {
            [] if self.format == Format::Svg => Vec::new(),
            // A bundle says how much of a container there is to make.
            [] => lessons::all()?.into_iter().filter(|step| !step.has_verbs).collect(),
            words => words.iter().map(|word| lessons::find(word)).collect::<Result<_>>()?,
        };
        steps.push(last.clone());
        steps.sort_by_key(|step| step.number);
        steps.dedup_by_key(|step| step.number);
        Ok(steps)
    }

    /// The tables or the picture. The ratios compare each row with the row `first`.
    fn render(&self, rows: &[Row], first: &Row, circumstances: [String; 2]) -> Result<String> {
        let (steps, peers): (Vec<_>, Vec<_>) = rows.iter().partition(|row| is_step(row));
        let all = self.steps.is_empty();
        let compared = if all { vec![first] } else { steps.clone() };
        let compared: Vec<_> = compared.into_iter().chain(peers).collect();
        if self.format == Format::Svg {
            return Ok(chart::draw(&compared, &circumstances));
        }
        let ratio =
            |row: &&Row| row.cells(&format!("{:.2}", row.median / first.median), &row.remark);
        let against = format!("times {}", first.name);
        let words = "what it does (peers: more or less)";
        let head = ["command", "median ms", "fastest ms", &against, words];
        let mut out = circumstances.join(" ") + "\n\n";
        out += &self.table(&head, compared.iter().map(ratio).collect());
        if all {
            let head = ["step", "median ms", "fastest ms", "adds ms", "what it adds"];
            out.push('\n');
            out += &self.table(&head, added(&steps, &lessons::all()?));
        }
        Ok(out)
    }

    fn table(&self, head: &[&str], rows: Vec<Vec<String>>) -> String {
        Table { head: head.into(), rows, strong: None }.render(self.format, Style::of_stdout())
    }
}

impl Row {
    fn cells(&self, figure: &str, words: &str) -> Vec<String> {
        let time = |time: f64| format!("{time:.2}");
        [&self.name, &time(self.median), &time(self.fastest), figure, words]
            .map(str::to_owned)
            .into()
    }
}

fn is_step(row: &Row) -> bool {
    row.name.starts_with("step")
}

/// The second table: the time that each step adds to the step before it in the
/// table. If the table leaves out a step, the next step gets its part, too.
fn added(steps: &[&Row], lessons: &[Lesson]) -> Vec<Vec<String>> {
    let mut before = 0.0;
    let mut words = Vec::new();
    let mut cells = Vec::new();
    for lesson in lessons {
        words.push(lesson.adds.as_str());
        if let Some(row) = steps.iter().find(|row| row.name == lesson.name) {
            let figure = format!("{:+.2}", row.median - before);
            cells.push(row.cells(&figure, &words.join("; ")));
            before = row.median;
            words.clear();
        }
    }
    cells
}

/// The command line of a step, which starts `program`. A step with verbs gets a bundle in
/// `place`.
fn command_line(step: &Lesson, binary: &Path, program: &Path, place: &Path) -> Result<String> {
    let mut command = Command::new(binary);
    let root = place.join("root");
    if step.has_verbs {
        let bundle = place.join(&step.name);
        make_dir(&bundle)?;
        command = bundle::make(binary, &bundle, &root, &["/program", "--version"], false)?;
    } else {
        if step.has_rootfs {
            command.arg("--rootfs").arg(root);
        }
        command.arg("--").arg(program).arg("--version");
    }
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// The method and the machine, in two sentences.
fn circumstances(runs: u32, libc: &str) -> [String; 2] {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().split('-').next().unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, |count| count.get());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        line.split_once(": ").map(|(_, value)| value)
    };
    let model = named("model name").map(|model| format!(" ({model})")).unwrap_or_default();
    // Only processors of the x86 family show this flag.
    let machine = named("flags").map_or("", |flags| {
        let guest = flags.split(' ').any(|flag| flag == "hypervisor");
        if guest { ", a virtual machine" } else { ", no virtual machine" }
    });
    [
        format!(
            "Medians of {runs} runs each, by turns; the steps are {libc}, the peers as installed."
        ),
        format!("Linux {release}, {}, processors: {cpus}{model}{machine}.", env::consts::ARCH),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn row(name: &str, median: f64, remark: &str) -> Row {
        Row { name: name.to_owned(), remark: remark.to_owned(), median, fastest: median / 2.0 }
    }

    #[test]
    fn a_step_that_was_not_measured_counts_to_the_next() {
        let mut lessons = lessons::all().expect("lessons");
        lessons.truncate(3);
        let rows = [row(&lessons[0].name, 1.0, ""), row(&lessons[2].name, 3.5, "")];
        let cells = added(&rows.each_ref(), &lessons);
        assert_eq!(cells.len(), 2);
        assert_eq!(cells[0][3], "+1.00");
        assert_eq!(cells[1][1..4], ["3.50", "1.75", "+2.50"]);
        assert_eq!(cells[1][4], format!("{}; {}", lessons[1].adds, lessons[2].adds));
    }

    #[test]
    fn the_page_has_the_words_of_the_lessons() {
        let page = common::workspace().join("docs/time.md");
        let page = fs::read_to_string(page).expect("read the page");
        let mut rows =
            page.lines().filter(|line| line.starts_with("| step") && !line.starts_with("| step |"));
        // A lesson that is newer than the table has no row.
        for lesson in lessons::all().expect("lessons") {
            let Some(row) = rows.next() else { break };
            assert!(row.starts_with(&format!("| {} |", lesson.name)), "{row}");
            assert!(row.ends_with(&format!("| {} |", lesson.adds)), "{row}");
        }
        assert_eq!((rows.next(), page.contains("| step01-run |")), (None, true));
    }
}
