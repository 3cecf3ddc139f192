//! Files and directories of the host to bind, and the places for them in a root.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use crate::host;

/// A file or directory of the host, and its place in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The path on the host.
    pub host: PathBuf,
    /// The path in the root, which begins with `/`.
    pub inside: PathBuf,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

impl Bind {
    /// The file `path` of the host, at the same path in the root.
    pub fn same(path: &str) -> Bind {
        Bind { host: path.into(), inside: path.into(), read_only: false }
    }

    /// As [`Bind::same`], but read-only. A device still takes what a process writes to it,
    /// but its owner, mode and times stay as they are.
    pub fn read_only(path: &str) -> Bind {
        Bind { read_only: true, ..Bind::same(path) }
    }

    /// Reads `HOST:INSIDE[:ro]`. In a path `\:` stands for `:`, and `\\` for `\`.
    pub(crate) fn parse(word: &OsStr) -> Result<Bind> {
        let mut fields = vec![Vec::new()];
        let mut bytes = word.as_bytes().iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = bytes.next_if(|next| byte == b'\\' && matches!(next, b':' | b'\\'));
            match (byte, escaped, fields.last_mut()) {
                (b':', _, _) => fields.push(Vec::new()),
                (byte, escaped, Some(field)) => field.push(escaped.unwrap_or(byte)),
                (_, _, None) => {}
            }
        }
        let mut fields = fields.into_iter().map(std::ffi::OsString::from_vec);
        let (host, inside) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let mode = fields.next();
        ensure!(
            !host.is_empty()
                && fields.next().is_none()
                && mode.as_deref().is_none_or(|it| it == "ro"),
            "--bind needs HOST:INSIDE or HOST:INSIDE:ro; write `:` in a path as `\\:`"
        );
        let bind = Bind { host: host.into(), inside: inside.into(), read_only: mode.is_some() };
        let mut parts = bind.inside.components();
        ensure!(
            parts.next() == Some(Component::RootDir)
                && parts.next().is_some_and(|first| first != Component::Normal("proc".as_ref()))
                && !bind.inside.components().any(|part| part == Component::ParentDir),
            "--bind {}: the path inside must begin with `/`, must not be `/` or in /proc, and must have no `..`",
            bind
        );
        Ok(bind)
    }

    /// The place for it in a root: a directory for a directory, else a file. Makes a
    /// missing place. See [`Root::directory`].
    ///
    /// # Errors
    ///
    /// When the host has no such file, or the place is a file and not a directory, or
    /// a directory and not a file.
    pub fn target(&self, root: &Root) -> Result<Place> {
        let host = &self.host;
        let found = fs::metadata(host).with_context(|| format!("bind {}", host.display()))?;
        root.place(&self.inside, found.is_dir())
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.host.display(), self.inside.display())
    }
}

/// The root of a container, as an open directory: no process can replace it.
pub struct Root(OwnedFd);

impl Root {
    /// Opens a root.
    ///
    /// # Errors
    ///
    /// When it is not a directory, or no proc is mounted on `/proc`: the name of a
    /// [`Place`] is a path there.
    pub fn open(rootfs: impl AsRef<Path>) -> Result<Root> {
        let rootfs = rootfs.as_ref();
        let doing = || format!("open the root {}", rootfs.display());
        ensure!(host::has_proc(), "{}: {}", doing(), host::no_proc());
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(AT_FDCWD, rootfs, flags, Mode::empty()).map(Root).with_context(doing)
    }

    /// A directory in the root, as a place for a mount. Makes a missing directory.
    ///
    /// A symbolic link in the path stays inside the root: openat2(2), RESOLVE_IN_ROOT.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made, or the place is not a directory.
    pub fn directory(&self, path: &str) -> Result<Place> {
        self.place(Path::new(path), true)
    }

    /// Makes a symbolic link to `target`, in a directory from [`Root::directory`];
    /// symlink(2).
    ///
    /// # Errors
    ///
    /// When the link cannot be made, or a file already has its name.
    pub fn link(&self, link: &str, target: &str) -> Result<()> {
        let (above, name) = link.rsplit_once('/').unwrap_or(("", link));
        let made = symlink(target, Path::new(&self.directory(above)?.name).join(name));
        made.with_context(|| format!("make the link {link} to {target}"))
    }

    fn place(&self, path: &Path, directory: bool) -> Result<Place> {
        let doing = || format!("open {} in the root", path.display());
        let place = File::from(open_or_make(&self.0, path, directory).with_context(doing)?);
        match (directory, place.metadata().with_context(doing)?.is_dir()) {
            (true, false) => bail!("{}: a file is there, but a directory is needed", doing()),
            (false, true) => bail!("{}: a directory is there, but a file is needed", doing()),
            _ => {}
        }
        Ok(Place { name: format!("/proc/self/fd/{}", place.as_raw_fd()), _open: place })
    }
}

/// A place in the root, as an open descriptor: no process can replace the place
/// before the mount. Its path is `/proc/self/fd/N`, proc_pid_fd(5).
pub struct Place {
    name: String,
    _open: File,
}

impl NixPath for Place {
    fn is_empty(&self) -> bool {
        NixPath::is_empty(&*self.name)
    }

    fn len(&self) -> usize {
        NixPath::len(&*self.name)
    }

    fn with_nix_path<T, F: FnOnce(&CStr) -> T>(&self, f: F) -> nix::Result<T> {
        self.name.with_nix_path(f)
    }
}

/// Opens a path below `root` with `O_PATH`.
fn open_in(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    // EAGAIN: a mount or a rename, anywhere on the host, came between; openat2(2).
    loop {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN) => {}
            opened => return opened,
        }
    }
}

/// The reason why the kernel refuses a call that it has since a version.
fn refused(errno: Errno, call: &str, since: &str) -> Error {
    match errno {
        Errno::ENOSYS | Errno::EPERM if host::is_filtered() => anyhow!(
            "a seccomp filter is in force and likely refuses {call}; start it without, in Docker with --security-opt seccomp=unconfined"
        ),
        Errno::ENOSYS => anyhow!("this kernel has no {call}; start Linux {since} or later"),
        errno => errno.into(),
    }
}

/// Opens a path below `root`, and makes its missing parts.
fn open_or_make(root: &OwnedFd, path: &Path, directory: bool) -> Result<OwnedFd> {
    match (open_in(root, path), path.parent(), path.file_name()) {
        (Err(Errno::ENOENT), Some(parent), Some(name)) => {
            make(&open_or_make(root, parent, true)?, Path::new(name), directory)?;
            Ok(open_in(root, path)?)
        }
        (opened, ..) => opened.map_err(|errno| refused(errno, "openat2(2)", "5.6")),
    }
}

/// Makes an empty file or directory as a place for a mount.
fn make(above: &OwnedFd, name: &Path, directory: bool) -> Result<()> {
    let made = if directory {
        mkdirat(above, name, Mode::from_bits_truncate(0o755))
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(above, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
    };
    match made {
        Err(Errno::EEXIST) => {
            Err(anyhow!("it is a symbolic link to a missing file; remove the link"))
        }
        made => Ok(made?),
    }
}

/// Makes a mount and all mounts below it read-only. Their other flags stay;
/// mount_setattr(2), since Linux 5.12.
///
/// # Errors
///
/// When `mount` is not the root of a mount.
pub fn set_read_only(mount: &Place) -> Result<()> {
    let doing = "make a bind read-only";
    let path = CString::new(&*mount.name).context(doing)?;
    let attr_set = libc::MOUNT_ATTR_RDONLY;
    let attributes = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    #[allow(unsafe_code, reason = "nix has no mount_setattr(2)")]
    // SAFETY: `path` ends with a zero, and the kernel gets the size of
    // `attributes`, which it reads.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    let set = Errno::result(set).map(drop);
    set.map_err(|errno| refused(errno, "mount_setattr(2)", "5.12")).context(doing)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::place::Place;

    #[test]
    fn renames_beside_a_root_keep_no_place_from_being_opened() {
        let place = Place::new();
        for dir in ["root", "root/a", "one", "two"] {
            fs::create_dir(place.path(dir)).expect("make a directory");
        }
        symlink("../a", place.path("root/a/link")).expect("make a link");
        let root = OwnedFd::from(fs::File::open(place.path("root")).expect("open"));
        let enough = AtomicBool::new(false);
        let refused = thread::scope(|scope| {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    for (old, new) in [("one", "two/one"), ("two/one", "one")] {
                        fs::rename(place.path(old), place.path(new)).expect("rename");
                    }
                }
            });
            let refused = (0..10_000).find_map(|_| open_in(&root, Path::new("/a/link")).err());
            enough.store(true, Ordering::Relaxed);
            refused
        });
        assert_eq!(refused, None);
    }

    fn parse(word: &str) -> Option<Bind> {
        Bind::parse(word.as_ref()).ok()
    }

    #[test]
    fn a_bind_is_two_paths_and_perhaps_ro() {
        let bind = |host: &str, inside: &str, read_only| Bind {
            host: host.into(),
            inside: inside.into(),
            read_only,
        };
        assert_eq!(parse("/a:/b"), Some(bind("/a", "/b", false)));
        assert_eq!(parse("a b:/b/c:ro"), Some(bind("a b", "/b/c", true)));
        assert_eq!(parse(r"a\:b\\:/c\d"), Some(bind(r"a:b\", r"/c\d", false)));
        for word in
            ["", "a", "a:", ":/b", "a:b", "a:/", "a:/b:rw", "a:/b:ro:", "a:/b/../c", "a:/proc/x"]
        {
            assert_eq!(parse(word), None, "{word}");
        }
    }
}
