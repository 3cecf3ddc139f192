//! Lesson 13: a container that cannot make every system call. Lesson 18: the calls of a list.

use anyhow::{Context, Result, bail, ensure};
use libc::{BPF_JEQ, SECCOMP_RET_KILL_THREAD};
use serde::Deserialize;

use crate::calls::{Architecture, OWN, X32, architecture, by_number};
use crate::program::{
    ARCH, Instruction, NR, answer, condition, jump, load, ret, skip, tree,
};

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

/// Makes the program of the list. It reads `seccomp_data`, and answers; seccomp(2).
pub(crate) fn compile(list: &Seccomp) -> Result<Filter> {
    let otherwise = answer(&list.default_action, list.default_errno_ret)?;
    let mut flags = 0;
    for name in &list.flags {
        flags |= match &**name {
            // The process of the command has one thread.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            other => {
                bail!("read seccomp: the flag {other} is not done here; leave it out")
            }
        };
    }
    let named = list.architectures.iter().map(|name| architecture(name));
    let mut named = named.collect::<Result<Vec<_>>>()?;
    let own = architecture(OWN)?;
    if named.iter().all(|it| it.name != own.name) {
        named.push(own);
    }
    named.sort_by_key(|it| it.audit);
    named.dedup_by_key(|it| it.name);
    // A program of an architecture that is not in the list is killed.
    let mut program = vec![ret(SECCOMP_RET_KILL_THREAD)];
    for same in named.chunk_by(|a, b| a.audit == b.audit).rev() {
        let block = calls(list, same, otherwise)?;
        let head = [jump(BPF_JEQ, same[0].audit, 1, 0), skip(block.len())];
        program = [&head, &block[..], &program].concat();
    }
    program.insert(0, load(ARCH));
    ensure!(
        program.len() <= 4096,
        "make the filter: it has {} instructions, and the kernel takes 4096; shorten the list",
        program.len()
    );
    Ok(Filter { program, flags })
}

/// Makes the kernel run the program before each system call of this process.
pub(crate) fn set(filter: Option<&Filter>) -> Result<()> {
    let Some(filter) = filter else { return Ok(()) };
    common::set_filter_with(&filter.program, filter.flags)
        .context("set the seccomp filter")
}

/// The answers for the calls of an architecture. Of several rules, the first one that holds
/// counts. A rule without conditions counts before those with conditions, as in libseccomp.
fn calls(
    list: &Seccomp,
    same: &[Architecture],
    otherwise: u32,
) -> Result<Vec<Instruction>> {
    // From which number on which instructions answer.
    let mut parts = vec![(0, vec![ret(otherwise)])];
    for (number, mut rules) in by_number(list, same)? {
        if let Some(at) = rules.iter().position(|(_, args)| args.is_empty()) {
            rules = vec![rules.swap_remove(at)];
        }
        let mut block = vec![ret(otherwise)];
        for (answer, args) in rules.iter().rev() {
            let mut rule = vec![ret(*answer)];
            for argument in args.iter().rev() {
                rule = [condition(argument, rule.len())?, rule].concat();
            }
            block = [rule, block].concat();
        }
        parts.extend([(number, block), (number + 1, vec![ret(otherwise)])]);
    }
    let has = |name| same.iter().any(|it| it.name == name);
    if has("SCMP_ARCH_X86_64") && !has("SCMP_ARCH_X32") {
        parts.push((X32, vec![ret(SECCOMP_RET_KILL_THREAD)]));
        // A tracer has skipped the call.
        parts.push((u32::MAX, vec![ret(otherwise)]));
    }
    // The next number may have its own answer.
    parts.sort_by_key(|(from, _)| *from);
    parts.reverse();
    parts.dedup_by_key(|(from, _)| *from);
    parts.reverse();
    parts.dedup_by(|next, part| next.1 == part.1);
    Ok([vec![load(NR)], tree(&parts)].concat())
}

#[cfg(test)]
mod tests;
