//! Executes the command: the last action of every container.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{env, process};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::prctl::get_dumpable;
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, execv};

use crate::error::Failure;
use crate::hint::NO_ROOT;
use crate::host::is_no_root;
use crate::program::Program;
use crate::terminal::Terminal;
use crate::{Exit, open, signals};

/// The PATH in a root.
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The PATH of a caller without PATH; execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Replaces the caller's environment, which has no meaning in a new root. PATH and
/// HOME get the usual values of a root, TERM stays, and the umask is 022.
pub fn fresh_environment() {
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let term = env::var_os("TERM");
    #[allow(unsafe_code, reason = "the environment is shared by threads")]
    // SAFETY: a step has one thread.
    unsafe {
        libc::clearenv();
        env::set_var("PATH", ROOT_PATH);
        env::set_var("HOME", "/root");
        if let Some(term) = term {
            env::set_var("TERM", term);
        }
    }
}

/// Becomes the command: execve(2) with `command` as the arguments. It looks up
/// `command[0]` in PATH, unless that has a slash.
///
/// It returns only on failure. The result has a child's type, so that `exec` can be
/// the last call of a child.
///
/// # Errors
///
/// With [`Exit::NOT_FOUND`] if the command is missing, else with
/// [`Exit::NOT_EXECUTABLE`] and the reason. The kernel also says "No such file or
/// directory" for a missing interpreter or loader.
pub fn exec(command: &[CString]) -> Result<Exit> {
    let name = command.first().map_or(c"", CString::as_c_str);
    if process::id() == 1 {
        Terminal::fail_in_background();
    }
    signals::restore_mask()?;
    let searched = !name.to_bytes().contains(&b'/');
    let mut failure = (Errno::ENOENT, None);
    for path in candidates(name) {
        let Ok(file) = CString::new(path.as_os_str().as_bytes()) else {
            continue;
        };
        if let Some(why) = way_out(&path) {
            let message = format!("execute {}: {why}", path.display());
            return Err(Failure { exit: Exit::NOT_EXECUTABLE, message }.into());
        }
        // `execv` returns only on failure.
        let errno = execv(&file, command).err().unwrap_or(Errno::UnknownErrno);
        match errno {
            Errno::ENOENT | Errno::ENOTDIR if fs::metadata(&path).is_err() => {}
            Errno::EACCES if searched && fs::metadata(&path).is_err() => {}
            // A later directory of PATH may have an executable file of that name.
            Errno::EACCES => failure = (errno, Some(path)),
            _ => {
                failure = (errno, Some(path));
                break;
            }
        }
    }
    let message = match &failure {
        (errno, Some(path)) => cannot_execute(path, *errno),
        (_, None) => not_found(name),
    };
    let exit = match failure {
        (_, Some(_)) => Exit::NOT_EXECUTABLE,
        (_, None) => Exit::NOT_FOUND,
    };
    Err(Failure { exit, message }.into())
}

/// The files to try for `name`, in order.
fn candidates(name: &CStr) -> Vec<PathBuf> {
    let name = OsStr::from_bytes(name.to_bytes());
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    env::split_paths(&path).map(|dir| dir.join(name)).collect()
}

/// The line for a missing command.
fn not_found(name: &CStr) -> String {
    let shown = name.to_string_lossy();
    if shown.is_empty() {
        return "execute the command: its name is empty".to_owned();
    }
    let why = match env::var_os("PATH") {
        _ if shown.contains('/') => "No such file or directory".to_owned(),
        Some(path) => format!("not found in PATH, which is {}", path.display()),
        None => format!("not found in {DEFAULT_PATH}, and PATH is not set"),
    };
    let remedy = if is_no_root() { format!("; {NO_ROOT}") } else { String::new() };
    format!("execute {shown}: {why}{remedy}")
}

/// The line for a file that cannot be executed.
fn cannot_execute(path: &Path, errno: Errno) -> String {
    let shown = path.display();
    let why = match errno {
        Errno::EACCES if path.is_dir() => "it is a directory".to_owned(),
        Errno::EACCES if path.exists() && !path.is_file() => "it is not a regular file".to_owned(),
        Errno::EACCES if is_noexec(path) => {
            "its file system is mounted noexec; move it to another file system".to_owned()
        }
        Errno::EACCES if !is_executable(path) => {
            "Permission denied; this user cannot execute it; make it executable with chmod +x"
                .to_owned()
        }
        Errno::ELOOP if path.exists() => {
            "its #! lines lead from script to script without an end".to_owned()
        }
        Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELIBBAD => match program(path) {
            Some(Program::Script(file)) if file.as_os_str().is_empty() => {
                "its #! line names no interpreter".to_owned()
            }
            Some(Program::Script(file)) if file.as_os_str().as_bytes().ends_with(b"\r") => {
                "its #! line ends with a carriage return, as on Windows; save it without carriage returns".to_owned()
            }
            Some(Program::Script(file)) => format!(
                "its interpreter {} cannot be executed here; install the interpreter, or run another program",
                file.display()
            ),
            Some(Program::Dynamic(file)) => format!(
                "its loader {} is not in this root; use a program for this root, or a static program",
                file.display()
            ),
            Some(Program::Static) | None => errno.desc().to_owned(),
        },
        Errno::ENOEXEC => "it is not a program for this machine, and not a script that begins with #!".to_owned(),
        Errno::E2BIG => "the arguments and the environment together are too long, or an argument is longer than 128 KiB".to_owned(),
        _ => errno.desc().to_owned(),
    };
    format!("execute {shown}: {why}")
}

/// The reason not to execute a file in a root of its own: `/proc/self/exe` leads to it, or
/// to the interpreter of a script.
///
/// This link leads out of the root, to the program of the step. If the step executed its
/// own program in the container, the container could open that file, and change its mode;
/// CVE-2019-5736. "Magic links" in symlink(7), openat2(2).
fn way_out(path: &Path) -> Option<&'static str> {
    /// The interpreter of a script may be a script, and so on; execve(2).
    const DEPTH: usize = 5;
    // Only `fork` makes a process non-dumpable, after the last change of the root.
    if get_dumpable() != Ok(false) {
        return None;
    }
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut file = path.to_owned();
    for _ in 0..=DEPTH {
        // The error for links in a circle is the same, but they lead to no file.
        if matches!(openat2(AT_FDCWD, &file, how), Err(Errno::ELOOP)) && file.exists() {
            return Some(
                "a link of /proc leads to it or to its interpreter, maybe out of the root; use the file itself",
            );
        }
        match open::regular(&file) {
            Ok(opened) => match Program::of(&opened) {
                Some(Program::Script(interpreter)) => file = interpreter,
                _ => return None,
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied && is_executable(&file) => {
                return Some(
                    "this user cannot read it or its interpreter, and a #! line could lead out of the root; make it readable with chmod +r",
                );
            }
            Err(_) => return None,
        }
    }
    None
}

fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

/// Whether the file system of a file is mounted noexec.
fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_NOEXEC))
}

fn program(path: &Path) -> Option<Program> {
    Program::of(&open::regular(path).ok()?)
}

/// The words of a command as execve(2) takes them.
pub(crate) fn words(command: Vec<OsString>) -> Result<Vec<CString>> {
    let word = |word: OsString| CString::new(word.into_vec()).context("read the command");
    command.into_iter().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_not_looked_up() {
        assert_eq!(candidates(c"./x"), [Path::new("./x")]);
        assert_eq!(candidates(c"/bin/x"), [Path::new("/bin/x")]);
        assert!(candidates(c"").is_empty());
    }
}
