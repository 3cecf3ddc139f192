//! `cargo xtask bench`: the start-up of a container, next to its peers.

mod chart;
mod peers;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use indicatif::ProgressBar;
use serde_json::Value;

use crate::dist::{self, Dist};
use crate::fetch_rootfs;
use crate::say::{self, note, quoted};
use crate::style::{Style, colour};
use crate::temporary::Temporary;
use lessons::Lesson;

/// Measure how long a container takes to start and end, next to bubblewrap,
/// crun, runc and unshare, whichever are installed.
///
/// Needs hyperfine. Builds what `dist` builds, and has every contender start
/// the same program on the same small root. Without a step named there is a
/// second table: what each step adds to the cost of a start.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Steps to measure beside the last, by name or number [default: all]
    steps: Vec<String>,
    /// How often each command is run
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure the steps in DIR, as `dist` leaves them, instead of building
    /// them
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How the tables are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For a page
    Markdown,
    /// A bar chart of the first table
    Svg,
}

/// A command to measure.
struct Contender {
    name: String,
    /// What it does; of a peer, more or less than the last lesson.
    remark: String,
    command: String,
}

/// A contender and what was measured, in milliseconds.
struct Row {
    name: String,
    remark: String,
    median: f64,
    fastest: f64,
}

/// How often a command is run before it is the next one's turn.
const TURN: u32 = 5;

/// From this ratio of the median to the fastest run on, others disturb. On a
/// quiet virtual machine it was seen below 1.5.
const DISTURBED: f64 = 1.8;

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let last = lessons::last()?;
        let steps = self.steps(&last)?;
        let asked = Command::new("hyperfine").arg("--version").stdout(Stdio::null()).status();
        ensure!(
            asked.is_ok_and(|status| status.success()),
            "measure: hyperfine is not installed; `cargo install hyperfine` or a package of that name brings it"
        );
        let built = match &self.dir {
            Some(dir) => Dist::at(dir)?,
            None => dist::build()?,
        };
        let place = Temporary::new()?;
        let root = place.dir().join("root");
        fs::create_dir_all(root.join("proc")).context("make a root")?;
        // It ends at once, and has the same path in this root and outside.
        let program = built.dir.join(&lessons::all()?[0].name);
        fetch_rootfs::bring(&program, &root)?;
        let command = format!("{} --version", quoted(&program));

        let mut contenders = Vec::new();
        for step in steps {
            let contender = contender(&step, &built.dir, &root, &command);
            match works(&contender.command) {
                Ok(()) => contenders.push(contender),
                Err(why) if step.number == last.number => bail!("start {why}"),
                Err(why) => note(&format!("left out: {why}")),
            }
        }
        contenders.extend(peers::find(&root, &program, place.dir())?);
        let rows = measure(&contenders, self.runs, &place.dir().join("measured"))?;
        drop(place);

        let first = rows.iter().find(|row| row.name == last.name).context("find the last step")?;
        if first.median > DISTURBED * first.fastest {
            note(&format!(
                "other programs disturb: {} takes {:.1} times its fastest run; measure again on a quiet machine",
                first.name,
                first.median / first.fastest
            ));
        }
        say::print(&self.render(&rows, first, circumstances(self.runs, built.libc))?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The steps to measure, in order.
    fn steps(&self, last: &Lesson) -> Result<Vec<Lesson>> {
        let mut steps = match self.steps.as_slice() {
            [] if self.format == Format::Svg => Vec::new(),
            [] => lessons::all()?,
            words => words.iter().map(|word| lessons::find(word)).collect::<Result<_>>()?,
        };
        steps.push(last.clone());
        steps.sort_by_key(|step| step.number);
        steps.dedup_by_key(|step| step.number);
        Ok(steps)
    }

    /// What was measured, as it is printed. `first` is the row that the others
    /// are compared with.
    fn render(&self, rows: &[Row], first: &Row, circumstances: [String; 2]) -> Result<String> {
        let (steps, peers): (Vec<_>, Vec<_>) = rows.iter().partition(|row| is_step(row));
        let all = self.steps.is_empty();
        let compared = if all { vec![first] } else { steps.clone() };
        let compared: Vec<_> = compared.into_iter().chain(peers).collect();
        let table: fn(&[&str; 5], &[[String; 5]]) -> String = match self.format {
            Format::Svg => return Ok(chart::draw(&compared, &circumstances)),
            Format::Markdown => markdown,
            Format::Text => text,
        };
        let against = format!("times {}", first.name);
        let mut out = circumstances.join(" ") + "\n\n";
        let cells = compared
            .iter()
            .map(|row| row.cells(format!("{:.2}", row.median / first.median), row.remark.clone()));
        let cells: Vec<_> = cells.collect();
        out += &table(
            &["command", "median ms", "fastest ms", &against, "what it does (peers: more or less)"],
            &cells,
        );
        if all {
            let cells = added(&steps, &lessons::all()?);
            out.push('\n');
            out += &table(&["step", "median ms", "fastest ms", "adds ms", "what it adds"], &cells);
        }
        Ok(out)
    }
}

impl Row {
    fn cells(&self, figure: String, words: String) -> [String; 5] {
        let time = |time: f64| format!("{time:.2}");
        [self.name.clone(), time(self.median), time(self.fastest), figure, words]
    }
}

fn is_step(row: &Row) -> bool {
    row.name.starts_with("step")
}

/// The second table: what each step adds to the one before that was measured.
/// What a step between them adds is added, too.
fn added(steps: &[&Row], lessons: &[Lesson]) -> Vec<[String; 5]> {
    let mut before = 0.0;
    let mut words = Vec::new();
    let mut cells = Vec::new();
    for lesson in lessons {
        words.push(lesson.adds.as_str());
        if let Some(row) = steps.iter().find(|row| row.name == lesson.name) {
            let figure = format!("{:+.2}", row.median - before);
            cells.push(row.cells(figure, words.join("; ")));
            before = row.median;
            words.clear();
        }
    }
    cells
}

/// A table for a terminal.
fn text(head: &[&str; 5], rows: &[[String; 5]]) -> String {
    let style = Style::new(colour(&io::stdout()));
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 4] = std::array::from_fn(width);
    let line = |cells: &[&str; 5]| {
        let [name, a, b, c, words] = cells;
        let [w, wa, wb, wc] = widths;
        format!("{name:w$}  {a:>wa$}  {b:>wb$}  {c:>wc$}  {words}")
    };
    let mut out = format!("{}\n", style.bold(&line(head)));
    for row in rows {
        out += &format!("{}\n", line(&row.each_ref().map(String::as_str)));
    }
    out
}

/// A table for a page.
fn markdown(head: &[&str; 5], rows: &[[String; 5]]) -> String {
    let mut out = format!("| {} |\n| --- | ---: | ---: | ---: | --- |\n", head.join(" | "));
    for row in rows {
        out += &format!("| {} |\n", row.join(" | "));
    }
    out
}

/// A step as a contender.
fn contender(step: &Lesson, dir: &Path, root: &Path, command: &str) -> Contender {
    let binary = quoted(dir.join(&step.name));
    let root = if step.has_rootfs { format!("--rootfs {}", quoted(root)) } else { String::new() };
    Contender {
        name: step.name.clone(),
        remark: step.goal.clone(),
        command: format!("{binary} {root} -- {command}"),
    }
}

/// Runs a command once; why it fails, when it does.
fn works(command: &str) -> Result<(), String> {
    let run = Command::new("/bin/sh").args(["-c", command]).stdin(Stdio::null()).output();
    match run {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(text.lines().next().unwrap_or("it says nothing").to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Measures all commands by turns, so that what disturbs disturbs them alike.
fn measure(contenders: &[Contender], runs: u32, export: &Path) -> Result<Vec<Row>> {
    let mut times = vec![Vec::new(); contenders.len()];
    // Shows on a terminal alone.
    let bar = ProgressBar::new(runs.into());
    let mut left = runs;
    while left > 0 {
        let turn = left.min(TURN);
        take_turns(contenders, turn, export, &mut times)?;
        left -= turn;
        bar.inc(turn.into());
    }
    bar.finish_and_clear();
    let rows = contenders.iter().zip(times).map(|(contender, mut times)| {
        times.sort_by(f64::total_cmp);
        Row {
            name: contender.name.clone(),
            remark: contender.remark.clone(),
            median: milliseconds(median(&times)),
            fastest: milliseconds(times[0]),
        }
    });
    Ok(rows.collect())
}

/// Seconds in milliseconds, to the hundredth: what is worked out from a figure
/// fits what is shown of it.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e5).round() / 1e2
}

/// The median of sorted figures.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// Has hyperfine run each command `runs` times, without a shell, and adds the
/// times to those that there are. It writes them to the file `export`.
fn take_turns(
    contenders: &[Contender],
    runs: u32,
    export: &Path,
    times: &mut [Vec<f64>],
) -> Result<()> {
    const DOING: &str = "read what hyperfine measured";
    let mut hyperfine = Command::new("hyperfine");
    hyperfine.args(["--shell=none", "--warmup=1", "--style=none", "--ignore-failure"]);
    hyperfine.arg(format!("--runs={runs}")).arg("--export-json").arg(export);
    hyperfine.args(contenders.iter().map(|contender| &contender.command));
    let output = hyperfine.stdin(Stdio::null()).output().context("start hyperfine")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("measure: hyperfine says: {}", why.trim().replace('\n', " "));
    }
    let text = fs::read(export).context(DOING)?;
    let measured: Value = serde_json::from_slice(&text).context(DOING)?;
    let list = |value: &Value| value.as_array().cloned().context(DOING);
    let results = list(&measured["results"])?;
    ensure!(results.len() == contenders.len(), "{DOING}: it is not all there");
    for ((contender, result), times) in contenders.iter().zip(&results).zip(times) {
        for status in list(&result["exit_codes"])? {
            ensure!(
                status == 0,
                "measure {}: it exited with {status} after it had worked; try it: {}",
                contender.name,
                contender.command
            );
        }
        times.extend(list(&result["times"])?.iter().filter_map(Value::as_f64));
        ensure!(!times.is_empty(), "{DOING}: {} has no times", contender.name);
    }
    Ok(())
}

/// How and where the figures came about, in two sentences.
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
    // Only processors of this family tell.
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
        for lesson in lessons::all().expect("lessons") {
            let start = format!("| {} |", lesson.name);
            let row = page.lines().find(|line| line.starts_with(&start)).expect(&lesson.name);
            assert!(row.ends_with(&format!("| {} |", lesson.adds)), "{row}");
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[1.0]), 1.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
    }
}
