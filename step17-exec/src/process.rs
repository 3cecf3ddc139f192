//! Lesson 16: the process of the command, as the image and the caller want it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStringExt;

use anyhow::{Context, Result, ensure};
use common::{Args, Exit, Root, Tmpfs, User, mount_setattr};
use layers::oci::{Config, short};
use libc::{MOUNT_ATTR_RDONLY, c_int};
use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use nix::unistd::{chdir, sethostname};
use serde::{Deserialize, Serialize};

use crate::image::Image;

/// The command, and what it starts with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Process {
    /// The command and its arguments.
    pub(crate) command: Vec<CString>,
    /// Variables of the image, and then of the caller.
    pub(crate) environment: Vec<CString>,
    /// The working directory.
    pub(crate) directory: String,
    /// The user, and perhaps the group.
    pub(crate) user: Option<String>,
    /// The signal that asks the command to end.
    pub(crate) stop_signal: c_int,
}

/// What the caller wants, else what the image says.
pub(crate) fn plan(args: &Args, image: Option<&Image>) -> Result<Process> {
    let none = Config::default();
    let image = image.map_or(&none, |image| &image.config);
    let directory = match &args.workdir {
        Some(dir) => dir.clone(),
        None => format!("/{}", image.working_dir.trim_start_matches('/')),
    };
    ensure!(
        common::is_inside(directory.as_ref()),
        "use the working directory {}: it has `..` or is too long; use --workdir",
        short(&directory)
    );
    let stop_signal = match &*image.stop_signal {
        "" => libc::SIGTERM,
        name => common::signal_number(name)?,
    };
    let variables = image.env.iter().map(|text| common::variable(&**text));
    let variables = variables.chain(args.env.iter().cloned().map(Ok));
    let environment = variables.collect::<Result<_>>().context("use the image")?;
    // An error can show it, so it is cut. No user has a name of that length.
    let of_image = Some(short(&image.user)).filter(|user| !user.is_empty());
    let user = args.user.clone().or(of_image);
    let command = command(args, image)?;
    Ok(Process { command, environment, directory, user, stop_signal })
}

/// The command: what the image begins it with, and then the words of the caller or else
/// the image's own.
fn command(args: &Args, image: &Config) -> Result<Vec<CString>> {
    let words = |words: &[String]| {
        let words = words.iter().map(|word| CString::new(&**word));
        words.collect::<Result<Vec<_>, _>>().context("read the command of the image")
    };
    let mut command = match &args.entrypoint {
        Some(words) => words.iter().filter(|word| !word.is_empty()).cloned().collect(),
        None => words(&image.entrypoint)?,
    };
    // The image's other words mean nothing to an entrypoint of the caller's.
    let replaced = args.entrypoint.is_some() && !command.is_empty();
    if args.command.is_empty() && !replaced {
        command.extend(words(&image.cmd)?);
    }
    command.extend(args.command.iter().cloned());
    if command.is_empty() {
        return Err(args.no_command());
    }
    Ok(command)
}

/// The usual variables of a root, then those of the user, the image and the caller. A
/// later variable takes the place of an earlier one.
fn environment(process: &Process, user: &User) -> Result<Vec<CString>> {
    let usual = env::vars_os().map(|(name, value)| {
        let variable = [name, value].join(OsStr::new("="));
        common::variable(variable.into_vec())
    });
    let home = user.home.iter().map(|home| common::variable(format!("HOME={home}")));
    let given = process.environment.iter().cloned().map(Ok);
    let mut by_name = BTreeMap::new();
    for variable in usual.chain(home).chain(given) {
        let variable = variable?;
        let name = variable.to_bytes().split(|byte| *byte == b'=').next();
        by_name.insert(name.map(<[u8]>::to_vec), variable);
    }
    Ok(by_name.into_values().collect())
}

/// Sets the hostname in the UTS namespace; uts_namespaces(7).
pub(crate) fn set_hostname(name: Option<&str>) -> Result<()> {
    name.map_or(Ok(()), |name| sethostname(name).context("set the hostname"))
}

/// Mounts directories in memory.
pub(crate) fn mount_tmpfs(root: &Root, all: &[Tmpfs]) -> Result<()> {
    for Tmpfs { inside, size, mode } in all {
        let place = root.directory(inside)?;
        let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
        let options = format!("mode={mode:o}{size}");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &*place.name(), Some("tmpfs"), flags, Some(&*options))
            .with_context(|| format!("mount tmpfs on {place}"))?;
    }
    Ok(())
}

/// Makes the root read-only. The mounts in it stay as they are.
pub(crate) fn protect_root(read_only: bool) -> Result<()> {
    if !read_only {
        return Ok(());
    }
    // Not the flags of mount(2), which would take all the others away.
    let changed = mount_setattr(AT_FDCWD, c"/", 0, MOUNT_ATTR_RDONLY);
    changed.context("make the root read-only")
}

/// Makes the working directory, if it is missing.
pub(crate) fn make_directory(root: &Root, process: &Process) -> Result<()> {
    let made = root.directory(&process.directory);
    made.map(drop).context("make the working directory")
}

/// Becomes the command of the user, in its working directory and with its variables.
pub(crate) fn start(process: &Process, user: &User) -> Result<Exit> {
    let dir = &*process.directory;
    chdir(dir).with_context(|| format!("go to the working directory {dir}"))?;
    common::exec_with(&process.command, &environment(process, user)?)
}
