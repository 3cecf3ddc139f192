//! Lesson 13: a container that cannot make every system call.

use std::mem::offset_of;

use anyhow::{Context, Result};
use common::{SYS_KEXEC_FILE_LOAD, audit_arch};
use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_ERRNO, c_int, c_long, seccomp_data, sock_filter,
};

/// System calls that no container needs: mounts and namespaces; keys; programs in the
/// kernel; other processes; modules and other kernels; the host's clock, swap, disks and
/// log; files by number.
#[rustfmt::skip]
const REFUSED: [c_long; 40] = {
    use libc::*;
    [
        SYS_mount, SYS_umount2, SYS_mount_setattr, SYS_move_mount, SYS_open_tree,
        SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_pivot_root, SYS_setns,
        SYS_add_key, SYS_request_key, SYS_keyctl, SYS_bpf, SYS_perf_event_open,
        SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_userfaultfd,
        SYS_fanotify_init, SYS_pidfd_getfd, SYS_kcmp, SYS_move_pages, SYS_migrate_pages,
        SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
        SYS_KEXEC_FILE_LOAD, SYS_reboot, SYS_settimeofday, SYS_clock_settime, SYS_swapon,
        SYS_swapoff, SYS_quotactl, SYS_quotactl_fd, SYS_acct, SYS_syslog,
        SYS_open_by_handle_at,
    ]
};
/// System calls that are refused only for some arguments: the call, the number of the
/// argument from 0 on, and a bit (JSET), a value (JEQ) or the greatest value that passes
/// (JGT).
const REFUSED_WITH: [(c_long, usize, u32, u32); 5] = {
    use libc::*;
    [
        (SYS_clone, 0, BPF_JSET, CLONE_NEWUSER as u32),
        (SYS_unshare, 0, BPF_JSET, CLONE_NEWUSER as u32),
        (SYS_ioctl, 1, BPF_JEQ, TIOCSTI as u32),
        (SYS_ioctl, 1, BPF_JEQ, TIOCLINUX as u32),
        (SYS_socket, 0, BPF_JGT, AF_BLUETOOTH as u32),
    ]
};

/// Makes the kernel run a BPF program before each system call of this process and of its
/// children. The program reads `seccomp_data`, and answers; seccomp(2).
pub(crate) fn filter_calls() -> Result<()> {
    const HERE: u32 = audit_arch();
    let (arch, nr) = (offset_of!(seccomp_data, arch), offset_of!(seccomp_data, nr));
    // A program of another architecture has other numbers for the calls.
    let mut filter = vec![load(arch), jump(BPF_JEQ, HERE, 1, 0), refuse(libc::ENOSYS)];
    filter.push(load(nr));
    // Calls that are newer than this table, and those of x32.
    filter.extend([jump(BPF_JGT, libc::SYS_mseal as u32, 0, 1), refuse(libc::ENOSYS)]);
    // Its flags are in memory, which no filter can read. After ENOSYS, programs use
    // clone.
    filter.extend([jump(BPF_JEQ, libc::SYS_clone3 as u32, 0, 1), refuse(libc::ENOSYS)]);
    for call in REFUSED {
        filter.extend([jump(BPF_JEQ, call as u32, 0, 1), refuse(libc::EPERM)]);
    }
    for (call, argument, test, value) in REFUSED_WITH {
        // The low half of the argument. The kernel ignores the other half, or refuses it.
        let low = offset_of!(seccomp_data, args) + 8 * argument;
        filter.extend([jump(BPF_JEQ, call as u32, 0, 4), load(low)]);
        filter.extend([jump(test, value, 0, 1), refuse(libc::EPERM), load(nr)]);
    }
    filter.push(instruction(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0));
    common::set_filter(&filter).context("set the seccomp filter")
}

/// Loads the word at `offset` of `seccomp_data`.
fn load(offset: usize) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset as u32, 0, 0)
}

/// Compares the loaded word with `value`. Then skips `yes` or `no` instructions.
fn jump(test: u32, value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(BPF_JMP | test | BPF_K, value, yes, no)
}

/// Ends the program: the call fails with `errno`.
fn refuse(errno: c_int) -> sock_filter {
    instruction(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | errno as u32, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}
