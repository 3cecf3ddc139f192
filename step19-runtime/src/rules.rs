//! Lesson 18: rules that say which devices the processes of a group may use.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

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

/// The group in /sys/fs/cgroup may use no devices but these; a program of the device
/// controller in v2, two files in v1. Without rules, it stays as it is.
pub(crate) fn apply(rules: &[Rule], groups: &Groups) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let usual = USUAL.map(|(kind, major, minor, access)| {
        let (major, minor, access) = (Some(major), Some(minor), access.to_owned());
        Rule { allow: true, kind: kind.to_owned(), major, minor, access }
    });
    let all: Vec<Rule> = rules.iter().cloned().chain(usual).collect();
    all.iter().try_for_each(Rule::check)?;
    if groups.is_v2() {
        let group = groups.group("devices")?;
        let group = File::open(group).context("open the control group")?;
        let attached = common::attach_device_program(&program(&all), &group);
        return attached.context("attach the rules for devices to the control group");
    }
    for rule in &all {
        let [major, minor] =
            rule.numbers().map(|it| it.map_or("*".into(), |it| it.to_string()));
        let value = match &*rule.kind {
            "" | "a" => "a".to_owned(),
            kind => format!("{kind} {major}:{minor} {}", rule.access),
        };
        groups
            .write(if rule.allow { "devices.allow" } else { "devices.deny" }, &value)?;
    }
    Ok(())
}

impl Rule {
    /// The major and the minor number. Nothing for all numbers.
    pub(crate) fn numbers(&self) -> [Option<u32>; 2] {
        [self.major, self.minor].map(|it| it.and_then(|it| u32::try_from(it).ok()))
    }

    fn check(&self) -> Result<()> {
        let is_number = |it: Option<i64>| it.is_none_or(|it| (-1..1 << 32).contains(&it));
        let is_all = ["", "a"].contains(&&*self.kind);
        ensure!(
            is_all || ["b", "c"].contains(&&*self.kind),
            "read the device rules: there is no type {}; give a, b or c",
            self.kind
        );
        ensure!(
            is_number(self.major) && is_number(self.minor),
            "read the device rules: a number of a device is negative or too large"
        );
        ensure!(
            !self.access.is_empty() && self.access.chars().all(|it| "rwm".contains(it)),
            "read the device rules: the access {:?} is wrong; give letters of rwm",
            self.access
        );
        ensure!(
            !is_all || self.numbers() == [None; 2] && self.access.len() == 3,
            "read the device rules: a rule for all types is one for all numbers and rwm"
        );
        Ok(())
    }
}
