//! Lesson 18: the numbers of system calls, which differ with the architecture.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::filter::{Argument, Rule, Seccomp};
use crate::program::answer;

/// An architecture: its name, AUDIT_ARCH_… in linux/audit.h, which a filter sees, and the
/// number of a call, if it has the call.
pub(crate) type Architecture = (&'static str, u32, fn(&str) -> Option<u32>);

/// x32 is x86-64 with pointers of 32 bits. Its numbers have this bit.
pub(crate) const X32: u32 = 0x4000_0000;

/// The number in a table of the crate `syscalls`.
macro_rules! number {
    ($of:ident) => {
        |name| name.parse::<syscalls::$of::Sysno>().ok().map(|it| it.id() as u32)
    };
}

/// Those that a filter sees as the same are neighbours.
pub(crate) const ARCHITECTURES: [Architecture; 5] = [
    ("SCMP_ARCH_X86", 0x4000_0003, number!(x86)),
    ("SCMP_ARCH_X86_64", 0xc000_003e, number!(x86_64)),
    ("SCMP_ARCH_X32", 0xc000_003e, x32),
    ("SCMP_ARCH_ARM", 0x4000_0028, number!(arm)),
    ("SCMP_ARCH_AARCH64", 0xc000_00b7, number!(aarch64)),
];

/// Calls that have a number of their own in x32, from 512 on. Other calls have that of
/// x86-64.
#[rustfmt::skip]
const OF_X32: [&str; 36] = [
    "rt_sigaction", "rt_sigreturn", "ioctl", "readv", "writev", "recvfrom", "sendmsg",
    "recvmsg", "execve", "ptrace", "rt_sigpending", "rt_sigtimedwait", "rt_sigqueueinfo",
    "sigaltstack", "timer_create", "mq_notify", "kexec_load", "waitid", "set_robust_list",
    "get_robust_list", "vmsplice", "move_pages", "preadv", "pwritev", "rt_tgsigqueueinfo",
    "recvmmsg", "sendmmsg", "process_vm_readv", "process_vm_writev", "setsockopt",
    "getsockopt", "io_setup", "io_submit", "execveat", "preadv2", "pwritev2",
];

fn x32(name: &str) -> Option<u32> {
    let own = OF_X32.iter().position(|it| *it == name).map(|at| 512 + at as u32);
    let [_, (_, _, usual), ..] = ARCHITECTURES;
    own.or_else(|| usual(name)).map(|number| number | X32)
}

/// Calls of 32-bit x86 that do the work of several: the first argument says which;
/// ipc(2), socketcall(2).
#[rustfmt::skip]
const SHARED: [(&str, u64, &[&str]); 3] = [
    ("socketcall", 1, &[
        "socket", "bind", "connect", "listen", "accept", "getsockname", "getpeername",
        "socketpair", "send", "recv", "sendto", "recvfrom", "shutdown", "setsockopt",
        "getsockopt", "sendmsg", "recvmsg", "accept4", "recvmmsg", "sendmmsg",
    ]),
    ("ipc", 1, &["semop", "semget", "semctl", "semtimedop"]),
    ("ipc", 11, &[
        "msgsnd", "msgrcv", "msgget", "msgctl", "", "", "", "", "", "",
        "shmat", "shmdt", "shmget", "shmctl",
    ]),
];

/// The number of the call that does the work of another in 32-bit x86, and its first
/// argument.
fn shared(name: &str) -> Option<(u32, u64)> {
    let [(_, _, number), ..] = ARCHITECTURES;
    SHARED.iter().find_map(|(call, first, names)| {
        let at = names.iter().position(|it| *it == name)?;
        Some((number(call)?, first + at as u64))
    })
}

/// The rules for a call: an answer each, if all conditions hold.
pub(crate) type Answers = Vec<(u32, Vec<Argument>)>;

/// The rules of the list by the number of the call.
pub(crate) fn by_number(
    list: &Seccomp,
    same: &[Architecture],
) -> Result<BTreeMap<u32, Answers>> {
    let mut found: BTreeMap<u32, Answers> = BTreeMap::new();
    for Rule { names, args, action, errno_ret } in &list.syscalls {
        let answer = answer(action, *errno_ret)?;
        let of = |index| args.iter().filter(|it| it.index == index).count();
        // As in runc: one of several conditions on the same argument is enough.
        let sets: Answers = match args.iter().any(|it| of(it.index) > 1) {
            true => args.iter().map(|it| (answer, vec![it.clone()])).collect(),
            false => vec![(answer, args.clone())],
        };
        let all = names.iter().flat_map(|name| same.iter().map(move |it| (name, it)));
        for (name, (architecture, _, number)) in all {
            // Another architecture, or a newer kernel, may have this call.
            if let Some(number) = number(name) {
                found.entry(number).or_default().extend(sets.clone());
            }
            // The other arguments are in memory, which no filter can read.
            let is_shared = *architecture == "SCMP_ARCH_X86" && args.is_empty();
            if let Some((number, value)) = shared(name).filter(|_| is_shared) {
                let op = "SCMP_CMP_EQ".to_owned();
                let is_this = Argument { value, op, ..Argument::default() };
                found.entry(number).or_default().push((answer, vec![is_this]));
            }
        }
    }
    Ok(found)
}
