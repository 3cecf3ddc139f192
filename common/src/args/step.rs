//! The command line of a step.

mod options;
#[cfg(test)]
mod tests;

use std::env;
use std::ffi::{CString, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::calls::capabilities::{Capabilities, Changes};
use crate::child::exec::words;
use crate::child::streams::Copier;
use crate::child::{inherit, signals};
use crate::places::overlay::warn_of_owner;
use crate::said::error::{failure, note, print, report, speak_as, status_of};
use crate::{
    Bind, Exit, Ids, InMap, Limits, Names, Network, Port, Scratch, Subnet, Tmpfs, workspace,
};

use self::options::Opt;

/// The directory in `$CONTAINER_ROOTFS`. An empty variable counts as not set.
pub fn named_rootfs() -> Option<PathBuf> {
    let named = env::var_os("CONTAINER_ROOTFS").filter(|name| !name.is_empty());
    named.map(PathBuf::from)
}

/// A step's name, goal and options. [`step!`] makes it.
///
/// [`step!`]: crate::step!
#[derive(Debug)]
#[must_use = "it reads the command line only when it runs"]
pub struct Step {
    name: &'static str,
    version: &'static str,
    goal: &'static str,
    options: Vec<&'static Opt>,
    words: Option<&'static str>,
}

/// The step of the calling crate. Its `Cargo.toml` has the name and the goal.
#[macro_export]
macro_rules! step {
    () => {
        $crate::Step::new([
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            env!("CARGO_PKG_DESCRIPTION"),
        ])
    };
}

/// The values of the command line.
#[derive(Debug, Default)]
pub struct Args {
    /// The command and its arguments. It is empty only if the step takes an image, and the
    /// caller names an image or `--entrypoint`, or asks for something that needs no command.
    pub command: Vec<CString>,
    rootfs: Option<PathBuf>,
    lower: Vec<PathBuf>,
    scratch: Option<PathBuf>,
    /// Each `--bind`, in order.
    pub binds: Vec<Bind>,
    /// What `--memory`, `--pids` and `--cpus` allow.
    pub limits: Limits,
    changes: Changes,
    /// What `--network` asks for; nothing for `none`.
    pub network: Option<Network>,
    subnet: Option<Subnet>,
    /// Each `--publish`, in order.
    pub ports: Vec<Port>,
    /// What the caller asks for, and of which container.
    pub names: Names,
    /// `--image`, with its tag.
    pub image: Option<PathBuf>,
    store: Option<PathBuf>,
    /// `--entrypoint`, one word. The word is empty if the command has no such part.
    pub entrypoint: Option<Vec<CString>>,
    /// Each `--env`, in order: a name, `=` and a value.
    pub env: Vec<CString>,
    /// `--workdir`: it begins with `/`, and has no `..`.
    pub workdir: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--ids`.
    pub ids: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// Whether nobody may write to the root.
    pub read_only: bool,
    /// Each `--tmpfs`, in order.
    pub tmpfs: Vec<Tmpfs>,
}

impl Step {
    #[doc(hidden)]
    pub fn new([name, version, goal]: [&'static str; 3]) -> Step {
        Step { name, version, goal, options: Vec::new(), words: None }
    }

    /// Adds options. One that has the name of an earlier one replaces it.
    fn with(mut self, options: &'static [Opt]) -> Step {
        self.options.retain(|old| options.iter().all(|new| new.name() != old.name()));
        self.options.extend(options);
        self
    }

    /// Reads the command line, runs `container` and returns its exit status. Reports an
    /// error as a line on standard error, with status 125.
    pub fn run(self, container: impl FnOnce(&Args) -> Result<Exit>) -> ExitCode {
        speak_as(self.name);
        let done = match self.parse(env::args_os().skip(1)) {
            Ok(Parsed::Start(args)) => self.start(*args, container),
            Ok(Parsed::Help) => {
                print(&format!("{} {}\n{}\n\n{}", self.name, self.version, self.goal, self.usage()))
            }
            Ok(Parsed::Version) => print(&format!("{} {}", self.name, self.version)),
            Err(error) => Ok(self.report(&failure(Exit::USAGE, error.to_string()))),
        };
        done.unwrap_or_else(|error| report(&error)).end()
    }

    fn start(&self, mut args: Args, container: impl FnOnce(&Args) -> Result<Exit>) -> Result<Exit> {
        signals::block_long_file()?;
        args.binds.iter_mut().for_each(Bind::follow_links_of_root);
        args.binds.iter().for_each(Bind::warn_of_owner);
        inherit::close_from(3, &[])?;
        // Without a root of its own, the container has the host's files anyway.
        let copies = self.takes("--rootfs") && args.names.lends_streams();
        let copier = if copies { Copier::start()? } else { None };
        let exit = container(&args).unwrap_or_else(|error| self.report(&error));
        Ok(copier.map_or(exit, |copier| copier.finish(exit)))
    }

    /// Takes these words in the place of a command, and shows them in the usage.
    pub fn takes_words(self, words: &'static str) -> Step {
        Step { words: Some(words), ..self }
    }

    /// Runs a step with a command line of its own. `program` gets its words, and reports errors.
    pub fn run_words(self, program: impl FnOnce(Vec<OsString>) -> Exit) -> ExitCode {
        speak_as(self.name);
        let blocked = signals::block_long_file();
        let exit = blocked.map(|()| program(env::args_os().skip(1).collect()));
        exit.unwrap_or_else(|error| report(&error)).end()
    }

    /// Reports an error, with the form of the command line if it is wrong.
    fn report(&self, error: &anyhow::Error) -> Exit {
        if status_of(error) != Exit::USAGE {
            return report(error);
        }
        note(&error.to_string());
        // As in `note`: if standard error is closed or full, it is lost.
        let _ = writeln!(io::stderr(), "{}; --help lists the options", self.form());
        Exit::USAGE
    }

    fn takes(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.name() == name)
    }

    /// The first line of the usage.
    fn form(&self) -> String {
        let usual = if self.takes("--image") { "[COMMAND [ARG...]]" } else { "COMMAND [ARG...]" };
        let words = self.words.map_or_else(|| format!("[--] {usual}"), str::to_owned);
        format!("usage: {} [OPTIONS] {words}", self.name)
    }

    fn usage(&self) -> String {
        let mut usage = format!("{}\n\noptions:\n", self.form());
        let width = self.options.iter().map(|it| it.words.len()).max();
        let width = width.unwrap_or_default().max("-V, --version".len());
        for Opt { words, help, .. } in &self.options {
            usage += &format!("  {words:<width$}  {help}\n");
        }
        usage += &format!("  {:<width$}  print this\n", "-h, --help");
        usage + &format!("  {:<width$}  print the version", "-V, --version")
    }

    fn parse(&self, words_left: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
        let mut args = Args::default();
        let mut left = words_left.into_iter();
        let mut seen = Vec::new();
        let command = loop {
            let Some(word) = left.next() else {
                break None;
            };
            let bytes = word.as_bytes();
            if !bytes.starts_with(b"-") || bytes == b"-" {
                break Some(word);
            }
            let (name, value) = match bytes.iter().position(|&b| b == b'=') {
                Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
                None => (bytes, None),
            };
            match (name, value) {
                (b"--", None) => break left.next(),
                (b"-h" | b"--help", None) => return Ok(Parsed::Help),
                (b"-V" | b"--version", None) => return Ok(Parsed::Version),
                _ => {}
            }
            let known = self.options.iter().find(|option| option.name().as_bytes() == name);
            let Some(option) = known else {
                bail!("unknown option {}", word.display());
            };
            let value = value.map(|value| OsString::from_vec(value.to_vec()));
            let name = option.name();
            seen.push(name);
            let value = if let Some(wanted) = option.value() {
                let value = value.or_else(|| left.next());
                let value = value.filter(|value| !value.is_empty() || name == "--entrypoint");
                value.with_context(|| format!("{name} needs {wanted}"))?
            } else {
                ensure!(value.is_none(), "{name} takes no value");
                OsString::new()
            };
            (option.read)(&mut args, value)?;
        };
        ensure!(
            args.rootfs.is_none() || args.lower.is_empty(),
            "--lower replaces --rootfs: name the root as the last --lower"
        );
        ensure!(
            args.subnet.is_none() || args.network == Some(Network::Bridge),
            "--subnet needs --network bridge"
        );
        ensure!(
            args.ports.is_empty() || args.network.is_some(),
            "--publish needs a network, such as --network pasta"
        );
        ensure!(
            args.image.is_none() || (args.rootfs.is_none() && args.lower.is_empty()),
            "--image brings the root: leave out --rootfs and --lower"
        );
        ensure!(args.store.is_none() || args.image.is_some(), "--store needs --image");
        let has_own = args.image.is_some() || args.entrypoint.is_some();
        args.command = words(command.into_iter().chain(left).collect())?;
        args.names.check(&seen, &args.command)?;
        let needed = !has_own && args.names.runs_command();
        let missing = if self.words.is_some() { "the verb is missing" } else { NO_COMMAND };
        ensure!(!needed || !args.command.is_empty(), missing);
        Ok(Parsed::Start(Box::new(args)))
    }
}

const NO_COMMAND: &str = "the command is missing";

enum Parsed {
    Start(Box<Args>),
    Help,
    Version,
}

impl Args {
    /// The root of the container: `--rootfs`, else `$CONTAINER_ROOTFS`, else
    /// `rootfs/` in the workspace.
    pub fn rootfs(&self) -> PathBuf {
        let rootfs = self.rootfs.clone().or_else(named_rootfs);
        rootfs.unwrap_or_else(|| workspace().join("rootfs"))
    }

    /// The lower layers, topmost first: all `--lower` directories; without `--lower`, only
    /// the root; with `--image`, none. Warns if a layer belongs to another user.
    pub fn lower(&self) -> Vec<PathBuf> {
        let layers = match &self.lower[..] {
            [] if self.image.is_some() => Vec::new(),
            [] => vec![self.rootfs()],
            named => named.to_vec(),
        };
        for layer in &layers {
            warn_of_owner(layer);
        }
        layers
    }

    /// The directory for unpacked layers: `--store`, else `container-layers` in `$XDG_DATA_HOME`,
    /// else in `$HOME/.local/share`. Fails when the caller has no home directory.
    pub fn store(&self) -> Result<PathBuf> {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
        let data =
            || absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        let store = self.store.clone().or_else(|| Some(data()?.join("container-layers")));
        store.context(
            "find a place for the layers: HOME is not set; set it, or name a directory with --store",
        )
    }

    /// The error for a command line without a command, if the image has none, either.
    pub fn no_command(&self) -> anyhow::Error {
        let image = if self.image.is_some() { ", and the image has none" } else { "" };
        failure(Exit::USAGE, format!("{NO_COMMAND}{image}"))
    }

    /// The addresses of containers on the bridge: `--subnet`, or a default.
    pub fn subnet(&self) -> Subnet {
        self.subnet.unwrap_or_default()
    }

    /// The capabilities that root inside keeps: those in `usual`, as `--cap-add` and `--cap-drop`
    /// change them. Fails when a name in `usual` is wrong.
    pub fn capabilities(&self, usual: &[&str]) -> Result<Capabilities> {
        Ok(self.changes.apply(Capabilities::of(usual)?))
    }

    /// The directory for upper, work and merged: `--scratch`, or a temporary directory for this
    /// run. Fails as [`Scratch::new`].
    pub fn scratch(&self) -> Result<Scratch> {
        self.make_scratch(None, None)
    }

    /// As [`Args::scratch`], for a container with these IDs. Its temporary directory is removed by
    /// a process that `in_map` makes, if this process cannot do it. Says if a container with other
    /// IDs has used `--scratch` before. Fails as [`Scratch::new`].
    pub fn scratch_removed_by(&self, in_map: InMap, ids: Option<&Ids>) -> Result<Scratch> {
        self.make_scratch(Some(in_map), ids)
    }

    fn make_scratch(&self, in_map: Option<InMap>, ids: Option<&Ids>) -> Result<Scratch> {
        // From now on, a signal does not end the runner. It ends the command, and the
        // runner then removes the scratch directory.
        signals::block()?;
        let scratch = Scratch::removed_by(self.scratch.as_deref(), in_map)?;
        scratch.remember(ids)?;
        if io::stderr().is_terminal() && io::stdin().is_terminal() {
            note(&format!("changes go to {}", scratch.upper().display()));
        }
        Ok(scratch)
    }
}
