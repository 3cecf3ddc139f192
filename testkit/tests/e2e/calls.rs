//! The filter of lesson 13, call by call, on the architecture of this machine.
//!
//! The program inside is this test itself: it lays a second filter over the lesson's
//! filter. The second filter stops each call that the first filter lets pass, and so no
//! call is really made.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::RawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use testkit::{containers_work, inside, skip, stderr, stdout};

const STEP: &str = "step13-seccomp";
const TABLE: &str = include_str!("calls.txt");
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

/// Asks the filters of this process about each call in `calls`. A thread calls them. A
/// second filter stops those that may pass, and hands them to this thread;
/// seccomp_unotify(2).
#[allow(unsafe_code, reason = "no library asks a filter")]
fn ask(calls: &[(i64, u64, u64)]) -> Answers {
    /// The answer to a call that may pass. No kernel answers this.
    const PASSED: i32 = 4000;
    let answers: Vec<_> = calls.iter().map(|_call| AtomicI32::new(0)).collect();
    let (listener, ended) = (AtomicI32::new(0), AtomicBool::new(false));
    let stop_all = [libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_USER_NOTIF,
    }];
    thread::scope(|scope| {
        scope.spawn(|| {
            let program = libc::sock_fprog { len: 1, filter: stop_all.as_ptr().cast_mut() };
            // SAFETY: the kernel copies the filter. From here to `ended`, the thread
            // touches only memory that it has, and makes no call that is not asked.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
                let fd = libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flag,
                    &raw const program,
                );
                listener.store(if fd < 0 { -1 } else { fd as i32 }, Ordering::SeqCst);
                for (answer, &(number, first, second)) in answers.iter().zip(calls) {
                    if fd >= 0 && libc::syscall(number, first, second, 0, 0, 0, 0) == -1 {
                        answer.store(*libc::__errno_location(), Ordering::SeqCst);
                    }
                }
            }
            ended.store(true, Ordering::SeqCst);
        });
        let fd = loop {
            match listener.load(Ordering::SeqCst) {
                0 => thread::yield_now(),
                fd => break fd,
            }
        };
        assert!(fd > 0, "lay a second filter over the first");
        answer_all(fd, PASSED, &ended);
    });
    let answer = |answer: &AtomicI32| match answer.load(Ordering::SeqCst) {
        PASSED => 0,
        errno => errno,
    };
    calls.iter().copied().zip(answers.iter().map(answer)).collect()
}

/// Answers each call with the error `errno` until the thread has `ended`. Then lets its
/// last calls pass.
#[allow(unsafe_code, reason = "no library answers for a filter")]
fn answer_all(listener: RawFd, errno: i32, ended: &AtomicBool) {
    /// SECCOMP_IOCTL_NOTIF_RECV and SECCOMP_IOCTL_NOTIF_SEND.
    const RECEIVE: u64 = 0xc050_2100;
    const SEND: u64 = 0xc018_2101;
    loop {
        let mut ready = libc::pollfd { fd: listener, events: libc::POLLIN, revents: 0 };
        // SAFETY: the structures have the layout that the kernel wants, and live longer than
        // the calls. Zeros are valid for them.
        unsafe {
            libc::poll(&raw mut ready, 1, -1);
            if ready.revents & libc::POLLIN == 0 {
                // The thread is gone.
                libc::close(listener);
                return;
            }
            let mut call: libc::seccomp_notif = mem::zeroed();
            if libc::ioctl(listener, RECEIVE as _, &raw mut call) == -1 {
                let error = io::Error::last_os_error();
                assert!(matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotFound));
                continue;
            }
            let mut answer: libc::seccomp_notif_resp = mem::zeroed();
            answer.id = call.id;
            if ended.load(Ordering::SeqCst) {
                answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
            } else {
                answer.error = -errno;
            }
            libc::ioctl(listener, SEND as _, &raw const answer);
        }
    }
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

/// The test `name` of this program, with `value` in the variable INSIDE, but outside of a
/// container.
fn outside(name: &str, value: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test has a path"));
    command.args(["--exact", name, "--nocapture"]).env("INSIDE", value);
    command
}

/// Runs a command, and reads the answers that it prints.
fn answers(mut command: Command) -> Answers {
    let output = command.output().expect("start the test");
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", stderr(&output));
    let lines = said.lines().filter_map(|line| line.strip_prefix("answer "));
    let answer = |line: &str| -> Option<_> {
        let mut words = line.split(' ');
        let number = words.next()?.parse().ok()?;
        let (first, second) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((number, first, second), words.next()?.parse().ok()?))
    };
    lines.map(|line| answer(line).expect("an answer")).collect()
}

const NAME: &str = "calls::the_filter_answers_each_call_as_the_table_says";

#[test]
fn the_filter_answers_each_call_as_the_table_says() {
    let expected = expected();
    match env::var("INSIDE").as_deref() {
        Ok("second") => set_second_opinion(),
        Ok(_) => {}
        Err(_) => return compare(&expected),
    }
    let calls: Vec<_> = expected.keys().copied().collect();
    let mut stdout = io::stdout().lock();
    for ((number, first, second), errno) in ask(&calls) {
        writeln!(stdout, "answer {number} {first} {second} {errno}").expect("print");
    }
}

fn compare(expected: &Answers) {
    if !containers_work() {
        return;
    }
    let differences = |answers: &Answers, expected: &Answers| -> Vec<String> {
        assert_eq!(answers.len(), expected.len());
        let pairs = answers.iter().zip(expected.values());
        let wrong = pairs.filter(|((_, is), should)| is != should);
        wrong.map(|((call, is), should)| format!("{call:x?}: {is}, not {should}")).collect()
    };
    let first = answers(inside(STEP, NAME));
    assert_eq!(differences(&first, expected), [""; 0]);

    let mut second = answers(outside(NAME, "second"));
    // seccompiler lets x32 and numbers below 0 pass.
    second.retain(|(number, ..), _| *number & X32 == 0);
    let known: Answers = first.into_iter().filter(|(call, _)| second.contains_key(call)).collect();
    assert_eq!(differences(&second, &known), [""; 0]);
}

/// A program for 32-bit processors makes other calls by the same numbers.
#[cfg(target_arch = "x86_64")]
#[test]
#[allow(unsafe_code, reason = "only the assembler makes a call of another architecture")]
fn calls_of_another_architecture_are_refused() {
    /// getpid(2) on i386.
    const GETPID: i32 = 20;
    if env::var_os("INSIDE").is_some() {
        let mut answer = GETPID;
        // SAFETY: the call takes no argument and touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") answer,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        writeln!(io::stdout(), "answer {answer}").expect("print");
        return;
    }
    if !containers_work() {
        return;
    }
    let name = "calls::calls_of_another_architecture_are_refused";
    let said = |mut command: Command| stdout(&command.output().expect("start the test"));
    if !said(outside(name, "1")).contains("answer ") {
        skip("this kernel has no calls of i386");
        return;
    }
    let said = said(inside(STEP, name));
    assert!(said.contains(&format!("answer {}", -libc::ENOSYS)), "{said}");
}
