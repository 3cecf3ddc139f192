//! Lesson 18: the numbers of system calls, which differ with the architecture.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::filter::{Argument, Seccomp};
use crate::program::answer;

/// An architecture of the configuration.
#[derive(Clone, Copy)]
pub(crate) struct Architecture {
    pub(crate) name: &'static str,
    /// AUDIT_ARCH_… in linux/audit.h: a filter sees it.
    pub(crate) audit: u32,
    /// The number of a call, if the architecture has it.
    pub(crate) number: fn(&str) -> Option<u32>,
}

/// The architecture of this program.
pub(crate) const OWN: &str =
    if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };
/// x32 is x86-64 with pointers of 32 bits. Its numbers have this bit.
pub(crate) const X32: u32 = 0x4000_0000;

/// The number in a table of the crate `syscalls`.
macro_rules! number {
    ($architecture:ident) => {
        |name| {
            name.parse::<syscalls::$architecture::Sysno>().ok().map(|it| it.id() as u32)
        }
    };
}

const ARCHITECTURES: [Architecture; 5] = [
    Architecture { name: "SCMP_ARCH_X86", audit: 0x4000_0003, number: number!(x86) },
    Architecture {
        name: "SCMP_ARCH_X86_64",
        audit: 0xc000_003e,
        number: number!(x86_64),
    },
    Architecture { name: "SCMP_ARCH_X32", audit: 0xc000_003e, number: x32 },
    Architecture { name: "SCMP_ARCH_ARM", audit: 0x4000_0028, number: number!(arm) },
    Architecture {
        name: "SCMP_ARCH_AARCH64",
        audit: 0xc000_00b7,
        number: number!(aarch64),
    },
];

/// The architecture with this name.
pub(crate) fn architecture(name: &str) -> Result<Architecture> {
    let found = ARCHITECTURES.into_iter().find(|it| it.name == name);
    found.with_context(|| {
        let names = ARCHITECTURES.map(|it| it.name).join(" ");
        format!("read seccomp: the architecture {name} is not done here; use {names}")
    })
}

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
    let number = match OF_X32.iter().position(|it| *it == name) {
        Some(at) => Some(512 + at as u32),
        None => (architecture("SCMP_ARCH_X86_64").ok()?.number)(name),
    };
    number.map(|number| number | X32)
}

/// Calls of 32-bit x86 that do the work of several: the first argument says which; ipc(2),
/// socketcall(2).
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
fn shared(architecture: &Architecture, name: &str) -> Option<(u32, u64)> {
    if architecture.name != "SCMP_ARCH_X86" {
        return None;
    }
    SHARED.iter().find_map(|(call, first, names)| {
        let at = names.iter().position(|it| *it == name)?;
        Some(((architecture.number)(call)?, first + at as u64))
    })
}

/// A rule for a call: the answer, if all conditions hold.
pub(crate) type Answers = BTreeMap<u32, Vec<(u32, Vec<Argument>)>>;

/// The rules of the list by the number of the call.
pub(crate) fn by_number(list: &Seccomp, same: &[Architecture]) -> Result<Answers> {
    let mut found = Answers::new();
    for rule in &list.syscalls {
        let answer = answer(&rule.action, rule.errno_ret)?;
        let of = |index| rule.args.iter().filter(|it| it.index == index).count();
        // As in runc: one of several conditions on the same argument is enough.
        let sets: Vec<Vec<Argument>> = match rule.args.iter().any(|it| of(it.index) > 1) {
            true => rule.args.iter().map(|it| vec![it.clone()]).collect(),
            false => vec![rule.args.clone()],
        };
        for (name, it) in
            rule.names.iter().flat_map(|name| same.iter().map(move |it| (name, it)))
        {
            // Another architecture, or a newer kernel, may have this call.
            if let Some(number) = (it.number)(name) {
                let rules = sets.iter().map(|args| (answer, args.clone()));
                found.entry(number).or_default().extend(rules);
            }
            // The other arguments are in memory, which no filter can read.
            if let Some((number, value)) =
                shared(it, name).filter(|_| rule.args.is_empty())
            {
                let is_this =
                    Argument { value, op: "SCMP_CMP_EQ".into(), ..Argument::default() };
                found.entry(number).or_default().push((answer, vec![is_this]));
            }
        }
    }
    Ok(found)
}
