//! Lesson 18: rules that say which devices the processes of a group may use.

use std::fs::File;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::groups::Groups;
use crate::resources::Limit;

/// A rule of the configuration. Of several, the last one that fits counts.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    allow: bool,
    /// `a` for all, `b` for block devices, `c` for character devices.
    #[serde(rename = "type")]
    kind: String,
    /// Nothing, or -1, for all numbers.
    major: Option<i64>,
    minor: Option<i64>,
    /// Letters: `r` to read, `w` to write, `m` to make a node.
    access: String,
}

/// Each container may make nodes, and use these devices: those of lesson 10, and terminals.
const USUAL: [(&str, i64, i64, &str); 10] = [
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, -1, "rwm"),
];

/// The group in /sys/fs/cgroup may use no devices but these; a program of the device
/// controller in v2, two files in v1. Without rules, it stays as it is.
pub(crate) fn apply(rules: &[Rule], groups: &Groups) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let usual = USUAL.map(|(kind, major, minor, access)| Rule {
        allow: true,
        kind: kind.to_owned(),
        major: Some(major),
        minor: Some(minor),
        access: access.to_owned(),
    });
    let all: Vec<Rule> = rules.iter().cloned().chain(usual).collect();
    all.iter().try_for_each(Rule::check)?;
    if groups.is_v2() {
        let group = File::open(groups.group("devices")?).context("open the control group")?;
        let attached = common::attach_device_program(&program(&all), &group);
        return attached.context("attach the rules for devices to the control group");
    }
    for rule in &all {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        let number = |it: Option<i64>| any(it).map_or("*".to_owned(), |it| it.to_string());
        let (major, minor) = (number(rule.major), number(rule.minor));
        let value = match &*rule.kind {
            "" | "a" => "a".to_owned(),
            kind => format!("{kind} {major}:{minor} {}", rule.access),
        };
        groups.write(&Limit { controller: "devices", file: file.to_owned(), value })?;
    }
    Ok(())
}

/// Nothing for all numbers.
fn any(number: Option<i64>) -> Option<i64> {
    number.filter(|it| *it != -1)
}

impl Rule {
    fn check(&self) -> Result<()> {
        let is_all = ["", "a"].contains(&&*self.kind);
        let is_number = |it: &Option<i64>| any(*it).is_none_or(|it| u32::try_from(it).is_ok());
        let numbers = any(self.major).or(any(self.minor));
        if !["", "a", "b", "c"].contains(&&*self.kind) {
            bail!("read the device rules: there is no type {}; give a, b or c", self.kind);
        }
        ensure!(
            is_number(&self.major) && is_number(&self.minor),
            "read the device rules: a number of a device is negative or too large"
        );
        ensure!(
            !self.access.is_empty() && self.access.chars().all(|it| "rwm".contains(it)),
            "read the device rules: the access {:?} is wrong; give letters of rwm",
            self.access
        );
        ensure!(
            !is_all || numbers.is_none() && self.access.len() == 3,
            "read the device rules: a rule for all types is one for all numbers and rwm"
        );
        Ok(())
    }
}

/// The registers, and what the program finds in its context: bpf_cgroup_dev_ctx in
/// linux/bpf.h.
const ANSWER: u64 = 0;
const CONTEXT: u64 = 1;
const KIND: u64 = 2;
const ACCESS: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const WANTED: u64 = 6;

/// The program: it answers 1 for a device that the group may use, else 0. The last rule is
/// asked first.
fn program(rules: &[Rule]) -> Vec<u64> {
    let mut program = vec![
        load(KIND, 0),
        copy(ACCESS, KIND),
        with_number(AND, KIND, 0xffff),
        with_number(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        match &*rule.kind {
            "b" => tests.push((UNLESS, KIND, 1)),
            "c" => tests.push((UNLESS, KIND, 2)),
            _ => {}
        }
        let of = |(letter, bit)| if rule.access.contains(letter) { bit } else { 0 };
        let access: u32 = [('m', 1), ('r', 2), ('w', 4)].into_iter().map(of).sum();
        let mut code = Vec::new();
        // Allowed is what asks for nothing else, and refused what asks for any of it.
        code.extend([copy(WANTED, ACCESS)]);
        if rule.allow {
            code.push(with_number(AND, WANTED, !access));
            tests.push((UNLESS, WANTED, 0));
        } else {
            code.push(with_number(AND, WANTED, access));
            tests.push((IF, WANTED, 0));
        }
        let number = |it: Option<i64>| any(it).and_then(|it| u32::try_from(it).ok());
        tests.extend(number(rule.major).map(|it| (UNLESS, MAJOR, it)));
        tests.extend(number(rule.minor).map(|it| (UNLESS, MINOR, it)));
        let count = tests.len();
        for (at, (test, register, value)) in tests.into_iter().enumerate() {
            // Over the other tests and the answer.
            let over = (count - at - 1 + 2) as u64;
            code.push(with_number(test, register, value) | over << 16);
        }
        code.extend([with_number(MOVE, ANSWER, rule.allow.into()), EXIT]);
        program.extend(code);
    }
    program.extend([with_number(MOVE, ANSWER, 0), EXIT]);
    program
}

/// Codes of instructions: linux/bpf.h, linux/bpf_common.h.
const MOVE: u64 = 0xb4;
const AND: u64 = 0x54;
const SHIFT_RIGHT: u64 = 0x74;
const IF: u64 = 0x16;
const UNLESS: u64 = 0x56;
const EXIT: u64 = 0x95;

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
