//! Files and directories of the host to bind, and the places for them in a root.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, stat};
use nix::unistd::getuid;

use crate::args::process::is_place;
use crate::note;
use crate::places::open::{READ, place};
use crate::said::doing::{Call, Doing};

/// A file or directory of the host, and its place in the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The path on the host, without symbolic links.
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
        let (mut fields, mut field) = (Vec::new(), Vec::new());
        let mut bytes = word.as_bytes().iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let escaped = bytes.next_if(|next| byte == b'\\' && matches!(next, b':' | b'\\'));
            if byte == b':' {
                fields.push(mem::take(&mut field));
            } else {
                field.push(escaped.unwrap_or(byte));
            }
        }
        fields.push(field);
        let mut fields = fields.into_iter().map(OsString::from_vec);
        let (host, inside) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let mode = fields.next();
        ensure!(
            !host.is_empty()
                && fields.next().is_none()
                && mode.as_deref().is_none_or(|it| it == "ro"),
            "--bind needs HOST:INSIDE or HOST:INSIDE:ro; write `:` in a path as `\\:`"
        );
        let bind = Bind { host: host.into(), inside: inside.into(), read_only: mode.is_some() };
        ensure!(
            is_place(&bind.inside),
            "--bind {}: the path inside must begin with `/`, must not be `/` or in /proc, and must have no `..`",
            bind
        );
        Ok(bind)
    }

    /// Warns root if the file belongs to another user. The container has only the IDs of its
    /// caller, and root inside has no rights over a file whose owner it does not have:
    /// user_namespaces(7). A user has none outside either. Call it in the runner.
    pub(crate) fn warn_of_owner(&self) {
        // If the file is missing, `open` reports it later.
        let Ok(found) = fs::metadata(&self.host) else { return };
        if getuid().is_root() && found.uid() != 0 {
            note(&format!(
                "{} belongs to user {}, whom the container does not have: its files show as \
                 nobody's, and root inside has the rights of any other user there",
                self.host.display(),
                found.uid()
            ));
        }
    }

    /// Replaces each link of root in the path by its target: a container of another user cannot
    /// have made it. Root follows none. Call it in the runner, which sees who owns a file.
    pub(crate) fn follow_links_of_root(&mut self) {
        // If the directory of this process is gone, `open` reports it later.
        let Ok(path) = absolute(&self.host) else { return };
        if getuid().is_root() {
            return;
        }
        let parts = |path: &Path| {
            let parts: Vec<_> = path.iter().map(OsStr::to_owned).collect();
            parts.into_iter().rev()
        };
        let mut left: Vec<OsString> = parts(&path).collect();
        let (mut real, mut links) = (PathBuf::new(), 0);
        while let Some(part) = left.pop() {
            let next = real.join(&part);
            match fs::read_link(&next) {
                _ if part == ".." => drop(real.pop()),
                Err(_no_link) => real = next,
                Ok(target) if links < MOST_LINKS && is_of_root(&next) => {
                    left.extend(parts(&target));
                    links += 1;
                }
                // `open` refuses it.
                Ok(_target) => return,
            }
        }
        self.host = real;
    }

    /// Opens the file or directory of the host, and then the place for it in a root. Makes a
    /// missing place: a directory for a directory, else a file. See [`Root::directory`]. Fails
    /// when the host has no such file, when a part of its path is a symbolic link, or when the
    /// place is a file and not a directory, or a directory and not a file. Fails when this process
    /// is already in the root: the path would lead to a file of the container.
    pub fn open(&self, root: &Root) -> Result<(OwnedFd, Place)> {
        let doing = || format!("bind {self}");
        let entered = root.is_entered().with_context(doing)?;
        ensure!(
            !entered,
            "bind {self}: the host's files are out of reach in the root; bind before you enter it"
        );
        let source = self.source().with_context(doing)?;
        let directory = is_directory(&source).with_context(doing)?;
        Ok((source, root.place(&self.inside, directory).with_context(doing)?))
    }

    /// A container that can write above the file can put a link there, and lead the bind to
    /// any other file of the host. Its files belong to the caller, so the owner tells nothing.
    fn source(&self) -> Result<OwnedFd> {
        match open_at(AT_FDCWD, &self.host, O_PATH, ResolveFlag::RESOLVE_NO_SYMLINKS) {
            Err(Errno::ELOOP) => {
                let real = fs::canonicalize(&self.host)?;
                bail!(
                    "a part of the path is a symbolic link, which a container can make; name {}, if you mean that",
                    real.display()
                )
            }
            opened => Ok(opened?),
        }
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
    /// Opens a root. Fails when it is not a directory.
    pub fn open(rootfs: impl AsRef<Path>) -> Result<Root> {
        let rootfs = rootfs.as_ref();
        place(rootfs)
            .map(Root)
            .with_context(|| Doing::new(Call::OpenRoot, "open the root ", rootfs.display()))
    }

    /// A directory in the root, as a place for a mount. Makes a missing directory.
    ///
    /// A symbolic link in the path stays inside the root: openat2(2), RESOLVE_IN_ROOT. If it leads
    /// to a missing directory, that is made. Fails when the directory cannot be made, or the place
    /// is not a directory.
    pub fn directory(&self, path: &str) -> Result<Place> {
        self.place(Path::new(path), true)
    }

    /// A file or directory in the root, as a place for a mount, if there is one. Fails when it
    /// cannot be opened.
    pub fn find(&self, path: &str) -> Result<Option<Place>> {
        let path = PathBuf::from(path);
        match self.open_in(&path, O_PATH) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno).context(opening(&path)),
            Ok(file) => Ok(Some(Place { path, file })),
        }
    }

    /// Whether it is the root of this process.
    fn is_entered(&self) -> nix::Result<bool> {
        let (this, current) = (fstat(&self.0)?, stat("/")?);
        Ok((this.st_dev, this.st_ino) == (current.st_dev, current.st_ino))
    }

    /// As [`Root::find`], by a path without symbolic links. Fails as in openat2(2): ELOOP when a
    /// part of the path is a symbolic link.
    pub fn find_without_links(&self, path: &Path) -> nix::Result<Place> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let file = open_at(&self.0, path, O_PATH, resolve)?;
        Ok(Place { path: path.to_owned(), file })
    }

    /// Opens a file in the root, to read: without waiting, whatever the file is.
    pub(crate) fn open_file(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open_in(path, READ)
    }

    /// As [`Root::directory`]; without `directory`, a place for a file. Fails as
    /// [`Root::directory`], and when a place for a file is a directory.
    pub fn place(&self, path: &Path, directory: bool) -> Result<Place> {
        let path = path.to_owned();
        match self.open_or_make(&path, directory, MOST_LINKS) {
            Ok(file) => Ok(Place { path, file }),
            Err(errno) => Err(errno).context(opening(&path)),
        }
    }

    /// Opens a directory or a file, and makes its missing parts.
    fn open_or_make(&self, path: &Path, directory: bool, links: u32) -> nix::Result<OwnedFd> {
        let kind = if directory { OFlag::O_DIRECTORY } else { OFlag::empty() };
        let (parent, name) =
            match (self.open_in(path, O_PATH | kind), path.parent(), path.file_name()) {
                (Err(Errno::ENOENT), Some(parent), Some(name)) => (parent, name),
                (Ok(file), ..) if !directory && is_directory(&file)? => return Err(Errno::EISDIR),
                (opened, ..) => return opened,
            };
        let above = self.open_or_make(parent, true, links)?;
        match make(&above, name, directory) {
            Err(Errno::EEXIST) if links == 0 => Err(Errno::ELOOP),
            // A link of /proc to an open file, which may be `above` itself: it leads to a path of
            // the host.
            Err(Errno::EEXIST) if self.open_in(path, O_PATH).err() == Some(Errno::ELOOP) => {
                Err(Errno::ELOOP)
            }
            // A symbolic link to a missing file: its target is made.
            Err(Errno::EEXIST) => {
                let next = match readlinkat(&above, name) {
                    // Another process has just made it.
                    Err(Errno::EINVAL) => path.to_owned(),
                    target => parent.join(target?),
                };
                self.open_or_make(&next, directory, links - 1)
            }
            made => made,
        }
    }

    fn open_in(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        open_at(&self.0, path, flags, resolve)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn opening(place: &Path) -> Doing {
    Doing::new(Call::OpenPlace, "open ", format_args!("{} in the root", place.display()))
}

const O_PATH: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// The kernel follows no more links in a path; path_resolution(7).
pub(crate) const MOST_LINKS: u32 = 40;

/// A place in the root, as an open descriptor: no process can replace the place before the mount.
pub struct Place {
    path: PathBuf,
    file: OwnedFd,
}

impl Place {
    /// Whether it is a directory. Fails as in fstat(2).
    pub fn is_directory(&self) -> nix::Result<bool> {
        is_directory(&self.file)
    }

    /// A name for mount(2), which takes no descriptor: `/proc/self/fd/N`, proc_pid_fd(5).
    pub fn name(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Its path in the root.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

/// Whether only root can have made a link, and the directories above it.
fn is_of_root(link: &Path) -> bool {
    let is_fixed = |it: fs::Metadata| it.uid() == 0 && (it.is_symlink() || it.mode() & 0o022 == 0);
    link.ancestors().all(|path| fs::symlink_metadata(path).is_ok_and(is_fixed))
}

fn open_at(at: impl AsFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(resolve);
    // EAGAIN: a mount or a rename, anywhere on the host, came between; openat2(2). But if a process
    // has a lease on the file, this is the answer for a long time; fcntl(2).
    let mut tries = 0..1000;
    loop {
        match openat2(&at, path, how) {
            Err(Errno::EAGAIN) if tries.next().is_some() => {}
            opened => return opened,
        }
    }
}

fn is_directory(file: impl AsFd) -> nix::Result<bool> {
    let mode = fstat(file)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// Makes an empty file or directory as a place for a mount, and opens it.
fn make(above: &OwnedFd, name: &OsStr, directory: bool) -> nix::Result<OwnedFd> {
    if !directory {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        return openat(above, name, flags, Mode::from_bits_truncate(0o644));
    }
    mkdirat(above, name, Mode::from_bits_truncate(0o755))?;
    let flags = O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    openat(above, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::places::place::Place;

    /// The kernel waits for the end of a lease for 45 seconds.
    #[test]
    fn a_lease_on_a_file_is_not_waited_for() {
        let place = Place::new();
        fs::write(place.path("file"), "text").expect("write");
        let lease = "import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1])
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
print(flush=True)
sys.stdin.read()";
        let mut holder = Command::new("python3");
        holder.args(["-c", lease]).arg(place.path("file"));
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        // Not every machine has python3.
        let Ok(mut holder) = holder else { return };
        holder.stdout.take().expect("a pipe").read_exact(&mut [0]).expect("a lease");
        let root = Root::open(place.path("")).expect("open");
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
        let opened = root.open_in(Path::new("file"), flags);
        assert_eq!(opened.err(), Some(Errno::EAGAIN));
        drop(holder.stdin.take());
        assert!(holder.wait().expect("wait").success());
    }

    #[test]
    fn renames_beside_a_root_keep_no_place_from_being_opened() {
        let place = Place::new();
        for dir in ["root", "root/a", "one", "two"] {
            fs::create_dir(place.path(dir)).expect("make a directory");
        }
        symlink("../a", place.path("root/a/link")).expect("make a link");
        let root = Root::open(place.path("root")).expect("open");
        let enough = AtomicBool::new(false);
        let refused = thread::scope(|scope| {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    for (old, new) in [("one", "two/one"), ("two/one", "one")] {
                        fs::rename(place.path(old), place.path(new)).expect("rename");
                    }
                }
            });
            let refused =
                (0..10_000).find_map(|_| root.open_in(Path::new("/a/link"), O_PATH).err());
            enough.store(true, Ordering::Relaxed);
            refused
        });
        assert_eq!(refused, None);
    }

    #[test]
    fn in_the_root_a_path_of_the_host_is_refused() {
        let place = Place::new();
        fs::write(place.path("file"), "").expect("write");
        let bind = |inside| Bind { host: place.path("file"), inside, read_only: false };
        let entered = Root::open("/").expect("open");
        let error = bind(place.path("file")).open(&entered).map(drop).expect_err("a bind");
        assert!(error.to_string().contains("bind before you enter"), "{error}");
        let other = Root::open(place.path("")).expect("open");
        assert!(bind("/file".into()).open(&other).is_ok());
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
