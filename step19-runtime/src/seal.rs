//! Lesson 18: the program of this step, where no container can write to it.
//!
//! A container can lead the name of its command to /proc/self/exe between the look at a
//! file and execve(2). Then the program of this step runs in there, perhaps with a
//! loader of the container, and root inside can open its file by /proc/PID/exe;
//! CVE-2019-5736. So what enters a container is a copy: a mount that is read-only, and
//! has no place where it could be changed again. A caller who may not mount gets a copy
//! in memory, and so does a program whose mount cannot be copied.

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::mounts::{copy, set};
use crate::options::Change;

/// Starts this program again from a copy, in the same process. In the copy, it sets the
/// name of the process, which is that of a descriptor before Linux 6.14.
pub(crate) fn use_copy() -> Result<()> {
    let doing = "start from a copy of this program";
    let program = File::open("/proc/self/exe").context(doing)?;
    if is_sealed(&program) {
        return set_name();
    }
    let copy = match mount_copy(&program) {
        // The kernel copies no mount that is in no namespace, as this copy is.
        Err(Errno::EINVAL) if is_copy(&program)? => return set_name(),
        Ok(copy) => copy,
        Err(_) => memory_copy(program).context(doing)?,
    };
    common::start_again(&copy).context(doing)
}

fn set_name() -> Result<()> {
    let first = env::args_os().next().unwrap_or_default();
    let name = Path::new(&first).file_name().unwrap_or_default();
    let name = CString::new(name.as_encoded_bytes())?;
    prctl::set_name(&name).context("name this process")
}

/// Makes a read-only mount of the file. It has no place, and when its descriptor is
/// closed, it is in no namespace: nobody can change it; mount_setattr(2).
fn mount_copy(program: &File) -> nix::Result<OwnedFd> {
    let copy = copy(program, false)?;
    set(&copy, Change::read_only(), false).map(|()| copy)
}

/// Copies the file to memory, and forbids every change of it; memfd_create(2).
fn memory_copy(mut program: File) -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let name = c"program";
    // Before Linux 6.3, each such file can be executed.
    let copy =
        match memfd_create(name, flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
            Err(Errno::EINVAL) => memfd_create(name, flags)?,
            made => made?,
        };
    let mut copy = File::from(copy);
    io::copy(&mut program, &mut copy)?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    Ok(copy.into())
}

fn is_sealed(program: &File) -> bool {
    let write = SealFlag::F_SEAL_WRITE.bits();
    fcntl(program, FcntlArg::F_GET_SEALS).is_ok_and(|seals| seals & write != 0)
}

/// Whether it is the mount of `mount_copy`. Its root is the file, and it has no place:
/// the name of the file is `/`. A mount in another namespace has a place there.
fn is_copy(program: &File) -> Result<bool> {
    let has_no_place = fs::read_link("/proc/self/exe")? == Path::new("/");
    Ok(has_no_place && fstatvfs(program)?.flags().contains(FsFlags::ST_RDONLY))
}
