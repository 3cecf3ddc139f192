//! `cargo xtask bench`: the start-up of a container, next to its peers.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::dist;
use crate::lessons::{self, Lesson};
use crate::style::{Style, colour};

/// Measure how long a container takes to start and end, next to bubblewrap,
/// crun, runc and unshare, whichever are installed.
///
/// Builds what `dist` builds. Without a step named there is a second table:
/// what each step adds to the cost of a start.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The steps to measure, by name or number [default: the last]
    steps: Vec<String>,
    /// How often each command is run
    #[arg(long, default_value_t = 200)]
    runs: u32,
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

/// A command to measure, and what it does more or less than lesson 8.
struct Contender {
    name: String,
    command: String,
    remark: &'static str,
}

/// One line of a table: times in milliseconds.
struct Row {
    name: String,
    median: f64,
    min: f64,
    remark: &'static str,
}

/// The tools that start containers, and the Debian packages they are in.
const PEERS: [(&str, &str, &str); 4] = [
    ("bwrap", "bubblewrap", "no overlay; a cgroup namespace more"),
    ("unshare", "util-linux", "no overlay, no init"),
    ("crun", "crun", "no overlay; an OCI bundle"),
    ("runc", "runc", "no overlay; an OCI bundle, written in Go"),
];

impl Args {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let asked = Command::new("hyperfine").arg("--version").stdout(Stdio::null()).status();
        ensure!(
            asked.is_ok_and(|status| status.success()),
            "measure: hyperfine is not installed; `cargo install hyperfine` or a package of that name brings it"
        );
        let rootfs = rootfs()?;
        let built = dist::build()?;
        let temporary = tempfile::tempdir().context("make a temporary directory")?;

        let steps = match self.steps.as_slice() {
            [] => vec![lessons::last()?],
            words => words.iter().map(|word| lessons::find(word)).collect::<Result<_>>()?,
        };
        let mut contenders: Vec<_> =
            steps.iter().map(|step| contender(step, &built.dir, &rootfs, "/bin/true")).collect();
        contenders.extend(peers(&rootfs, temporary.path())?);
        let rows = measure(&contenders, self.runs)?;

        if self.format == Format::Svg {
            print!("{}", chart(&rows));
            return Ok(ExitCode::SUCCESS);
        }
        println!("{}\n", circumstances(built.libc));
        self.print(&rows, "times it", |row| rows[0].median / row.median);
        if self.steps.is_empty() {
            println!();
            self.staircase(&built.dir, temporary.path())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The second table: each step with the same static command, in a root
    /// that holds nothing else.
    fn staircase(&self, dir: &Path, temporary: &Path) -> Result<()> {
        let root = temporary.join("root");
        let command = root.join("step01-run");
        fs::create_dir_all(root.join("proc")).context("make a root")?;
        fs::copy(dir.join("step01-run"), &command).context("fill a root")?;
        let mut contenders = Vec::new();
        for step in lessons::all()? {
            let word = if step.has_rootfs() { Path::new("/step01-run") } else { &command };
            let contender = contender(&step, dir, &root, &format!("{} --version", quote(word)));
            match works(&contender.command) {
                Ok(()) => contenders.push(contender),
                Err(why) => eprintln!("note: {} is left out: {why}", step.name),
            }
        }
        let rows = measure(&contenders, self.runs)?;
        let before = |row: &Row| rows.iter().take_while(|other| other.name != row.name).last();
        self.print(&rows, "added ms", |row| {
            row.median - before(row).map_or(0.0, |before| before.median)
        });
        Ok(())
    }

    /// Prints a table whose last figure is worked out by `last`.
    fn print(&self, rows: &[Row], title: &str, last: impl Fn(&Row) -> f64) {
        if self.format == Format::Markdown {
            println!("| command | median ms | fastest ms | {title} | what it does more or less |");
            println!("| --- | --- | --- | --- | --- |");
            for row in rows {
                let Row { name, median, min, remark } = row;
                println!("| {name} | {median:.2} | {min:.2} | {:.2} | {remark} |", last(row));
            }
            return;
        }
        let style = Style::new(colour(&io::stdout()));
        let head = format!("{:18} {:>9} {:>10} {title:>9}", "", "median ms", "fastest ms");
        println!("{}", style.bold(&head));
        for row in rows {
            let Row { name, median, min, remark } = row;
            println!("{name:18} {median:9.2} {min:10.2} {:9.2}  {remark}", last(row));
        }
    }
}

/// The root to start containers on.
fn rootfs() -> Result<PathBuf> {
    let rootfs = common::Args::default().rootfs();
    ensure!(
        rootfs.join("bin").exists(),
        "measure on {}: there is no root; fetch one with `cargo xtask fetch-rootfs`",
        rootfs.display()
    );
    rootfs.canonicalize().with_context(|| format!("find {}", rootfs.display()))
}

/// A step as a contender.
fn contender(step: &Lesson, dir: &Path, rootfs: &Path, command: &str) -> Contender {
    let binary = quote(&dir.join(&step.name));
    let root =
        if step.has_rootfs() { format!("--rootfs {}", quote(rootfs)) } else { String::new() };
    Contender {
        name: step.name.clone(),
        command: format!("{binary} {root} -- {command}"),
        remark: "",
    }
}

/// The peers that are installed and run on this host; the others are named.
fn peers(rootfs: &Path, temporary: &Path) -> Result<Vec<Contender>> {
    // A copy: some of them write what they lack into the root.
    let copy = temporary.join("copy");
    let copied = Command::new("cp").arg("-a").args([rootfs, &copy]).status();
    ensure!(copied.context("start cp")?.success(), "copy {}: cp failed", rootfs.display());
    let rootfs = copy.as_path();
    let bundle = temporary.join("bundle");
    fs::create_dir(&bundle).context("make a bundle")?;
    let config = serde_json::to_vec(&oci_config(rootfs)).context("describe a container")?;
    fs::write(bundle.join("config.json"), config).context("write a bundle")?;
    let (root, bundle, state) = (quote(rootfs), quote(&bundle), quote(&temporary.join("state")));

    let mut found = Vec::new();
    for (name, package, remark) in PEERS {
        let command = match name {
            "bwrap" => {
                format!("bwrap --unshare-all --bind {root} / --proc /proc /bin/true")
            }
            "unshare" => format!(
                "unshare -Ur --mount --uts --ipc --net --pid --fork --root={root} --mount-proc /bin/true"
            ),
            "crun" => {
                format!("crun --cgroup-manager=disabled --root {state} run -b {bundle} crun-bench")
            }
            _ => format!("runc --root {state} run -b {bundle} runc-bench"),
        };
        let installed = Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !installed {
            eprintln!("note: {name} is not installed; Debian's package {package} has it");
            continue;
        }
        match works(&command) {
            Ok(()) => found.push(Contender { name: name.to_owned(), command, remark }),
            Err(why) => eprintln!("note: {name} is left out, it does not run here: {why}"),
        }
    }
    Ok(found)
}

/// The container of lesson 7 in the words of the OCI runtime specification.
fn oci_config(rootfs: &Path) -> Value {
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    let namespaces = ["pid", "network", "ipc", "uts", "user", "mount"];
    let namespaces: Vec<_> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": rootfs },
        "process": {
            "cwd": "/",
            "args": ["/bin/true"],
            "env": ["PATH=/bin"],
            "user": { "uid": 0, "gid": 0 },
        },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "namespaces": namespaces,
            "uidMappings": map(uid),
            "gidMappings": map(gid),
        },
    })
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

/// Measures all commands in one run of hyperfine, in turn, without a shell.
fn measure(contenders: &[Contender], runs: u32) -> Result<Vec<Row>> {
    let export = tempfile::NamedTempFile::new().context("make a temporary file")?;
    let mut hyperfine = Command::new("hyperfine");
    hyperfine.args(["--shell=none", "--warmup=5", "--style=none"]).arg(format!("--runs={runs}"));
    hyperfine.arg("--export-json").arg(export.path());
    for contender in contenders {
        hyperfine.args(["--command-name", &contender.name, &contender.command]);
    }
    let output = hyperfine.stdin(Stdio::null()).output().context("start hyperfine")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("measure: hyperfine says: {}", why.trim().replace('\n', " "));
    }
    let text = fs::read(export.path()).context("read what hyperfine measured")?;
    let measured: Value = serde_json::from_slice(&text).context("read what hyperfine measured")?;
    let results = measured["results"].as_array().context("read what hyperfine measured")?;
    let time = |result: &Value, of: &str| result[of].as_f64().unwrap_or(f64::NAN) * 1e3;
    let row = |(contender, result): (&Contender, &Value)| Row {
        name: contender.name.clone(),
        median: time(result, "median"),
        min: time(result, "min"),
        remark: contender.remark,
    };
    Ok(contenders.iter().zip(results).map(row).collect())
}

/// Where the figures come from, in one line.
fn circumstances(libc: &str) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, |count| count.get());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let virt = cpuinfo.split_whitespace().any(|word| word == "hypervisor");
    let machine = if virt { "a virtual machine" } else { "no virtual machine" };
    format!(
        "Linux {}, {}, {cpus} processors, {machine}; the steps are {libc}, the peers as installed.",
        release.trim(),
        env::consts::ARCH
    )
}

/// The medians as horizontal bars, in the colours of the page around it.
fn chart(rows: &[Row]) -> String {
    let longest = rows.iter().map(|row| row.median).fold(0.0, f64::max);
    let height = 36 * rows.len() + 48;
    let mut bars = String::new();
    for (index, row) in rows.iter().enumerate() {
        let y = 36 * index + 40;
        let width = (row.median / longest * 400.0).max(2.0);
        let class = if row.name.starts_with("step") { "ours" } else { "peer" };
        bars += &format!(
            "  <text x=\"150\" y=\"{}\" text-anchor=\"end\">{}</text>\n  \
             <rect class=\"{class}\" x=\"160\" y=\"{y}\" width=\"{width:.0}\" height=\"24\"/>\n  \
             <text x=\"{:.0}\" y=\"{}\">{:.1} ms</text>\n",
            y + 17,
            row.name,
            width + 168.0,
            y + 17,
            row.median
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 {height}\" role=\"img\">\n  \
         <title>Start and end of a container, median in milliseconds; shorter is better</title>\n  \
         <style>\n    text {{ font: 16px sans-serif; fill: #1f2328 }}\n    \
         .ours {{ fill: #1a7f37 }}\n    .peer {{ fill: #8c959f }}\n    \
         @media (prefers-color-scheme: dark) {{\n      text {{ fill: #e6edf3 }}\n      \
         .ours {{ fill: #3fb950 }}\n      .peer {{ fill: #6e7681 }}\n    }}\n  </style>\n  \
         <text x=\"160\" y=\"22\">start and end of a container, median</text>\n{bars}</svg>\n"
    )
}

/// A path as one word of a command.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
