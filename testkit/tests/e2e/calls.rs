//! The filter of lesson 13, call by call, on the architecture of this machine.
//!
//! The program inside is `xtask calls`, which asks the filter and makes no call.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Seek, Write};
use std::process::Command;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use testkit::{bin, containers_work, stderr, stdout, step};

const STEP: &str = "step13-seccomp";
const TABLE: &str = include_str!("../../../xtask/src/calls.txt");
/// The last call in the table.
const NEWEST: i64 = libc::SYS_mseal;
const X32: i64 = 0x4000_0000;

/// A call with its first two arguments, and the error that a filter answers; 0 if the
/// call may pass.
type Answers = BTreeMap<(i64, u64, u64), i32>;

/// The answers in the table, for this architecture.
fn table() -> BTreeMap<i64, i32> {
    let column = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
    let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
    let rows = rows.map(|line| line.split(' ').collect::<Vec<_>>());
    let rows = rows.filter_map(|row| Some((row[column].parse().ok()?, row[3])));
    rows.map(|(number, answer)| {
        let errno = match answer {
            "run" => 0,
            "EPERM" => libc::EPERM,
            "ENOSYS" => libc::ENOSYS,
            other => panic!("{number}: {other}"),
        };
        (number, errno)
    })
    .collect()
}

/// What lesson 13 must answer.
fn expected() -> Answers {
    let mut answers = Answers::new();
    for (number, errno) in table() {
        answers.insert((number, 0, 0), errno);
    }
    // Numbers that no kernel has, and those of newer kernels.
    for number in 0..1024 {
        let errno = if number > NEWEST { libc::ENOSYS } else { 0 };
        answers.entry((number, 0, 0)).or_insert(errno);
        answers.insert((X32 | number, 0, 0), libc::ENOSYS);
    }
    answers.insert((-1, 0, 0), libc::ENOSYS);
    if cfg!(target_arch = "x86_64") {
        // The kernel puts these two into probed programs. Newer kernels run no filter for
        // them, and end each other caller with SIGILL.
        answers.retain(|(number, ..), _| !matches!(number, 335 | 336));
    }
    // The kernel ignores the high half of these arguments, or refuses it: unshare(2). So the
    // high half must not change the answer.
    for high in [0, 1 << 32, 0xffff_ffff << 32] {
        for bit in (0..32).map(|bit| 1 << bit) {
            let errno = if bit == libc::CLONE_NEWUSER as u64 { libc::EPERM } else { 0 };
            for call in [libc::SYS_clone, libc::SYS_unshare] {
                answers.insert((call, high | bit, 0), errno);
                answers.insert((call, high | bit | libc::CLONE_NEWUSER as u64, 0), libc::EPERM);
            }
        }
        for request in 0x5400..0x5480 {
            // TIOCSTI and TIOCLINUX.
            let errno = if matches!(request, 0x5412 | 0x541c) { libc::EPERM } else { 0 };
            answers.insert((libc::SYS_ioctl, 0, high | request), errno);
            answers.insert((libc::SYS_ioctl, request, high), 0);
        }
        for family in 0..64 {
            let errno = if family > libc::AF_BLUETOOTH as u64 { libc::EPERM } else { 0 };
            answers.insert((libc::SYS_socket, high | family, 0), errno);
        }
    }
    answers
}

/// The policy of lesson 13 as seccompiler builds it, set for this process.
fn set_second_opinion() {
    let machine = env::consts::ARCH.try_into().expect("an architecture that seccompiler knows");
    let (word, same) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let rule = |argument, compare, value: i32| {
        let condition = SeccompCondition::new(argument, word.clone(), compare, value as u64);
        SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule")
    };
    let user = SeccompCmpOp::MaskedEq(libc::CLONE_NEWUSER as u64);
    let new_user = || vec![rule(0, user.clone(), libc::CLONE_NEWUSER)];
    let with = BTreeMap::from([
        (libc::SYS_clone, new_user()),
        (libc::SYS_unshare, new_user()),
        (libc::SYS_ioctl, vec![rule(1, same.clone(), 0x5412), rule(1, same, 0x541c)]),
        (libc::SYS_socket, vec![rule(0, SeccompCmpOp::Gt, libc::AF_BLUETOOTH)]),
    ]);
    let calls = |errno| {
        table().into_iter().filter(move |(_, is)| *is == errno).map(|(call, _)| (call, Vec::new()))
    };
    let refused: BTreeMap<_, _> = calls(libc::EPERM).chain(with).collect();
    let newer = (NEWEST + 1..1024).map(|call| (call, Vec::new()));
    let unknown: BTreeMap<_, _> = calls(libc::ENOSYS).chain(newer).collect();
    for (rules, errno) in [(refused, libc::EPERM), (unknown, libc::ENOSYS)] {
        let action = SeccompAction::Errno(errno as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, machine);
        let filter: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
        seccompiler::apply_filter(&filter).expect("apply a filter");
    }
}

/// `xtask calls` in the container. The root of the container may have no loader for it, so
/// its root is the host's.
fn inside() -> Command {
    let mut command = step(STEP);
    command.args(["--bind", "/:/host", "chroot", "/host"]).arg(bin("xtask")).arg("calls");
    command
}

/// The answers that `asks` gets from `xtask calls`.
fn answers(mut asks: Command, calls: &Answers) -> Answers {
    let mut file = tempfile::tempfile().expect("make a file");
    for (number, first, second) in calls.keys() {
        writeln!(file, "{number} {first:#x} {second:#x}").expect("write a call");
    }
    file.rewind().expect("rewind");
    let output = asks.stdin(file).output().expect("start xtask");
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    // The test harness prints lines, too.
    let lines =
        said.lines().filter(|line| line.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
    let errors = lines.map(|line| match line.rsplit(' ').next() {
        Some("runs") => 0,
        Some("EPERM") => libc::EPERM,
        Some("ENOSYS") => libc::ENOSYS,
        _ => panic!("{line}"),
    });
    calls.keys().copied().zip(errors).collect()
}

const NAME: &str = "calls::the_filter_answers_each_call_as_the_table_says";

#[test]
fn the_filter_answers_each_call_as_the_table_says() {
    // A program that this test starts has its filter, too.
    if env::var_os("SECOND").is_some() {
        set_second_opinion();
        // With one thread, the test harness has begun a line.
        writeln!(io::stdout()).expect("end a line");
        let status = Command::new(bin("xtask")).arg("calls").status();
        assert!(status.expect("start xtask").success());
        return;
    }
    if !containers_work() {
        return;
    }
    let expected = expected();
    let differences = |answers: &Answers, expected: &Answers| -> Vec<String> {
        assert_eq!(answers.len(), expected.len());
        let pairs = answers.iter().zip(expected.values());
        let wrong = pairs.filter(|((_, is), should)| is != should);
        wrong.map(|((call, is), should)| format!("{call:x?}: {is}, not {should}")).collect()
    };
    let first = answers(inside(), &expected);
    assert_eq!(differences(&first, &expected), [""; 0]);

    // seccompiler lets x32 and numbers below 0 pass.
    let mut known = first;
    known.retain(|(number, ..), _| *number & X32 == 0);
    let mut second = Command::new(env::current_exe().expect("a test has a path"));
    second.args(["--exact", NAME, "--nocapture"]).env("SECOND", "1");
    assert_eq!(differences(&answers(second, &known), &known), [""; 0]);
}
