//! Lesson 13: a container that cannot make every system call. Lesson 18: the calls of a
//! list.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use libc::{
    BPF_JEQ, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_THREAD,
};
use serde::Deserialize;

use crate::calls::{ARCHITECTURES, Architecture, X32, by_number};
use crate::program::{
    ARCH, Instruction, NR, answer, condition, jump, load, named, ret, skip, tree,
};

/// The architecture of this program.
const OWN: &str =
    if cfg!(target_arch = "x86_64") { "SCMP_ARCH_X86_64" } else { "SCMP_ARCH_AARCH64" };

/// What the configuration says about system calls.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Seccomp {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Vec<String>,
    flags: Vec<String>,
    pub(crate) syscalls: Vec<Rule>,
}

/// An answer for some calls.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: String,
    pub(crate) errno_ret: Option<u32>,
    pub(crate) args: Vec<Argument>,
}

/// A condition on an argument of a call.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Argument {
    pub(crate) index: u32,
    pub(crate) value: u64,
    pub(crate) value_two: u64,
    pub(crate) op: String,
}

/// The program for the kernel, and its flags.
pub(crate) struct Filter {
    program: Vec<Instruction>,
    flags: libc::c_ulong,
}

/// Flags of seccomp(2). The process of the command has one thread.
pub(crate) const FLAGS: [(&str, libc::c_ulong); 3] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW),
];

/// Makes the program of the list. It reads `seccomp_data`, and answers; seccomp(2).
pub(crate) fn compile(list: &Seccomp) -> Result<Filter> {
    let otherwise = answer(&list.default_action, list.default_errno_ret)?;
    let mut flags = 0;
    for name in &list.flags {
        flags |= named(&FLAGS, "flag", name)?;
    }
    let all = ARCHITECTURES.map(|it| (it.0, it));
    for name in &list.architectures {
        named(&all, "architecture", name)?;
    }
    // That of this program is always one of them.
    let is_named = |name| name == OWN || list.architectures.iter().any(|it| it == name);
    let all: Vec<_> = ARCHITECTURES.into_iter().filter(|it| is_named(it.0)).collect();
    // A program of an architecture that is not in the list is killed.
    let mut program = vec![ret(SECCOMP_RET_KILL_THREAD)];
    for same in all.chunk_by(|a, b| a.1 == b.1).rev() {
        let block = calls(list, same, otherwise)?;
        let head = [jump(BPF_JEQ, same[0].1, 1, 0), skip(block.len())];
        program = [&head, &block[..], &program].concat();
    }
    program.insert(0, load(ARCH));
    let count = program.len();
    ensure!(count <= 4096, "it needs {count} instructions of at most 4096; shorten it");
    Ok(Filter { program, flags })
}

/// Makes the kernel run the program before each system call of this process.
pub(crate) fn set(filter: Option<&Filter>) -> Result<()> {
    let Some(Filter { program, flags }) = filter else { return Ok(()) };
    common::set_filter_with(program, *flags).context("set the seccomp filter")
}

/// The answers for the calls of an architecture. Of several rules, the first one that
/// holds counts, but one without conditions before those with some, as in libseccomp.
fn calls(list: &Seccomp, same: &[Architecture], other: u32) -> Result<Vec<Instruction>> {
    let otherwise = vec![ret(other)];
    // The instructions that answer, by the first number that they are for.
    let mut parts = BTreeMap::from([(0, otherwise.clone())]);
    for (number, mut rules) in by_number(list, same)? {
        if let Some(at) = rules.iter().position(|(_, args)| args.is_empty()) {
            rules = vec![rules.swap_remove(at)];
        }
        let mut block = otherwise.clone();
        for (answer, args) in rules.iter().rev() {
            let mut rule = vec![ret(*answer)];
            for argument in args.iter().rev() {
                rule = [condition(argument, rule.len())?, rule].concat();
            }
            block = [rule, block].concat();
        }
        parts.insert(number, block);
        // The next number may have its own answer.
        parts.insert(number + 1, otherwise.clone());
    }
    // Programs do without a call that is newer than the list, if it seems to be missing.
    if other & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_ERRNO {
        for kind in [1..X32, X32..u32::MAX] {
            if let Some((_, newer)) = parts.range_mut(kind).next_back() {
                *newer = vec![ret(SECCOMP_RET_ERRNO | libc::ENOSYS as u32)];
            }
        }
    }
    let has = |name| same.iter().any(|it| it.0 == name);
    if has("SCMP_ARCH_X86_64") && !has("SCMP_ARCH_X32") {
        parts.insert(X32, vec![ret(SECCOMP_RET_KILL_THREAD)]);
        // A tracer has skipped the call.
        parts.insert(u32::MAX, otherwise.clone());
    }
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.dedup_by(|next, part| next.1 == part.1);
    Ok([vec![load(NR)], tree(&parts)].concat())
}

#[cfg(test)]
#[path = "../../step18-bundle/src/filter/tests.rs"]
mod tests;
