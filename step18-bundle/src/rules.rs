//! Lesson 18: rules that say which devices the processes of a group may use.

use std::fs::File;
use std::io::{self, ErrorKind};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use serde::Deserialize;

use crate::device_lines::lines;
use crate::device_program::program;
use crate::groups::Groups;

/// A rule of the configuration. Of several, the last one that fits counts.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    /// `a` for all, `b` for block devices, `c` for character devices.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Nothing, or -1, for all numbers.
    major: Option<i64>,
    minor: Option<i64>,
    /// Letters: `r` to read, `w` to write, `m` to make a node.
    pub(crate) access: String,
}

/// Each container may make nodes, and use these: those of lesson 10, and terminals.
#[rustfmt::skip]
const USUAL: [(&str, i64, i64, &str); 10] = [
    ("c", -1, -1, "m"), ("b", -1, -1, "m"), ("c", 1, 3, "rwm"), ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"), ("c", 1, 8, "rwm"), ("c", 1, 9, "rwm"), ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"), ("c", 136, -1, "rwm"),
];

/// The group in /sys/fs/cgroup may use no devices but these and the usual ones. Without
/// rules in the configuration, a caller who may not write any goes on.
pub(crate) fn apply(rules: &[Rule], groups: &Groups) -> Result<()> {
    if !rules.is_empty() {
        return write(rules, groups);
    }
    let none = Rule { access: "rwm".to_owned(), ..Rule::default() };
    let written = write(&[none], groups);
    let may_not = |error: &anyhow::Error| {
        let kind = error.downcast_ref().map(io::Error::kind);
        let errno = error.downcast_ref().copied();
        kind == Some(ErrorKind::PermissionDenied) || errno == Some(Errno::EPERM)
    };
    let has_none = groups.group("devices").is_err();
    written.or_else(|error| if has_none || may_not(&error) { Ok(()) } else { Err(error) })
}

/// Writes the rules: a program of the device controller in v2, lines of two files in v1.
fn write(rules: &[Rule], groups: &Groups) -> Result<()> {
    let usual = USUAL.map(|(kind, major, minor, access)| {
        let (major, minor, access) = (Some(major), Some(minor), access.to_owned());
        Rule { allow: true, kind: kind.to_owned(), major, minor, access }
    });
    let all: Vec<Rule> = rules.iter().cloned().chain(usual).collect();
    all.iter().try_for_each(Rule::check).context("read the device rules")?;
    if groups.is_v2() {
        let group = groups.group("devices")?;
        let group = File::open(group).context("open the control group")?;
        let attached = common::attach_device_program(&program(&all), &group);
        return attached.context("attach the rules for devices to the control group");
    }
    let (allow, lines) = lines(&all).context("set the rules for devices")?;
    let (file, other) = ("devices.deny", "devices.allow");
    let (file, other) = if allow { (other, file) } else { (file, other) };
    groups.write(file, "a")?;
    lines.iter().try_for_each(|line| groups.write(other, line))
}

impl Rule {
    /// The type, as in linux/bpf.h, and the major and the minor number. Nothing for all.
    pub(crate) fn parts(&self) -> [Option<u32>; 3] {
        let kind = match &*self.kind {
            "b" => Some(1),
            "c" => Some(2),
            _ => None,
        };
        let number = |it: Option<i64>| it.and_then(|it| u32::try_from(it).ok());
        [kind, number(self.major), number(self.minor)]
    }

    fn check(&self) -> Result<()> {
        let Rule { kind, major, minor, access, .. } = self;
        // The largest is `*` in v1.
        let is_number = |it: i64| (-1..i64::from(u32::MAX)).contains(&it);
        let are_numbers = major.is_none_or(is_number) && minor.is_none_or(is_number);
        let is_access = access.chars().all(|it| "rwm".contains(it)) && !access.is_empty();
        let is_all = ["", "a"].contains(&&**kind);
        let is_kind = is_all || ["b", "c"].contains(&&**kind);
        let all =
            self.parts() == [None; 3] && "rwm".chars().all(|it| access.contains(it));
        ensure!(is_kind, "there is no type {kind}; give a, b or c");
        ensure!(are_numbers, "a number is negative or too great; change it");
        ensure!(is_access, "the access {access:?} is wrong; give letters of rwm");
        ensure!(all || !is_all, "a rule for all types is one for all numbers and rwm");
        Ok(())
    }
}
