//! Opens files that another user may have replaced: without waiting, and only
//! files of the right type. An open of a FIFO would wait for a writer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::NixPath;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Opens a directory in another directory. A symbolic link is an error.
pub(crate) fn directory<P: NixPath + ?Sized>(at: &impl AsFd, name: &P) -> nix::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).map(File::from)
}

/// A regular file, to read.
pub(crate) fn regular(path: impl AsRef<Path>) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}

/// A file of the kernel, as text. In a root without a mounted proc, the file may be
/// anything.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = Vec::new();
    // Mountinfo is the longest file: a line for each mount.
    regular(path)?.take(16 << 20).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
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
}
