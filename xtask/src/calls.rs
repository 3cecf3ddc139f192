//! `xtask calls`: the answers of this process's seccomp filters to system calls. The
//! program runs in a container, and makes none of the calls: a second filter stops each
//! call that the container's filter lets pass.

use std::io::{self, BufRead, ErrorKind};
use std::mem;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

use crate::say;

/// Say how the filter of this process answers to the system calls in standard input
///
/// A line is a call, by name or by number, and up to two arguments. The program prints
/// it with the answer: "runs" or the error.
#[derive(clap::Args)]
pub(crate) struct Args;

/// Every call, with its number on each architecture.
const TABLE: &str = include_str!("calls.txt");

/// A call with its first two arguments.
type Call = [i64; 3];

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        let lines = io::stdin().lock().lines().collect::<io::Result<Vec<_>>>();
        let lines = lines.context("read standard input")?;
        if lines == ["i386"] {
            return say::line(&format!("i386 {}", word(i386::call())));
        }
        let read = |line: &String| call(line).with_context(|| format!("find the call {line:?}"));
        let calls = lines.iter().map(read).collect::<Result<Vec<_>>>()?;
        let answers = ask(&calls).context("ask the filter")?;
        let lines = lines.iter().zip(answers);
        let said: String = lines.map(|(line, errno)| format!("{line} {}\n", word(errno))).collect();
        say::print(&said)
    }
}

/// The call that a line describes.
fn call(line: &str) -> Option<Call> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let first = number(name).or_else(|| {
        let row = TABLE.lines().find(|row| row.split(' ').next() == Some(name))?;
        number(row.split(' ').nth(if cfg!(target_arch = "x86_64") { 1 } else { 2 })?)
    })?;
    let mut argument = || words.next().map_or(Some(0), number);
    Some([first, argument()?, argument()?])
}

/// A number, decimal or hexadecimal.
fn number(word: &str) -> Option<i64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(u64::cast_signed),
        None => word.parse().ok(),
    }
}

/// The word for an answer: 0 for a call that may pass.
fn word(errno: i32) -> String {
    if errno == 0 { "runs".to_owned() } else { format!("{:?}", Errno::from_raw(errno)) }
}

/// Asks the filters of this process about each call, and returns the errors. A thread
/// makes the calls. A second filter stops those that may pass, and hands them to this
/// thread; seccomp_unotify(2).
#[allow(unsafe_code, reason = "no library asks a filter")]
fn ask(calls: &[Call]) -> Result<Vec<i32>> {
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
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                let flag = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
                let fd = libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flag,
                    &raw const program,
                );
                listener.store(if fd < 0 { -1 } else { fd as i32 }, Ordering::SeqCst);
                for (answer, &[number, first, second]) in answers.iter().zip(calls) {
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
        ensure!(fd > 0, "the kernel lays no second filter over the first");
        answer_all(fd, PASSED, &ended)
    })?;
    let answer = |answer: &AtomicI32| match answer.load(Ordering::SeqCst) {
        PASSED => 0,
        errno => errno,
    };
    Ok(answers.iter().map(answer).collect())
}

/// Answers each call with the error `errno` until the thread has `ended`. Then lets its
/// last calls pass.
#[allow(unsafe_code, reason = "no library answers for a filter")]
fn answer_all(listener: RawFd, errno: i32, ended: &AtomicBool) -> Result<()> {
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
                return Ok(());
            }
            let mut call: libc::seccomp_notif = mem::zeroed();
            if libc::ioctl(listener, RECEIVE as _, &raw mut call) == -1 {
                let error = io::Error::last_os_error();
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::NotFound) {
                    // The thread now gets ENOSYS for each call, and ends.
                    libc::close(listener);
                    return Err(error.into());
                }
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

/// A program for 32-bit processors makes other calls by the same numbers.
mod i386 {
    /// The error of getpid(2) on i386. A kernel without these calls ends this process.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "only the assembler makes a call of another architecture")]
    pub(super) fn call() -> i32 {
        let mut answer: i32 = 20;
        // SAFETY: the call takes no argument and touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") answer,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        -answer.min(0)
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn call() -> i32 {
        std::process::abort()
    }
}
