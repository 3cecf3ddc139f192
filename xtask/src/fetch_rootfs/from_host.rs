//! Makes a root from this machine's own programs, for a class without a network.

mod needs;

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::{Program, open};
use layers::Folder;

use super::root::{PROGRAM_DIRS, Root};
use crate::file;
use crate::say::note;
use needs::needed_by;

/// The programs to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FromHost {
    /// A static busybox if this machine has it, else programs with their libraries
    Any,
    /// Programs with their libraries, even if this machine has a static busybox
    Libraries,
}

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

/// Makes a root in the empty directory `root`, which belongs to this user. Another
/// program may rename the directory at the same time. Returns the root, and the
/// number of its programs or applets, in words.
/// Fails when there is no shell, or a file cannot be copied.
pub(crate) fn make(root: &Folder, which: FromHost) -> Result<(Root, String)> {
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", root.as_file().as_raw_fd()));
    make_at(&by_descriptor, which).with_context(|| format!("make {}", root.path().display()))
}

fn make_at(root: &Path, which: FromHost) -> Result<(Root, String)> {
    let busybox = match which {
        FromHost::Any => static_busybox(),
        FromHost::Libraries => None,
    };
    let programs = match &busybox {
        Some(busybox) => busybox_with_applets(busybox, root)?,
        None => programs_with_libraries(root, &dirs())?,
    };
    furnish(root)?;
    Ok((Root::Host { libraries: busybox.is_none() }, format!("{programs} programs")))
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

/// The directories of this machine's programs, with the usual directories first.
fn dirs() -> [PathBuf; 6] {
    PROGRAM_DIRS.map(|dir| Path::new("/").join(dir))
}

/// The first busybox that needs no libraries.
fn static_busybox() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(dirs());
    let names = ["busybox", "busybox.static", "busybox-static"];
    let mut found = dirs.flat_map(|dir| names.map(|name| dir.join(name)));
    found.find(|file| is_static(file))
}

/// The directories for the applets of busybox.
const BUSYBOX_DIRS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

/// Copies busybox, and makes a symbolic link for each of its applets. Returns their
/// number.
fn busybox_with_applets(busybox: &Path, root: &Path) -> Result<usize> {
    for dir in BUSYBOX_DIRS {
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
        let (dir, name) = applet.rsplit_once('/').unwrap_or(("bin", applet));
        if !BUSYBOX_DIRS.contains(&dir) || matches!(name, "" | "." | ".." | "busybox") {
            continue;
        }
        let target = match dir {
            "bin" => "busybox".to_owned(),
            _ => format!("{}bin/busybox", "../".repeat(dir.split('/').count())),
        };
        let link = root.join(dir).join(name);
        symlink(target, link).with_context(|| format!("link {dir}/{name}"))?;
        applets += 1;
    }
    ensure!(root.join("bin/sh").exists(), "make a root of {}: it has no sh", busybox.display());
    Ok(applets)
}

/// Copies the programs in `dirs` with the files that they need, and returns their
/// number. Prints the names of missing programs.
fn programs_with_libraries(root: &Path, dirs: &[PathBuf]) -> Result<usize> {
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
        self.bring_behind(path, 40).with_context(|| format!("copy {}", path.display()))
    }

    /// Follows at most this number of links.
    fn bring_behind(&mut self, path: &Path, links: u32) -> Result<()> {
        let mut here = PathBuf::from("/");
        let mut parts = path.components().skip(1);
        while let Some(part) = parts.next() {
            if part == Component::ParentDir {
                here.pop();
                continue;
            }
            let file = here.join(part);
            let found = fs::symlink_metadata(&file)?;
            let to = self.root.join(file.strip_prefix("/")?);
            if found.is_symlink() {
                let links = links.checked_sub(1).context("too many symbolic links")?;
                let target = fs::read_link(&file)?;
                if self.brought.insert(file) {
                    symlink(&target, to)?;
                }
                here.push(target);
                here.extend(parts);
                return self.bring_behind(&here, links);
            }
            if found.is_dir() {
                directory(&to, 0o755)?;
            } else if self.brought.insert(file.clone()) {
                copy(&file, &to)?;
            }
            here = file;
        }
        Ok(())
    }
}

/// Copies a regular file with its mode, but without set-user-ID and set-group-ID:
/// the copy would give the caller's rights to every user.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || format!("copy {}", from.display());
    let mut source = open::regular(from).with_context(doing)?;
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
        file::write(&root.join("etc").join(name), text)?;
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
        let error = programs_with_libraries(dir.path(), &["/dev/null".into()]);
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
        let root = Folder::new(path("new"), File::open(path("new")).expect("open"));
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
