//! Lesson 18: the lines that answer for the devices of a group, in control groups v1.

use anyhow::{Result, bail};

use crate::rules::Rule;

/// The answer for all devices, and the lines for those with the other answer. Lines have
/// no order, so a rule that takes a part out of an earlier one is an error.
pub(crate) fn lines(rules: &[Rule]) -> Result<(bool, Vec<String>)> {
    let for_all = rules.iter().rfind(|it| it.parts() == [None; 3]);
    let allow = for_all.is_some_and(|it| it.allow);
    let mut found: Vec<(&Rule, String)> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        // What a later rule for all these devices takes back does not count.
        let takes_back = |later: &&Rule| {
            later.allow != rule.allow && shared(later, rule) == Some(rule.parts())
        };
        let later: Vec<_> = rules[at + 1..].iter().filter(takes_back).collect();
        let counts = |letter: &char| {
            rule.access.contains(*letter)
                && !later.iter().any(|it| it.access.contains(*letter))
        };
        let access: String = "rwm".chars().filter(counts).collect();
        if rule.allow != allow {
            found.push((rule, access));
            continue;
        }
        let is_wider = |(earlier, other): &&(&Rule, String)| {
            shared(earlier, rule).is_some() && access.contains(|it| other.contains(it))
        };
        if let Some((earlier, _)) = found.iter().find(is_wider) {
            let [this, earlier] = [rule, earlier].map(|it| {
                let word = if it.allow { "allow" } else { "deny" };
                format!("{word} {}", text(it.parts(), &it.access))
            });
            bail!(
                "{this} takes a part out of {earlier}, and rules of control groups v1 \
                have no order; deny all devices first, and allow only those it may use"
            );
        }
    }
    let mut lines = Vec::new();
    for (rule, access) in found.iter().filter(|(_, access)| !access.is_empty()) {
        lines.push(text(rule.parts(), access));
        // The kernel wants one line with both letters if a call asks for both.
        let has =
            |access: &str, one, other| access.contains(one) && !access.contains(other);
        let writers = found.iter().filter(|(_, other)| has(other, 'w', 'r'));
        let both = writers.filter_map(|(other, _)| shared(rule, other));
        lines.extend(both.filter(|_| has(access, 'r', 'w')).map(|it| text(it, "rw")));
    }
    Ok((allow, lines))
}

/// The type and the numbers of the devices that both rules are for, if there are such.
fn shared(one: &Rule, other: &Rule) -> Option<[Option<u32>; 3]> {
    let (one, other) = (one.parts(), other.parts());
    let both = [0, 1, 2].map(|at| one[at].or(other[at]));
    let is_of_both = other.iter().zip(both).all(|(it, both)| it.is_none() || *it == both);
    is_of_both.then_some(both)
}

/// A line, as the kernel reads it.
fn text([kind, major, minor]: [Option<u32>; 3], access: &str) -> String {
    let number = |it: Option<u32>| it.map_or("*".to_owned(), |it| it.to_string());
    let kind = if kind == Some(1) { 'b' } else { 'c' };
    format!("{kind} {}:{} {access}", number(major), number(minor))
}

#[cfg(test)]
#[path = "../../step18-bundle/src/device_lines/tests.rs"]
mod tests;
