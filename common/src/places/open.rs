//! Opens files that another user may have replaced: without waiting, and only
//! files of the right type. An open of a FIFO would wait for a writer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use libc::c_short;
use nix::NixPath;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;

/// Opens a directory in another directory. Fails when the name is missing, or is not a directory.
/// A symbolic link is not followed.
pub fn directory<P: NixPath + ?Sized>(at: &impl AsFd, name: &P) -> nix::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).map(File::from)
}

/// Opens a directory with `O_PATH`, which needs no right to list it. std drops `O_PATH` with musl.
pub(crate) fn place(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())
}

/// Opens a regular file, to read. Fails when the file cannot be opened, or has another type.
pub fn regular(path: impl AsRef<Path>) -> io::Result<File> {
    checked(openat(AT_FDCWD, path.as_ref(), READ, Mode::empty())?)
}

/// Opens a regular file in a directory, to read. Fails as [`regular`], and when the name is a
/// symbolic link.
pub fn regular_in<P: NixPath + ?Sized>(at: &impl AsFd, name: &P) -> io::Result<File> {
    checked(openat(at, name, READ | OFlag::O_NOFOLLOW, Mode::empty())?)
}

/// The flags for a file that another user may have replaced.
pub(crate) const READ: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);

/// A descriptor as a file, if it is a regular one.
pub(crate) fn checked(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    Ok(file)
}

/// A short file of the kernel or of the administrator, as text. In a root without a mounted
/// proc, the file may be anything. Fails when it cannot be read.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    // Mountinfo is the longest file: a line for each mount.
    Ok(String::from_utf8_lossy(&whole(regular(path)?, 16 << 20)?).into_owned())
}

/// Locks a file that is open for writing, for this process and not for a child; F_SETLK in
/// fcntl(2). The lock ends with this process, and when it closes any descriptor of this file. Fails
/// with EAGAIN when another process has a lock.
pub fn lock_for_process(file: &File) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_SETLK(&WHOLE)).map(drop)
}

/// Whether another process has locked a file with [`lock_for_process`]; F_GETLK in fcntl(2).
pub fn is_locked_by_another(file: &File) -> bool {
    let mut lock = WHOLE;
    let asked = fcntl(file, FcntlArg::F_GETLK(&mut lock));
    asked.is_ok() && lock.l_type != libc::F_UNLCK as c_short
}

/// A lock on a whole file that nobody shares.
const WHOLE: libc::flock = libc::flock {
    l_type: libc::F_WRLCK as c_short,
    l_whence: libc::SEEK_SET as c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};

/// Reads an open file to its end. Fails when it cannot be read, or has more than `most` bytes.
pub fn whole(file: impl Read, most: u64) -> io::Result<Vec<u8>> {
    // Most files are shorter: then one call reads all. Those of the kernel have no size.
    let mut bytes = Vec::with_capacity(1 << 10);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::within::tests::alone;
    use crate::places::place::Place;
    use crate::{Exit, spawn};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::mkfifo;

    #[test]
    fn a_fifo_and_a_device_are_not_waited_for() {
        let place = Place::new();
        let fifo = place.path("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).expect("make a FIFO");
        let refused = (regular(&fifo), text("/dev/zero"));
        assert!(refused.0.is_err() && refused.1.is_err());
        assert!(text("/proc/self/status").expect("read it").contains("Seccomp:"));
    }

    /// A lock of flock(2) would be the child's, too.
    #[test]
    fn a_child_does_not_own_what_its_parent_owns() {
        if !alone(module_path!(), "a_child_does_not_own_what_its_parent_owns") {
            return;
        }
        let place = Place::new();
        let file = File::create(place.path("file")).expect("make a file");
        let seen_by_child = || {
            let child =
                spawn(|| Ok(if is_locked_by_another(&file) { Exit::SUCCESS } else { Exit::SETUP }));
            let ended = waitpid(child.expect("a child"), None).expect("wait");
            matches!(ended, WaitStatus::Exited(_, 0))
        };
        assert!(!seen_by_child());
        lock_for_process(&file).expect("own it");
        assert!(seen_by_child() && !is_locked_by_another(&file));
    }
}
