//! The answers of the filters, as an interpreter of BPF finds them: compared with those of
//! libseccomp, which podman, runc and crun use.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;

/// A call, as a filter sees it.
struct Call {
    audit: u32,
    number: u32,
    args: [u64; 6],
}

/// Runs a program, as the kernel does.
fn run(program: &[Instruction], call: &Call) -> u32 {
    let word = |offset: u32| match offset {
        0 => call.number,
        4 => call.audit,
        16..64 => (call.args[(offset as usize - 16) / 8] >> (offset % 8 * 8)) as u32,
        _ => panic!("a word at {offset}"),
    };
    let (mut at, mut loaded) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => loaded = word(k),
            0x54 => loaded &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(loaded == k),
            0x25 => at += jump(loaded > k),
            0x35 => at += jump(loaded >= k),
            0x06 => return k,
            other => panic!("the instruction {other:#x}"),
        }
    }
}

/// The programs that libseccomp makes of lists. None if this host does not have it.
fn of_libseccomp(lists: &[Value]) -> Option<Vec<Vec<Instruction>>> {
    let script =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../step18-bundle/tests/libseccomp.py");
    let mut python = Command::new("python3");
    python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().ok()?;
    let text = serde_json::to_string(lists).expect("text");
    // If the library is missing, the script has ended.
    let _ = python.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let output = python.wait_with_output().expect("wait");
    let text = String::from_utf8(output.stdout).expect("text");
    let programs = text.lines().map(|line| {
        let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("a byte");
        let bytes: Vec<u8> = (0..line.len() / 2).map(|it| byte(it * 2)).collect();
        let instruction = |it: &[u8]| Instruction {
            code: u16::from_ne_bytes([it[0], it[1]]),
            jt: it[2],
            jf: it[3],
            k: u32::from_ne_bytes([it[4], it[5], it[6], it[7]]),
        };
        bytes.chunks(8).map(instruction).collect()
    });
    output.status.success().then(|| programs.collect())
}

/// A number below `most`, the next of a fixed row.
fn below(state: &mut u64, most: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*state >> 33) % most
}

/// Values at the limits of comparisons of halves.
fn value(state: &mut u64) -> u64 {
    let near = [0, 7, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x7_0000_0007, u64::MAX];
    near[below(state, 7) as usize].wrapping_add(below(state, 3)).wrapping_sub(1)
}

const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];

/// A list with several rules. libseccomp gives no sense to rules with conditions that can
/// hold together for the same call, so a call has one rule, or several of equal conditions.
fn list(state: &mut u64) -> Value {
    let actions = ["ERRNO", "ALLOW", "KILL", "KILL_PROCESS", "TRAP", "LOG", "TRACE"];
    let default = below(state, 7) as usize;
    let other = |state: &mut u64| actions[(default + 1 + below(state, 6) as usize) % 7];
    let argument = |state: &mut u64, index: u64, op: &str| {
        let (value, value_two) = (value(state), value(state));
        // A masked value has no other bits.
        let value_two = if op == "MASKED_EQ" { value & value_two } else { 0 };
        json!({ "index": index, "value": value, "valueTwo": value_two,
            "op": format!("SCMP_CMP_{op}") })
    };
    let mut rules = Vec::new();
    for name in
        ["getpid", "socket", "clone", "personality", "ioctl", "execve", "mount", "futex"]
    {
        let action = format!("SCMP_ACT_{}", other(state));
        match below(state, 4) {
            0 => rules.push(json!({ "names": [name, "no_such_call"], "action": action })),
            1 => {
                let first = below(state, 6);
                let args: Vec<Value> = (0..1 + below(state, 3))
                    .map(|it| {
                        let op = OPERATORS[below(state, 7) as usize];
                        argument(state, (first + it) % 6, op)
                    })
                    .collect();
                rules.push(json!({ "names": [name], "action": action, "args": args }));
            }
            2 => {
                for number in 0..1 + below(state, 4) {
                    let args = [
                        json!({ "index": 0, "value": number << 31, "op": "SCMP_CMP_EQ" }),
                    ];
                    rules
                        .push(json!({ "names": [name], "action": action, "args": args }));
                }
            }
            _ => {}
        }
    }
    let all = ["X86", "X86_64", "X32", "AARCH64", "ARM"];
    let named: Vec<String> = all
        .iter()
        .filter(|_| below(state, 2) == 0)
        .map(|it| format!("SCMP_ARCH_{it}"))
        .collect();
    // As for newer calls, which libseccomp does not know.
    let errno = (default == 0).then_some(libc::ENOSYS);
    json!({ "defaultAction": format!("SCMP_ACT_{}", actions[default]),
        "defaultErrnoRet": errno, "architectures": named, "syscalls": rules })
}

/// Whether a list has a value of more than 32 bits.
fn has_wide(list: &Value) -> bool {
    let rules = list["syscalls"].as_array().expect("rules").iter();
    let args = rules.filter_map(|rule| rule["args"].as_array()).flatten();
    let mut values = args.flat_map(|it| [&it["value"], &it["valueTwo"]]);
    values.any(|it| it.as_u64().is_some_and(|it| it > u64::from(u32::MAX)))
}

#[test]
fn the_answers_are_those_of_libseccomp() {
    let mut state = 18;
    let lists: Vec<Value> = (0..200).map(|_| list(&mut state)).collect();
    let Some(theirs) = of_libseccomp(&lists) else {
        assert!(
            std::env::var_os("CONTAINERS_MUST_WORK").is_none(),
            "this needs libseccomp"
        );
        return;
    };
    assert_eq!(theirs.len(), lists.len());
    let mut seen = BTreeMap::new();
    for (list, theirs) in lists.iter().zip(theirs) {
        let is_narrow = !has_wide(list);
        let read: Seccomp = serde_json::from_value(list.clone()).expect("a list");
        let ours = compile(&read).expect("a program").program;
        for audit in [0x4000_0003, 0xc000_003e, 0x4000_0028, 0xc000_00b7, 1] {
            let numbers = (0..600).chain(0x4000_0000..0x4000_0300).chain([u32::MAX]);
            for number in numbers {
                // For x32 and arguments of 32 bits, libseccomp compares half of a value.
                let narrow = audit >> 31 == 0 || number & X32 != 0;
                if narrow && !is_narrow {
                    continue;
                }
                // What libseccomp makes of socketcall(2) and ipc(2) differs with its version.
                if audit == 0x4000_0003 && [102, 117].contains(&number) {
                    continue;
                }
                let args = [0; 6].map(|_: u64| match below(&mut state, 2) {
                    0 => value(&mut state),
                    _ => below(&mut state, 4) << 31,
                });
                let args = args.map(|arg| if narrow { arg & 0xffff_ffff } else { arg });
                let call = Call { audit, number, args };
                let (our, their) = (run(&ours, &call), run(&theirs, &call));
                assert_eq!(our, their, "{audit:#x} {number} {args:x?} of {list}");
                *seen.entry(our & 0xffff_0000).or_insert(0) += 1;
            }
        }
    }
    // Each of the seven answers was seen; two of them kill.
    assert_eq!(seen.len(), 7, "{seen:x?}");
}

/// The answer of a list to a call of this architecture.
fn asked(list: Value, audit: u32, number: u32, args: &[u64]) -> u32 {
    let read: Seccomp = serde_json::from_value(list).expect("a list");
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let call = Call { audit, number, args: all };
    run(&compile(&read).expect("a program").program, &call)
}

#[test]
fn the_first_rule_that_holds_counts() {
    let arg = |value: u64, op: &str| json!([{ "index": 0, "value": value, "op": op }]);
    let rule = |action: &str, args: Value| json!({ "names": ["dup"], "action": action, "args": args });
    let list = |rules: Value| {
        json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules })
    };
    let (allow, kill) = ("SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS");
    let both = list(json!([
        rule(kill, arg(5, "SCMP_CMP_GE")),
        rule(allow, arg(7, "SCMP_CMP_EQ")),
        rule(allow, arg(1, "SCMP_CMP_EQ")),
    ]));
    for (value, answer) in [
        (7, libc::SECCOMP_RET_KILL_PROCESS),
        (1, libc::SECCOMP_RET_ALLOW),
        (2, libc::SECCOMP_RET_ERRNO | 38),
    ] {
        assert_eq!(asked(both.clone(), 0xc000_003e, 32, &[value]), answer, "{value}");
    }
    let all = list(json!([rule(kill, arg(5, "SCMP_CMP_GE")), rule(allow, json!([]))]));
    assert_eq!(asked(all, 0xc000_003e, 32, &[7]), libc::SECCOMP_RET_ALLOW);
    // One of two conditions on the same argument is enough.
    let args = json!([arg(1, "SCMP_CMP_EQ")[0], arg(2, "SCMP_CMP_EQ")[0]]);
    let twice = list(json!([rule(allow, args)]));
    assert_eq!(asked(twice, 0xc000_003e, 32, &[2]), libc::SECCOMP_RET_ALLOW);
}

#[test]
fn a_call_that_is_newer_than_the_list_is_missing() {
    let list = |action: &str| {
        json!({ "defaultAction": action, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
            "syscalls": [{ "names": ["dup", "getpid"], "action": "SCMP_ACT_ALLOW" }] })
    };
    let (errno, kill) = (libc::SECCOMP_RET_ERRNO, libc::SECCOMP_RET_KILL_PROCESS);
    // getpid is 39, also with the bit of x32.
    for (number, answer) in [
        (38, errno | 1),
        (39, libc::SECCOMP_RET_ALLOW),
        (40, errno | 38),
        (X32 + 39, libc::SECCOMP_RET_ALLOW),
        (X32 + 40, errno | 38),
    ] {
        let got = asked(list("SCMP_ACT_ERRNO"), 0xc000_003e, number, &[]);
        assert_eq!(got, answer, "{number:#x}");
    }
    assert_eq!(asked(list("SCMP_ACT_KILL_PROCESS"), 0xc000_003e, 40, &[]), kill);
}

#[test]
fn a_refused_call_of_32_bits_is_refused_by_its_other_way() {
    let list = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{ "names": ["socket", "shmget"], "action": "SCMP_ACT_ERRNO" }] });
    let refused = libc::SECCOMP_RET_ERRNO | 1;
    for (number, first, answer) in [
        (359, 0, refused),
        (102, 1, refused),
        (102, 2, libc::SECCOMP_RET_ALLOW),
        (117, 23, refused),
        (117, 24, libc::SECCOMP_RET_ALLOW),
    ] {
        let got = asked(list.clone(), 0x4000_0003, number, &[first]);
        assert_eq!(got, answer, "{number} {first}");
    }
}

#[test]
fn what_a_filter_cannot_do_is_refused_by_name() {
    for (wrong, said) in [
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "SCMP_ACT_NOTIFY"),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"] }), "flag X"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MIPS"] }),
            "MIPS",
        ),
        (json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }), "errnoRet"),
    ] {
        let read: Seccomp = serde_json::from_value(wrong).expect("a list");
        let error = compile(&read).err().map(|it| it.to_string()).unwrap_or_default();
        assert!(error.contains(said), "{error}");
    }
}
