//! Executes the command: the last action of every container.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::{env, process};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OpenHow, ResolveFlag, openat2};
use nix::sys::prctl::get_dumpable;
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, execve, execveat};

use crate::Exit;
use crate::calls::seccomp;
use crate::child::landlock::execute_only_in_root;
use crate::child::program::{Machine, Program};
use crate::child::signals;
use crate::child::terminal::Terminal;
use crate::places::open;
use crate::said::error::{failure, note};
use crate::said::hint::NO_ROOT;
use crate::said::host::is_no_root;

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
/// It returns only on failure. The result has a child's type, so that `exec` can be the last call
/// of a child. Fails with [`Exit::NOT_FOUND`] if the command is missing, else with
/// [`Exit::NOT_EXECUTABLE`] and the reason. The kernel also says "No such file or directory" for a
/// missing interpreter or loader.
pub fn exec(command: &[CString]) -> Result<Exit> {
    exec_with(command, &own_environment()?)
}

/// As [`exec()`], with `environment` as the variables of the command. They are not variables of
/// this process, not even for a moment: some of them would change what it does.
pub fn exec_with(command: &[CString], environment: &[CString]) -> Result<Exit> {
    if process::id() == 1 {
        Terminal::fail_in_background();
    }
    signals::restore_signals()?;
    // Only `fork` makes a process non-dumpable, after the last change of the root.
    let has_own_root = get_dumpable() == Ok(false);
    // With a filter on mounts, Landlock takes nothing away that a container still has.
    let mut confined = has_own_root && seccomp::is_set() && execute_only_in_root().is_ok();
    let name = command.first().map_or(c"", CString::as_c_str);
    let file = find(name, environment, has_own_root.then_some(&mut confined))?;
    become_program(&file, command, environment)
}

/// The file of a program: `name` if that has a slash, else the first in the PATH of `environment`
/// that this process can execute. Refuses a file that leads out of the root. Fails as [`exec()`].
pub fn find_program(name: &CStr, environment: &[CString]) -> Result<CString> {
    find(name, environment, Some(&mut false))
}

/// Becomes the program of a file; execve(2). It returns only on failure.
pub fn become_program(file: &CStr, command: &[CString], environment: &[CString]) -> Result<Exit> {
    let errno = execve(file, command, environment).err().unwrap_or(Errno::UnknownErrno);
    let path = Path::new(OsStr::from_bytes(file.to_bytes()));
    Err(failure(Exit::NOT_EXECUTABLE, cannot_execute(path, errno)))
}

/// Starts this program again from another file, with the same words, variables, open files
/// and signals; execveat(2). It returns only on failure.
pub fn start_again(file: impl AsFd) -> Result<()> {
    signals::reset()?;
    let words = words(env::args_os().collect())?;
    execveat(file, c"", &words, &own_environment()?, AtFlags::AT_EMPTY_PATH)?;
    Ok(())
}

/// The variables of this process.
fn own_environment() -> Result<Vec<CString>> {
    let all = env::vars_os().map(|(name, value)| [name, "=".into(), value].into_iter().collect());
    words(all.collect())
}

/// Tries the files that `name` can mean, in order, until this process can execute one. With
/// `confined`, that is in a root of its own: see [`way_out`].
fn find(name: &CStr, environment: &[CString], confined: Option<&mut bool>) -> Result<CString> {
    let search = path_in(environment);
    let searched = !name.to_bytes().contains(&b'/');
    let mut refused = None;
    for path in candidates(name, search.as_deref()) {
        let is_file = |()| if path.is_file() { Ok(()) } else { Err(Errno::EACCES) };
        match access(&path, AccessFlags::X_OK).and_then(is_file) {
            Ok(()) => {
                if let Some(why) = confined.and_then(|confined| way_out(&path, confined)) {
                    let message = format!("execute {}: {why}", path.display());
                    return Err(failure(Exit::NOT_EXECUTABLE, message));
                }
                return CString::new(path.into_os_string().into_vec()).context("read the command");
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::EACCES) if searched && fs::metadata(&path).is_err() => {}
            Err(errno) => {
                refused = Some((path, errno));
                // A later directory of PATH may have an executable file of that name.
                if errno != Errno::EACCES {
                    break;
                }
            }
        }
    }
    Err(match refused {
        Some((path, errno)) => failure(Exit::NOT_EXECUTABLE, cannot_execute(&path, errno)),
        None => failure(Exit::NOT_FOUND, not_found(name, search.as_deref())),
    })
}

/// The value of PATH among variables. Of two, the first counts; getenv(3).
fn path_in(environment: &[CString]) -> Option<OsString> {
    let value = environment.iter().find_map(|it| it.to_bytes().strip_prefix(b"PATH="));
    value.map(|value| OsStr::from_bytes(value).to_owned())
}

/// The files to try for `name`, in order, with `search` as the PATH.
fn candidates(name: &CStr, search: Option<&OsStr>) -> Vec<PathBuf> {
    let name = OsStr::from_bytes(name.to_bytes());
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let search = search.unwrap_or(OsStr::new(DEFAULT_PATH));
    env::split_paths(search).map(|dir| dir.join(name)).collect()
}

/// The line for a missing command.
fn not_found(name: &CStr, search: Option<&OsStr>) -> String {
    let shown = name.to_string_lossy();
    if shown.is_empty() {
        return "execute the command: its name is empty".to_owned();
    }
    let why = match search {
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
            None if errno != Errno::ELIBBAD => {
                "its interpreter in binfmt_misc cannot be executed here; install the interpreter in this root".to_owned()
            }
            Some(Program::Static) | None => errno.desc().to_owned(),
        },
        Errno::ENOEXEC => "it is not a program for this machine, and not a script that begins with #!".to_owned(),
        Errno::E2BIG => "the arguments and the environment together are too long, or one of them is longer than 128 KiB".to_owned(),
        _ => errno.desc().to_owned(),
    };
    format!("execute {shown}: {why}")
}

/// Looks at a file before it is executed in a root of its own. Returns the reason not to
/// execute it, if there is any.
///
/// The link `/proc/self/exe` leads out of the root, to the program of the step. If the step
/// executed its own program in the container, the container could open that file, and
/// change its mode; CVE-2019-5736. "Magic links" in symlink(7), openat2(2). A name can lead
/// there, and an interpreter: of a script, or of a format in binfmt_misc.
///
/// Another container may change the file after this look. So `confined` matters: Landlock
/// then stops the kernel, whatever the name leads to.
fn way_out(path: &Path, confined: &mut bool) -> Option<String> {
    /// The interpreter of a script may be a script, and so on; execve(2).
    const DEPTH: usize = 5;
    let how = OpenHow::new().flags(open::READ).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut name = path.to_owned();
    for _ in 0..=DEPTH {
        let opened = match openat2(AT_FDCWD, &name, how) {
            Ok(opened) => open::checked(opened),
            // The error for links in a circle is the same, but they lead to no file.
            Err(Errno::ELOOP) if name.exists() => return Some(LINK.to_owned()),
            Err(errno) => Err(errno.into()),
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied && is_executable(&name) => {
                return (!*confined).then(|| UNREADABLE.to_owned());
            }
            // The kernel does not execute these either, and says why.
            Err(error) if NO_PROGRAM.contains(&error.kind()) => return None,
            Err(error) => return Some(format!("look at {} first: {error}", name.display())),
        };
        let (program, machine) = Program::with_machine(&file);
        match program {
            Some(Program::Script(interpreter)) => name = interpreter,
            Some(_) if machine == Machine::Own => return None,
            _ => {
                if seccomp::is_set() && machine == Machine::Narrow {
                    note(&format!("{} {NARROW}", name.display()));
                }
                // The kernel may execute an interpreter, which it finds by a name.
                *confined = *confined || execute_only_in_root().is_ok();
                return (!*confined).then(|| FOREIGN.to_owned());
            }
        }
    }
    None
}

const LINK: &str =
    "a link of /proc leads to it or to its interpreter, maybe out of the root; use the file itself";
const UNREADABLE: &str = "this user cannot read it or its interpreter, and a #! line could lead out of the root; make it readable with chmod +r";
const FOREIGN: &str = "it or its interpreter is not a program for this machine, and a handler in binfmt_misc could lead out of the root; start a kernel with Landlock, since Linux 5.19";
const NARROW: &str = "is a program for 32 bits; the filter knows only the calls of 64 bits and refuses the others, so it likely ends with SIGSEGV";

/// The errors for a file that does not exist or is no regular file, and for one that this
/// user cannot execute.
const NO_PROGRAM: [ErrorKind; 4] = [
    ErrorKind::NotFound,
    ErrorKind::NotADirectory,
    ErrorKind::InvalidInput,
    ErrorKind::PermissionDenied,
];

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
        let search = Some(OsStr::new("/a:/b"));
        assert_eq!(candidates(c"./x", search), [Path::new("./x")]);
        assert_eq!(candidates(c"/bin/x", search), [Path::new("/bin/x")]);
        assert_eq!(candidates(c"x", search), [Path::new("/a/x"), Path::new("/b/x")]);
        assert!(candidates(c"", search).is_empty());
    }
}
