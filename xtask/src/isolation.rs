//! `cargo xtask isolation`: the parts of the host that each step's container
//! shares.

mod svg;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail, ensure};
use common::open;
use nix::unistd::getuid;

use crate::bundle;
use crate::cargo;
use crate::file;
use crate::rootfs::Root;
use crate::say;
use crate::style::Style;
use crate::table::{Format, Table};
use crate::temporary::Temporary;
use lessons::Lesson;

/// Start every step, read from the host's /proc which parts of the host its
/// container shares, and print a table
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The format of the table
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write the table to a file, not to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        let rows = measure_all()?;
        let colour = if self.output.is_none() { Style::of_stdout() } else { Style::new(false) };
        let table = match self.format {
            Format::Svg => svg::draw(&rows),
            format => table(&rows).render(format, colour) + LEGEND,
        };
        match &self.output {
            Some(file) => file::write(file, table),
            None => say::print(&table),
        }
    }
}

/// The columns with their subjects: the namespaces in /proc/PID/ns, the root, and
/// the upper layer.
const COLUMNS: [(&str, &str); 9] = [
    ("uts", "hostname"),
    ("ipc", "messages"),
    ("mnt", "mounts"),
    ("net", "network"),
    ("user", "IDs"),
    ("pid", "processes"),
    ("cgroup", "groups"),
    ("root", "files"),
    ("upper", "changes"),
];
const LEGEND: &str =
    "\nown: the container's own; shared: the host's; none: changes go to the root itself\n";
const NEEDS_ROOT: &str = "needs root";

/// The states of one kind of resource: the container's own, the host's, or the container
/// has no resource of this kind.
const OWN: &str = "own";
const SHARED: &str = "shared";
const NO: &str = "none";

/// The states of a container.
type Cells = [&'static str; COLUMNS.len()];

/// A step and its measurement. `None` if the step needs root to start.
struct Row {
    step: String,
    cells: Option<Cells>,
}

fn measure_all() -> Result<Vec<Row>> {
    let root = Root::find(None)?;
    let mut rows = Vec::new();
    for lesson in lessons::all()? {
        let cells = if lesson.needs_root && !getuid().is_root() {
            None
        } else {
            let container = Container::start(&lesson, root.dir())?;
            Some(measure(container.command()?)?)
        };
        rows.push(Row { step: lesson.name, cells });
    }
    Ok(rows)
}

/// Compares a process with this one; namespaces(7), proc_pid_root(5).
fn measure(pid: u32) -> Result<Cells> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let ours = Path::new("/proc/self");
    let mounts = |proc: &Path| {
        let file = proc.join("mountinfo");
        open::text(&file).with_context(|| format!("read {}", file.display()))
    };
    let mut cells = [NO; COLUMNS.len()];
    for (cell, (column, _)) in cells.iter_mut().zip(COLUMNS) {
        *cell = match column {
            "root" => compare(root_of(&proc)?, root_of(ours)?),
            "upper" => upper_layer(&mounts(&proc)?, &mounts(ours)?),
            namespace => {
                let read = |proc: &Path| {
                    let link = proc.join("ns").join(namespace);
                    fs::read_link(&link).with_context(|| format!("read {}", link.display()))
                };
                compare(read(&proc)?, read(ours)?)
            }
        };
    }
    Ok(cells)
}

fn compare<T: PartialEq>(theirs: T, ours: T) -> &'static str {
    if theirs == ours { SHARED } else { OWN }
}

/// The device and inode of a process's root.
fn root_of(proc: &Path) -> Result<(u64, u64)> {
    let root = proc.join("root");
    let found = fs::metadata(&root).with_context(|| format!("look at {}", root.display()))?;
    Ok((found.dev(), found.ino()))
}

/// Whether the root of a process is an overlay with an upper layer that the host
/// has not mounted; proc_pid_mountinfo(5).
fn upper_layer(theirs: &str, ours: &str) -> &'static str {
    let device = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    // The last mount hides the mounts below it.
    let root = theirs.lines().rfind(|line| line.split(' ').nth(4) == Some("/"));
    let overlay = root.filter(|line| {
        let (_, file_system) = line.split_once(" - ").unwrap_or_default();
        file_system.starts_with("overlay ") && file_system.contains("upperdir=")
    });
    match overlay.and_then(device) {
        None => NO,
        // The host's root is an overlay itself, and the container adds none.
        Some(overlay) if ours.lines().filter_map(device).any(|ours| ours == overlay) => NO,
        Some(_) => OWN,
    }
}

/// A running container. Its command reads from a pipe of this program. It ends when
/// this value is dropped, or when this program ends.
struct Container {
    name: String,
    runner: Child,
    _bundle: Option<Temporary>,
}

impl Container {
    /// Starts a step and waits until its command runs.
    fn start(lesson: &Lesson, rootfs: &Path) -> Result<Container> {
        let binary = cargo::step(lesson)?;
        let shell = ["/bin/sh", "-c", "echo ready; read x"];
        let (mut command, bundle) = bundle::command(lesson, &binary, Some(rootfs), &shell)?;
        let runner = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let mut container = Container { name: lesson.name.clone(), runner, _bundle: bundle };
        container.wait_until_ready()?;
        Ok(container)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.runner.stdout {
            BufReader::new(stdout).read_line(&mut line).context("read from the container")?;
        }
        if line != "ready\n" {
            let mut said = String::new();
            if let Some(stderr) = &mut self.runner.stderr {
                stderr.read_to_string(&mut said).context("read from the container")?;
            }
            // The step's own message has a remedy.
            let said = said.trim_end().replace('\n', "; ");
            let why = said.strip_prefix(&format!("{}: ", self.name)).unwrap_or(&said);
            bail!("start {}: {why}", self.name);
        }
        Ok(())
    }

    /// The command's ID on the host: the last of runner, child and command.
    fn command(&self) -> Result<u32> {
        let mut pid = self.runner.id();
        while let Some(child) = child_of(pid)? {
            pid = child;
        }
        ensure!(pid != self.runner.id(), "find the command of {} in /proc", self.name);
        Ok(pid)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.runner.stdin.take());
        // It fails only if the runner was waited for before.
        let _ = self.runner.wait();
    }
}

/// The first child of a process; proc_tid_children(5).
fn child_of(pid: u32) -> Result<Option<u32>> {
    let children = file::read(Path::new(&format!("/proc/{pid}/task/{pid}/children")))?;
    Ok(children.split(' ').next().and_then(|child| child.parse().ok()))
}

/// The measurements as a table.
fn table(rows: &[Row]) -> Table<'static> {
    let rows = rows.iter().map(|row| {
        let cells = match row.cells {
            Some(cells) => cells.map(str::to_owned).into(),
            None => vec![format!("{NEEDS_ROOT}: measured only when root runs this task")],
        };
        [vec![row.step.clone()], cells].concat()
    });
    let head = ["step"].into_iter().chain(COLUMNS.map(|(column, _)| column)).collect();
    Table { head, rows: rows.collect(), strong: Some(OWN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "23 1 254:0 / / rw - ext4 /dev/root rw\n\
                        24 23 0:22 / /proc rw shared:5 - proc proc rw\n";
    const OVERLAY: &str = "40 39 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u\n";

    #[test]
    fn an_upper_layer_is_an_overlay_that_the_host_has_not() {
        assert_eq!(upper_layer(HOST, HOST), NO);
        assert_eq!(upper_layer(OVERLAY, HOST), OWN);
        assert_eq!(upper_layer(&format!("{HOST}{OVERLAY}"), HOST), OWN);
        assert_eq!(upper_layer(&format!("{OVERLAY}{HOST}"), HOST), NO);
        assert_eq!(upper_layer(OVERLAY, OVERLAY), NO);
        assert_eq!(upper_layer(&OVERLAY.replace(",upperdir=/u", ""), HOST), NO);
        assert_eq!(upper_layer("", HOST), NO);
    }
}
