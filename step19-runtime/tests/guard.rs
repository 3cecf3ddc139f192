//! Lesson 19: what a hostile container, root or neighbour tries, and what it cannot do.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use common::Program;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, open, renameat2};
use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo, setfsuid};
use serde_json::{Value, json};
use testkit::procs::{Proc, end_of, wait_until};
use testkit::{
    Scratches, bin, copy_program, is_root, rootfs, skip, stderr, stdout, tempdir,
};

const STEP: &str = "step19-runtime";
const NAME: &str = "guard";

/// A place for one container, with a runtime of its own.
struct Place {
    dir: Scratches,
}

impl Place {
    fn new() -> Place {
        let made = Place { dir: tempdir() };
        copy_program(&bin(STEP), &made.program());
        made
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join(STEP)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Writes a configuration with these words as the command.
    fn configure(&self, words: &[&str], edit: impl FnOnce(&mut Value)) {
        let file = self.dir.path().join("config.json");
        let _ = fs::remove_file(&file);
        assert!(self.ask(&["spec"]).status.success());
        let text = fs::read_to_string(&file).expect("read");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["root"]["path"] = json!(rootfs());
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(words);
        let place =
            self.dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        if is_root() {
            config["linux"]["cgroupsPath"] =
                json!(format!("/guard-{}-{place}", std::process::id()));
        }
        edit(&mut config);
        fs::write(file, config.to_string()).expect("write");
    }

    fn runtime(&self, words: &[&str]) -> Command {
        let mut step = Command::new(self.program());
        step.current_dir(self.dir.path())
            .arg("--root")
            .arg(self.dir.path().join("state"));
        step.args(words).stdin(Stdio::null());
        step
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.runtime(words).output().expect("start the step")
    }

    /// As `ask`, for a verb that starts a process which has the streams for a long time.
    fn does(&self, words: &[&str]) {
        let out = File::create(self.dir.path().join("out")).expect("make a file");
        let [out, err] = [out.try_clone().expect("copy"), out].map(Stdio::from);
        let done =
            self.runtime(words).stdout(out).stderr(err).status().expect("start the step");
        let said = || fs::read_to_string(self.dir.path().join("out")).unwrap_or_default();
        assert!(done.success(), "{words:?}: {}", said());
    }

    /// The status and the error of a verb that must end.
    fn ends(&self, words: &[&str]) -> (Option<i32>, String) {
        let file = self.dir.path().join("err");
        let err = File::create(&file).expect("make a file");
        let mut step = self.runtime(words);
        let step = step.stdout(Stdio::null()).stderr(err).spawn();
        let status = end_of(&mut step.expect("start the step"));
        (status.code(), fs::read_to_string(file).expect("read"))
    }

    /// A directory that all users can change, with a FIFO in it.
    fn shared(&self) -> PathBuf {
        let shared = self.dir.path().join("shared");
        fs::create_dir(&shared).expect("make a directory");
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&shared, all).expect("set the mode");
        mkfifo(&shared.join("fifo"), Mode::S_IRWXU).expect("make a FIFO");
        shared
    }

    fn state(&self, field: &str) -> Value {
        let state = self.ask(&["state", NAME]);
        serde_json::from_slice::<Value>(&state.stdout).expect("JSON")[field].clone()
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.program()).expect("look").mode() & 0o7777
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ask(&["delete", "--force", NAME]);
    }
}

/// A program in machine code: chmod("/proc/self/exe", 04755), and exit with the error. As a
/// loader, it is in the process of each program that names it.
#[cfg(target_arch = "x86_64")]
fn hostile_loader() -> Vec<u8> {
    const CODE: &[u8] = &[
        0x48, 0x8d, 0x3d, 0x17, 0, 0, 0, // lea rdi, [rip + path]
        0xbe, 0xed, 0x09, 0, 0, // mov esi, 04755
        0xb8, 90, 0, 0, 0, // mov eax, chmod
        0x0f, 0x05, // syscall
        0xf7, 0xd8, // neg eax
        0x89, 0xc7, // mov edi, eax
        0xb8, 60, 0, 0, 0, // mov eax, exit
        0x0f, 0x05, // syscall
    ];
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    // ET_DYN, EM_X86_64, version 1.
    elf.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    // The entry, the table of segments, no sections, no flags, sizes, one segment.
    elf.extend([120_u64, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // PT_LOAD, to read and execute, the whole file.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    elf.extend([0_u64, 0, 0, 200, 200, 4096].map(u64::to_le_bytes).concat());
    elf.extend(CODE);
    elf.extend(b"/proc/self/exe\0");
    elf.resize(200, 0);
    elf
}

/// A root with a loader of its own for the runtime, and a command that is a link to
/// /proc/self/exe as soon as the neighbour wants. Nothing if this test cannot do it here.
#[cfg(target_arch = "x86_64")]
fn hostile_root(place: &Place) -> Option<()> {
    let Some(Program::Dynamic(loader)) = Program::of(&File::open(place.program()).ok()?)
    else {
        skip("the runtime is static");
        return None;
    };
    let root = place.root();
    let write = |path: &Path| {
        fs::create_dir_all(path.parent().expect("a directory"))
            .expect("make a directory");
        fs::write(path, hostile_loader()).expect("write");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .expect("set the mode");
    };
    write(&root.join(loader.strip_prefix("/").expect("a path")));
    // Another program than the runtime is not one to change.
    write(&root.join("command"));
    for dir in ["proc", "dev", "sys"] {
        fs::create_dir_all(root.join(dir)).expect("make a directory");
    }
    symlink("/proc/self/exe", root.join("link")).expect("make a link");
    Some(())
}

#[cfg(target_arch = "x86_64")]
fn swap(place: &Place) {
    let [one, two] = ["command", "link"].map(|name| place.root().join(name));
    let flags = RenameFlags::RENAME_EXCHANGE;
    renameat2(nix::fcntl::AT_FDCWD, &one, nix::fcntl::AT_FDCWD, &two, flags)
        .expect("swap");
}

/// EROFS: the file is on a read-only mount.
const READ_ONLY: i32 = 30;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_swap_of_the_command_before_start_does_not_reach_the_runtime() {
    let place = Place::new();
    if !is_root() || hostile_root(&place).is_none() {
        return;
    }
    let mode = place.mode();
    place.configure(&["/command"], |config| {
        config["root"] = json!({ "path": "root" });
    });
    for verbs in [&["create", NAME][..], &["start", NAME]] {
        place.does(verbs);
        if verbs[0] == "create" {
            swap(&place);
        }
    }
    wait_until("it ends", || place.state("status") == "stopped");
    assert_eq!(format!("{:o}", place.mode()), format!("{mode:o}"));
    assert!(place.ask(&["delete", NAME]).status.success());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_swap_of_the_command_of_exec_does_not_reach_the_runtime() {
    let place = Place::new();
    if !is_root() || hostile_root(&place).is_none() {
        return;
    }
    let mode = place.mode();
    // A container that waits, with the same root.
    place.configure(&["/command"], |config| {
        config["root"] = json!({ "path": "root" });
    });
    place.does(&["create", NAME]);
    let enough = AtomicBool::new(false);
    let statuses: Vec<Option<i32>> = thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                swap(&place);
            }
        });
        let mut statuses = Vec::new();
        // It is refused, or is not the runtime, or has nothing to change.
        while statuses.len() < 400
            && !statuses.contains(&Some(READ_ONLY))
            && place.mode() == mode
        {
            statuses.push(place.ask(&["exec", NAME, "/command"]).status.code());
        }
        enough.store(true, Ordering::Relaxed);
        statuses
    });
    assert_eq!(format!("{:o}", place.mode()), format!("{mode:o}"), "{statuses:?}");
}

#[test]
fn the_copy_of_the_runtime_has_what_the_caller_gave() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["readlink", "/proc/self/fd/3"], |_| ());
    let mut runtime = Command::new("sh");
    runtime.args(["-c", "exec 3</dev/null; exec \"$@\"", "sh"]).arg(place.program());
    runtime.arg("--root").arg(place.dir.path().join("state"));
    runtime.args(["run", "--preserve-fds", "1", NAME]);
    let output = runtime.current_dir(place.dir.path()).output().expect("start the step");
    assert_eq!(stdout(&output), "/dev/null", "{}", stderr(&output));
    // The process that waits is still the same program by its name.
    place.does(&["create", NAME]);
    let pid = place.state("pid");
    let of =
        |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("read");
    assert_eq!(of("comm").trim(), STEP);
    assert!(
        of("cmdline").starts_with(&*place.program().to_string_lossy()),
        "{}",
        of("cmdline")
    );
    let exe = fs::read_link(format!("/proc/{pid}/exe")).expect("read the link");
    assert_ne!(exe, place.program(), "it is a copy");
}

/// A mount of the configuration.
fn mount(place: &str, kind: &str) -> Value {
    json!({ "destination": place, "type": kind, "source": kind })
}

#[test]
fn groups_of_the_caller_stay_outside_also_without_proc() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["sleep", "1000"], |config| {
        config["mounts"] = json!([mount("/dev", "tmpfs")]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let with_group = |words: &[&str]| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--groups", "4242"]).arg(place.program());
        setpriv.arg("--root").arg(place.dir.path().join("state")).args(words);
        setpriv.current_dir(place.dir.path()).stdin(Stdio::null());
        setpriv
    };
    let out = File::create(place.dir.path().join("out")).expect("make a file");
    let run = with_group(&["run", "--detach", NAME]).stdout(out).status();
    assert!(run.expect("start setpriv").success());
    let pid = place.state("pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("read");
    assert!(status.contains("\nGroups:\t \n"), "{status}");
    let output = with_group(&["exec", NAME, "id", "-G"]).output().expect("start setpriv");
    assert_eq!(stdout(&output), "0", "{}", stderr(&output));
    // What the runtime writes to /proc does not depend on that of the container.
    let said = stderr(&place.ask(&["exec", "--apparmor", "no-such", NAME, "true"]));
    assert!(said.contains("choose the AppArmor profile no-such"), "{said}");
}

#[test]
fn a_link_of_the_root_leads_no_value_to_another_file_of_proc() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    fs::create_dir_all(place.root().join("proc/sys/net")).expect("make a directory");
    symlink("/p/self/comm", place.root().join("proc/sys/net/x")).expect("make a link");
    place.configure(&["true"], |config| {
        config["root"] = json!({ "path": "root" });
        config["mounts"] = json!([mount("/p", "proc"), mount("/dev", "tmpfs")]);
        config["linux"]["sysctl"] = json!({ "net.x": "1" });
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let said = stderr(&place.ask(&["run", NAME]));
    assert!(said.contains("set net.x to 1: /proc/sys/net/x is a link"), "{said}");
}

/// Another process puts a link in the place of a directory of the root, again and again.
#[test]
fn a_link_that_comes_meanwhile_leads_no_value_and_no_proc_elsewhere() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let root = place.root();
    let run = |swapped: &str, target: &str, mounts: Value, wrong: &str| {
        fs::create_dir_all(root.join(swapped)).expect("make a directory");
        symlink(target, root.join("other")).expect("make a link");
        place.configure(&["true"], |config| {
            config["root"] = json!({ "path": "root" });
            config["mounts"] = mounts;
            if swapped != "proc" {
                config["linux"]["sysctl"] = json!({ "net.comm": "1" });
            }
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        });
        let ends = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (one, other) = (root.join(swapped), root.join("other"));
                while !ends.load(Ordering::Relaxed) {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, flags).expect("swap");
                }
            });
            let said = (0..40).map(|_| stderr(&place.ask(&["run", NAME])));
            let said = said.collect::<Vec<_>>();
            // Before it may panic: the scope waits for the thread.
            ends.store(true, Ordering::Relaxed);
            let wrong: Vec<_> = said.iter().filter(|it| it.contains(wrong)).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
        });
        fs::remove_dir_all(&root).expect("remove");
    };
    // The value goes to the name of a process, and the stages go on.
    let two = json!([mount("/p", "proc"), mount("/dev", "tmpfs")]);
    run("proc/sys/net", "/p/self", two, "execute true");
    // In a proc, there is no place for a mount.
    let two = json!([mount("/proc", "proc"), mount("/out/missing", "tmpfs")]);
    fs::create_dir_all(root.join("out")).expect("make a directory");
    run("proc", "/out", two, "mount tmpfs on /out/missing");
}

/// The kernel copies no unbindable mount, and the caller can write to a read-only one later.
#[test]
fn a_program_on_an_unbindable_mount_runs_from_a_copy() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let found = place.dir.path().join("found");
    let look = format!("readlink /proc/$PPID/exe >{}", found.display());
    place.configure(&["true"], |config| {
        config["hooks"] =
            json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", look] }] });
    });
    let script = "mount --bind $0 $0 && mount -o remount,bind,ro $0 &&
        mount --make-unbindable $0 && exec $0 \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).arg(place.program());
    unshare.arg("--root").arg(place.dir.path().join("state")).args(["run", NAME]);
    let output = unshare.current_dir(place.dir.path()).output().expect("start unshare");
    assert!(output.status.success(), "{}", stderr(&output));
    let found = fs::read_to_string(found).expect("read");
    assert_eq!(found, "/memfd:program (deleted)\n");
}

#[test]
fn exec_does_not_take_another_process_for_the_container() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["sleep", "1000"], |_| ());
    place.does(&["run", "--detach", NAME]);
    let file = place.dir.path().join(format!("state/{NAME}/state.json"));
    let before = fs::read(&file).expect("read");
    let mut state: Value = serde_json::from_slice(&before).expect("JSON");
    // As if this process had the number now.
    let stat = fs::read_to_string("/proc/self/stat").expect("read");
    let time =
        stat.rsplit_once(") ").expect("a stat").1.split(' ').nth(19).expect("a time");
    state["pid"] = json!(std::process::id());
    state["startTime"] = json!(time.parse::<u64>().expect("a number"));
    // As before Linux 6.9.
    state["inode"] = Value::Null;
    fs::write(&file, state.to_string()).expect("write");
    let output = place.ask(&["exec", NAME, "echo", "out"]);
    fs::write(&file, before).expect("write");
    assert!(stderr(&output).contains("container not running"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_link_beside_the_pid_file_is_not_followed() {
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::write(&victim, "as it is").expect("write");
    symlink("victim", place.dir.path().join("pid.new")).expect("make a link");
    place.configure(&["true"], |_| ());
    let output = place.ask(&["run", "--pid-file", "pid", NAME]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&victim).expect("read"), "as it is");
    let pid = fs::read_to_string(place.dir.path().join("pid")).expect("read");
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
}

#[test]
fn a_hook_in_the_container_has_the_limits_of_the_command() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["true"], |config| {
        let script = "grep -E '^(NoNewPrivs|Seccomp|CapEff):' /proc/self/status >&2";
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        config["hooks"] = json!({ "startContainer": [hook] });
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"] });
        config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    });
    let said = stderr(&place.ask(&["run", NAME]));
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000020"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

/// A container with its own groups to write to can freeze a part of itself.
#[test]
fn a_group_that_the_container_has_frozen_is_removed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let script = "cd /sys/fs/cgroup; [ ! -d freezer ] || cd freezer; mkdir in; \
        sh -c 'echo $$ >in/cgroup.procs; exec sleep 1000' & \
        until grep -q . in/cgroup.procs; do :; done; \
        if [ -e in/freezer.state ]; then echo FROZEN >in/freezer.state; \
        else echo 1 >in/cgroup.freeze; fi; echo ready; exec sleep 1000";
    place.configure(&["sh", "-c", script], |config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|it| it["type"] != "cgroup");
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .push(mount("/sys/fs/cgroup", "cgroup"));
    });
    place.does(&["run", "--detach", NAME]);
    let out = place.dir.path().join("out");
    wait_until("it is frozen", || {
        fs::read_to_string(&out).is_ok_and(|said| said.contains("ready"))
    });
    let output = place.ask(&["delete", "--force", NAME]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// In v1, a process in the container can freeze the first one again and again.
#[test]
fn a_container_that_freezes_its_first_process_is_removed() {
    if !is_root() || !Path::new("/sys/fs/cgroup/freezer").exists() {
        skip("this needs root and the freezer of v1");
        return;
    }
    let script = "cd /sys/fs/cgroup/freezer; mkdir one; echo $$ >one/cgroup.procs; \
        echo ready; sleep 1000";
    let freezer = "cd /sys/fs/cgroup/freezer; echo; while :; do echo FROZEN >one/freezer.state; done";
    let place = Place::new();
    place.configure(&["sh", "-c", script], |config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.retain(|it| it["type"] != "cgroup");
        mounts.push(mount("/sys/fs/cgroup", "cgroup"));
    });
    // The one that freezes does not always win.
    for _ in 0..4 {
        place.does(&["run", "--detach", NAME]);
        for _ in 0..4 {
            place.does(&["exec", "--detach", NAME, "sh", "-c", freezer]);
        }
        testkit::procs::wait_until("it is frozen", || {
            let state = place.ask(&[
                "exec",
                "--ignore-paused",
                NAME,
                "cat",
                "/sys/fs/cgroup/freezer/one/freezer.state",
            ]);
            stdout(&state).starts_with("FR")
        });
        let output = place.ask(&["delete", "--force", NAME]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// More groups in each other than a path can name, and a frozen process in the last one.
#[test]
fn groups_that_no_path_can_name_are_removed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let script = "cd /sys/fs/cgroup; [ ! -d freezer ] || cd freezer; name=$(printf %0100d 0); \
        for i in $(seq 50); do mkdir $name && cd -P $name || exit 1; done; \
        sh -c 'echo $$ >cgroup.procs; exec sleep 1000' & \
        until grep -q . cgroup.procs; do :; done; \
        if [ -e freezer.state ]; then echo FROZEN >freezer.state; \
        else echo 1 >cgroup.freeze; fi; echo ready; exec sleep 1000";
    place.configure(&["sh", "-c", script], |config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .retain(|it| it["type"] != "cgroup");
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .push(mount("/sys/fs/cgroup", "cgroup"));
    });
    place.does(&["run", "--detach", NAME]);
    let out = place.dir.path().join("out");
    wait_until("it is deep", || {
        fs::read_to_string(&out).is_ok_and(|said| said.contains("ready"))
    });
    let output = place.ask(&["delete", "--force", NAME]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// The `delete` of a container that has ended ends all processes in its groups.
#[test]
fn a_container_takes_no_group_of_one_that_has_ended() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["true"], |_| {});
    place.does(&["run", "--keep", NAME]);
    let text = fs::read_to_string(place.dir.path().join("config.json")).expect("read");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let path = config["linux"]["cgroupsPath"].as_str().expect("a path");
    for path in [path, &format!("{path}/in")] {
        place.configure(&["sleep", "1000"], |config| {
            config["linux"]["cgroupsPath"] = json!(path);
        });
        // A container that is made would keep a pipe open.
        let file = place.dir.path().join("said");
        let err = File::create(&file).expect("make a file");
        let mut create = place.runtime(&["create", "other"]);
        let create = create.stdout(Stdio::null()).stderr(err).status();
        let is_made = create.expect("start the step").success();
        place.ask(&["delete", "--force", "other"]);
        let said = fs::read_to_string(file).expect("read");
        assert!(!is_made && said.contains("it belongs to the container guard"), "{said}");
    }
    let output = place.ask(&["delete", NAME]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Everybody can open a group, and then lock it.
#[test]
fn another_user_locks_no_new_group() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["sleep", "1000"], |_| {});
    let text = fs::read_to_string(place.dir.path().join("config.json")).expect("read");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let path = config["linux"]["cgroupsPath"].as_str().expect("a path");
    let all = fs::read_dir("/sys/fs/cgroup").expect("list").flatten();
    let all = all.map(|it| it.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    let groups: Vec<PathBuf> = all.map(|it| it.join(&path[1..])).collect();
    let is_over = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        scope.spawn(|| {
            // Of this thread alone.
            setfsuid(Uid::from_raw(65534));
            let mut locks: Vec<Option<File>> = groups.iter().map(|_| None).collect();
            while !is_over.load(Ordering::Relaxed) {
                for (group, lock) in groups.iter().zip(&mut locks) {
                    match File::open(group) {
                        Ok(open) if lock.is_some() => drop(open),
                        Ok(open) => *lock = open.try_lock().is_ok().then_some(open),
                        Err(_) => *lock = None,
                    }
                }
            }
        });
        let create = || {
            // A panic would not stop the other thread.
            let [create, _delete] = [&["create", NAME][..], &["delete", "--force", NAME]]
                .map(|it| {
                    place.runtime(it).stdout(Stdio::null()).stderr(Stdio::null()).status()
                });
            create.is_ok_and(|it| it.success())
        };
        let made = (0..20).filter(|_| create()).count();
        is_over.store(true, Ordering::Relaxed);
        made
    });
    assert_eq!(made, 20);
}

/// Each keeps its states in a directory of its own, and knows nothing of the other.
#[test]
fn two_that_begin_at_once_do_not_share_a_group() {
    if !is_root() {
        return;
    }
    let places = [Place::new(), Place::new()];
    places[0].configure(&["sleep", "1000"], |_| {});
    let config = fs::read(places[0].dir.path().join("config.json")).expect("read");
    fs::write(places[1].dir.path().join("config.json"), config).expect("write");
    for _ in 0..40 {
        let begun = places.each_ref().map(|place| {
            let mut create = place.runtime(&["create", NAME]);
            create.stdout(Stdio::null()).stderr(Stdio::null());
            create.spawn().expect("start the step")
        });
        let both = begun.map(|mut it| it.wait().expect("wait").success());
        for place in &places {
            place.ask(&["delete", "--force", NAME]);
        }
        // The first one may have ended its `create` before.
        assert_eq!(both.iter().filter(|made| **made).count(), 1);
    }
}

/// Without a PID namespace, processes outlive the first one, and have its terminal.
#[test]
fn a_process_that_is_left_does_not_hold_run() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["sh", "-c", "trap '' HUP; sleep 1234 & exit 3"], |config| {
        config["process"]["terminal"] = json!(true);
        let kinds = ["mount", "uts", "ipc", "network"];
        config["linux"]["namespaces"] = json!(kinds.map(|it| json!({ "type": it })));
    });
    let mut run = place.runtime(&["run", NAME]);
    let (sender, receiver) = channel();
    thread::spawn(move || sender.send(run.output().expect("start the step")));
    let output = receiver.recv_timeout(Duration::from_secs(30)).expect("it ends");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_log_in_a_directory_of_others_is_a_file() {
    let place = Place::new();
    let (shared, victim) = (place.shared(), place.dir.path().join("victim"));
    symlink("../victim", shared.join("link")).expect("make a link");
    symlink("victim", place.dir.path().join("link")).expect("make a link");
    fs::write(shared.join("file"), "").expect("write");
    let log = |path: &str| {
        let (status, said) = place.ends(&["--log", path, "state", "missing"]);
        assert_eq!(status, Some(1), "{path}: {said}");
        assert!(said.contains("the container missing: it does not exist"), "{said}");
        said.lines().skip(1).collect::<String>()
    };
    let is_told =
        |said: &str| said.contains("level=error msg=\"find the container missing");
    assert!(log("shared/fifo").contains("write to shared/fifo: "));
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let reader = open(&shared.join("fifo"), flags, Mode::empty()).expect("open the FIFO");
    assert!(log("shared/fifo").contains("write to shared/fifo: it is not a file"));
    drop(reader);
    assert!(log("shared/link").contains("write to shared/link: "));
    assert!(!victim.exists());
    for (path, file) in [("shared/file", shared.join("file")), ("link", victim)] {
        assert_eq!(log(path), "");
        assert!(is_told(&fs::read_to_string(file).expect("read")), "{path}");
    }
    assert!(is_told(&log("/dev/stderr")));
    assert_eq!(log("/dev/null"), "");
}

#[test]
fn a_container_with_an_odd_name_is_found() {
    let place = Place::new();
    let script = r"printf '\377) ' >/proc/$$/comm; sleep 1000; :";
    place.configure(&["sh", "-c", script], |_| ());
    place.does(&["run", "--detach", NAME]);
    let id = place.state("pid").as_i64().expect("a number");
    let comm = || fs::read(format!("/proc/{id}/comm")).expect("a name");
    wait_until("it has its name", || comm() == b"\xff) \n");
    assert_eq!(place.state("status"), "running");
    let output = place.ask(&["kill", NAME, "KILL"]);
    assert!(output.status.success(), "{}", stderr(&output));
    wait_until("it has stopped", || place.state("status") == "stopped");
}

#[test]
fn a_link_of_others_on_the_way_to_a_file_is_not_followed() {
    let place = Place::new();
    place.configure(&["true"], |_| ());
    let (shared, far) = (place.shared(), place.dir.path().join("far"));
    fs::create_dir(&far).expect("make a directory");
    // A user can put a link in a directory for all, also in a sticky one.
    for (dir, owner) in [(&*shared, None), (place.dir.path(), Some(65533))] {
        let link = dir.join("way");
        symlink(&far, &link).expect("make a link");
        if owner.is_some() && !is_root() {
            continue;
        }
        lchown(&link, owner, None).expect("give it away");
        let file = link.join("file").display().to_string();
        let (_, said) = place.ends(&["--log", &file, "state", "missing"]);
        assert!(said.contains(&format!("write to {file}: ")), "{said}");
        let (status, said) = place.ends(&["run", "--pid-file", &file, NAME]);
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(&format!("make the file {file}: ")), "{said}");
        assert!(said.contains("so another user can change what is below it"), "{said}");
    }
    assert_eq!(fs::read_dir(&far).expect("list").count(), 0);
    // Without a link, it is as good as the directory.
    let (status, said) = place.ends(&["run", "--pid-file", "shared/pid", NAME]);
    assert_eq!(status, Some(0), "{said}");
    assert!(shared.join("pid").exists());
}

#[test]
fn a_socket_that_nobody_serves_holds_no_container() {
    let place = Place::new();
    let shared = place.shared();
    place.configure(&["true"], |config| config["process"]["terminal"] = json!(true));
    // One connection waits already.
    let full = shared.join("full");
    let listener = UnixListener::bind(&full).expect("a socket");
    listen(&listener, Backlog::new(0).expect("a number")).expect("listen");
    let _waits = UnixStream::connect(&full).expect("connect");
    for (socket, why) in [("fifo/sock", "Not a directory"), ("full", "nobody accepts it")]
    {
        let socket = format!("shared/{socket}");
        let create = ["create", "--console-socket", &socket, NAME];
        let (status, said) = place.ends(&create);
        let doing = format!("send the terminal to {socket}: ");
        let is_told = said.contains(&doing) && said.contains(why);
        assert!(status == Some(1) && is_told && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_not_waited_for() {
    let place = Place::new();
    place.shared();
    place.configure(&["sleep", "1000"], |_| ());
    place.does(&["run", "--detach", NAME]);
    for words in
        [&["update", "-r", "shared/fifo", NAME][..], &["exec", "-p", "shared/fifo", NAME]]
    {
        let (_, said) = place.ends(words);
        assert!(said.contains("read shared/fifo: it is not a file"), "{words:?}: {said}");
    }
    // A pipe of the caller is another thing.
    let process =
        json!({ "args": ["echo", "in"], "cwd": "/", "env": ["PATH=/bin:/usr/bin"] });
    let script =
        format!("echo '{process}' | \"$0\" --root state exec -p /dev/fd/0 {NAME}");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(place.program()).current_dir(place.dir.path());
    let output = shell.output().expect("start a shell");
    assert_eq!(stdout(&output), "in", "{}", stderr(&output));
}

/// The first process of the container ends only when its parent has waited for a process that
/// has entered. So both verbs are at the same place, and go on together.
#[test]
fn a_container_is_deleted_twice_at_once() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.configure(&["sleep", "1000"], |_| ());
    place.does(&["run", "--detach", NAME]);
    let mut exec = place.runtime(&["exec", NAME, "sh", "-c", "echo in; exec sleep 1001"]);
    let out = File::create(place.dir.path().join("in")).expect("make a file");
    let mut exec = exec.stdout(out).spawn().expect("start the step");
    let is_in =
        || fs::read(place.dir.path().join("in")).is_ok_and(|said| !said.is_empty());
    wait_until("it is in", is_in);
    Proc::of(&exec).kill(Signal::SIGSTOP);
    let mut both = [(); 2].map(|()| {
        let mut delete = place.runtime(&["delete", "--force", NAME]);
        delete.stderr(Stdio::piped()).spawn().expect("start the step")
    });
    for delete in both.each_ref().map(Proc::of) {
        wait_until("it waits for the end", || {
            let mut files = delete.descriptors().into_iter();
            files.any(|(_, file)| file.to_string_lossy().contains("pidfd"))
        });
    }
    Proc::of(&exec).kill(Signal::SIGCONT);
    let both = both.each_mut().map(end_of);
    assert!(both.iter().all(|status| status.success()), "{both:?}");
    end_of(&mut exec);
    // And wherever they meet.
    for _ in 0..20 {
        place.does(&["run", "--detach", NAME]);
        let mut both = [(); 2].map(|()| {
            place.runtime(&["delete", "--force", NAME]).spawn().expect("start the step")
        });
        let both = both.each_mut().map(end_of);
        assert!(both.iter().all(|status| status.success()), "{both:?}");
    }
    assert!(!place.dir.path().join("state").join(NAME).exists());
}
