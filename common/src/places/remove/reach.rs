//! Opens directories of a tree, and nothing outside of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmod, fchmodat, fstat};
use nix::unistd::geteuid;

pub(super) fn is_ours(found: &FileStat) -> bool {
    found.st_uid == geteuid().as_raw()
}

/// Opens a directory of the tree. If the caller owns the directory, it gives itself the
/// right to work in it.
pub(super) fn open(above: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = match enter(above, name, flags) {
        Err(Errno::EACCES) => {
            let dir = enter(above, name, flags | OFlag::O_PATH)?;
            // Change and open the descriptor again, not the name.
            if let Some(mode) = missing(&fstat(&dir)?) {
                let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
                fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
                    .map_err(|_| Errno::EACCES)?;
            }
            openat(&dir, c".", flags, Mode::empty())?
        }
        opened => opened?,
    };
    if let Some(mode) = missing(&fstat(&dir)?) {
        fchmod(&dir, mode)?;
    }
    Ok(dir)
}

/// The mode that the caller's own directory needs, if it differs. It only adds rights.
fn missing(found: &FileStat) -> Option<Mode> {
    let mode = Mode::from_bits_truncate(found.st_mode);
    (is_ours(found) && !mode.contains(Mode::S_IRWXU)).then_some(mode | Mode::S_IRWXU)
}

/// Opens a directory in another directory. A symbolic link or a mount is an error.
fn enter(above: BorrowedFd<'_>, name: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(above, name, how) {
        // A kernel before 5.6, or a seccomp filter that does not know the call.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let dir = openat(above, name, flags, Mode::empty())?;
            let same = fstat(&dir)?.st_dev == fstat(above)?.st_dev;
            if same { Ok(dir) } else { Err(Errno::EXDEV) }
        }
        opened => opened,
    }
}

/// The entries of a directory.
pub(super) fn entries(dir: &OwnedFd) -> nix::Result<Vec<(CString, Option<Type>)>> {
    let again = dir.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    let mut entries = Vec::new();
    for entry in Dir::from_fd(again?)?.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(entries)
}
