//! Lesson 18: the program that answers for the devices of a group, in control groups v2;
//! bpf(2).

use crate::rules::Rule;

/// The registers; bpf_cgroup_dev_ctx in linux/bpf.h says what the context has.
const ANSWER: u64 = 0;
const CONTEXT: u64 = 1;
const KIND: u64 = 2;
const ACCESS: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const WANTED: u64 = 6;

/// Codes of instructions: linux/bpf.h, linux/bpf_common.h.
const MOVE: u64 = 0xb4;
const AND: u64 = 0x54;
const SHIFT_RIGHT: u64 = 0x74;
const IF: u64 = 0x16;
const UNLESS: u64 = 0x56;
const EXIT: u64 = 0x95;

/// The program: it answers 1 for a device that the group may use, else 0. The last rule
/// is asked first.
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    let mut program = vec![
        load(KIND, 0),
        copy(ACCESS, KIND),
        with_number(AND, KIND, 0xffff),
        with_number(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        let of = |(letter, bit)| if rule.access.contains(letter) { bit } else { 0 };
        let access: u32 = [('m', 1), ('r', 2), ('w', 4)].into_iter().map(of).sum();
        let parts = [KIND, MAJOR, MINOR].into_iter().zip(rule.parts());
        let tests: Vec<_> = parts.filter_map(|(of, it)| Some((of, it?))).collect();
        for (at, (register, value)) in tests.iter().enumerate() {
            // To the next rule: over the other tests, and the five that follow.
            let over = (tests.len() - at - 1 + 5) as u64;
            program.push(with_number(UNLESS, *register, *value) | over << 16);
        }
        // A rule that allows takes its letters out of the request, and earlier rules
        // decide about the others. One that refuses answers if its letters are left.
        let (first, second, test) = if rule.allow {
            (with_number(AND, ACCESS, !access), copy(WANTED, ACCESS), UNLESS)
        } else {
            (copy(WANTED, ACCESS), with_number(AND, WANTED, access), IF)
        };
        program.extend([first, second, with_number(test, WANTED, 0) | 2 << 16]);
        program.extend([with_number(MOVE, ANSWER, rule.allow.into()), EXIT]);
    }
    program.extend([with_number(MOVE, ANSWER, 0), EXIT]);
    program
}

/// Loads the word at `offset` of the context into a register.
fn load(register: u64, offset: u64) -> u64 {
    0x61 | register << 8 | CONTEXT << 12 | offset << 16
}

/// Copies a register to another one.
fn copy(to: u64, from: u64) -> u64 {
    0xbc | to << 8 | from << 12
}

/// An instruction with a register and a number.
fn with_number(code: u64, register: u64, number: u32) -> u64 {
    code | register << 8 | u64::from(number) << 32
}

#[cfg(test)]
#[path = "../../step18-bundle/src/device_program/tests.rs"]
mod tests;
