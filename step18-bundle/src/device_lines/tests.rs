//! The lines of v1 and the program of v2 answer as the rules do: the last that fits.

use serde_json::{Value, json};

use super::*;
use crate::device_program::program;

fn rules(of: Value) -> Vec<Rule> {
    serde_json::from_value(of).expect("rules")
}

/// A device: its type, as in linux/bpf.h, and its numbers.
type Device = [u32; 3];

/// The answer of the rules: for each letter, that of the last one that fits.
fn by_rules(rules: &[Rule], device: Device, access: &str) -> bool {
    let fits = |rule: &Rule, letter| {
        let mut parts = rule.parts().into_iter().zip(device);
        parts.all(|(it, own)| it.is_none_or(|it| it == own))
            && rule.access.contains(letter)
    };
    let allows =
        |letter| rules.iter().rfind(|it| fits(it, letter)).is_some_and(|it| it.allow);
    access.chars().all(allows)
}

/// The answer of v1: security/device_cgroup.c of the kernel.
fn by_lines(allow: bool, lines: &[String], device: Device, access: &str) -> bool {
    // Lines with the same type and numbers become one.
    let mut merged: Vec<(&str, String)> = Vec::new();
    for line in lines {
        let (of, letters) = line.rsplit_once(' ').expect("letters");
        match merged.iter_mut().find(|it| it.0 == of) {
            Some(same) => same.1.push_str(letters),
            None => merged.push((of, letters.to_owned())),
        }
    }
    let fits = |of: &str| {
        let mut words = of.split([' ', ':']);
        let kind = if words.next() == Some("b") { 1 } else { 2 };
        let mut numbers = words.zip(&device[1..]);
        kind == device[0] && numbers.all(|(it, own)| it == "*" || it == own.to_string())
    };
    let found: Vec<_> = merged.iter().filter(|it| fits(it.0)).map(|it| &it.1).collect();
    let has = |letters: &String, letter: char| letters.contains(letter);
    if allow {
        !found.iter().any(|it| access.chars().any(|letter| has(it, letter)))
    } else {
        found.iter().any(|it| access.chars().all(|letter| has(it, letter)))
    }
}

/// The answer of v2: the instructions, done one after the other.
fn by_program(program: &[u64], device: Device, access: &str) -> bool {
    let bit = |it| {
        if it == 'm' {
            1
        } else if it == 'r' {
            2
        } else {
            4
        }
    };
    let bits: u32 = access.chars().map(bit).sum();
    let context = [device[0] | bits << 16, device[1], device[2]];
    let (mut registers, mut at) = ([0_u32; 7], 0);
    loop {
        let code = program[at];
        let (to, from) = ((code >> 8 & 15) as usize, (code >> 12 & 15) as usize);
        let (offset, number) = ((code >> 16 & 0xffff) as usize, (code >> 32) as u32);
        at += 1;
        match code & 0xff {
            0x61 => registers[to] = context[offset / 4],
            0xbc => registers[to] = registers[from],
            0xb4 => registers[to] = number,
            0x54 => registers[to] &= number,
            0x74 => registers[to] >>= number,
            0x16 => at += if registers[to] == number { offset } else { 0 },
            0x56 => at += if registers[to] == number { 0 } else { offset },
            0x95 => return registers[0] == 1,
            other => panic!("the instruction {other:x}"),
        }
    }
}

/// Where the answers differ for a few devices.
fn difference(rules: &[Rule]) -> Option<String> {
    let lines = lines(rules).ok();
    let program = program(rules);
    for at in 0..18 {
        let device = [1 + at / 9, 1 + at / 3 % 3, 1 + at % 3];
        for access in ["r", "w", "rw", "m"] {
            let wanted = by_rules(rules, device, access);
            let v1 = lines.as_ref().map(|it| by_lines(it.0, &it.1, device, access));
            let v2 = by_program(&program, device, access);
            if v1.is_some_and(|it| it != wanted) || v2 != wanted {
                let lines = lines.as_ref().map(|it| &it.1);
                return Some(format!(
                    "{device:?} {access}: {wanted} {v1:?} {v2} {lines:?}"
                ));
            }
        }
    }
    None
}

#[test]
fn the_answers_are_those_of_the_last_rule_that_fits() {
    let (mut seed, mut refused) = (1_u64, 0);
    let mut one_of = |choices: &[&str]| -> String {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        choices[(seed >> 33) as usize % choices.len()].to_owned()
    };
    for _ in 0..2000 {
        let count = one_of(&["1", "2", "3", "4", "5", "8"]).parse().expect("a number");
        let rule = |_| {
            let allow = one_of(&["true", "false"]) == "true";
            let kind = one_of(&["a", "b", "c", "c", "c"]);
            if kind == "a" {
                return json!({ "allow": allow, "access": "rwm" });
            }
            let numbers = [(); 2].map(|()| one_of(&["-1", "1", "2"]));
            let [major, minor] = numbers.map(|it| it.parse::<i64>().expect("a number"));
            let access = one_of(&["r", "w", "m", "rw", "rwm", "rwm", "rwm"]);
            json!({
                "allow": allow, "type": kind, "major": major, "minor": minor, "access": access
            })
        };
        let list: Value = (0..count).map(rule).collect();
        let rules = rules(list.clone());
        refused += usize::from(lines(&rules).is_err());
        assert_eq!(difference(&rules), None, "{list}");
    }
    assert!((100..1000).contains(&refused), "{refused} lists were refused");
}

/// Lists of podman, containerd and Docker, and what they add for `--privileged`,
/// `--device` and `--device-cgroup-rule`: each has its lines.
#[test]
fn the_lists_of_engines_have_lines() {
    let rule = |allow: bool, it: &str| {
        let mut words = it.split([' ', ':']);
        let kind = words.next();
        let mut number = || words.next().and_then(|it| it.parse::<i64>().ok());
        let (major, minor) = (number(), number());
        let access = it.rsplit(' ').next();
        json!({
            "allow": allow, "type": kind, "major": major, "minor": minor, "access": access
        })
    };
    let usual =
        ["c *:* m", "b *:* m", "c 1:3 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"];
    let first = ["c 10:229 rwm", "c 1:3 rwm", "c 10:229 rwm"];
    let allowed = first.iter().chain(&usual).map(|it| rule(true, it));
    let none = rule(false, "a rwm");
    let engine = rules([none.clone()].into_iter().chain(allowed).collect());
    let (allow, found) = lines(&engine).expect("lines");
    assert!(
        !allow && usual.iter().all(|it| found.contains(&(*it).to_owned())),
        "{found:?}"
    );
    assert_eq!(found.len(), first.len() + usual.len());
    let privileged =
        rules([none, rule(true, "a rwm"), rule(true, "c 1:3 rwm")].into_iter().collect());
    assert_eq!(lines(&privileged).expect("lines"), (true, vec![]));
    let but_one = rules(json!([
        rule(true, "a rwm"),
        rule(false, "c 10:229 rwm"),
        rule(true, "c *:* m")
    ]));
    let (allow, found) = lines(&but_one).expect("lines");
    assert_eq!((allow, &*found), (true, &["c 10:229 rw".to_owned()][..]));
}
