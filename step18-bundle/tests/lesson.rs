//! Lesson 18: what a container of a bundle is, field by field: as the bundle says, and as
//! with runc, where that is installed.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::{sleep, spawn};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use testkit::{bin, is_one_line, is_root, rootfs, skip, stderr, stdout, tempdir};

const STEP: &str = "step18-bundle";

/// A field that changes, by its JSON pointer: `-` at the end adds to a list.
type Edit = (&'static str, Value);

/// The configuration that the step writes, with these changes.
fn config(dir: &Path, script: &str, edits: &[Edit]) -> Value {
    let _ = fs::remove_file(dir.join("config.json"));
    let spec = Command::new(bin(STEP)).args(["spec", "--bundle"]).arg(dir).output();
    let spec = spec.expect("start the step");
    assert!(spec.status.success(), "{}", stderr(&spec));
    let text = fs::read_to_string(dir.join("config.json")).expect("read");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["root"]["path"] = json!(rootfs());
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    for (pointer, value) in edits {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        let parent = config.pointer_mut(parent).expect("a parent");
        match (parent.as_array_mut(), name) {
            (Some(list), "-") => list.push(value.clone()),
            (Some(list), at) => {
                list[at.parse::<usize>().expect("a number")] = value.clone()
            }
            (None, name) => parent[name] = value.clone(),
        }
    }
    config
}

fn write(dir: &Path, config: &Value) {
    fs::write(dir.join("config.json"), config.to_string()).expect("write");
}

/// Runs the bundle with our program. Only one container at once: each has the same name.
fn ours(dir: &Path, name: &str) -> Output {
    named(dir, &unique(name))
}

fn named(dir: &Path, name: &str) -> Output {
    let mut step = Command::new(bin(STEP));
    step.args(["run", "--bundle"]).arg(dir).arg(name).output().expect("start the step")
}

/// The name of a container or a group that no other run of the tests has.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Runs the bundle with runc. Nothing if it is not installed, or cannot run a container here.
fn theirs(dir: &Path, name: &str) -> Option<Output> {
    let state = dir.join("runc");
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(state).args(["run", "--bundle"]).arg(dir).arg(unique(name));
    runc.output().ok()
}

static ONE: Mutex<()> = Mutex::new(());

fn mount(place: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": place, "type": kind, "source": source, "options": options })
}

const NAMES: &str = "readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc";

/// Each script prints what the field changes. `mountinfo` without numbers.
#[rustfmt::skip]
fn fields(other: u32) -> Vec<(&'static str, Vec<Edit>, &'static str)> {
    // Our mounts are read-only, and runc's file systems.
    let info = "sed 's/^[0-9 ]*[0-9]*:[0-9]* //; s/:[0-9]*//g; s/ r[ow]\\(,[^ ]*\\)*$/ \\1/' \
                /proc/self/mountinfo | sort | grep -E";
    let at_root = "'^[^ ]* / '";
    let leak = |text: String| -> &'static str { text.leak() };
    let at_mnt = leak(format!("{info} ' /mnt'"));
    let tmp = |options: &[&str]| ("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", options));
    let bind = |options: &[&str]| ("/mounts/-", mount("/mnt", "bind", "/usr", options));
    let caps = "grep -E '^(Cap|NoNew|Seccomp:|Groups|Uid|Gid)' /proc/self/status";
    vec![
        ("nothing", vec![], "id; hostname; pwd; env | sort; ls -lnd /dev/* | tr -s ' ' | cut -d' ' -f1,3-6"),
        ("hostname", vec![("/hostname", json!("abc"))], "hostname"),
        ("user", vec![("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 63}))], "id; umask"),
        ("cwd, env", vec![("/process/cwd", json!("/etc")), ("/process/env/-", json!("A=b c"))], "pwd; echo \"$A\""),
        ("cwd: missing", vec![("/process/cwd", json!("/dev/new/one"))], "pwd; stat -c '%a %u' ."),
        ("rlimits: low", vec![("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 12, "hard": 12}, {"type": "RLIMIT_FSIZE", "soft": 0, "hard": 0}]))], "ulimit -n; ulimit -f"),
        ("rlimits", vec![("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}, {"type": "RLIMIT_NOFILE", "soft": 30, "hard": 40}]))], "cat /proc/self/limits | tr -s ' '"),
        ("oomScoreAdj", vec![("/process/oomScoreAdj", json!(123))], "cat /proc/self/oom_score_adj"),
        ("noNewPrivileges", vec![("/process/noNewPrivileges", json!(false))], caps),
        ("capabilities", vec![], caps),
        ("capabilities: none", vec![("/process/capabilities", json!({}))], caps),
        ("capabilities of a user", vec![("/process/user/uid", json!(9))], caps),
        ("ambient", vec![("/process/user/uid", json!(9)), ("/process/capabilities/inheritable", json!(["CAP_KILL", "CAP_CHOWN"])), ("/process/capabilities/ambient", json!(["CAP_KILL", "CAP_FOWNER"]))], caps),
        ("readonly", vec![], leak(format!("{info} {at_root}; touch /a; echo $?"))),
        ("mounts", vec![], leak(format!("{info} -v cgroup"))),
        ("tmpfs", vec![tmp(&["nosuid", "noexec", "ro", "mode=700", "size=64k"])], at_mnt),
        ("tmpfs: ro on /dev", vec![("/mounts/1/options/-", json!("ro"))], leak(format!("{info} ' /dev '; touch /dev/x; echo $?; ls /dev"))),
        ("tmpfs: times", vec![tmp(&["noatime", "nodiratime"])], at_mnt),
        ("tmpfs: strict", vec![tmp(&["strictatime", "nodev", "dev"])], at_mnt),
        ("tmpcopyup", vec![("/mounts/-", mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]))], "cd /etc; find . | sort; ls -lnd . passwd | cut -d' ' -f1,3-8"),
        ("tmpcopyup: ro", vec![("/mounts/-", mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup", "ro"]))], "cd /etc; find . | sort; touch x; echo $?"),
        ("bind", vec![bind(&["bind", "ro", "nosuid"])], at_mnt),
        ("bind: rec", vec![bind(&["rbind", "rprivate", "nodev", "noexec"])], at_mnt),
        ("bind: rro", vec![bind(&["rbind", "rro", "rnosuid"])], at_mnt),
        ("bind: shared", vec![bind(&["bind", "shared"])], at_mnt),
        ("bind: slave", vec![bind(&["bind", "rslave"])], at_mnt),
        ("bind: unbindable", vec![bind(&["bind", "unbindable"])], at_mnt),
        ("bind of a file", vec![("/mounts/-", mount("/etc/hosts", "bind", "/proc/version", &["bind"]))], "cat /etc/hosts"),
        ("propagation: private", vec![("/linux/rootfsPropagation", json!("private"))], leak(format!("{info} {at_root}"))),
        ("propagation: slave", vec![("/linux/rootfsPropagation", json!("rslave"))], leak(format!("{info} {at_root}"))),
        ("devices", vec![("/linux/devices", json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4}, {"path": "/dev/p", "type": "p"}, {"path": "/dev/sub/b", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600}]))], "ls -ln /dev/fuse /dev/p /dev/sub/b | tr -s ' ' | cut -d' ' -f1,3-6"),
        ("device rules", vec![("/linux/resources/devices/-", json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"})), ("/linux/resources/devices/-", json!({"allow": true, "type": "b", "access": "r"}))], "sort /sys/fs/cgroup/devices/devices.list | grep -v 10:200"),
        ("sysctl", vec![("/linux/sysctl", json!({"net.ipv4.ping_group_range": "0 5", "kernel.msgmax": "7000", "net/ipv4/ip_forward": "1"}))], "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward"),
        ("maskedPaths", vec![("/linux/maskedPaths", json!(["/etc/passwd", "/usr/share", "/missing"]))], leak(format!("cat /etc/passwd | wc -c; ls -a /usr/share; {info} -v cgroup"))),
        ("readonlyPaths", vec![("/linux/readonlyPaths", json!(["/proc/sys", "/etc"])), ("/linux/maskedPaths", json!([]))], leak(format!("echo 1 >/etc/a; echo $?; {info} -v cgroup"))),
        ("no network namespace", vec![("/linux/namespaces", json!([{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]))], NAMES),
        ("a path of a namespace", vec![("/linux/namespaces", json!([{"type": "pid"}, {"type": "mount"}, {"type": "ipc", "path": format!("/proc/{other}/ns/ipc")}, {"type": "uts", "path": format!("/proc/{other}/ns/uts")}, {"type": "network", "path": format!("/proc/{other}/ns/net")}]))], NAMES),
        ("lo", vec![], "ip addr show dev lo | head -1"),
        ("uidMappings", vec![("/linux/namespaces/-", json!({"type": "user"})), ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 1000}])), ("/linux/gidMappings", json!([{"containerID": 0, "hostID": 200_000, "size": 1000}])), ("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}))], "id; cat /proc/self/uid_map /proc/self/gid_map; ls -lnd /dev/null /dev/pts | tr -s ' ' | cut -d' ' -f1,3-5"),
        ("cgroupsPath", vec![("/linux/cgroupsPath", json!(format!("/{}/inner", unique("lesson18-path"))))], "cut -d: -f2- /proc/self/cgroup; ls /sys/fs/cgroup | grep -v unified"),
        ("cgroup namespace", vec![], leak(format!("cut -d: -f2- /proc/self/cgroup; {info} cgroup/ | grep -v unified | cut -d' ' -f2-4"))),
        ("memory", vec![("/linux/resources/memory", json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728}))], "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory.max memory.low memory.swap.max 2>&-"),
        ("pids", vec![("/linux/resources/pids", json!({"limit": 77}))], "cd /sys/fs/cgroup; cat pids/pids.max pids.max 2>&-"),
        ("cpu", vec![("/linux/resources/cpu", json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"}))], "cd /sys/fs/cgroup; cat cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus cpuset/cpuset.mems cpu.weight cpu.max cpuset.cpus cpuset.mems 2>&-"),
        ("cpu: quota alone", vec![("/linux/resources/cpu", json!({"quota": 40_000}))], "cd /sys/fs/cgroup; cat cpu/cpu.cfs_quota_us cpu.max 2>&-"),
        ("hugepages", vec![("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": 4_194_304}]))], "cd /sys/fs/cgroup; cat hugetlb/hugetlb.2MB.limit_in_bytes hugetlb.2MB.max 2>&- || true"),
        ("seccomp", vec![("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}))], "mkdir /dev/a 2>&1; grep Seccomp: /proc/self/status"),
    ]
}

#[test]
fn each_field_does_what_runc_does() {
    if !is_root() {
        return;
    }
    if Command::new("runc").arg("--version").output().is_err() {
        testkit::skip("runc is not installed");
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let mut other = Command::new("unshare");
    let other = other.args(["-n", "-i", "-u", "sh", "-c", "echo; exec sleep 1000"]);
    let mut other = other.stdout(Stdio::piped()).spawn().expect("start unshare");
    // Then it is in its namespaces.
    let mut line = [0];
    other.stdout.take().expect("a pipe").read_exact(&mut line).expect("read");
    // The kernel uses the number of a namespace again after its end.
    let ids = ["self".to_owned(), other.id().to_string()];
    let links = ids
        .iter()
        .flat_map(|id| ["net", "uts", "ipc"].map(|it| format!("/proc/{id}/ns/{it}")));
    let known: Vec<String> = links
        .map(|it| fs::read_link(it).expect("a link").display().to_string())
        .collect();
    let mut wrong = Vec::new();
    for (name, edits, script) in fields(other.id()) {
        write(dir.path(), &config(dir.path(), script, &edits));
        let ours = ours(dir.path(), "lesson18");
        let theirs = theirs(dir.path(), "lesson18").expect("start runc");
        let of = |it: &Output| {
            let name = |line: &str| {
                let is_new = line.contains(":[") && !known.iter().any(|it| it == line);
                if is_new { "a new namespace".to_owned() } else { line.to_owned() }
            };
            let lines: Vec<String> = stdout(it).lines().map(name).collect();
            format!("{:?}\n{}\n{}", it.status.code(), lines.join("\n"), stderr(it))
        };
        // A host may not have what the field asks for.
        let refused = !ours.status.success()
            && !theirs.status.success()
            && stdout(&ours).is_empty();
        if !refused && of(&ours) != of(&theirs) {
            wrong.push(format!(
                "== {name}\n-- ours: {}\n-- runc: {}",
                of(&ours),
                of(&theirs)
            ));
        }
    }
    other.kill().and(other.wait()).expect("end it");
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("list").flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(unique("lesson18-path")));
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// What runc 1.1 does not do, or does against the text of the specification.
#[rustfmt::skip]
fn more_fields(dir: &Path) -> Vec<(&'static str, Vec<Edit>, &'static str, &'static str)> {
    let at = |place: &'static str| format!("grep '^[^/]*/[^ ]* {place} ' /proc/self/mountinfo | cut -d' ' -f5-7 | sed 's/:[0-9]*//g'").leak();
    let idmap = json!({"destination": "/mnt", "type": "bind", "source": dir, "options": ["bind", "idmap"],
        "uidMappings": [{"containerID": 0, "hostID": 3000, "size": 10}], "gidMappings": [{"containerID": 0, "hostID": 4000, "size": 10}]});
    let add = |place, kind, source: &str, options: &[&str]| ("/mounts/-", mount(place, kind, source, options));
    // Two names for one tmpfs: what is mounted below one of them, the kernel mounts below both.
    let shared = add("/mnt", "tmpfs", "tmpfs", &["shared"]);
    let again = add("/srv", "bind", &format!("{}/mnt", rootfs().display()), &["bind", "shared"]);
    let below = |mount| vec![shared.clone(), again.clone(), mount];
    let bind = below(add("/mnt/a", "bind", "/usr", &["bind", "ro"]));
    let tmpfs = below(add("/mnt/t", "tmpfs", "tmpfs", &["ro"]));
    let proc = vec![("/linux/readonlyPaths", json!(["/proc", "/proc/sys"])), ("/linux/maskedPaths", json!(["/proc/version", "/proc/fs/"]))];
    let groups = below(add("/mnt/g", "cgroup", "cgroup", &["ro"]));
    vec![
        ("domainname", vec![("/domainname", json!("abc"))], "cat /proc/sys/kernel/domainname", "abc"),
        ("propagation: shared", vec![("/linux/rootfsPropagation", json!("rshared"))], at("/"), "/ ro,relatime shared"),
        ("read-only in a shared mount", bind, at("/srv/a"), "/srv/a ro,relatime shared"),
        ("a read-only tmpfs in a shared mount", tmpfs, at("/srv/t"), "/srv/t ro,relatime shared"),
        ("read-only groups in a shared mount", groups, "grep ' /srv/g' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1 | sort -u", "ro"),
        ("propagation: unbindable", vec![("/linux/rootfsPropagation", json!("unbindable"))], at("/"), "/ ro,relatime unbindable"),
        ("idmap", vec![("/mounts/-", idmap)], "stat -c '%u %g' /mnt/config.json", "3000 4000"),
        ("ioPriority", vec![("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 7}))], "! command -v ionice >/dev/null && echo best-effort: prio 7 || ionice -p $$", "best-effort: prio 7"),
        ("scheduler", vec![("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5}))], "cut -d' ' -f19,41 /proc/self/stat", "5 3"),
        ("personality", vec![("/linux/personality", json!({"domain": "LINUX32"}))], "uname -m", "i686"),
        ("memoryPolicy", vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0-0", "flags": ["MPOL_F_STATIC_NODES"]}))], "head -n 1 /proc/self/numa_maps | cut -d' ' -f2", "bind=static:0"),
        ("memoryPolicy: no such node", vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "1023"}))], "true", "E"),
        ("memoryPolicy: no list", vec![("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}))], "true", "E"),
        ("time", vec![("/linux/namespaces/-", json!({"type": "time"})), ("/linux/timeOffsets", json!({"monotonic": {"secs": 1_000_000}, "boottime": {"secs": 2, "nanosecs": 5}}))], "tr -s ' ' </proc/self/timens_offsets", "monotonic 1000000 0\nboottime 2 5"),
        ("time and users", vec![("/linux/namespaces/-", json!({"type": "time"})), ("/linux/namespaces/-", json!({"type": "user"})), ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 1000}])), ("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 1000}])), ("/linux/timeOffsets", json!({"boottime": {"secs": 2}}))], "tr -s ' ' </proc/self/timens_offsets", "monotonic 0 0\nboottime 2 0"),
        ("a filter on calls of the runtime", vec![("/process/noNewPrivileges", json!(false)), ("/process/user/uid", json!(9)), ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["openat2", "chdir", "setgroups", "setresuid", "setresgid", "umask", "setsid", "dup2", "dup3"], "action": "SCMP_ACT_KILL_PROCESS"}]}))], "echo ok", "ok"),
        ("no device rules", vec![("/linux/resources/devices", json!([])), ("/linux/devices", json!([{"path": "/dev/other", "type": "c", "major": 250, "minor": 250}]))], "echo ok >/dev/null; (: </dev/other) 2>&1 | grep -o 'not permitted'", "not permitted"),
        ("readonlyPaths: the root", vec![("/root/readonly", json!(false)), ("/linux/readonlyPaths", json!(["/"]))], "grep '^[^/]*/[^ ]* / ' /proc/self/mountinfo | cut -d' ' -f6 | cut -d, -f1", "ro"),
        ("readonlyPaths: a proc, and what is in it", proc, "cd /proc; head -c 1 version; ls fs; (: >>sys/kernel/msgmax) 2>&1 | grep -o 'Read-only'", "Read-only"),
        ("only a rule that allows", vec![("/linux/resources/devices", json!([{"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}])), ("/linux/devices", json!([{"path": "/dev/other", "type": "c", "major": 250, "minor": 250}]))], "echo ok >/dev/null; (: </dev/other) 2>&1 | grep -o 'not permitted'", "not permitted"),
        ("all devices but one", vec![("/linux/resources/devices", json!([{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 229, "access": "rwm"}])), ("/linux/devices", json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]))], "(: </dev/fuse) 2>&1 | grep -o 'not permitted'", "not permitted"),
        ("proc is no proc", vec![("/mounts/0", mount("/proc", "tmpfs", "tmpfs", &[])), ("/linux/sysctl", json!({"kernel.msgmax": "7"}))], "true", "E"),
    ]
}

#[test]
fn each_other_field_does_what_the_specification_says() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let mut wrong = Vec::new();
    for (name, edits, script, want) in more_fields(dir.path()) {
        write(dir.path(), &config(dir.path(), script, &edits));
        // Elsewhere, not each processor has 32 bits.
        if name == "personality" && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let ours = ours(dir.path(), "lesson18-more");
        let status = if want == "E" { Some(125) } else { Some(0) };
        if ours.status.code() != status || (want != "E" && stdout(&ours) != want) {
            wrong.push(format!("== {name}: {}\n{}", stdout(&ours), stderr(&ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is refused, and the words that name it.
#[rustfmt::skip]
fn refusals() -> Vec<(Edit, &'static str)> {
    vec![
        (("/abc", json!(1)), "the field abc is not done here: line 1 column"),
        (("/process/selinuxLabel", json!("x")), "the field selinuxLabel is not done"),
        (("/process/args", json!([])), "process.args is missing"),
        (("/process/capabilities/bounding", json!(["CAP_X"])), "no variant for CAP_X: there is no such capability"),
        (("/process/apparmorProfile", json!("no-such")), "choose the AppArmor profile no-such"),
        (("/process/cwd", json!("tmp")), "process.cwd must begin with /"),
        (("/process/cwd", json!("/proc/self/fd/4")), "go to the working directory /proc/self/fd/4"),
        (("/process/rlimits", json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}])), "unknown variant `RLIMIT_X`"),
        (("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}])), "process.rlimits has RLIMIT_CORE twice"),
        // For the kernel, it stands for no change: root would stay root.
        (("/process/user/uid", json!(u32::MAX)), "the number 4294967295 is too great; give 0 to 4294967294"),
        (("/process/user/gid", json!(u32::MAX)), "the number 4294967295 is too great"),
        (("/process/user/additionalGids", json!([u32::MAX])), "the number 4294967295 is too great"),
        (("/linux/devices", json!([{"path": "/dev/x", "type": "p", "uid": u32::MAX}])), "the number 4294967295 is too great"),
        (("/process/user/umask", json!(512)), "the number 512 is too great; give 0 to 511"),
        (("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})), "the number 8 is too great; give 0 to 7"),
        (("/process/scheduler", json!({"policy": "SCHED_X"})), "unknown variant `SCHED_X`"),
        (("/process/execCPUAffinity", json!({})), "the field execCPUAffinity is not done"),
        (("/process/env", json!(["a\u{0}b"])), "read process.env"),
        (("/root", json!({})), "root.path is missing"),
        (("/hooks", json!({"prestart": [{"path": "/bin/true"}]})), "the field hooks.prestart is not done"),
        (("/hooks", json!({"prestop": []})), "the field hooks.prestop is not done"),
        (("/ociVersion", json!("2.0")), "ociVersion is"),
        (("/linux/intelRdt", json!({})), "the field intelRdt is not done"),
        (("/linux/mountLabel", json!("x")), "the field mountLabel is not done"),
        (("/linux/netDevices", json!({})), "the field netDevices is not done"),
        (("/linux/personality", json!({"domain": "X"})), "unknown variant `X`"),
        (("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]})), "unknown variant `X`, there are no variants"),
        (("/linux/rootfsPropagation", json!("x")), "linux.rootfsPropagation is x"),
        (("/linux/namespaces", json!([{"type": "pid"}, {"type": "uts"}])), "no new mount namespace"),
        (("/linux/namespaces", json!([{"type": "mount"}])), "hostname would change the host"),
        (("/linux/namespaces/-", json!({"type": "pid"})), "has Pid twice"),
        (("/linux/namespaces/-", json!({"type": "user"})), "linux.uidMappings and linux.gidMappings go with"),
        (("/linux/namespaces/-", json!({"type": "x"})), "unknown variant `x`"),
        (("/linux/sysctl", json!({"kernel.panic": "1"})), "kernel.panic would change the host"),
        (("/linux/sysctl", json!({"net/../kernel/panic": "1"})), "would change the host"),
        (("/linux/timeOffsets", json!({"monotonic": {"secs": 1}})), "linux.timeOffsets needs"),
        (("/linux/cgroupsPath", json!("/a/../b")), "use linux.cgroupsPath /a/../b"),
        (("/linux/resources/unified", json!({"a/b": "1"})), "linux.resources.unified"),
        (("/linux/resources/memory", json!({"kernel": 1})), "the field /memory/kernel is not done"),
        (("/linux/resources/blockIO", json!({"weightDevice": [{"major": 8, "weight": 9}]})), "the field /blockIO/weightDevice cannot have {\"major\":8,\"weight\":9}"),
        (("/linux/resources/blockIO", json!({"weightDevice": [{"major": 8, "minor": 0}]})), "the field /blockIO/weightDevice cannot have {"),
        (("/linux/resources/hugepageLimits", json!([{}])), "the field /hugepageLimits cannot have {}; complete it"),
        (("/linux/resources/devices/0", json!({"allow": true, "type": "x", "access": "r"})), "there is no type x"),
        (("/linux/devices", json!([{"path": "/dev/x", "type": "x"}])), "there is no type x"),
        (("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"})), "the field listenerPath is not done"),
        (("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", &["remount"])), "the option remount is not done"),
        (("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", &["nosense"])), "set its option nosense"),
        (("/mounts/-", mount("/", "tmpfs", "tmpfs", &[])), "its place is the root itself"),
        (("/mounts/-", mount("/mnt/..", "tmpfs", "tmpfs", &[])), "its place is the root itself"),
        (("/mounts/-", mount("/proc/..", "bind", "/usr", &["bind"])), "its place is the root itself"),
        (("/mounts/-", mount("/mnt/../mnt", "proc", "proc", &[])), "its place has `..`"),
        (("/linux/maskedPaths", json!(["/."])), "hide /.: it is the root itself"),
        (("/linux/maskedPaths", json!(["/proc/../proc/keys"])), "protect /proc/../proc/keys: it has `..`"),
        (("/linux/readonlyPaths", json!(["/mnt/../proc/sys"])), "protect /mnt/../proc/sys: it has `..`"),
        (("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", &["idmap"])), "only a bind can map owners"),
        (("/mounts/-", mount("/mnt", "bind", "/usr", &["bind", "tmpcopyup"])), "only a tmpfs can begin with files"),
        (("/mounts/-", mount("/bin", "tmpfs", "tmpfs", &["tmpcopyup", "size=4k"])), "give it a larger size or nr_inodes"),
    ]
}

#[test]
fn what_is_not_done_is_an_error_that_names_it() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let mut wrong = Vec::new();
    for (edit, words) in refusals() {
        let pointer = edit.0;
        write(dir.path(), &config(dir.path(), "echo started", &[edit]));
        let ours = ours(dir.path(), "lesson18-refused");
        let said = stderr(&ours);
        let right = ours.status.code() == Some(125)
            && said.contains(words)
            && is_one_line(STEP, &said)
            && stdout(&ours).is_empty();
        if !right {
            wrong.push(format!("{pointer} ({words}): {}{said}", stdout(&ours)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The kernel would write such a rule down, and not follow it.
#[test]
fn a_rule_for_devices_that_v1_cannot_follow_is_refused() {
    if !is_root() {
        return;
    }
    if !Path::new("/sys/fs/cgroup/devices/devices.list").exists() {
        testkit::skip("this host has no control groups v1 for devices");
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let rule = |allow: bool, major: i64, minor: i64| json!({ "allow": allow, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    let none = json!({ "allow": false, "access": "rwm" });
    let fuse = json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]);
    for (major, wider) in [(-1, "c *:* rwm"), (10, "c 10:* rwm")] {
        let rules = json!([none, rule(true, major, -1), rule(false, 10, 229)]);
        let edits =
            [("/linux/devices", fuse.clone()), ("/linux/resources/devices", rules)];
        write(dir.path(), &config(dir.path(), ": </dev/fuse && echo opened", &edits));
        let ours = ours(dir.path(), "lesson18-devices");
        let words = format!("deny c 10:229 rwm takes a part out of allow {wider}, and");
        let said = stderr(&ours);
        assert!(
            said.contains(&words) && is_one_line(STEP, &said),
            "{}{said}",
            stdout(&ours)
        );
        assert_eq!(ours.status.code(), Some(125));
    }
    // A later rule for more devices takes back an earlier one.
    let rules = json!([none, rule(true, 10, 229), rule(false, 10, -1)]);
    let edits = [("/linux/devices", fuse), ("/linux/resources/devices", rules)];
    let script = "(: </dev/fuse) 2>&1 | grep -o 'not permitted'; echo ok >/dev/null";
    write(dir.path(), &config(dir.path(), script, &edits));
    let ours = ours(dir.path(), "lesson18-devices");
    assert_eq!(stdout(&ours), "not permitted", "{}", stderr(&ours));
}

/// Engines write the maps of a user namespace again for each container that joins it.
#[test]
fn a_user_namespace_with_a_path_has_its_own_maps() {
    if !is_root() {
        return;
    }
    let mut owner = Command::new("unshare");
    owner.args(["--user", "sh", "-c", "echo; read it"]).stdin(Stdio::piped());
    let mut owner = owner.stdout(Stdio::piped()).spawn().expect("start unshare");
    let mut ready = [0];
    let out = owner.stdout.as_mut().expect("a pipe");
    out.read_exact(&mut ready).expect("it is in the namespace");
    for file in ["uid_map", "gid_map"] {
        let file = format!("/proc/{}/{file}", owner.id());
        fs::write(file, "0 100000 65536\n").expect("write the map");
    }
    let namespace = format!("/proc/{}/ns/user", owner.id());
    let known = fs::read_link(&namespace).expect("a namespace").display().to_string();
    let path = ("/linux/namespaces/-", json!({ "type": "user", "path": namespace }));
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let maps = ["/linux/uidMappings", "/linux/gidMappings"];
    let [uids, gids] = maps.map(|it| (it, map.clone()));
    for edits in [vec![path.clone()], vec![path, uids, gids]] {
        let dir = testkit::tempdir();
        let script =
            "readlink /proc/self/ns/user; id -u; echo >/dev/shm/file && echo made";
        write(dir.path(), &config(dir.path(), script, &edits));
        let ours = ours(dir.path(), "lesson18-user");
        assert_eq!(stdout(&ours), format!("{known}\n0\nmade"), "{}", stderr(&ours));
    }
    drop(owner.stdin.take());
    owner.wait().expect("wait");
}

/// A namespace with a path may be that of the caller.
#[test]
fn a_value_for_a_namespace_of_the_caller_is_refused() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let values = [
        ("network", "net", "net.core.somaxconn"),
        ("ipc", "ipc", "kernel.msgmax"),
        ("uts", "uts", "kernel.hostname"),
    ];
    for (kind, file, name) in values {
        // The value that the host has: a program that writes it changes nothing.
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = fs::read_to_string(path).expect("read");
        let own = json!({ "type": kind, "path": format!("/proc/self/ns/{file}") });
        let mut config = config(dir.path(), "echo started", &[]);
        config["hostname"] = json!("");
        config["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "pid" }, own]);
        config["linux"]["sysctl"] = json!({ name: value.trim() });
        write(dir.path(), &config);
        let ours = ours(dir.path(), "lesson18-caller");
        let words = format!("linux.sysctl: {name} would change the host");
        assert!(stderr(&ours).contains(&words), "{}{}", stdout(&ours), stderr(&ours));
        assert_eq!(ours.status.code(), Some(125));
    }
}

/// The names that the host has: a program that sets them changes nothing.
#[test]
fn a_name_for_a_namespace_of_the_caller_is_refused() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    for field in ["hostname", "domainname"] {
        let name = fs::read_to_string(format!("/proc/sys/kernel/{field}")).expect("read");
        let mut config = config(dir.path(), "echo started", &[]);
        config["hostname"] = json!("");
        config[field] = json!(name.trim());
        let own = json!({ "type": "uts", "path": "/proc/self/ns/uts" });
        config["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "pid" }, own]);
        write(dir.path(), &config);
        let ours = ours(dir.path(), "lesson18-names");
        let words = format!("{field} would change the host: the path is that");
        assert!(stderr(&ours).contains(&words), "{}{}", stdout(&ours), stderr(&ours));
    }
}

/// A descriptor of the host leads to a path of the host, which must not appear in the root.
#[test]
fn a_working_directory_that_is_a_descriptor_makes_nothing_in_the_root() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let root = dir.path().join("root");
    let usual = ["dev", "proc", "sys"];
    usual.iter().for_each(|it| fs::create_dir_all(root.join(it)).expect("make it"));
    for number in 3..30 {
        let edits = [
            ("/root", json!({ "path": root })),
            ("/process/cwd", json!(format!("/proc/self/fd/{number}"))),
        ];
        write(dir.path(), &config(dir.path(), "true", &edits));
        let ours = ours(dir.path(), "lesson18-cwd");
        assert_eq!(ours.status.code(), Some(125), "{number}: {}", stderr(&ours));
    }
    let mut found: Vec<_> = fs::read_dir(&root).expect("list").flatten().collect();
    found.retain(|it| !usual.iter().any(|name| it.file_name() == *name));
    assert!(found.is_empty(), "{found:?}");
}

/// What changes nothing is no error: a list without entries, a null in the place of a
/// field, and options that are for mount(8).
#[test]
fn what_changes_nothing_is_no_error() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    for edit in [
        ("/linux/personality", json!({ "domain": "LINUX", "flags": [] })),
        ("/linux/resources/pids", json!(null)),
        ("/process/rlimits", json!(null)),
        ("/annotations", json!(null)),
        ("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", &["silent", "loud", "noiversion"])),
    ] {
        write(
            dir.path(),
            &config(dir.path(), "echo started", std::slice::from_ref(&edit)),
        );
        let ours = ours(dir.path(), "lesson18-nothing");
        assert_eq!(stdout(&ours), "started", "{edit:?}: {}", stderr(&ours));
    }
}

#[test]
fn the_command_takes_each_signal() {
    if !is_root() {
        return;
    }
    // A shell cannot trap a signal that it ignored at its start.
    let script = "grep SigBlk /proc/self/status; \
                  for it in HUP PIPE TERM 64; do trap \"echo $it\" $it; kill -$it $$; done";
    let (dir, _one) = (tempdir(), ONE.lock());
    write(dir.path(), &config(dir.path(), script, &[]));
    let mut caller = Command::new("env");
    caller.args(["--block-signal=USR1,INT", "--ignore-signal=HUP,PIPE,TERM,64"]);
    caller.arg(bin(STEP));
    caller.args(["run", "--bundle"]).arg(dir.path()).arg(unique("lesson18-blocked"));
    let output = caller.output().expect("start env");
    if stderr(&output).starts_with("env:") {
        skip("env on this host cannot block signals");
        return;
    }
    let each = "SigBlk:\t0000000000000000\nHUP\nPIPE\nTERM\n64";
    assert_eq!(stdout(&output), each, "{}", stderr(&output));
}

/// The groups above that of the container, too, and also if it cannot start.
#[test]
fn no_group_is_left() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let above = |path: &str| -> Vec<_> {
        let groups = fs::read_dir("/sys/fs/cgroup").expect("list").flatten();
        let groups = groups
            .map(|it| it.path().join(path))
            .chain([Path::new("/sys/fs/cgroup").join(path)]);
        groups.filter(|it| it.exists()).collect()
    };
    for (command, status) in [("true", 0), ("/no-such", 127)] {
        let path = (
            "/linux/cgroupsPath",
            json!(format!("/{}/between/group", unique("lesson18-above"))),
        );
        let mut config = config(dir.path(), "", &[path]);
        config["process"]["args"] = json!([command]);
        write(dir.path(), &config);
        let output = ours(dir.path(), "lesson18-groups");
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert_eq!(
            above(&unique("lesson18-above")),
            [""; 0].map(std::path::PathBuf::from)
        );
    }
    // A group of another container stays, and those above it.
    let hierarchies = above("").into_iter().filter(|it| it.join("cgroup.procs").exists());
    let others = hierarchies.map(|it| it.join(unique("lesson18-above")).join("other"));
    let others: Vec<_> = others.filter(|it| fs::create_dir_all(it).is_ok()).collect();
    let output = ours(dir.path(), "lesson18-groups");
    // Nor does it take a group that has others, or that of all.
    for path in [&*format!("/{}", unique("lesson18-above")), "/", "/./", "."] {
        let mut config =
            config(dir.path(), "true", &[("/linux/cgroupsPath", json!(path))]);
        config["process"]["args"] = json!(["true"]);
        write(dir.path(), &config);
        let said = stderr(&ours(dir.path(), "lesson18-groups"));
        assert!(said.contains("make the control group"), "{path}: {said}");
    }
    let kept = others.iter().all(|it| it.exists());
    for other in &others {
        let _ = fs::remove_dir(other)
            .and_then(|()| fs::remove_dir(other.parent().expect("a parent")));
    }
    assert!(kept && !others.is_empty(), "{}", stderr(&output));
}

/// Without a PID namespace, processes outlive the first one, and have its terminal.
#[test]
fn no_process_is_left_without_a_pid_namespace() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let kinds = ["mount", "uts", "ipc", "network"].map(|kind| json!({ "type": kind }));
    for is_terminal in [true, false] {
        let edits = [
            ("/linux/namespaces", json!(kinds)),
            ("/process/terminal", json!(is_terminal)),
        ];
        let script =
            "trap '' HUP; sleep 1234 & echo $!; mkdir -p /sys/fs/cgroup/a 2>&-; exit 3";
        write(dir.path(), &config(dir.path(), script, &edits));
        let (sender, receiver) = channel();
        let path = dir.path().to_owned();
        spawn(move || sender.send(ours(&path, "lesson18-left")));
        let output = receiver.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        let process = Path::new("/proc").join(stdout(&output).trim());
        let command = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        assert!(!command.contains("1234"), "{command}");
    }
}

/// Runs a bundle with a terminal of its own, with standard input from a pipe.
#[test]
fn a_container_has_a_terminal_of_its_own() {
    let (dir, _one) = (tempdir(), ONE.lock());
    let script =
        "tty; stty size; ls -l /dev/console | cut -c1; read word; echo got $word; exit 3";
    let size = json!({ "height": 31, "width": 97 });
    let edits = [("/process/terminal", json!(true)), ("/process/consoleSize", size)];
    write(dir.path(), &config(dir.path(), script, &edits));
    let mut step = Command::new(bin(STEP));
    step.args(["run", "--bundle"]).arg(dir.path()).arg(unique("lesson18-terminal"));
    let mut step =
        step.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start");
    step.stdin.take().expect("a pipe").write_all(b"abc\n").expect("write");
    let output = step.wait_with_output().expect("wait");
    let said = stdout(&output).replace("\r\n", "\n");
    assert_eq!(output.status.code(), Some(3), "{said}");
    // The terminal shows what is typed, before or between.
    let said: Vec<&str> = said.lines().filter(|line| *line != "abc").collect();
    assert_eq!(said, ["/dev/pts/0", "31 97", "c", "got abc"]);
}

/// What root and an ordinary user get from `spec` runs as it is.
#[test]
fn the_bundle_of_spec_runs() {
    let (dir, _one) = (tempdir(), ONE.lock());
    let script =
        "id -u; hostname; echo $$; cat /sys/kernel/uevent_seqnum >&2; echo a >/sys/a";
    write(dir.path(), &config(dir.path(), script, &[]));
    let output = ours(dir.path(), "lesson18-spec");
    assert_eq!(stdout(&output), "0\ncontainer\n1", "{}", stderr(&output));
    assert!(!output.status.success());
    let spec =
        Command::new(bin(STEP)).args(["spec", "--bundle"]).arg(dir.path()).output();
    let said = stderr(&spec.expect("start the step"));
    assert!(said.contains("config.json: File exists"), "{said}");
}

/// A root with links that lead to the host, if they are followed there.
#[test]
fn no_link_of_a_root_leads_to_the_host() {
    if !is_root() {
        return;
    }
    let (dir, host, _one) = (tempdir(), tempdir(), ONE.lock());
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("make a directory");
    symlink(host.path(), root.join("out")).expect("make a link");
    let devices =
        json!([{ "path": "/out/sub/null", "type": "c", "major": 1, "minor": 3 }]);
    let run = |edits: &[Edit]| {
        let mut config = config(dir.path(), "true", edits);
        config["root"]["path"] = json!(root);
        write(dir.path(), &config);
        stderr(&ours(dir.path(), "lesson18-links"))
    };
    let said = run(&[
        ("/root/readonly", json!(false)),
        ("/mounts/-", mount("/out/tmpfs", "tmpfs", "tmpfs", &[])),
        ("/mounts/-", mount("/out/a/file", "bind", "/proc/version", &["bind"])),
        ("/linux/devices", devices),
        ("/linux/maskedPaths", json!(["/out"])),
    ]);
    // All stages are done, and the root has no programs.
    assert!(said.contains("execute sh: not found"), "{said}");
    let left: Vec<_> = fs::read_dir(host.path()).expect("list").collect();
    assert!(left.is_empty(), "{left:?}");
    let inside = root.join(host.path().strip_prefix("/").expect("a path"));
    assert!(inside.join("sub/null").exists(), "the links lead to the root");
    symlink("/", root.join("all")).expect("make a link");
    let said = run(&[("/mounts/-", mount("/all", "tmpfs", "tmpfs", &[]))]);
    assert!(said.contains("its place is the root itself"), "{said}");
    let said = run(&[("/linux/maskedPaths", json!(["/all"]))]);
    assert!(said.contains("hide /all: it is the root itself"), "{said}");
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys")] {
        let link = root.join(&place[1..]);
        fs::remove_dir(&link).and_then(|()| symlink("out", &link)).expect("make a link");
        let said = run(&[("/mounts", json!([mount(place, kind, kind, &[])]))]);
        assert!(said.contains("must be mounted on ordinary directory"), "{said}");
        fs::remove_file(&link)
            .and_then(|()| fs::create_dir(&link))
            .expect("make it again");
    }
    // A neighbour's file in the place of the device that hides files.
    let dev = json!([
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "bind", "dev", &["bind"])
    ]);
    fs::create_dir(dir.path().join("dev")).expect("make a directory");
    fs::write(dir.path().join("dev/null"), "").expect("write");
    let said = run(&[("/mounts", dev)]);
    assert!(said.contains("open /dev/null in the root: it is another file"), "{said}");
}

/// The first start makes the node, and the next one finds it. In a user namespace, the
/// first start makes a place for the host's node.
#[test]
fn a_bundle_starts_again_with_its_own_devices() {
    if !is_root() {
        return;
    }
    let (dir, host, _one) = (tempdir(), tempdir(), ONE.lock());
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).expect("make a directory");
    let (zero, full) = (host.path().join("zero"), host.path().join("full"));
    for (node, minor) in [(&zero, 5), (&full, 7)] {
        mknod(node, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, minor)).expect("make it");
    }
    let device = |path: &Path, minor: u64| json!({ "path": path, "type": "c", "major": 1, "minor": minor });
    let inside = inside.to_str().expect("a path");
    let mount = (
        "/mounts/-",
        mount(host.path().to_str().expect("a path"), "bind", inside, &["bind"]),
    );
    let run = |edits: &[Edit], script: &str| {
        write(dir.path(), &config(dir.path(), script, edits));
        let output = ours(dir.path(), "lesson18-again");
        (stdout(&output), stderr(&output))
    };
    let none = host.path().join("none");
    let devices = json!([device(&zero, 5), device(&none, 5)]);
    let edits = [mount.clone(), ("/linux/devices", devices)];
    let script =
        format!("head -c 1 {} | wc -c; chmod 666 {}", none.display(), zero.display());
    for _ in 0..2 {
        assert_eq!(run(&edits, &script), ("1".to_owned(), String::new()));
    }
    let ids = json!([{ "containerID": 0, "hostID": 0, "size": 1000 }]);
    let edits = [
        mount,
        ("/linux/devices", json!([device(&full, 7)])),
        ("/linux/namespaces/-", json!({ "type": "user" })),
        ("/linux/uidMappings", ids.clone()),
        ("/linux/gidMappings", ids),
    ];
    let script = format!("chmod 666 {} 2>&1 | grep -o 'Read-only'", full.display());
    for _ in 0..2 {
        assert_eq!(run(&edits, &script), ("Read-only".to_owned(), String::new()));
    }
    for node in [zero, full] {
        let mode = fs::metadata(&node).expect("the host's node").permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "{}", node.display());
    }
}

/// Runs the bundle, which must end: nothing in it may let the program wait.
fn ends(dir: &Path, config: &Value) -> Output {
    write(dir, config);
    let (sender, receiver) = channel();
    let path = dir.to_owned();
    spawn(move || sender.send(ours(&path, "lesson18-hostile")));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it ends")
}

/// A root with other files than the configuration means.
#[test]
fn no_file_of_a_root_lets_the_program_wait() {
    if !is_root() {
        return;
    }
    let (dir, host, _one) = (tempdir(), tempdir(), ONE.lock());
    let root = dir.path().join("root");
    for directory in ["etc", "run", "dev", "dir"] {
        fs::create_dir_all(root.join(directory)).expect("make a directory");
    }
    for fifo in ["etc/passwd", "etc/group", "etc/fifo", "run/fifo", "dev/fuse", "dir/a"] {
        mkfifo(&root.join(fifo), Mode::S_IRWXU).expect("make a FIFO");
    }
    let _socket = UnixListener::bind(root.join("run/socket")).expect("make a socket");
    for (target, link) in
        [("../..", "run/up"), ("loop", "run/loop"), ("/proc/self/root", "run/root")]
    {
        symlink(target, root.join(link)).expect("make a link");
    }
    symlink(host.path(), root.join("out")).expect("make a link");
    let run = |edits: &[Edit]| {
        let mut config = config(dir.path(), "true", edits);
        config["root"] = json!({ "path": root, "readonly": false });
        let output = ends(dir.path(), &config);
        let said = stderr(&output);
        assert!(is_one_line(STEP, &said), "{said}");
        said
    };
    let said = run(&[]);
    assert!(said.contains("read /etc/passwd in the root: it is not a file"), "{said}");
    for file in ["etc/passwd", "etc/group"] {
        fs::remove_file(root.join(file)).expect("remove");
    }
    let fuse = json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229 }]);
    let masks = json!(["/run/fifo", "/run/socket", "/out", "/etc/passwd/a"]);
    let proc = mount("/proc", "proc", "proc", &[]);
    let mut wrong = Vec::new();
    for (edits, words) in [
        (vec![("/linux/maskedPaths", masks.clone())], "execute sh: not found"),
        (vec![("/linux/readonlyPaths", masks)], "execute sh: not found"),
        (
            vec![("/linux/maskedPaths", json!(["/run/loop"]))],
            "open /run/loop in the root",
        ),
        (
            vec![("/linux/maskedPaths", json!(["/run/up"]))],
            "hide /run/up: it is the root itself",
        ),
        (vec![("/linux/readonlyPaths", json!(["/run/up"]))], "execute sh: not found"),
        // It leads out of the root, if the kernel follows it.
        (
            vec![("/linux/maskedPaths", json!(["/run/root/etc"]))],
            "open /run/root/etc in the root",
        ),
        (
            vec![("/mounts/-", mount("/run/fifo", "bind", "/proc/version", &["bind"]))],
            "not found",
        ),
        (
            vec![("/mounts/-", mount("/run/socket", "tmpfs", "tmpfs", &[]))],
            "Not a directory",
        ),
        (
            vec![("/mounts/-", mount("/dir", "tmpfs", "tmpfs", &["tmpcopyup"]))],
            "not found",
        ),
        (
            vec![("/mounts", json!([proc])), ("/linux/devices", fuse.clone())],
            "the root has another file by this name",
        ),
        (
            vec![("/mounts", json!([])), ("/linux/devices", fuse)],
            "the root has another file by this name",
        ),
        (
            vec![("/mounts/-", mount("/mnt", "bind", "root/run/fifo", &["bind"]))],
            "not found",
        ),
        (vec![("/process/cwd", json!("/out/a"))], "not found"),
        (vec![("/process/cwd", json!("/run/fifo"))], "go to the working directory"),
        (
            vec![("/mounts", json!([])), ("/process/terminal", json!(true))],
            "mount a devpts",
        ),
        (
            vec![(
                "/linux/namespaces/-",
                json!({ "type": "time", "path": root.join("run/fifo") }),
            )],
            "join the namespace",
        ),
    ] {
        let said = run(&edits);
        if !said.contains(words) {
            wrong.push(format!("{edits:?}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let left: Vec<_> = fs::read_dir(host.path()).expect("list").collect();
    assert!(left.is_empty(), "{left:?}");
    // The files of the bundle itself.
    fs::remove_file(dir.path().join("config.json")).expect("remove");
    mkfifo(&dir.path().join("config.json"), Mode::S_IRWXU).expect("make a FIFO");
    let said = stderr(&ours(dir.path(), "lesson18-hostile"));
    assert!(said.contains("it is not a file"), "{said}");
}

/// Another process replaces a directory of the root by a link while the program looks.
#[test]
fn no_swap_in_a_root_leads_to_the_host() {
    if !is_root() {
        return;
    }
    let (dir, host, _one) = (tempdir(), tempdir(), ONE.lock());
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("a")).expect("make a directory");
    symlink(host.path(), root.join("b")).expect("make a link");
    let device = json!([{ "path": "/a/null", "type": "c", "major": 1, "minor": 3 }]);
    let edits = [
        ("/mounts/-", mount("/a/file", "bind", "/proc/version", &["bind"])),
        ("/linux/devices", device),
        ("/linux/maskedPaths", json!(["/a/file", "/a"])),
        ("/process/cwd", json!("/a/cwd")),
    ];
    let mut config = config(dir.path(), "true", &edits);
    config["root"] = json!({ "path": root, "readonly": false });
    write(dir.path(), &config);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                let (a, b) = (root.join("a"), root.join("b"));
                renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE)
                    .expect("swap");
            }
        });
        for _ in 0..30 {
            ours(dir.path(), "lesson18-swap");
        }
        enough.store(true, Ordering::Relaxed);
    });
    let left: Vec<_> = fs::read_dir(host.path()).expect("list").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Another process moves the place of a proc after its mount, and before its paths are
/// protected: meanwhile, the program mounts others, and makes the places for them.
#[test]
fn a_proc_that_is_moved_meanwhile_is_protected() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let host = dir.path().join("host");
    let at = |name: &str| host.join(name);
    let files = host.to_str().expect("a path");
    let mut edits = vec![
        ("/mounts/-", mount("/mnt", "bind", files, &["bind"])),
        ("/mounts/-", mount("/mnt/proc", "proc", "proc", &[])),
        ("/linux/maskedPaths", json!(["/mnt/proc/version", "/mnt/proc/tty"])),
        ("/linux/readonlyPaths", json!(["/mnt/proc/sys"])),
    ];
    let others = (0..100).map(|at| mount(&format!("/mnt/{at}"), "tmpfs", "tmpfs", &[]));
    edits.extend(others.map(|it| ("/mounts/-", it)));
    let script = "cd /mnt/fake; echo self/status*; cat version; ls tty; \
                  (: >>sys/kernel/core_pattern) 2>&1 | grep -o 'Read-only'";
    write(dir.path(), &config(dir.path(), script, &edits));
    // On a busy machine, the move may come too late.
    for _ in 0..100 {
        let _ = fs::remove_dir_all(&host);
        for name in ["proc", "fake"] {
            fs::create_dir_all(at(name)).expect("make a directory");
        }
        let (in_time, output) = std::thread::scope(|scope| {
            let output = scope.spawn(|| ours(dir.path(), "lesson18-moved"));
            while !at("0").exists() && !output.is_finished() {
                std::thread::yield_now();
            }
            let (a, b) = (at("proc"), at("fake"));
            renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE)
                .expect("swap");
            (!at("99").exists(), output.join().expect("an output"))
        });
        if in_time {
            assert_eq!(stdout(&output), "self/status\nRead-only", "{}", stderr(&output));
            return;
        }
    }
    panic!("the move came too late each time");
}

/// A user can mount a file system of FUSE, by any name.
#[test]
fn a_mount_of_any_name_stops_no_container() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    let other = dir.path().join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&other).expect("make a directory");
    let read_only = ("/mounts/-", mount("/mnt", "tmpfs", "tmpfs", &["ro"]));
    write(dir.path(), &config(dir.path(), "echo started", &[read_only]));
    let script = "mount -t tmpfs tmpfs \"$1\" && exec \"$2\" run --bundle \"$3\" \"$4\"";
    let mut step = Command::new("unshare");
    step.args(["--mount", "sh", "-c", script, "sh"]).arg(other).arg(bin(STEP));
    let output = step.arg(dir.path()).arg("lesson18-other").output();
    let output = output.expect("start unshare");
    assert_eq!(stdout(&output), "started", "{}", stderr(&output));
}

#[test]
fn a_container_has_the_name_of_a_directory() {
    let (dir, _one) = (tempdir(), ONE.lock());
    write(dir.path(), &config(dir.path(), "", &[]));
    for name in ["", "..", "a/b"] {
        let output = named(dir.path(), name);
        let said = stderr(&output);
        assert!(said.contains("give 1 to 255 letters, digits and _ . + -"), "{said}");
        assert_eq!(output.status.code(), Some(125));
    }
}

#[test]
fn a_command_that_cannot_start_has_its_status() {
    let (dir, _one) = (tempdir(), ONE.lock());
    for (command, status, words) in [
        ("no-such", 127, "execute no-such: not found in PATH"),
        ("/no/such", 127, "execute /no/such: No such file"),
        ("/etc/passwd", 126, "this user cannot execute it"),
        ("/etc", 126, "it is a directory"),
        // The program of the step is the host's; CVE-2019-5736.
        ("/proc/self/exe", 126, "a link of /proc leads to it"),
    ] {
        let edits = [("/process/args", json!([command]))];
        write(dir.path(), &config(dir.path(), "", &edits));
        let output = ours(dir.path(), "lesson18-command");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{command}: {said}");
        assert!(said.contains(words) && is_one_line(STEP, &said), "{command}: {said}");
    }
}

#[test]
fn a_container_of_any_user_ends_with_its_runner() {
    if !is_root() {
        return;
    }
    let (dir, _one) = (tempdir(), ONE.lock());
    for uid in [0, 9] {
        let script = "echo started; exec sleep 1000";
        write(
            dir.path(),
            &config(dir.path(), script, &[("/process/user/uid", json!(uid))]),
        );
        let mut step = Command::new(bin(STEP));
        step.args(["run", "--bundle"]).arg(dir.path()).arg(unique("lesson18-killed"));
        let mut step = step.stdout(Stdio::piped()).spawn().expect("start the step");
        let mut stdout = step.stdout.take().expect("a pipe");
        stdout.read_exact(&mut [0; 8]).expect("it has started");
        step.kill().and_then(|()| step.wait()).expect("kill the runner");
        // It ends when no process of the container has the pipe.
        let (sender, receiver) = channel();
        spawn(move || sender.send(stdout.read(&mut [0]).ok()));
        let end = receiver.recv_timeout(Duration::from_secs(60));
        assert_eq!(end, Ok(Some(0)), "user {uid}: the container still runs");
        // The next container of that name takes the groups that are left, when the last
        // process has left them, and removes them.
        write(dir.path(), &config(dir.path(), "true", &[]));
        let next = || ours(dir.path(), "lesson18-killed").status.success();
        assert!((0..1000).any(|_| next() || {
            sleep(Duration::from_millis(20));
            false
        }));
    }
}
