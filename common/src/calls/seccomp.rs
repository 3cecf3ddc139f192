//! Filters on system calls; seccomp(2).

use std::sync::atomic::{AtomicBool, Ordering};

use libc::{sock_filter, sock_fprog};
use nix::errno::Errno;

/// The architecture of this program, as a filter sees it: AUDIT_ARCH_… in linux/audit.h.
///
/// # Panics
///
/// On an architecture for which the tables of lesson 13 were not checked.
pub const fn audit_arch() -> u32 {
    if cfg!(target_arch = "x86_64") {
        0xc000_003e
    } else if cfg!(target_arch = "aarch64") {
        0xc000_00b7
    } else {
        panic!("add the number of this architecture, and check the tables of lesson 13 for it")
    }
}

/// The number of kexec_file_load(2), which libc does not have for musl on AArch64.
pub const SYS_KEXEC_FILE_LOAD: libc::c_long = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// Makes the kernel run `filter` before each system call of this process and of its later
/// children. Nothing removes a filter. Fails with EINVAL when the filter is empty or longer than
/// 4096 instructions, when an instruction is wrong, or when the kernel has no filters. Fails with
/// ENOSYS when the kernel has no seccomp(2). Fails with EACCES when this process has neither
/// no_new_privs nor CAP_SYS_ADMIN.
pub fn set_filter(filter: &[sock_filter]) -> nix::Result<()> {
    const NO_FLAGS: libc::c_ulong = 0;
    set_filter_with(filter, NO_FLAGS)?;
    SET.store(true, Ordering::Relaxed);
    Ok(())
}

/// As [`set_filter`], with flags: `SECCOMP_FILTER_FLAG_…`.
pub fn set_filter_with(filter: &[sock_filter], flags: libc::c_ulong) -> nix::Result<()> {
    // A filter that is too long for the structure is too long for the kernel.
    let len = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    let program = sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    #[allow(unsafe_code, reason = "nix has no seccomp(2)")]
    // SAFETY: `program` describes the slice, which lives longer than the call. The kernel
    // copies it, and does not write to it.
    let set = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    Errno::result(set).map(drop)
}

/// Whether this process or its parent has called [`set_filter`].
pub(crate) fn is_set() -> bool {
    SET.load(Ordering::Relaxed)
}

static SET: AtomicBool = AtomicBool::new(false);
