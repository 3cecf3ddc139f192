//! Runs tools of the host, such as ip(8), and reports their failures.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Error, Result, anyhow};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::PollTimeout;
use nix::sched::{CloneFlags, unshare};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

use crate::child::signals::{self, Patience};
use crate::said::doing::Said;
use crate::said::error::printable;

/// The tools that are not on every host, and their packages.
pub const PACKAGES: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("newgidmap", "uidmap"),
    ("newuidmap", "uidmap"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("pasta", "passt"),
    ("slirp4netns", "slirp4netns"),
];

/// Runs a tool, writes `input` to it, and returns its output. Fails when the tool is missing, and
/// names its package. When the tool fails, the error has its words and its message. Fails when a
/// signal asks the runner to end, and the tool does not end soon.
pub fn run(tool: &mut Command, input: &str) -> Result<String> {
    Running::start(tool, input)?.finish(tool, input)
}

/// As [`run`], for two tools at the same time, without input and output. Fails as [`run`], for the
/// first tool that fails.
pub fn run_both(first: &mut Command, second: &mut Command) -> Result<()> {
    let one = Running::start(first, "")?;
    let two = Running::start(second, "");
    let one = one.finish(first, "");
    let two = two.and_then(|two| two.finish(second, ""));
    one.and(two).map(drop)
}

/// A tool that has its input.
struct Running {
    tool: Child,
    errors: File,
}

impl Running {
    fn start(tool: &mut Command, input: &str) -> Result<Running> {
        let (mut started, errors) = start(tool.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        if let Some(mut line) = started.stdin.take() {
            // A tool that has ended says why.
            let _ = line.write_all(input.as_bytes());
        }
        Ok(Running { tool: started, errors })
    }

    /// Waits for the tool, and returns its output. If the wait fails, kills the tool.
    fn finish(mut self, tool: &Command, input: &str) -> Result<String> {
        let read = self.tool.stdout.as_mut().map_or(Ok(Vec::new()), read_all);
        if read.is_err() {
            kill(&self.tool);
            let _ = self.tool.wait();
        }
        let stdout = read.with_context(|| words(tool))?;
        let status = self.tool.wait().with_context(|| words(tool))?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        let said = said(self.errors).with_context(|| words(tool))?;
        Err(failure(tool, input, status, &said))
    }
}

/// What a tool that has ended has written to standard error.
pub(crate) fn said(mut errors: File) -> Result<String> {
    let mut said = Vec::new();
    errors.rewind()?;
    errors.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Kills a tool, and the processes that it has started.
pub(crate) fn kill(tool: &Child) {
    // It leads a process group: see `start`. An error means that it has just ended.
    let _ = killpg(Pid::from_raw(tool.id() as libc::pid_t), Signal::SIGKILL);
}

/// Reads until the other end of a pipe or socket closes. Fails when a signal asks the runner to
/// end.
pub(crate) fn read_all(from: &mut (impl Read + AsFd)) -> Result<Vec<u8>> {
    let mut patience = Patience::new()?;
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    loop {
        if patience.sleep(Some(from.as_fd()), PollTimeout::NONE)? {
            match from.read(&mut part)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&part[..count]),
            }
        }
    }
}

/// Starts a tool, and returns also the file that gets its standard error. The terminal's keys do
/// not reach it. It dies with this process. A tool of root has its own mounts, because root can
/// change those of the host: slirp4netns(1) would unmount them. Fails when it cannot be executed.
pub(crate) fn start(tool: &mut Command) -> Result<(Child, File)> {
    // Not a pipe, which this process would have to read as long as the tool runs.
    let errors = memfd_create("errors", MFdFlags::MFD_CLOEXEC).map(File::from);
    let errors = errors.with_context(|| words(tool))?;
    tool.stderr(errors.try_clone().with_context(|| words(tool))?);
    tool.env("PATH", path()).env("LC_ALL", "C").process_group(0);
    // std keeps the signals of this process blocked in it.
    let prepare = || {
        // A key may have come while this process was still in the runner's group. Its signal
        // would stop or end the process before it executes the tool.
        signals::forget([Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP])?;
        SigSet::empty().thread_set_mask()?;
        set_pdeathsig(Signal::SIGKILL)?;
        Ok(leave_mounts()?)
    };
    #[allow(unsafe_code, reason = "std has no safe way to run code between fork and exec")]
    // SAFETY: the closure only makes system calls, and allocates nothing.
    unsafe {
        tool.pre_exec(prepare);
    }
    let started = tool.spawn().map_err(|error| {
        let name = tool.get_program();
        let package = PACKAGES.iter().find(|(known, _)| *known == name);
        match (error.kind(), package) {
            (ErrorKind::NotFound, Some((_, package))) => {
                anyhow!("{} is missing; install the package {package}", name.display())
            }
            _ => Error::from(error).context(words(tool)),
        }
    });
    Ok((started?, errors))
}

/// Gives this process a copy of all mounts: its changes stay in the copy, and an end of a mount
/// outside still arrives; mount_namespaces(7). Without CAP_SYS_ADMIN, it can change no mount.
fn leave_mounts() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    match unshare(CloneFlags::CLONE_NEWNS) {
        Err(Errno::EPERM) => Ok(()),
        done => {
            done.and_then(|()| mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE))
        }
    }
}

/// Whether a tool is installed.
pub fn has_tool(name: &str) -> bool {
    env::split_paths(&path()).any(|dir| dir.join(name).is_file())
}

/// The caller's PATH, and the directories of root's programs, which it may lack.
fn path() -> OsString {
    let callers = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&callers).filter(|dir| dir.is_absolute());
    let dirs = dirs.chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
    // It fails for a directory with a colon: no entry of PATH has one.
    env::join_paths(dirs).unwrap_or_default()
}

/// The words of a command, as in a shell.
fn words(tool: &Command) -> String {
    let words: Vec<&OsStr> = [tool.get_program()].into_iter().chain(tool.get_args()).collect();
    words.iter().map(|word| word.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// The words of the tool, or of the line in its input, and its message.
fn failure(tool: &Command, input: &str, status: ExitStatus, said: &str) -> Error {
    let mut said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // ip(8) ends with the number of the line.
    let number = said.last().and_then(|line| line.strip_prefix("Command failed -:"));
    let line = number.and_then(|number| input.lines().nth(number.parse::<usize>().ok()? - 1));
    let doing = match line {
        Some(line) => {
            said.pop();
            format!("{} {}", tool.get_program().display(), line.trim())
        }
        None => words(tool),
    };
    // nft(8) repeats the line, and underlines a part of it. pasta(1) also writes to a system
    // log, which may be missing.
    said.retain(|line| line.bytes().any(|byte| !matches!(byte, b'^' | b'~' | b' ')));
    said.retain(|line| !line.ends_with(" bytes to syslog"));
    let said = if said.is_empty() { status.to_string() } else { said.join(" ") };
    Error::from(Said(printable(&said))).context(doing)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::SigmaskHow;

    use super::*;
    use crate::one_line;

    fn said(script: &str, input: &str) -> String {
        let ran = run(Command::new("sh").args(["-c", script]), input);
        ran.map_or_else(|error| one_line(&error), |out| format!("no error: {out}"))
    }

    #[test]
    fn a_failure_is_one_line_with_the_words_and_the_message() {
        assert_eq!(said("cat", "a\nb"), "no error: a\nb");
        assert_eq!(said("echo no >&2; exit 3", ""), "sh -c echo no >&2; exit 3: no");
        assert_eq!(said("exit 3", ""), "sh -c exit 3: exit status: 3");
        assert!(said("kill -9 $$", "").ends_with(": signal: 9 (SIGKILL)"));
        let ip = "cat >&2; echo bad; echo Command failed -:2 >&2; exit 1";
        assert_eq!(said(ip, "one\n  two\n"), "sh two: one two");
        let nft =
            "echo 'Error: no'; echo 'a b'; echo '  ^^~^'; echo 'Failed to send 3 bytes to syslog'";
        assert!(said(&format!("{{ {nft}; }} >&2; exit 1"), "").ends_with(": Error: no a b"));
        assert!(said("printf 'a\\033b\\n' >&2; exit 1", "").ends_with(": a\\u{1b}b"));
    }

    #[test]
    fn a_tool_gets_every_signal() {
        // A shell would change its mask.
        let blocks = || {
            let status = run(Command::new("grep").args(["^SigBlk:", "/proc/self/status"]), "");
            status.expect("start grep")
        };
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).expect("block all");
        let said = blocks();
        before.thread_set_mask().expect("unblock them");
        assert_eq!(said, "SigBlk:\t0000000000000000\n");
    }

    /// A tool that reads nothing does not end the runner.
    #[test]
    fn input_that_a_tool_does_not_read_is_no_error() {
        assert_eq!(said("exec <&-", &"x".repeat(1 << 20)), "no error: ");
    }

    #[test]
    fn a_missing_tool_has_a_package() {
        assert!(has_tool("sh") && !has_tool("no such tool"));
        for (name, package) in PACKAGES {
            let error = start(Command::new(name).env_clear().current_dir("/proc/none"));
            // Not found, because the directory is missing.
            let error = error.map(drop).expect_err(name).to_string();
            assert_eq!(error, format!("{name} is missing; install the package {package}"));
        }
        let nsenter = "echo 'nsenter: failed to execute nft: No such file' >&2; exit 127";
        assert!(said(nsenter, "").ends_with(" No such file; install the package nftables"));
    }
}
