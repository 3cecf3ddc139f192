//! Lesson 19: what enters a container that runs, and what changes it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::procs::{Proc, end_of, wait_until};
use testkit::{Scratches, bin, is_root, rootfs, skip, stderr, stdout, tempdir};

/// A container that sleeps, and is removed in the end.
struct Container {
    dir: Scratches,
}

const NAME: &str = "one";

impl Container {
    fn start(edit: impl FnOnce(&mut Value)) -> Container {
        let made = Container { dir: tempdir() };
        let bundle = made.dir.path();
        assert!(made.ask(&["spec", "--bundle", "."]).status.success());
        let text = fs::read_to_string(bundle.join("config.json")).expect("read");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["root"]["path"] = json!(rootfs());
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sleep", "1000"]);
        if is_root() {
            let id = std::process::id();
            let place =
                bundle.file_name().expect("a name").to_string_lossy().into_owned();
            config["linux"]["cgroupsPath"] = json!(format!("/enter-{id}-{place}"));
        }
        edit(&mut config);
        fs::write(bundle.join("config.json"), config.to_string()).expect("write");
        let out = File::create(bundle.join("out")).expect("make a file");
        let both = [out.try_clone().expect("copy"), out];
        let [out, err] = both.map(Stdio::from);
        let mut run = made.runtime(&["run", "-d", NAME]);
        let ran = run.stdin(Stdio::null()).stdout(out).stderr(err).status();
        let said = || fs::read_to_string(bundle.join("out")).unwrap_or_default();
        assert!(ran.expect("start the step").success(), "{}", said());
        made
    }

    fn runtime(&self, words: &[&str]) -> Command {
        let mut step = Command::new(bin("step19-runtime"));
        step.current_dir(self.dir.path())
            .arg("--root")
            .arg(self.dir.path().join("state"));
        step.args(words);
        step
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.runtime(words).stdin(Stdio::null()).output().expect("start the step")
    }

    /// What a command in the container prints.
    fn exec(&self, words: &[&str]) -> String {
        let output = self.ask(&[&["exec"], words].concat());
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output).trim_end().to_owned()
    }

    /// The error of a call that fails with this status.
    fn fails(&self, status: i32, words: &[&str]) -> String {
        let output = self.ask(words);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {}", stderr(&output));
        stderr(&output)
    }

    /// A field of the state.
    fn state(&self, field: &str) -> Value {
        let state = self.ask(&["state", NAME]);
        let state: Value = serde_json::from_slice(&state.stdout).expect("JSON");
        state[field].clone()
    }

    /// Starts a command that goes on, and returns it.
    fn detach(&self, words: &[&str]) -> Proc {
        let mut exec =
            self.runtime(&[&["exec", "-d", "--pid-file", "id", NAME], words].concat());
        let status = exec.stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(status.expect("start the step").success());
        let number =
            fs::read_to_string(self.dir.path().join("id")).expect("read the number");
        Proc(number.parse().expect("a number"))
    }

    /// A file of the group with this controller, in v1 or v2.
    fn group(&self, controller: &str, files: [&str; 2]) -> PathBuf {
        let id = self.state("pid");
        let groups = fs::read_to_string(format!("/proc/{id}/cgroup")).expect("read");
        let all = PathBuf::from("/sys/fs/cgroup");
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) =
                (fields.next().expect("names"), fields.next().expect("a path"));
            if names.split(',').any(|it| it == controller) {
                return all.join(controller).join(&path[1..]).join(files[0]);
            }
            if names.is_empty() && all.join("cgroup.controllers").exists() {
                return all.join(&path[1..]).join(files[1]);
            }
        }
        panic!("no group of {controller} in {groups}");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.ask(&["delete", "--force", NAME]);
    }
}

const NAMES: &str =
    "for kind in ipc mnt net pid uts user; do readlink /proc/$0/ns/$kind; done";

#[test]
fn a_command_enters_all_namespaces_and_groups() {
    let container = Container::start(|_| {});
    let of = |id: &str| container.exec(&[NAME, "sh", "-c", NAMES, id]);
    assert_eq!(of("1"), of("self"));
    let groups = |id: &str| container.exec(&[NAME, "cat", &format!("/proc/{id}/cgroup")]);
    assert_eq!(groups("1"), groups("self"));
    let limits = |id: &str| {
        let file = format!("/proc/{id}/status");
        container.exec(&[
            NAME,
            "grep",
            "-E",
            "^(Cap|NoNew|Seccomp:|Groups|Uid|Gid)",
            &file,
        ])
    };
    assert_eq!(limits("1"), limits("self"));
    container.fails(7, &["exec", NAME, "sh", "-c", "exit 7"]);
    container.fails(128 + 15, &["exec", NAME, "sh", "-c", "kill -TERM $$"]);
}

#[test]
fn the_options_change_the_process_of_the_container() {
    let container = Container::start(|config| {
        config["process"]["env"] = json!(["PATH=/usr/bin:/bin", "A=a", "B=b"]);
    });
    let script = "pwd; echo $A $B $C";
    let options =
        ["--cwd", "/etc", "--env", "B=other", "-e", "C=c", NAME, "sh", "-c", script];
    assert_eq!(container.exec(&options), "/etc\na other c");
    // A program may take the first of two.
    let all = container.exec(&["--env", "B=other", NAME, "env"]);
    assert_eq!(
        all.lines().filter(|it| it.starts_with("B=")).collect::<Vec<_>>(),
        ["B=other"]
    );
    let free = container
        .exec(&["--cap", "CAP_NET_RAW", NAME, "grep", "CapEff", "/proc/self/status"]);
    let bound = container.exec(&[NAME, "grep", "CapEff", "/proc/self/status"]);
    assert_ne!(free, bound);
    if is_root() {
        let options = ["--user", "7:8", "--additional-gids", "9", NAME, "sh", "-c"];
        let ids = container.exec(&[&options[..], &["id -u; id -g; id -G"]].concat());
        assert_eq!(ids, "7\n8\n8 9");
        // The pipe is the user's, too.
        let again =
            container.exec(&["--user", "7", NAME, "sh", "-c", "echo again >/dev/stdout"]);
        assert_eq!(again, "again");
    }
    // A user may raise it, too.
    let other = json!({ "args": ["sh", "-c", "cat /proc/self/oom_score_adj; grep Cpus_allowed_list /proc/self/status"],
        "cwd": "/", "env": ["PATH=/bin:/usr/bin"], "oomScoreAdj": 789, "execCPUAffinity": { "final": "0" } });
    fs::write(container.dir.path().join("process.json"), other.to_string())
        .expect("write");
    let other = container.exec(&["--process", "process.json", NAME]);
    assert_eq!(other, "789\nCpus_allowed_list:\t0");
    // Another process stands alone.
    let other = json!({ "args": ["sh", "-c", script], "cwd": "/usr", "env": ["PATH=/bin", "A=x"] });
    fs::write(container.dir.path().join("process.json"), other.to_string())
        .expect("write");
    let other = container.ask(&["exec", "--process", "process.json", NAME, "unused"]);
    assert_eq!(stdout(&other), "/usr\nx");
    let error = container.fails(255, &["exec", "--process", "out", NAME]);
    assert!(error.contains("read out"), "{error}");
    let other = "{\n \"argv\": [] }";
    fs::write(container.dir.path().join("process.json"), other).expect("write");
    let error = container.fails(255, &["exec", "--process", "process.json", NAME]);
    assert!(error.contains("the field argv is not done here: line 2 column"), "{error}");
    for (option, word, said) in [
        ("--cap", "CAP_X", "read --cap: no variant for CAP_X"),
        ("--user", "7:x", "use the ID x: give a number"),
        // For the kernel, it stands for no change: root would stay root.
        ("--user", "4294967295", "use the ID 4294967295: the number 4294967295 is too"),
        ("--user", "7:4294967295", "use the ID 4294967295: the number 4294967295 is too"),
        ("--additional-gids", "4294967295", "use the ID 4294967295: the number"),
        ("--preserve-fds", "60", "--preserve-fds 60: the descriptor "),
        ("--cwd", "etc", "process.cwd must begin with /"),
    ] {
        let error = container.fails(255, &["exec", option, word, NAME, "true"]);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_command_that_goes_on_has_no_process_of_the_runtime_above_it() {
    let container = Container::start(|_| {});
    let command = container.detach(&["sleep", "1001"]);
    assert_eq!(command.words(), ["sleep", "1001"], "it was not executed");
    let first = container.state("pid").as_i64().expect("a number");
    let first = Proc(i32::try_from(first).expect("a number"));
    assert_eq!(command.parent(), first.parent());
    assert!(command.descriptors().iter().all(|(number, _)| *number < 3));
    command.kill(Signal::SIGKILL);
}

#[test]
fn a_missing_command_is_an_error_of_exec_also_when_detached() {
    let container = Container::start(|_| {});
    for detach in [&[][..], &["--detach"]] {
        let words = |command| [&["exec"], detach, &[NAME, command]].concat();
        let error = container.fails(255, &words("missing"));
        assert!(error.contains("executable file not found in $PATH"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        container.fails(255, &words("/etc/passwd"));
    }
    let error = container.fails(255, &["exec", "other", "true"]);
    assert!(error.contains("container other") && error.contains("not exist"), "{error}");
}

/// Looks for processes that have not executed their command, and reaches for their files.
const WATCH: &str = "
    while :; do for it in /proc/[0-9]*; do
        name=; read -r name <$it/comm
        case $name in step19*) echo seen ;; *) continue ;; esac
        for file in $it/exe $it/cwd $it/root $it/fd/*; do
            [ -e $file ] || continue
            # Has it executed its command meanwhile?
            read -r name <$it/comm
            case $name in step19*) echo reached $file $(readlink $file) ;; esac
        done
    done; done 2>/dev/null";

#[test]
fn a_container_that_watches_gets_nothing_of_a_process_that_enters() {
    let container = Container::start(|config| {
        config["process"]["args"] = json!(["sh", "-c", WATCH]);
        // Root of a user namespace, which may trace processes there.
        if is_root() {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
            let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
            list.push(json!({ "type": "user" }));
        }
        for set in ["bounding", "effective", "permitted"] {
            let list =
                config["process"]["capabilities"][set].as_array_mut().expect("a list");
            list.push(json!("CAP_SYS_PTRACE"));
        }
    });
    let log = || fs::read_to_string(container.dir.path().join("out")).expect("read");
    wait_until("a sight of some processes that enter", || {
        container.exec(&[NAME, "true"]);
        log().matches("seen").count() > 20
    });
    let log = log();
    let reached: Vec<&str> = log.lines().filter(|it| it.starts_with("reached")).collect();
    assert!(reached.is_empty(), "{reached:?}");
}

/// Whether this user can give a container a control group. If not, says so.
fn has_groups() -> bool {
    is_root() || skip("only root makes control groups here")
}

#[test]
fn a_container_that_is_paused_stands_still() {
    if !has_groups() {
        return;
    }
    let container = Container::start(|config| {
        config["process"]["args"] =
            json!(["sh", "-c", "while :; do echo tick; sleep 0.01; done"]);
    });
    let ticks = || fs::metadata(container.dir.path().join("out")).expect("look").len();
    wait_until("a first tick", || ticks() > 0);
    assert!(container.fails(1, &["resume", NAME]).contains("not paused"));
    assert!(container.ask(&["pause", NAME]).status.success());
    assert_eq!(container.state("status"), "paused");
    let before = ticks();
    for _ in 0..20 {
        assert_eq!(
            container.ask(&["ps", "--format", "json", NAME]).status.code(),
            Some(0)
        );
    }
    assert_eq!(ticks(), before);
    assert!(container.fails(1, &["pause", NAME]).contains("not running"));
    let error = container.fails(255, &["exec", NAME, "true"]);
    assert!(error.contains("cannot exec in a paused container"), "{error}");
    let mut newcomer =
        container.runtime(&["exec", "--ignore-paused", NAME, "echo", "in"]);
    let newcomer = newcomer.stdout(Stdio::piped()).spawn().expect("start the step");
    assert!(container.ask(&["resume", NAME]).status.success());
    assert_eq!(container.state("status"), "running");
    wait_until("a tick", || ticks() > before);
    assert_eq!(stdout(&newcomer.wait_with_output().expect("wait")), "in");
    assert!(container.ask(&["kill", NAME, "KILL"]).status.success());
    wait_until("the end", || container.state("status") == "stopped");
    let error = container.fails(255, &["exec", NAME, "true"]);
    assert!(error.contains("cannot exec a container that has stopped"), "{error}");
}

#[test]
fn sigkill_ends_a_container_that_is_paused() {
    if !has_groups() {
        return;
    }
    for kill in [&["kill", NAME, "KILL"][..], &["kill", "--all", NAME, "9"]] {
        let container = Container::start(|_| {});
        assert!(container.ask(&["pause", NAME]).status.success());
        assert!(container.ask(kill).status.success());
        wait_until("the end", || container.state("status") == "stopped");
    }
}

/// Each process has a descriptor while it gets the signal.
#[test]
fn a_signal_reaches_more_processes_than_the_caller_may_open() {
    if !has_groups() {
        return;
    }
    let many = "for i in $(seq 80); do sleep 1000 & done; wait; exec sleep 1000";
    let container =
        Container::start(|config| config["process"]["args"] = json!(["sh", "-c", many]));
    let count = || {
        let shown = container.ask(&["ps", "--format", "json", NAME]);
        serde_json::from_slice::<Vec<i32>>(&shown.stdout).expect("JSON").len()
    };
    wait_until("all run", || count() == 81);
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -Sn 30; exec \"$@\"", "sh"]);
    let kill = container.runtime(&["kill", "--all", NAME, "TERM"]);
    few.arg(kill.get_program()).args(kill.get_args());
    let done = few.current_dir(container.dir.path()).output().expect("start a shell");
    assert!(done.status.success(), "{}", stderr(&done));
    // Process 1 has no action for it.
    wait_until("the others end", || count() == 1);
}

#[test]
fn ps_shows_the_processes_as_the_host_sees_them() {
    if !has_groups() {
        let error = Container::start(|_| {}).fails(1, &["ps", NAME]);
        assert!(error.contains("has no control group of its own"), "{error}");
        return;
    }
    let container = Container::start(|_| {});
    let other = container.detach(&["sleep", "1002"]);
    let list = stdout(&container.ask(&["ps", "-f", "json", NAME]));
    let list: Vec<i64> = serde_json::from_str(&list).expect("a list of numbers");
    let mut both =
        vec![container.state("pid").as_i64().expect("a number"), other.0.into()];
    both.sort_unstable();
    assert_eq!(list, both);
    let table = stdout(&container.ask(&["ps", NAME, "-o", "pid,args"]));
    let lines: Vec<&str> = table.lines().map(str::trim_start).collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(
        lines[0].starts_with("PID") && table.contains(&format!("{} sleep 1002", other.0))
    );
    assert!(container.fails(1, &["ps", NAME, "-o", "args"]).contains("no column PID"));
    other.kill(Signal::SIGKILL);
}

#[test]
fn limits_change_together_or_not_at_all() {
    if !has_groups() {
        return;
    }
    let container = Container::start(|config| {
        config["linux"]["resources"]["memory"] =
            json!({ "limit": 32 << 20, "swap": 40 << 20 });
        config["linux"]["resources"]["pids"] = json!({ "limit": 30 });
    });
    let read = |controller, files| {
        let text = fs::read_to_string(container.group(controller, files)).expect("read");
        text.trim_end().to_owned()
    };
    let memory = || read("memory", ["memory.limit_in_bytes", "memory.max"]);
    let pids = || read("pids", ["pids.max", "pids.max"]);
    assert_eq!((memory(), pids()), ((32 << 20).to_string(), "30".to_owned()));
    // Up and down: each limit must sometimes be written first.
    for (limit, swap) in [(100, 120), (20, 30), (60, 60)] {
        let words = [format!("--memory={limit}m"), format!("--memory-swap={swap}M")];
        let changed = container.ask(&["update", &words[0], &words[1], NAME]);
        assert!(changed.status.success(), "{}", stderr(&changed));
        assert_eq!(memory(), (limit << 20).to_string());
    }
    fs::write(
        container.dir.path().join("limits"),
        // As dockerd writes it.
        json!({ "memory": { "limit": 0, "reservation": 0, "kernel": 0 }, "pids": { "limit": 40 },
            "cpu": { "shares": 0, "cpus": "" }, "blockIO": { "weight": 0 } })
            .to_string(),
    )
    .expect("write");
    assert!(container.ask(&["update", "--resources", "limits", NAME]).status.success());
    assert_eq!((memory(), pids()), ((60 << 20).to_string(), "40".to_owned()));
    assert!(container.ask(&["update", "--cpu-idle", "1", NAME]).status.success());
    assert_eq!(read("cpu", ["cpu.idle"; 2]), "1");
    // No processor has this number.
    let words = [
        "update", "--pids-limit", "50", "--memory", "50m", "--cpuset-cpus", "9999", NAME,
    ];
    let error = container.fails(1, &words);
    assert!(error.contains("9999") && error.contains("cpuset.cpus"), "{error}");
    assert_eq!((memory(), pids()), ((60 << 20).to_string(), "40".to_owned()));
    for (wrong, said) in [
        (json!([]), "no object"),
        (json!({ "memory": 5 }), "no object"),
        (json!({ "memory": { "limits": 5 } }), "limits"),
        (json!({ "devices": [{ "allow": true }] }), "devices"),
        (
            json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } }),
            "higher limit",
        ),
    ]
    .map(|(wrong, said)| (wrong.to_string(), said))
    .into_iter()
    .chain([(r#"{ "pids": { "limit": 7 }, "pids": {} }"#.to_owned(), "field `pids`")])
    {
        fs::write(container.dir.path().join("limits"), &wrong).expect("write");
        let error = container.fails(1, &["update", "-r", "limits", NAME]);
        assert!(error.contains(said) && error.lines().count() == 1, "{wrong}: {error}");
    }
    let enough = json!({ "memory": { "limit": 60 << 20, "checkBeforeUpdate": true } });
    fs::write(container.dir.path().join("limits"), enough.to_string()).expect("write");
    let changed = container.ask(&["update", "-r", "limits", NAME]);
    assert!(changed.status.success(), "{}", stderr(&changed));
}

/// serde takes a list of the fields for an object, too.
#[test]
fn a_list_in_the_place_of_an_object_is_no_panic() {
    if !has_groups() {
        return;
    }
    let container = Container::start(|config| {
        config["process"]["user"] = json!([0, 0, 18, []]);
        let linux = &config["linux"];
        let (namespaces, group) = (&linux["namespaces"], &linux["cgroupsPath"]);
        config["linux"] = json!([namespaces, [], [], {}, [], group]);
    });
    assert_eq!(container.exec(&["--user", "5", NAME, "id", "-u"]), "5");
    let changed = container.ask(&["update", "--pids-limit", "20", NAME]);
    assert!(changed.status.success(), "{}", stderr(&changed));
}

#[test]
fn events_say_what_a_container_uses_and_wants_too_much() {
    if !has_groups() {
        return;
    }
    let container = Container::start(|config| {
        config["linux"]["resources"]["memory"] =
            json!({ "limit": 32 << 20, "swap": 32 << 20 });
        config["linux"]["resources"]["pids"] = json!({ "limit": 30 });
    });
    let said = stdout(&container.ask(&["events", "--stats", NAME]));
    assert!(said.starts_with(r#"{"type":"stats","id":"one","data":{"#), "{said}");
    let said: Value = serde_json::from_str(&said).expect("a line of JSON");
    let data = &said["data"];
    assert_eq!(data["pids"], json!({ "current": 1, "limit": 30 }));
    assert_eq!(data["memory"]["usage"]["limit"], 32 << 20);
    assert!(data["cpu"]["usage"]["total"].as_u64().expect("a number") > 0, "{data}");
    let log = File::create(container.dir.path().join("log")).expect("make a file");
    let mut events = container.runtime(&["events", "--interval", "20ms", NAME]);
    let mut events = events.stdout(log).spawn().expect("start the step");
    let log = || fs::read_to_string(container.dir.path().join("log")).expect("read");
    wait_until("a line", || log().contains("stats"));
    let greedy = ["exec", NAME, "sh", "-c", "tail /dev/zero"];
    assert_eq!(container.ask(&greedy).status.code(), Some(137));
    wait_until("an event", || log().contains("{\"type\":\"oom\",\"id\":\"one\"}\n"));
    assert!(container.ask(&["kill", NAME, "KILL"]).status.success());
    assert!(end_of(&mut events).success());
}

/// A process of the container can open the terminal of another command, and keep it.
#[test]
fn a_terminal_that_others_hold_ends_with_its_command() {
    for is_quiet in [true, false] {
        let container = Container::start(|config| {
            let script = "cd /dev/shm; until [ -e go ]; do sleep 0.01; done; \
                exec 3<>/dev/pts/0; : >held";
            let rest = if is_quiet { "exec sleep 1000" } else { "exec yes >&3" };
            config["process"]["args"] = json!(["sh", "-c", format!("{script}; {rest}")]);
        });
        let script = "cd /dev/shm; : >go; until [ -e held ]; do sleep 0.01; done; \
            seq 20000; echo last; exit 3";
        let said = container.dir.path().join("said");
        let out = File::create(&said).expect("make a file");
        let mut exec = container.runtime(&["exec", "-t", NAME, "sh", "-c", script]);
        let mut exec = exec.stdin(Stdio::null()).stdout(out).spawn().expect("start it");
        assert_eq!(end_of(&mut exec).code(), Some(3));
        let said = fs::read_to_string(said).expect("read");
        let end = if is_quiet { "\r\n20000\r\nlast\r\n" } else { "last\r\n" };
        assert!(said.contains(end), "{is_quiet}: {:?}", said.get(said.len() - 200..));
    }
}

/// An engine may write the limits slowly, or never.
#[test]
fn a_wait_for_new_limits_locks_no_container() {
    let container = Container::start(|_| {});
    let mut update = container.runtime(&["update", "-r", "/dev/stdin", NAME]);
    let update = update.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut update = update.spawn().expect("start the step");
    let open = Proc::of(&update);
    wait_until("it reads", || {
        let files = open.descriptors();
        let stdin = files.first().map(|(_, file)| file.clone());
        files.into_iter().any(|(number, file)| number > 2 && Some(file) == stdin)
    });
    // It needs the lock, also when it fails without a group.
    let mut pause = container.runtime(&["pause", NAME]);
    let mut pause = pause.stderr(Stdio::null()).spawn().expect("start the step");
    assert_eq!(end_of(&mut pause).success(), is_root());
    drop(update.stdin.take());
    assert_eq!(end_of(&mut update).code(), Some(1));
}

#[test]
fn nobody_needs_to_look_at_the_processors() {
    const NUMBER: u32 = 0;
    let at = |code: u32, k, jt| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let answer = |it| at(libc::BPF_RET | libc::BPF_K, it, 0);
    // As with more processors than a list of the step has bits.
    let filter = [
        at(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER, 0),
        at(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            libc::SYS_sched_getaffinity as u32,
            1,
        ),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
    ];
    let container = Container::start(|_| {});
    // Each thread has filters of its own, and so have the programs that it starts.
    std::thread::scope(|scope| {
        let look = scope.spawn(|| {
            nix::sys::prctl::set_no_new_privs().expect("set no_new_privs");
            common::set_filter(&filter).expect("set a filter");
            let words = [&["exec", NAME, "true"][..], &["--debug", "exec", NAME, "true"]];
            words.map(|words| container.ask(words))
        });
        for output in look.join().expect("no panic") {
            assert!(output.status.success(), "{}", stderr(&output));
        }
    });
}
