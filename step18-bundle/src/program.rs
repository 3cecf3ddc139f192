//! Lesson 18: the instructions of a filter; seccomp(2).

use std::mem::offset_of;

use anyhow::{Result, bail, ensure};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD,
    BPF_RET, BPF_W, SECCOMP_RET_KILL_THREAD, seccomp_data, sock_filter,
};

use crate::filter::Argument;

/// An instruction of BPF.
pub(crate) type Instruction = sock_filter;

/// Where a filter finds the number of the call, and the architecture.
pub(crate) const NR: u32 = offset_of!(seccomp_data, nr) as u32;
pub(crate) const ARCH: u32 = offset_of!(seccomp_data, arch) as u32;

/// What the kernel does with a call: SECCOMP_RET_… in seccomp(2).
pub(crate) fn answer(action: &str, errno: Option<u32>) -> Result<u32> {
    let number = errno.unwrap_or(libc::EPERM as u32);
    ensure!(
        number <= 0xffff,
        "read seccomp: the error number {number} has more than 16 bits"
    );
    let (answer, takes_number) = match action {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => (SECCOMP_RET_KILL_THREAD, false),
        "SCMP_ACT_KILL_PROCESS" => (libc::SECCOMP_RET_KILL_PROCESS, false),
        "SCMP_ACT_TRAP" => (libc::SECCOMP_RET_TRAP, false),
        "SCMP_ACT_ERRNO" => (libc::SECCOMP_RET_ERRNO | number, true),
        "SCMP_ACT_TRACE" => (libc::SECCOMP_RET_TRACE | number, true),
        "SCMP_ACT_ALLOW" => (libc::SECCOMP_RET_ALLOW, false),
        "SCMP_ACT_LOG" => (libc::SECCOMP_RET_LOG, false),
        other => {
            bail!("read seccomp: the action {other} is not done here; use another action")
        }
    };
    ensure!(takes_number || errno.is_none(), "read seccomp: {action} takes no errnoRet");
    Ok(answer)
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
    ensure!(index < 6, "read seccomp: a call has no argument {index}, only 0 to 5");
    let low = offset_of!(seccomp_data, args) as u32 + 8 * index;
    let (test, holds, mask, value) = match &**op {
        "SCMP_CMP_EQ" => (BPF_JEQ, true, u64::MAX, value),
        "SCMP_CMP_NE" => (BPF_JEQ, false, u64::MAX, value),
        "SCMP_CMP_GT" => (BPF_JGT, true, u64::MAX, value),
        "SCMP_CMP_LE" => (BPF_JGT, false, u64::MAX, value),
        "SCMP_CMP_GE" => (BPF_JGE, true, u64::MAX, value),
        "SCMP_CMP_LT" => (BPF_JGE, false, u64::MAX, value),
        "SCMP_CMP_MASKED_EQ" => (BPF_JEQ, true, value, value_two),
        other => {
            bail!("read seccomp: the operator {other} is not known; use SCMP_CMP_EQ")
        }
    };
    let and = |half| instruction(BPF_ALU | BPF_AND | BPF_K, half, 0, 0);
    let (mask_high, high) = ((mask >> 32) as u32, (value >> 32) as u32);
    // The high half decides, unless it is equal. At the end: the test holds, or not.
    let mut code = vec![load(low + 4), and(mask_high), jump(BPF_JGT, high, 4, 0)];
    code.extend([jump(BPF_JEQ, high, 0, 4), load(low), and(mask as u32)]);
    code.push(jump(test, value as u32, 0, 1));
    if test == BPF_JEQ {
        code[2] = jump(BPF_JGT, high, 5, 0);
    }
    let (yes, no) = if holds { (skip(1), skip(rest)) } else { (skip(rest + 1), skip(0)) };
    code.extend([yes, no]);
    Ok(code)
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
