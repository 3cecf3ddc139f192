//! Lesson 18: the instructions of a filter; seccomp(2).

use std::mem::offset_of;

use anyhow::{Context, Result, ensure};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_TRAP,
    seccomp_data, sock_filter,
};

use crate::filter::Argument;

/// An instruction of BPF.
pub(crate) type Instruction = sock_filter;

/// Where a filter finds the number of the call, and the architecture.
pub(crate) const NR: u32 = offset_of!(seccomp_data, nr) as u32;
pub(crate) const ARCH: u32 = offset_of!(seccomp_data, arch) as u32;

/// The row of a table with this name.
pub(crate) fn named<T: Copy>(table: &[(&str, T)], what: &str, name: &str) -> Result<T> {
    let found = table.iter().find(|it| it.0 == name).map(|it| it.1);
    let names = || table.iter().map(|it| it.0).collect::<Vec<_>>().join(" ");
    found.with_context(|| format!("read {what} {name}: it is not one of {}", names()))
}

/// What the kernel does with a call; seccomp(2).
#[rustfmt::skip]
pub(crate) const ACTIONS: [(&str, u32); 8] = [
    ("SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD), ("SCMP_ACT_TRAP", SECCOMP_RET_TRAP),
    ("SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD), ("SCMP_ACT_LOG", SECCOMP_RET_LOG),
    ("SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS),
    ("SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO), ("SCMP_ACT_TRACE", SECCOMP_RET_TRACE),
    ("SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW),
];

/// Tests of an argument: the jump, and whether it is for those that hold.
#[rustfmt::skip]
pub(crate) const OPERATORS: [(&str, (u32, bool)); 7] = [
    ("SCMP_CMP_EQ", (BPF_JEQ, true)), ("SCMP_CMP_NE", (BPF_JEQ, false)),
    ("SCMP_CMP_GT", (BPF_JGT, true)), ("SCMP_CMP_LE", (BPF_JGT, false)),
    ("SCMP_CMP_GE", (BPF_JGE, true)), ("SCMP_CMP_LT", (BPF_JGE, false)),
    ("SCMP_CMP_MASKED_EQ", (BPF_JEQ, true)),
];

/// The answer of a filter, with the error number for the actions that take one.
pub(crate) fn answer(action: &str, errno: Option<u32>) -> Result<u32> {
    let answer = named(&ACTIONS, "action", action)?;
    let number = errno.unwrap_or(libc::EPERM as u32);
    ensure!(number <= 0xffff, "errnoRet {number} is too great; give 0 to 65535");
    let takes_number = [SECCOMP_RET_ERRNO, SECCOMP_RET_TRACE].contains(&answer);
    ensure!(takes_number || errno.is_none(), "{action} takes no errnoRet; leave it out");
    Ok(if takes_number { answer | number } else { answer })
}

/// Compares the loaded number, and goes on with the part for it.
pub(crate) fn tree(parts: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    if let [(_, block)] = parts {
        return block.clone();
    }
    let (low, high) = parts.split_at(parts.len() / 2);
    let (from, below) = (high[0].0, tree(low));
    [vec![jump(BPF_JGE, from, 0, 1), skip(below.len())], below, tree(high)].concat()
}

/// Tests an argument: skips the next `rest` instructions if the condition does not hold.
pub(crate) fn condition(argument: &Argument, rest: usize) -> Result<Vec<Instruction>> {
    let Argument { index, value, value_two, ref op } = *argument;
    ensure!(index < 6, "a call has no argument {index}; give 0 to 5");
    let low = offset_of!(seccomp_data, args) as u32 + 8 * index;
    let (test, holds) = named(&OPERATORS, "operator", op)?;
    let is_masked = op == "SCMP_CMP_MASKED_EQ";
    let (mask, value) = if is_masked { (value, value_two) } else { (u64::MAX, value) };
    let and = |half| instruction(BPF_ALU | BPF_AND | BPF_K, half, 0, 0);
    let (mask_high, high) = ((mask >> 32) as u32, (value >> 32) as u32);
    // The high half decides, unless it is equal. At the end: the test holds, or not.
    let greater = if test == BPF_JEQ { 5 } else { 4 };
    let (yes, no) = if holds { (skip(1), skip(rest)) } else { (skip(rest + 1), skip(0)) };
    Ok(vec![
        load(low + 4),
        and(mask_high),
        jump(BPF_JGT, high, greater, 0),
        jump(BPF_JEQ, high, 0, 4),
        load(low),
        and(mask as u32),
        jump(test, value as u32, 0, 1),
        yes,
        no,
    ])
}

/// Loads the word at `offset` of `seccomp_data`.
pub(crate) fn load(offset: u32) -> Instruction {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0)
}

/// Compares the loaded word with `value`. Then skips `yes` or `no` instructions.
pub(crate) fn jump(test: u32, value: u32, yes: u8, no: u8) -> Instruction {
    instruction(BPF_JMP | test | BPF_K, value, yes, no)
}

/// Skips instructions, as many as there are.
pub(crate) fn skip(count: usize) -> Instruction {
    instruction(BPF_JMP | BPF_JA, count as u32, 0, 0)
}

/// Ends the program with an answer.
pub(crate) fn ret(answer: u32) -> Instruction {
    instruction(BPF_RET | BPF_K, answer, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    sock_filter { code: code as u16, jt, jf, k }
}
