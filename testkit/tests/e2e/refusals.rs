//! The refusals of hosts. The test causes each refusal: the step must name the
//! cause and the remedy. The doctor, called in the same place, must find the same.

use std::hint::black_box;
use std::io::{self, Write};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Error;
use common::{Capabilities, Root};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use testkit::{
    STEPS, bin, containers_work, is_one_line, is_root, rootfs, scratch_place, skip, stderr, stdout,
    step, steps, within,
};

const CHROOT: &str = "Operation not permitted; this process is in a chroot, \
    and the kernel makes no user namespace there; start it outside of the chroot";
const UNMAPPED: &str = "Operation not permitted; this process has no ID in its user namespace, \
    as in the container of lesson 3, so the kernel refuses a further user namespace; \
    start it outside of that container";
const LIMIT: &str = "No space left on device; this host has reached a limit on namespaces; \
    as root: sysctl user.max_user_namespaces=10000, and the same for the other user.max_*_namespaces";
const SECCOMP: &str = "Operation not permitted; a seccomp filter, \
    as in a Docker container, likely refuses this; \
    start that container with --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --security-opt systempaths=unconfined";
const MASKED: &str = "Operation not permitted; this host hides parts of its /proc, \
    as in a Docker container; start that container with --security-opt systempaths=unconfined";
const NO_PROC: &str =
    "No such file or directory; there is no /proc on this host; mount proc on /proc";
const ON_OVERLAY: &str = "Invalid argument; the scratch directory is itself on an overlay, \
    as in a container; name a directory on another file system with --scratch or TMPDIR";

/// Fails unless the step could not do `doing`, for the reason `why`.
fn refused(output: &Output, name: &str, what: &str, doing: &str, why: &str) {
    let error = stderr(output);
    assert_eq!(output.status.code(), Some(125), "{name}, {what}: {error}");
    assert!(is_one_line(name, &error), "{name}, {what}: {error}");
    let begins = error.starts_with(&format!("{name}: {doing}"));
    assert!(begins && error.ends_with(&format!(": {why}")), "{name}, {what}: {error}");
    assert_eq!(stdout(output), "", "{name}, {what}");
}

/// Fails unless the doctor found exactly one failure, for the reason `why`.
fn diagnosed(output: &Output, what: &str, why: &str) {
    let found = stdout(output);
    assert_eq!(output.status.code(), Some(1), "{what}: {found}{}", stderr(output));
    let mut lines = found.lines().skip_while(|line| !line.starts_with("FAIL  "));
    let cause = lines.nth(1).unwrap_or_default();
    assert!(cause.ends_with(&format!(": {why}")), "{what}: {found}");
    assert_eq!(found.matches("FAIL").count(), 1, "{what}: {found}");
}

/// The refusal, the first step that gets it, the setup, the action of the step, and
/// the reason.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: [Row; 14] = [
    (
        "no user namespaces",
        "step03",
        "echo 0 >/proc/sys/user/max_user_namespaces",
        "clone a child with CLONE_NEW",
        LIMIT,
    ),
    (
        "no UTS namespaces",
        "step03",
        "echo 0 >/proc/sys/user/max_uts_namespaces",
        "clone a child with CLONE_NEW",
        LIMIT,
    ),
    (
        "no mount namespaces",
        "step03",
        "echo 0 >/proc/sys/user/max_mnt_namespaces",
        "clone a child with CLONE_NEW",
        LIMIT,
    ),
    (
        "no PID namespaces",
        "step05",
        "echo 0 >/proc/sys/user/max_pid_namespaces",
        "clone a child with CLONE_NEW",
        LIMIT,
    ),
    (
        "in a chroot",
        "step03",
        r#"mount --rbind / m && set -- "$BIN/step06-chroot" --rootfs m "$@""#,
        "clone a child with CLONE_NEW",
        CHROOT,
    ),
    (
        "in a chroot without /proc",
        "step03",
        r#"mount --rbind / m && mount -t tmpfs tmpfs m/proc
        set -- "$BIN/step06-chroot" --rootfs m "$@""#,
        "clone a child with CLONE_NEW",
        CHROOT,
    ),
    (
        "in a chroot with its own /proc",
        "step03",
        r#"mount --rbind / m && set -- "$BIN/step07-proc" --rootfs m "$@""#,
        "clone a child with CLONE_NEW",
        CHROOT,
    ),
    (
        "without an ID",
        "step03",
        r#"set -- "$BIN/step03-userns" "$@""#,
        "clone a child with CLONE_NEW",
        UNMAPPED,
    ),
    (
        "a file of /proc hidden",
        "step07",
        "mount --bind /dev/null /proc/version",
        "mount proc on /proc",
        MASKED,
    ),
    (
        "a directory of /proc hidden",
        "step07",
        "mount -t tmpfs tmpfs /proc/sys",
        "mount proc on /proc",
        MASKED,
    ),
    // Lesson 16 begins with another file, if root has subordinate IDs.
    ("/proc hidden", "step04", "mount -t tmpfs tmpfs /proc", "write ", NO_PROC),
    (
        "a file system that is an overlay",
        "step08",
        r#"mount -t tmpfs tmpfs m && mkdir m/upper m/work m/top && ln -s "$ROOT" m/low
        mount -t overlay -o lowerdir=m/low,upperdir=m/upper,workdir=m/work,userxattr overlay m/top
        export TMPDIR="$PWD/m/top""#,
        "mount the overlay on ",
        ON_OVERLAY,
    ),
    (
        "a directory of an overlay",
        "step08",
        r#"mount -t tmpfs tmpfs m && mkdir m/upper m/work m/top && ln -s "$ROOT" m/low
        mount -t overlay -o lowerdir=m/low,upperdir=m/upper,workdir=m/work,userxattr overlay m/top
        mkdir "m/top/a b: c" && export TMPDIR="m/top/a b: c""#,
        "mount the overlay on ",
        ON_OVERLAY,
    ),
    (
        "a directory that is not there",
        "step08",
        "export TMPDIR=gone",
        "make the scratch directory gone/containers-0",
        "No such file or directory; \
            name a directory that this user can write to, with --scratch or TMPDIR",
    ),
];

#[test]
fn the_step_and_the_doctor_name_the_same_cause() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    std::fs::create_dir(place.path().join("m")).expect("make a directory");
    for (what, from, setup, doing, why) in ROWS {
        let output = |mut command: Command| {
            command.current_dir(place.path()).output().expect("start a program")
        };
        for name in STEPS.iter().copied() {
            // Lesson 2 needs root, and makes no user namespace.
            if name < from || name == "step02-namespaces" {
                continue;
            }
            let mut command = within(setup, name);
            command.arg("true");
            refused(&output(command), name, what, doing, why);
        }
        let mut doctor = within(setup, "xtask");
        doctor.arg("doctor");
        diagnosed(&output(doctor), what, why);
    }
}

#[test]
fn the_doctor_names_a_call_that_only_lessons_17_and_18_need() {
    if !containers_work() {
        return;
    }
    // Root needs no file in memory.
    let calls = [(17, libc::SYS_setns), (17, libc::SYS_pidfd_open), (18, libc::SYS_memfd_create)];
    for (lesson, call) in &calls[..if is_root() { 2 } else { 3 }] {
        let Some(filter) = filter(&[(*call, Vec::new())], libc::EACCES) else {
            skip("no filters for this machine");
            return;
        };
        let mut doctor = Command::new(bin("xtask"));
        doctor.arg("doctor");
        let output = filtered(&[filter], doctor);
        let found = stdout(&output);
        let failed: Vec<_> = found.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(failed.len() == 1 && output.status.code() == Some(1), "{call}: {found}");
        assert!(failed[0].contains(&format!("(from lesson {lesson} on)")), "{call}: {found}");
    }
}

#[test]
fn what_is_refused_to_a_later_lesson_does_not_hinder_an_earlier_one() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    std::fs::create_dir(place.path().join("m")).expect("make a directory");
    for (what, from, setup, ..) in ROWS {
        for name in
            STEPS.iter().copied().filter(|name| *name < from && *name != "step02-namespaces")
        {
            let mut command = within(setup, name);
            let output = command.arg("true").current_dir(place.path()).output();
            let output = output.expect("start a step");
            assert_eq!(output.status.code(), Some(0), "{name}, {what}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_named_scratch_directory_on_an_overlay_is_refused() {
    if !containers_work() {
        return;
    }
    let place = scratch_place();
    std::fs::create_dir(place.path().join("m")).expect("make a directory");
    let overlay = r#"mount -t tmpfs tmpfs m && mkdir m/upper m/work m/top && ln -s "$ROOT" m/low
        mount -t overlay -o lowerdir=m/low,upperdir=m/upper,workdir=m/work,userxattr overlay m/top"#;
    let mut command = within(overlay, "step08-overlay");
    command.args(["--scratch", "m/top/scratch", "true"]).current_dir(place.path());
    let doing = "mount the overlay on m/top/scratch/merged";
    let output = command.output().expect("start a step");
    refused(&output, "step08-overlay", "an overlay", doing, ON_OVERLAY);
}

#[test]
fn containers_can_be_nested_where_there_is_no_chroot() {
    if !containers_work() {
        return;
    }
    let deep = r#"for _ in 1 2 3 4 5 6 7 8; do set -- "$BIN/step04-uidmap" "$@"; done"#;
    for setup in [":", r#"set -- "$BIN/step05-pid" "$@""#, deep] {
        for name in STEPS.iter().copied() {
            let output = within(setup, name).args(["/bin/sh", "-c", "exit 7"]).output();
            let output = output.expect("start a step");
            assert_eq!(output.status.code(), Some(7), "{name}, {setup}: {}", stderr(&output));
            assert_eq!(stderr(&output), "", "{name}, {setup}");
        }
        let doctor = within(setup, "xtask").arg("doctor").output().expect("start xtask");
        assert_eq!(doctor.status.code(), Some(0), "{setup}: {}", stdout(&doctor));
    }
}

#[test]
fn a_limit_on_open_files_is_named() {
    if !containers_work() {
        return;
    }
    for name in steps() {
        let mut refused = 0;
        // The loader of the program needs one descriptor besides the three streams. Tools
        // that write the maps of lesson 16 need more.
        for limit in 5..24 {
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -n $0 && exec \"$@\"", &limit.to_string()]);
            shell.arg(bin(name)).args(["/bin/sh", "-c", "exit 7"]);
            let output = shell.env("CONTAINER_ROOTFS", rootfs()).output().expect("start a shell");
            if output.status.code() == Some(7) {
                continue;
            }
            refused += 1;
            let said = stderr(&output);
            // A second line can say that the runner could not remove the new files either.
            let error = said.lines().next().unwrap_or_default();
            assert_eq!(output.status.code(), Some(125), "{name}, {limit}: {said}");
            assert!(is_one_line(name, error), "{name}, {limit}: {said}");
            let why = ": Too many open files; \
                this process has reached the limit on open files; raise it with ulimit -n";
            assert!(error.ends_with(why), "{name}, {limit}: {said}");
        }
        assert!((1..19).contains(&refused), "{name}: {refused}");
    }
}

#[test]
fn a_limit_on_processes_is_named() {
    if !containers_work() {
        return;
    }
    if is_root() {
        skip("the limit is not for root");
        return;
    }
    let why = "Resource temporarily unavailable; \
        this user has reached a limit on processes; raise ulimit -u, or pids.max of the control group";
    let limited = |program: &str, argument: &str| {
        let mut command = Command::new("prlimit");
        command.arg("--nproc=1").arg(bin(program)).arg(argument);
        command.env("CONTAINER_ROOTFS", rootfs()).output().expect("start prlimit")
    };
    for name in steps() {
        refused(&limited(name, "true"), name, "processes", "clone a child", why);
    }
    diagnosed(&limited("xtask", "doctor"), "processes", why);
}

/// The hint for a stage that fails after another stage, which a learner has put before it.
/// Each process of this test is in the state after that stage, and asks for the hint.
#[test]
#[allow(unsafe_code, reason = "no safe function makes a process")]
fn stages_in_a_wrong_order_are_named() {
    const NAME: &str = "refusals::stages_in_a_wrong_order_are_named";
    let Ok(earlier) = std::env::var("EARLIER") else {
        if containers_work() {
            for (earlier, words) in [
                ("filter_calls", "set the filter after"),
                ("drop_capabilities", "give them up after"),
                ("leave_old_root", "before you leave the old root"),
                ("leave_old_root", "mount this before you enter the root"),
                ("leave_old_root", "do this before you enter the root"),
                ("mount_proc", "do this before you enter the root"),
                ("nothing", "systempaths=unconfined\nnothing\nnothing"),
            ] {
                let mut test = Command::new(std::env::current_exe().expect("a test has a path"));
                test.args(["--exact", NAME, "--nocapture"]).env("EARLIER", earlier);
                let said = stdout(&test.output().expect("start the test"));
                assert!(said.contains(words), "{earlier}: {said}");
            }
        }
        return;
    };
    let fork_or_wait = || {
        // SAFETY: the other thread of this process waits for this one.
        let ForkResult::Parent { child } = unsafe { fork() }.expect("fork") else { return };
        waitpid(child, None).expect("wait for a child");
        std::process::exit(0);
    };
    fork_or_wait();
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    unshare(namespaces).expect("unshare");
    // The next process is process 1.
    fork_or_wait();
    match &*earlier {
        "filter_calls" => {
            let code = (libc::BPF_RET | libc::BPF_K) as u16;
            let k = libc::SECCOMP_RET_ALLOW;
            common::set_filter(&[libc::sock_filter { code, jt: 0, jf: 0, k }]).expect("a filter");
        }
        "drop_capabilities" => {
            let none = Capabilities::default();
            common::set_capabilities(none, none, none).expect("drop capabilities");
        }
        // No proc is left.
        "leave_old_root" => {
            mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>)
                .expect("mount a tmpfs")
        }
        "mount_proc" => mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)
            .expect("mount a proc"),
        _ => {}
    }
    for error in [
        Error::from(Errno::EPERM).context("mount proc on /proc"),
        Error::from(Errno::ENOENT).context("mount tmpfs on /dev"),
        Root::open("/no such directory").map(drop).expect_err("a root"),
    ] {
        let remedy = common::hint(&error).unwrap_or("nothing");
        io::stdout().write_all(format!("{remedy}\n").as_bytes()).expect("print");
    }
    std::process::exit(0);
}

/// Starts a program with seccomp filters in force, and waits for its end.
fn filtered(filters: &[BpfProgram], mut command: Command) -> Output {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            // The filter applies to this thread and to the programs that it starts.
            for filter in filters {
                seccompiler::apply_filter(filter).expect("apply a filter");
            }
            command.output().expect("start a program")
        });
        run.join().expect("join")
    })
}

/// A filter that answers these calls with an error. Returns nothing if the crate
/// does not know this machine.
fn filter(calls: &[(i64, Vec<SeccompRule>)], errno: i32) -> Option<BpfProgram> {
    let machine = std::env::consts::ARCH.try_into().ok()?;
    let (allow, fail) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let calls = calls.iter().cloned().collect();
    let filter = SeccompFilter::new(calls, allow, fail, machine).expect("a filter");
    Some(filter.try_into().expect("a program"))
}

/// The filter that Docker sets for processes without CAP_SYS_ADMIN. It refuses
/// namespaces, and answers ENOSYS to clone3(2), whose flags a filter cannot read.
fn docker() -> Option<[BpfProgram; 2]> {
    let namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    let bits = (0..32).map(|bit| 1u64 << bit).filter(|bit| namespaces as u64 & bit != 0);
    let has = |bit| {
        let (long, same) = (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bit));
        let condition = SeccompCondition::new(0, long, same, bit).expect("a condition");
        SeccompRule::new(vec![condition]).expect("a rule")
    };
    let refuse = [
        (libc::SYS_clone, bits.map(has).collect()),
        (libc::SYS_unshare, Vec::new()),
        (libc::SYS_setns, Vec::new()),
        (libc::SYS_mount, Vec::new()),
        (libc::SYS_umount2, Vec::new()),
        (libc::SYS_pivot_root, Vec::new()),
    ];
    let hide = [(libc::SYS_clone3, Vec::new())];
    Some([filter(&refuse, libc::EPERM)?, filter(&hide, libc::ENOSYS)?])
}

/// Like the filters of container runtimes from before Linux 5.6 and 5.12.
#[test]
fn a_filter_that_knows_no_new_calls_is_named() {
    if !containers_work() {
        return;
    }
    let calls = [
        (libc::SYS_openat2, "open /dev in the root"),
        (libc::SYS_open_tree, "bind /dev/null to /dev/null"),
        (libc::SYS_mount_setattr, "bind /dev/null to /dev/null"),
        (libc::SYS_move_mount, "bind /dev/null to /dev/null"),
    ];
    for (number, doing) in calls {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let Some(filter) = filter(&[(number, Vec::new())], errno) else { return };
            let mut command = step("step10-dev");
            command.args(["--bind", "/usr:/usr:ro", "/bin/ls"]);
            let why = &SECCOMP.replace("Operation not permitted", Errno::from_raw(errno).desc());
            refused(&filtered(&[filter], command), "step10-dev", doing, doing, why);
        }
    }
}

/// A filter can refuse further filters, too.
#[test]
fn a_filter_that_allows_no_filter_is_named() {
    if !containers_work() {
        return;
    }
    for errno in [libc::ENOSYS, libc::EPERM] {
        let Some(filter) = filter(&[(libc::SYS_seccomp, Vec::new())], errno) else { return };
        let mut command = step("step13-seccomp");
        command.arg("true");
        let output = filtered(std::slice::from_ref(&filter), command);
        let why = &SECCOMP.replace("Operation not permitted", Errno::from_raw(errno).desc());
        refused(&output, "step13-seccomp", "seccomp(2)", "set the seccomp filter", why);
        let mut doctor = Command::new(bin("xtask"));
        doctor.arg("doctor");
        diagnosed(&filtered(&[filter], doctor), "seccomp(2)", why);
    }
}

#[test]
fn a_seccomp_filter_is_named() {
    if !containers_work() {
        return;
    }
    let Some(docker) = docker() else {
        skip("no filters for this machine");
        return;
    };
    for name in steps().filter(|name| *name != "step01-run") {
        let mut command = step(name);
        command.arg("true");
        let output = filtered(&docker, command);
        refused(&output, name, "a filter", "clone a child with CLONE_NEW", SECCOMP);
    }
    let mut doctor = Command::new(bin("xtask"));
    doctor.arg("doctor");
    diagnosed(&filtered(&docker, doctor), "a filter", SECCOMP);

    // Lesson 1 makes no namespace.
    let mut command = step("step01-run");
    command.args(["/bin/sh", "-c", "exit 7"]);
    assert_eq!(filtered(&docker, command).status.code(), Some(7));
}

#[test]
fn signals_that_cannot_be_blocked_are_an_error() {
    let set_mask = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::Eq,
        libc::SIG_SETMASK as u64,
    );
    let set_mask = SeccompRule::new(vec![set_mask.expect("a condition")]).expect("a rule");
    let Some(refuse) = filter(&[(libc::SYS_rt_sigprocmask, vec![set_mask])], libc::EPERM) else {
        skip("no filters for this machine");
        return;
    };
    for name in steps() {
        let mut command = step(name);
        command.arg("true");
        let output = filtered(std::slice::from_ref(&refuse), command);
        assert_eq!(output.status.code(), Some(125), "{name}: {}", stderr(&output));
        assert!(stderr(&output).starts_with(&format!("{name}: block signals: ")), "{name}");
    }
}

#[test]
fn a_refusal_without_a_known_remedy_has_one_all_the_same() {
    if !containers_work() {
        return;
    }
    let calls = [
        (libc::SYS_sethostname, "a hostname of its own"),
        (libc::SYS_mount, "mounts of its own"),
        (libc::SYS_chroot, "a root of its own"),
    ];
    for (call, rung) in calls {
        for errno in [libc::EPERM, libc::EINVAL, libc::EIO] {
            let Some(filter) = filter(&[(call, Vec::new())], errno) else {
                skip("no filters for this machine");
                return;
            };
            let mut doctor = Command::new(bin("xtask"));
            doctor.arg("doctor");
            let output = filtered(std::slice::from_ref(&filter), doctor);
            let found = stdout(&output);
            let mut lines = found.lines().skip_while(|line| !line.starts_with("FAIL  "));
            let failed = lines.next().is_some_and(|line| line.contains(rung));
            let cause = lines.next().unwrap_or_default();
            assert!(failed && cause.contains("; "), "{rung}: {found}");
            assert!(!cause.contains("cargo xtask doctor"), "{rung}: {found}");
        }
    }
    // A step that knows no remedy refers to the doctor.
    let Some(filter) = filter(&[(libc::SYS_chroot, Vec::new())], libc::EINVAL) else {
        return;
    };
    let mut command = step("step06-chroot");
    command.arg("true");
    let output = filtered(&[filter], command);
    let why = "Invalid argument; `cargo xtask doctor` shows which calls this host refuses";
    refused(&output, "step06-chroot", "a filter", "chroot to ", why);
}

#[test]
fn a_filter_that_hides_clone3_hinders_nobody() {
    if !containers_work() {
        return;
    }
    let Some([_, clone3]) = docker() else {
        skip("no filters for this machine");
        return;
    };
    for name in steps() {
        let mut command = step(name);
        command.args([
            "/bin/sh",
            "-c",
            "if test -e /proc/self; then grep Seccomp: /proc/self/status; fi",
        ]);
        let output = filtered(std::slice::from_ref(&clone3), command);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        // Lesson 6 has no /proc that shows it.
        let expected = if name == "step06-chroot" { "" } else { "Seccomp:\t2" };
        assert_eq!(stdout(&output), expected, "{name}");
    }
}

#[test]
fn a_kernel_without_close_range_lets_nothing_in_either() {
    if !containers_work() {
        return;
    }
    for errno in [libc::ENOSYS, libc::EPERM] {
        let Some(filter) = filter(&[(libc::SYS_close_range, Vec::new())], errno) else {
            skip("no filters for this machine");
            return;
        };
        for name in steps() {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"exec 4</ 9</etc/passwd; exec "$@""#, "sh"]).arg(bin(name));
            let look = "for n in 3 4 5 6 7 8 9; do (: <&$n) 2>&- && echo $n is open; done; exit 7";
            shell.args(["/bin/sh", "-c", look]).env("CONTAINER_ROOTFS", rootfs());
            let output = filtered(std::slice::from_ref(&filter), shell);
            assert_eq!(output.status.code(), Some(7), "{name}: {}", stderr(&output));
            assert_eq!(stdout(&output), "", "{name}");
        }
    }
}

#[test]
fn a_caller_with_busy_threads_hinders_nobody() {
    if !containers_work() {
        return;
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    black_box(vec![0u8; 5000]);
                }
            });
        }
        let run = |name| step(name).args(["/bin/sh", "-c", "exit 7"]).output();
        let all = steps().flat_map(|name| [name; 5]);
        let ended: Vec<_> = all.map(|name| (name, run(name))).collect();
        over.store(true, Ordering::Relaxed);
        for (name, output) in ended {
            let output = output.expect("start a step");
            assert_eq!(output.status.code(), Some(7), "{name}: {}", stderr(&output));
        }
    });
}
