//! Programs in the kernel that decide which devices a control group may use; bpf(2).

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Loads a program of the type BPF_PROG_TYPE_CGROUP_DEVICE, and attaches it to a control group,
/// beside the programs that the group has. Fails with EPERM without CAP_BPF and CAP_NET_ADMIN, or
/// CAP_SYS_ADMIN. Fails with EINVAL or EACCES when the kernel refuses the program.
pub fn attach_device_program(program: &[u64], group: impl AsFd) -> nix::Result<()> {
    /// The numbers in linux/bpf.h.
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
    /// The first members of the part of bpf_attr for BPF_PROG_LOAD. The rest counts as zero.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    /// The part of bpf_attr for BPF_PROG_ATTACH.
    #[repr(C)]
    struct Attach {
        group: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: c"".as_ptr() as u64,
    };
    #[allow(unsafe_code, reason = "nix has no bpf(2)")]
    // SAFETY: the kernel reads both structures, whose sizes it gets, the instructions, whose
    // number it gets, and the license, which ends with a zero. All outlive the calls. Nothing
    // else has the new descriptor.
    unsafe {
        let size = size_of_val(&load);
        let loaded = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size);
        let loaded = OwnedFd::from_raw_fd(Errno::result(loaded)? as libc::c_int);
        let attach = Attach {
            group: group.as_fd().as_raw_fd() as u32,
            program: loaded.as_raw_fd() as u32,
            kind: BPF_CGROUP_DEVICE,
            flags: BPF_F_ALLOW_MULTI,
        };
        let size = size_of_val(&attach);
        let attached = libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size);
        Errno::result(attached).map(drop)
    }
}
