//! Temporary directories that are removed when the program ends, for any reason.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

/// Make a directory that only this user can enter, write its path and a zero byte,
/// and remove the directory when standard input ends, or the process that it is a
/// descriptor of. It removes no other directory.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "all tasks have this form")]
    pub(crate) fn run(self) -> Result<ExitCode> {
        // The directory may hold files that are open to all users, such as the /tmp
        // of a root.
        let private = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().permissions(private).tempdir();
        let dir = dir.context("make a temporary directory")?.keep();
        let path = [dir.as_os_str().as_bytes(), b"\0"].concat();
        let mut out = io::stdout();
        let told = out.write_all(&path).and_then(|()| out.flush());
        if told.is_ok() {
            // An error ends it, too. No signal interrupts it: it has no handler.
            let stdin = io::stdin();
            let _ = poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        }
        common::remove_tree(&dir)?;
        told.context("write the path of a temporary directory")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A temporary directory that is removed when this program ends.
pub(crate) struct Temporary {
    dir: PathBuf,
    remover: Child,
}

impl Temporary {
    pub(crate) fn new() -> Result<Temporary> {
        // The remover sees the end of its standard input when this program ends,
        // for any reason.
        Temporary::with(Stdio::piped())
    }

    /// A temporary directory that stays when this process becomes another program, and is
    /// removed when the process ends.
    pub(crate) fn of_this_process() -> Result<PathBuf> {
        let process = common::pidfd_open(Pid::this()).context("open this process")?;
        // Its drop would wait for the end of this process.
        Ok(ManuallyDrop::new(Temporary::with(process.into())?).dir.clone())
    }

    fn with(stdin: Stdio) -> Result<Temporary> {
        // Ctrl-C does not reach its process group.
        let mut remover = Command::new("/proc/self/exe")
            .arg("temporary")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start this program again")?;
        let mut dir = Vec::new();
        if let Some(out) = remover.stdout.take() {
            BufReader::new(out.take(1 << 16)).read_until(0, &mut dir).context("read a path")?;
        }
        let told = dir.pop() == Some(0);
        let temporary = Temporary { dir: OsString::from_vec(dir).into(), remover };
        ensure!(told, "make a temporary directory: it failed; read the message above");
        Ok(temporary)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        // The remover prints its own errors.
        let _ = self.remover.wait();
    }
}
