//! Makes a root from this machine's own programs, for a class without a network.

mod needs;

use std::collections::{BTreeSet, VecDeque};
use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::Program;

use needs::needed_by;

use super::folder::{Folder, open_file};
use crate::say::note;

/// The programs to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FromHost {
    /// A static busybox if this machine has it, else programs with their libraries
    Any,
    /// Programs with their libraries, even if this machine has a static busybox
    Libraries,
}

/// The directories of PATH in a container, with the usual directories first.
const DIRS: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// The programs that the lessons and a shell user need.
#[rustfmt::skip]
const PROGRAMS: [&str; 80] = [
    "sh", "[", "awk", "base64", "basename", "cat", "chgrp", "chmod", "chown", "chroot", "clear",
    "cmp", "comm", "cp", "cut", "date", "dd", "df", "diff", "dirname", "dmesg", "du", "echo",
    "env", "expr", "false", "find", "free", "getent", "grep", "head", "hostname", "id", "install",
    "ip", "kill", "less", "ln", "ls", "md5sum", "mkdir", "mkfifo", "mknod", "mktemp", "mount",
    "mv", "nl", "nproc", "nsenter", "od", "paste", "printenv", "printf", "ps", "pwd", "readlink",
    "realpath", "rm", "rmdir", "sed", "seq", "setsid", "sha256sum", "sleep", "sort", "stat", "stty",
    "sync", "tail", "tee", "test", "touch", "tr", "true", "tty", "umount", "uname", "uniq", "wc",
    "whoami",
];

/// What a root was made of.
pub(crate) struct Made {
    /// Whether it has programs with libraries, and no busybox.
    pub(crate) libraries: bool,
    /// How many programs or applets it has.
    pub(crate) programs: usize,
}

/// Makes a root in the directory `root`, which is empty and this user's alone.
/// Its name may lead elsewhere meanwhile.
///
/// # Errors
///
/// When there is no shell, or a file cannot be copied.
pub(crate) fn make(root: &Folder, which: FromHost) -> Result<Made> {
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", root.dir().as_raw_fd()));
    make_at(&by_descriptor, which).with_context(|| format!("make {}", root.path().display()))
}

fn make_at(root: &Path, which: FromHost) -> Result<Made> {
    let busybox = match which {
        FromHost::Any => static_busybox(),
        FromHost::Libraries => None,
    };
    let programs = match &busybox {
        Some(busybox) => busybox_with_applets(busybox, root)?,
        None => programs_with_libraries(root, &DIRS.map(Path::new))?,
    };
    furnish(root)?;
    Ok(Made { libraries: busybox.is_none(), programs })
}

/// Copies a program and the files that it needs to the same paths in a root.
pub(crate) fn bring(program: &Path, root: &Path) -> Result<()> {
    let mut copier = Copier { root, brought: BTreeSet::new() };
    needed_by(program)?.iter().try_for_each(|file| copier.bring(file))
}

/// Whether a program needs no libraries.
pub(crate) fn is_static(program: &Path) -> bool {
    matches!(needs::program(program), Ok(Program::Static))
}

/// The first busybox that needs no libraries.
fn static_busybox() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(DIRS.map(PathBuf::from));
    let names = ["busybox", "busybox.static", "busybox-static"];
    let mut found = dirs.flat_map(|dir| names.map(|name| dir.join(name)));
    found.find(|file| is_static(file))
}

/// Copies busybox and makes a symbolic link for each of its applets; returns
/// how many there are.
fn busybox_with_applets(busybox: &Path, root: &Path) -> Result<usize> {
    for dir in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        directory(&root.join(dir), 0o755)?;
    }
    copy(busybox, &root.join("bin/busybox"))?;
    // Alpine's and Debian's busybox have one of these options, or both.
    let list = |option| {
        let output = Command::new(busybox).arg(option).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let doing = || format!("list the applets of {}", busybox.display());
    let list = list("--list-full").or_else(|| list("--list")).with_context(doing)?;
    let mut applets = 0;
    for applet in list.lines() {
        let parts: Vec<_> = applet.split('/').collect();
        let (depth, path) = match parts[..] {
            [name] if is_name(name) => (0, format!("bin/{name}")),
            [dir @ ("bin" | "sbin"), name] if is_name(name) => (1, format!("{dir}/{name}")),
            ["usr", dir @ ("bin" | "sbin"), name] if is_name(name) => {
                (2, format!("usr/{dir}/{name}"))
            }
            // Such as `linuxrc`, which belongs in `/`.
            _ => continue,
        };
        if path == "bin/busybox" {
            continue;
        }
        let target = match depth {
            0 => "busybox".to_owned(),
            depth => format!("{}bin/busybox", "../".repeat(depth)),
        };
        let doing = || format!("link {path}");
        symlink(target, root.join(&path)).with_context(doing)?;
        applets += 1;
    }
    ensure!(root.join("bin/sh").exists(), "make a root of {}: it has no sh", busybox.display());
    Ok(applets)
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}

/// Copies the programs that are in `dirs`, with all that they need, and returns
/// how many there are. Those that are missing are left out and named.
fn programs_with_libraries(root: &Path, dirs: &[&Path]) -> Result<usize> {
    let mut copier = Copier { root, brought: BTreeSet::new() };
    // On many systems, /bin, /lib and others are links to directories in /usr.
    for dir in ["/bin", "/sbin", "/lib", "/lib64", "/usr/bin", "/usr/sbin"].map(Path::new) {
        if dir.exists() {
            copier.bring(dir)?;
        }
    }
    let mut left_out = Vec::new();
    for name in PROGRAMS {
        let mut files = dirs.iter().map(|dir| dir.join(name));
        let needed = files.find(|file| file.is_file()).context("it is missing");
        match needed.and_then(|file| needed_by(&file)) {
            Ok(files) => files.iter().try_for_each(|file| copier.bring(file))?,
            Err(why) if name == "sh" => {
                return Err(why.context("make a root of this machine's sh"));
            }
            Err(_) => left_out.push(name),
        }
    }
    // The loader reads this file to find libraries in unusual directories.
    let cache = Path::new("/etc/ld.so.cache");
    if cache.exists() {
        copier.bring(cache)?;
    }
    if !left_out.is_empty() {
        note(&format!(
            "left out programs that this machine lacks, or that cannot run in a root: {}",
            left_out.join(", ")
        ));
    }
    Ok(PROGRAMS.len() - left_out.len())
}

/// Copies files to the same paths in a new root.
struct Copier<'a> {
    root: &'a Path,
    /// The files and links that are already copied.
    brought: BTreeSet<PathBuf>,
}

impl Copier<'_> {
    /// Copies a file or makes a directory, with the directories and symbolic links
    /// in its path.
    fn bring(&mut self, path: &Path) -> Result<()> {
        let doing = |path: &Path| format!("copy {}", path.display());
        let mut left: VecDeque<_> = parts(path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                here.pop();
                continue;
            }
            let file = here.join(part);
            let found = fs::symlink_metadata(&file).with_context(|| doing(&file))?;
            let copy_to = self.root.join(file.strip_prefix("/")?);
            if found.is_symlink() {
                links += 1;
                ensure!(links <= 40, "{}: too many symbolic links", doing(path));
                let target = fs::read_link(&file).with_context(|| doing(&file))?;
                if self.brought.insert(file.clone()) {
                    symlink(&target, copy_to).with_context(|| doing(&file))?;
                }
                if target.is_absolute() {
                    here = "/".into();
                }
                parts(&target).rev().for_each(|part| left.push_front(part));
                continue;
            }
            if found.is_dir() {
                directory(&copy_to, 0o755)?;
            } else if self.brought.insert(file.clone()) {
                copy(&file, &copy_to)?;
            }
            here = file;
        }
        Ok(())
    }
}

/// The components of a path, without `/` and `.`.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let leads = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components()
        .filter(leads)
        .map(|part| part.as_os_str().to_owned())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Copies a regular file with its mode, but without set-user-ID and set-group-ID:
/// the copy would give the caller's rights to every user.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copy {}", from.display());
    let source = open_file(from).with_context(doing)?;
    let mut source = source.with_context(|| format!("{}: it is not a regular file", doing()))?;
    let found = source.metadata().with_context(doing)?;
    let mut copy = File::create_new(to).with_context(doing)?;
    io::copy(&mut source, &mut copy).with_context(doing)?;
    let mode = Permissions::from_mode(found.permissions().mode() & 0o777);
    copy.set_permissions(mode).with_context(doing)
}

/// Makes a directory with this mode, and the directories above it.
fn directory(dir: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).create(dir);
    let made = made.and_then(|()| fs::set_permissions(dir, Permissions::from_mode(mode)));
    made.with_context(|| format!("make {}", dir.display()))
}

/// Adds the files that every root needs besides programs.
fn furnish(root: &Path) -> Result<()> {
    for dir in ["dev", "etc", "home", "mnt", "proc", "run", "sys", "usr", "var"] {
        directory(&root.join(dir), 0o755)?;
    }
    directory(&root.join("root"), 0o700)?;
    for dir in ["tmp", "var/tmp"] {
        directory(&root.join(dir), 0o1777)?;
    }
    let files = [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
        ("group", "root:x:0:\nnogroup:x:65534:\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ("hostname", "container\n"),
        ("motd", "A root of this machine's own programs.\n"),
        // A mark: the root is neither Alpine nor the machine's own root.
        ("container-root", "made from this machine's own programs\n"),
    ];
    for (name, text) in files {
        let file = root.join("etc").join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    // At first, only its owner can enter the root.
    directory(root, 0o755)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_sh_there_is_no_root() {
        let dir = testkit::tempdir();
        let error = programs_with_libraries(dir.path(), &[Path::new("/dev/null")]);
        let error = common::one_line(&error.expect_err("no programs there"));
        assert_eq!(error, "make a root of this machine's sh: it is missing");
    }

    /// Another user, who owns the directory above, replaces it with a link.
    #[test]
    fn a_root_is_made_in_the_directory_that_was_opened() {
        let dir = testkit::tempdir();
        let path = |name: &str| dir.path().join(name);
        for name in ["new", "elsewhere"] {
            fs::create_dir(path(name)).expect("make");
        }
        let above = File::open(dir.path()).expect("open");
        let root = Folder::open(&above, path("new")).expect("open");
        fs::rename(path("new"), path("aside")).expect("rename");
        symlink("elsewhere", path("new")).expect("link");
        make(&root, FromHost::Libraries).expect("a root");
        assert!(path("aside/bin").exists() && path("aside/etc/motd").exists());
        assert_eq!(fs::read_dir(path("elsewhere")).expect("list").count(), 0);
    }

    #[test]
    fn a_file_comes_with_the_links_on_its_way() {
        let dir = testkit::tempdir();
        let host = fs::canonicalize(dir.path()).expect("a path").join("host");
        let root = dir.path().join("root");
        fs::create_dir_all(host.join("a/b")).expect("make");
        fs::create_dir(&root).expect("make");
        fs::write(host.join("a/b/file"), "x").expect("write");
        fs::set_permissions(host.join("a/b/file"), Permissions::from_mode(0o4751)).expect("chmod");
        symlink("a/../a/b", host.join("relative")).expect("link");
        symlink(host.join("relative"), host.join("absolute")).expect("link");
        symlink("round", host.join("round")).expect("link");
        let mut copier = Copier { root: &root, brought: BTreeSet::new() };
        for _ in 0..2 {
            copier.bring(&host.join("absolute/file")).expect("copy");
        }
        let copied = root.join(host.strip_prefix("/").expect("absolute"));
        assert_eq!(fs::read_link(copied.join("relative")).expect("a link"), Path::new("a/../a/b"));
        assert_eq!(fs::read_link(copied.join("absolute")).expect("a link"), host.join("relative"));
        let mode = fs::symlink_metadata(copied.join("a/b/file")).expect("a file");
        assert_eq!(mode.permissions().mode() & 0o7777, 0o751);
        assert!(copier.bring(&host.join("round")).is_err());
    }
}
