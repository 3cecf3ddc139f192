//! Lesson 19: the life of a container, as an engine asks for it.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::procs::wait_until;
use testkit::{
    Scratches, bin, is_one_line, is_root, rootfs, skip, stderr, stdout, tempdir,
};

const STEP: &str = "step19-runtime";

/// A bundle, and a directory for its containers. They are removed in the end.
struct Bundle(Scratches);

impl Bundle {
    fn new(script: &str, edit: impl FnOnce(&mut Value)) -> Bundle {
        let bundle = Bundle(tempdir());
        assert!(bundle.ask(&["spec"]).status.success());
        let text = fs::read_to_string(bundle.at("config.json")).expect("read");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["root"]["path"] = json!(rootfs());
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        if is_root() {
            config["linux"]["cgroupsPath"] = json!(bundle.group());
        }
        edit(&mut config);
        fs::write(bundle.at("config.json"), config.to_string()).expect("write");
        bundle
    }

    fn at(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// A control group for this bundle alone. It is used only as root.
    fn group(&self) -> String {
        let name = self.0.path().file_name().expect("a name").display().to_string();
        format!("/life-{}-{name}", std::process::id())
    }

    fn runtime(&self, words: &[&str]) -> Command {
        let mut step = Command::new(bin(STEP));
        step.current_dir(self.0.path()).stdin(Stdio::null());
        step.arg("--root").arg(self.at("state")).args(words);
        step
    }

    /// Output goes to files: a pipe would stay open in a container that waits.
    fn ask(&self, words: &[&str]) -> Output {
        let mut step = self.runtime(words);
        let [out, err] = ["out", "err"].map(|name| {
            let file = fs::File::options().append(true).create(true).open(self.at(name));
            file.expect("open a file")
        });
        let [seen_out, seen_err] = ["out", "err"].map(|name| self.read(name).len());
        let status = step.stdout(out).stderr(err).status().expect("start the step");
        let [stdout, stderr] = [("out", seen_out), ("err", seen_err)]
            .map(|(name, from)| self.read(name).as_bytes()[from..].to_vec());
        Output { status, stdout, stderr }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.at(file)).unwrap_or_default()
    }

    #[track_caller]
    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// The error of a call that fails.
    #[track_caller]
    fn fails(&self, words: &[&str]) -> String {
        let output = self.ask(words);
        let said = stderr(&output);
        assert!(
            !output.status.success() && is_one_line(STEP, &said),
            "{words:?}: {said}"
        );
        said
    }

    fn state(&self, name: &str) -> Value {
        serde_json::from_str(&self.succeeds(&["state", name])).expect("JSON")
    }

    #[track_caller]
    fn becomes(&self, name: &str, status: &str) {
        wait_until(status, || self.state(name)["status"] == status);
    }

    /// What is left of containers: directories, groups, and processes of the runtime.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for entry in fs::read_dir(self.at("state")).into_iter().flatten().flatten() {
            left.push(entry.path().display().to_string());
        }
        let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let groups = groups.map(|it| it.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
        let groups =
            groups.map(|it| it.join(&self.group()[1..])).filter(|it| it.exists());
        left.extend(groups.map(|it| it.display().to_string()));
        let state = self.at("state").display().to_string();
        for process in fs::read_dir("/proc").expect("list").flatten() {
            let words = fs::read_to_string(process.path().join("cmdline"));
            let words = words.unwrap_or_default();
            let is_over = fs::read_to_string(process.path().join("stat"))
                .is_ok_and(|stat| stat.contains(") Z "));
            left.extend((words.contains(&state) && !is_over).then_some(words));
        }
        left
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.at("state")).into_iter().flatten().flatten() {
            let name = entry.file_name().display().to_string();
            drop(self.ask(&["delete", "--force", &name]));
        }
    }
}

#[test]
fn a_container_is_created_started_and_deleted() {
    let bundle = Bundle::new("echo begun; exit 3", |_| {});
    let missing = bundle.fails(&["state", "one"]);
    assert!(missing.contains("does not exist"), "{missing}");
    assert_eq!(bundle.succeeds(&["create", "--pid-file", "pid", "one"]), "");
    let state = bundle.state("one");
    assert_eq!(state["status"], "created");
    assert_eq!(bundle.read("pid"), state["pid"].to_string());
    assert_eq!(state["bundle"], json!(bundle.0.path()));
    let taken = bundle.fails(&["create", "one"]);
    assert!(taken.contains("already exists"), "{taken}");
    // Not only the error: nothing happens to it.
    let refused = bundle.fails(&["delete", "one"]);
    assert!(refused.contains("it is created, and not stopped"), "{refused}");
    assert_eq!(bundle.state("one"), state);
    // What an engine changes now is for the next container.
    fs::write(bundle.at("config.json"), "{}").expect("write");
    bundle.succeeds(&["start", "one"]);
    wait_until("the command", || bundle.read("out").contains("begun"));
    let again = bundle.fails(&["start", "one"]);
    assert!(again.contains("only a created container can be started"), "{again}");
    bundle.becomes("one", "stopped");
    let gone = bundle.fails(&["kill", "one"]);
    assert!(gone.contains("container not running"), "{gone}");
    bundle.succeeds(&["delete", "one"]);
    assert!(bundle.fails(&["delete", "one"]).contains("does not exist"));
    bundle.succeeds(&["delete", "--force", "one"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_signal_has_a_name_or_a_number() {
    let script = "trap 'echo usr' USR1; trap 'echo rt' 37; trap 'exit 4' TERM; \
                  echo begun; while :; do sleep 0.1; done";
    let bundle = Bundle::new(script, |_| {});
    bundle.succeeds(&["create", "one"]);
    bundle.succeeds(&["start", "one"]);
    wait_until("the command", || bundle.read("out").contains("begun"));
    for (signal, word) in [("USR1", "usr"), ("SIGUSR1", "usr\nusr"), ("SIGRTMIN+3", "rt")]
    {
        bundle.succeeds(&["kill", "one", signal]);
        wait_until("the command", || bundle.read("out").contains(word));
    }
    assert!(
        bundle.fails(&["kill", "one", "NONE"]).contains("there is none of this name")
    );
    bundle.succeeds(&["kill", "--all", "one"]);
    bundle.becomes("one", "stopped");
}

#[test]
fn the_signal_0_asks_whether_a_container_lives() {
    let bundle = Bundle::new("exec sleep 1000", |_| {});
    bundle.succeeds(&["create", "one"]);
    for words in [&["kill", "one", "0"][..], &["kill", "--all", "one", "0"]] {
        bundle.succeeds(words);
        assert_eq!(bundle.state("one")["status"], "created");
    }
    bundle.succeeds(&["kill", "one", "KILL"]);
    bundle.becomes("one", "stopped");
    assert!(bundle.fails(&["kill", "one", "0"]).contains("container not running"));
}

#[test]
fn a_create_that_waits_for_a_hook_does_not_keep_others_from_an_end() {
    let bundle = Bundle::new("sleep 1000", |_| {});
    let text = bundle.read("config.json");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    nix::unistd::mkfifo(&bundle.at("line"), nix::sys::stat::Mode::S_IRWXU)
        .expect("make a FIFO");
    let script = format!("read word <{}", bundle.at("line").display());
    config["hooks"]["createRuntime"] =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    fs::write(bundle.at("config.json"), config.to_string()).expect("write");
    let mut create = bundle.runtime(&["create", "one"]);
    let create = create.stderr(Stdio::piped()).spawn().expect("start the step");
    // Opens when the hook reads.
    let line = fs::File::options().write(true).open(bundle.at("line")).expect("open");
    assert_eq!(bundle.state("one")["status"], "creating");
    let said = bundle.fails(&["exec", "one", "id"]);
    assert!(said.contains("cannot exec in a container that is creating"), "{said}");
    bundle.succeeds(&["delete", "--force", "one"]);
    assert!(!bundle.at("state/one").exists());
    // Its end is not that of another container with its name.
    fs::create_dir(bundle.at("state/one")).expect("make a directory");
    drop(line);
    let output = create.wait_with_output().expect("wait");
    assert!(!output.status.success(), "{}", stderr(&output));
    fs::remove_dir(bundle.at("state/one")).expect("remove the other");
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_description_that_is_too_long_is_not_kept() {
    let bundle = Bundle::new("", |_| {});
    let file = fs::File::options().write(true).open(bundle.at("config.json"));
    // It has a hole.
    file.and_then(|file| file.set_len(1 << 40)).expect("make it longer");
    let script = "ulimit -v 1000000; exec \"$0\" --root state create one";
    let mut shell = Command::new("sh");
    shell.current_dir(bundle.0.path()).args(["-c", script, &bin(STEP).to_string_lossy()]);
    let said = stderr(&shell.output().expect("start a shell"));
    assert!(said.contains("it is longer than 16777216 bytes"), "{said}");
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn only_known_versions_of_the_specification_are_read() {
    for (version, is_known) in [("1.0.2-dev", true), ("1.3.0", true), ("1.9.0", false)] {
        let bundle =
            Bundle::new("exit 0", |config| config["ociVersion"] = json!(version));
        let output = bundle.ask(&["run", "one"]);
        let said = stderr(&output);
        assert_eq!(output.status.success(), is_known, "{version}: {said}");
        assert_eq!(said.contains("give 1.0.0 to 1.3.0"), !is_known, "{said}");
    }
}

#[test]
fn a_directory_that_others_can_write_to_keeps_no_containers() {
    let bundle = Bundle::new("", |_| {});
    let all = bundle.at("state");
    fs::create_dir(&all).expect("make a directory");
    fs::set_permissions(&all, fs::Permissions::from_mode(0o777)).expect("open it");
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("name another place with --root"), "{said}");
    assert_eq!(bundle.left(), [""; 0]);
}

/// Its owner could put another directory in the place of the one with the containers.
#[test]
fn a_directory_of_another_user_has_no_containers_of_root_below_it() {
    if !is_root() {
        return;
    }
    let bundle = Bundle::new("true", |_| {});
    let above = bundle.at("above");
    let root = above.join("state").display().to_string();
    fs::create_dir(&above).expect("make a directory");
    for (owner, mode, is_safe) in
        [(65533, 0o755, false), (0, 0o777, false), (0, 0o1777, true)]
    {
        chown(&above, Some(owner), None).expect("give it away");
        fs::set_permissions(&above, fs::Permissions::from_mode(mode))
            .expect("set the mode");
        let output = bundle.ask(&["--root", &root, "run", "one"]);
        let said = stderr(&output);
        assert_eq!(output.status.success(), is_safe, "{mode:o}: {said}");
        let why = format!("above belongs to user {owner} ");
        assert_eq!(said.contains(&why), !is_safe, "{said}");
    }
    // A link there could lead to another place later, too.
    for (owner, is_safe) in [(0, true), (65533, false)] {
        let link = above.join(format!("link-{owner}"));
        symlink("new", &link).expect("make a link");
        lchown(&link, Some(owner), None).expect("give it away");
        let root = link.join("state").display().to_string();
        let output = bundle.ask(&["--root", &root, "run", "one"]);
        assert_eq!(output.status.success(), is_safe, "{owner}: {}", stderr(&output));
        assert_eq!(above.join("new").exists(), is_safe);
        let _ = fs::remove_dir_all(above.join("new"));
    }
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn the_name_of_a_bundle_makes_no_line_of_the_list() {
    let bundle = Bundle::new("", |_| {});
    let odd = bundle.at("one\n\u{1b}[1mtwo");
    fs::create_dir(&odd).expect("make a directory");
    fs::copy(bundle.at("config.json"), odd.join("config.json")).expect("copy");
    let odd = odd.display().to_string();
    bundle.succeeds(&["create", "--bundle", &odd, "one"]);
    let list = bundle.succeeds(&["list"]);
    assert!(
        list.lines().count() == 2 && list.contains("/one\\n\\u{1b}[1mtwo "),
        "{list}"
    );
}

#[test]
fn a_pid_file_that_cannot_be_made_leaves_nothing() {
    let bundle = Bundle::new("", |_| {});
    fs::create_dir(bundle.at("pid")).expect("make a directory");
    let said = bundle.fails(&["create", "--pid-file", "pid", "one"]);
    assert!(said.contains("make the file pid"), "{said}");
    assert!(!bundle.at("pid.new").exists());
}

#[test]
fn a_command_that_is_missing_is_an_error_of_create() {
    let bundle = Bundle::new("", |config| {
        config["process"]["args"] = json!(["no-such-command"]);
    });
    let log = "--log=log";
    let said = bundle.fails(&[log, "--log-format=json", "create", "one"]);
    let words = "executable file not found in $PATH";
    assert!(said.contains(words), "{said}");
    let line: Value = serde_json::from_str(&bundle.read("log")).expect("one line");
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().is_some_and(|msg| msg.contains(words)), "{line}");
    assert_eq!(bundle.left(), [""; 0]);
    let bundle = Bundle::new("", |config| {
        config["process"]["args"] = json!(["/etc/passwd"]);
    });
    let said = bundle.fails(&["create", "one"]).to_lowercase();
    assert!(said.contains("permission denied"), "{said}");
    assert_eq!(bundle.left(), [""; 0]);
}

/// A hook that writes its name and its state to a file.
fn hook(bundle: &Path, name: &str) -> Value {
    let script = format!("echo {name} $A >>order; cat >state-{name}");
    let script = format!("cd {}; {script}", bundle.display());
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b"] }])
}

const HOOKS: [(&str, &str); 5] = [
    ("prestart", "created"),
    ("createRuntime", "creating"),
    ("createContainer", "creating"),
    ("poststart", "running"),
    ("poststop", "stopped"),
];

#[test]
fn hooks_run_in_order_with_the_state() {
    let mut dir = PathBuf::new();
    let bundle = Bundle::new("sleep 1000", |config| {
        dir = PathBuf::from(config["root"]["path"].as_str().expect("a path"));
        config["annotations"] = json!({ "a": "b" });
    });
    let text = bundle.read("config.json");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    for (name, _) in HOOKS {
        config["hooks"][name] = hook(bundle.0.path(), name);
    }
    let inside = "read state; case $state in *'\"created\"'*) echo inside $$ $B;; esac";
    config["process"]["env"] = json!(["PATH=/bin:/usr/bin", "B=c"]);
    config["hooks"]["startContainer"] =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", inside] }]);
    fs::write(bundle.at("config.json"), config.to_string()).expect("write");
    bundle.succeeds(&["create", "one"]);
    let pid = bundle.state("one")["pid"].clone();
    assert_eq!(bundle.read("order"), "prestart b\ncreateRuntime b\ncreateContainer b\n");
    assert_eq!(bundle.read("err"), "");
    bundle.succeeds(&["start", "one"]);
    // In the container, and with the variables of the command.
    let said = bundle.read("err");
    let said: Vec<&str> = said.split_whitespace().collect();
    assert!(matches!(said[..], ["inside", id, "c"] if id != "1"), "{said:?}");
    bundle.succeeds(&["delete", "--force", "one"]);
    let order: Vec<String> =
        HOOKS.iter().map(|(name, _)| format!("{name} b\n")).collect();
    assert_eq!(bundle.read("order"), order.concat());
    for (name, status) in HOOKS {
        let state = bundle.read(&format!("state-{name}"));
        let state: Value = serde_json::from_str(&state).expect("JSON");
        let wanted = match name {
            // As the container sees it.
            "createContainer" => json!(1),
            "poststop" => Value::Null,
            _ => pid.clone(),
        };
        let seen =
            json!([state["id"], state["status"], state["pid"], state["annotations"]]);
        assert_eq!(seen, json!(["one", status, wanted, { "a": "b" }]), "{name}");
        // A hook has the umask of the caller.
        let mode = |file: &str| fs::metadata(bundle.at(file)).expect("a file").mode();
        assert_eq!(mode(&format!("state-{name}")), mode("config.json"), "{name}");
    }
}

/// The last hook runs again. For the hook itself, the container is gone.
#[test]
fn a_killed_delete_is_done_again_by_the_next_one() {
    let bundle = Bundle::new("sleep 1000", |_| {});
    let text = bundle.read("config.json");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let script = format!(
        "cd {}; echo $$ >>began; [ -e again ] && exit; exec sleep 1000",
        bundle.0.path().display()
    );
    config["hooks"]["poststop"] =
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    fs::write(bundle.at("config.json"), config.to_string()).expect("write");
    bundle.succeeds(&["create", "one"]);
    let mut delete = bundle.runtime(&["delete", "--force", "one"]);
    delete.stdout(Stdio::null()).stderr(Stdio::null());
    let mut delete = delete.spawn().expect("start the step");
    wait_until("the hook runs", || bundle.read("began").ends_with('\n'));
    for verb in [&["state", "one"], &["delete", "one"], &["start", "one"]] {
        let said = bundle.fails(verb);
        assert!(said.contains("does not exist"), "{said}");
    }
    bundle.succeeds(&["delete", "--force", "one"]);
    assert_eq!(bundle.succeeds(&["list", "--quiet"]), "");
    delete.kill().and_then(|()| delete.wait()).expect("kill it");
    let hook = bundle.read("began").trim().parse().expect("a number");
    kill(Pid::from_raw(hook), Signal::SIGKILL).expect("end the hook");
    fs::write(bundle.at("again"), "").expect("write");
    assert_eq!(bundle.state("one")["status"], "stopped");
    bundle.succeeds(&["delete", "one"]);
    assert_eq!(bundle.read("began").lines().count(), 2);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_hook_that_fails_ends_the_container() {
    let fails = |name: &str, hook: Value| {
        Bundle::new("sleep 1000", |config| config["hooks"] = json!({ name: [hook] }))
    };
    let falls = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exit 7"] });
    for name in ["prestart", "createRuntime", "createContainer"] {
        let bundle = fails(name, falls.clone());
        let said = bundle.fails(&["create", "one"]);
        assert!(said.contains(&format!("{name} hook /bin/sh: exit status 7")), "{said}");
        assert_eq!(bundle.left(), [""; 0]);
    }
    for name in ["startContainer", "poststart"] {
        let bundle = fails(name, falls.clone());
        bundle.succeeds(&["create", "one"]);
        let said = bundle.fails(&["start", "one"]);
        assert!(said.contains(&format!("{name} hook /bin/sh: exit status 7")), "{said}");
        bundle.becomes("one", "stopped");
    }
    let bundle = fails("createRuntime", json!({ "path": "/missing" }));
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("createRuntime hook /missing: No such file"), "{said}");
    let bundle = fails("poststop", falls);
    bundle.succeeds(&["create", "one"]);
    bundle.succeeds(&["delete", "--force", "one"]);
    // It reads nothing, and a long state fills the line to it.
    let slow = json!({ "path": "/bin/sleep", "args": ["sleep", "8"], "timeout": 1 });
    let bundle = Bundle::new("sleep 1000", |config| {
        config["annotations"] = json!({ "long": "x".repeat(2 << 20) });
        config["hooks"] = json!({ "createRuntime": [slow] });
    });
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("it takes longer than its timeout, 1 s"), "{said}");
    for (name, hook, words) in [
        ("prestart", json!({ "path": "sh" }), "must begin with /"),
        ("prestart", json!({ "path": "/sh", "timeout": 0 }), "must be above 0"),
        ("prestarts", json!({ "path": "/sh" }), "the field prestarts is not done here"),
    ] {
        let said = fails(name, hook).fails(&["create", "one"]);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_terminal_goes_to_the_socket_of_the_engine() {
    let bundle = Bundle::new("tty; stty size; readlink /proc/self/fd/0", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "height": 31, "width": 97 });
    });
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("process.terminal needs --console-socket"), "{said}");
    // Longer than the name of a socket can be.
    let long = bundle.at(&"long".repeat(30));
    fs::create_dir(&long).expect("make a directory");
    let short = bundle.at("short");
    std::os::unix::fs::symlink(&long, &short).expect("make a link");
    let socket = UnixListener::bind(short.join("s")).expect("a socket");
    let path = long.join("s").display().to_string();
    bundle.succeeds(&["create", "--console-socket", &path, "one"]);
    let (stream, _) = socket.accept().expect("accept");
    let terminal = receive(&stream);
    bundle.succeeds(&["start", "one"]);
    bundle.becomes("one", "stopped");
    assert_eq!(terminal(), "/dev/pts/0\r\n31 97\r\n/dev/pts/0");
}

/// Receives a descriptor, and returns all that is to be read from it.
fn receive(stream: &UnixStream) -> impl FnOnce() -> String {
    let mut bytes = [0; 64];
    let mut space = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let message = message.expect("receive");
    let number = message.cmsgs().expect("parts").find_map(|part| match part {
        ControlMessageOwned::ScmRights(numbers) => numbers.first().copied(),
        _ => None,
    });
    let number = number.expect("a descriptor");
    move || {
        // An error of cat says that nobody has the other side.
        let cat =
            Command::new("sh").args(["-c", &format!("exec cat <&{number}")]).output();
        stdout(&cat.expect("start cat"))
    }
}

#[test]
fn only_files_that_the_caller_passes_on_are_open() {
    let bundle = Bundle::new("ls /proc/$$/fd; cat <&3", |_| {});
    fs::write(bundle.at("passed"), "passed on").expect("write");
    let run = |words: &str| {
        let script = format!("exec 3<passed 4<passed 5<passed; exec \"$0\" {words}");
        let mut shell = Command::new("sh");
        shell.current_dir(bundle.0.path()).arg("-c").arg(script).arg(bin(STEP));
        shell.stdin(Stdio::null()).output().expect("start a shell")
    };
    let output = run("--root state run --preserve-fds 1 one");
    assert_eq!(stdout(&output), "0\n1\n2\n3\npassed on", "{}", stderr(&output));
    let output = run("--root state run one");
    // The shell has no third one to read.
    assert!(stdout(&output).starts_with("0\n1\n2"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('3'), "{}", stdout(&output));
    // A file of the runtime would get the number of one that is not open.
    let output = run("--root state run --preserve-fds 200 one");
    assert!(
        stderr(&output).contains("--preserve-fds 200: the descriptor "),
        "{output:?}"
    );
    assert!(stderr(&output).contains(" is not open"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(bundle.left(), [""; 0]);
}

/// Runs the runtime after a command of the shell.
fn after(bundle: &Bundle, first: &str, words: &str) -> Output {
    let mut shell = Command::new("sh");
    let script = format!("{first}; exec \"$0\" --root state {words}");
    shell.current_dir(bundle.0.path()).arg("-c").arg(script).arg(bin(STEP));
    shell.stdin(Stdio::null()).output().expect("start a shell")
}

#[test]
fn what_the_caller_cannot_write_is_an_error() {
    let bundle = Bundle::new("", |_| {});
    for (first, words, said) in [
        ("exec >/dev/full", "features", "write to standard output: No space left"),
        ("ulimit -f 0", "create one", ": File too large"),
    ] {
        let output = after(&bundle, first, words);
        let is_told = stderr(&output).starts_with("step19-runtime: error: ");
        assert!(is_told && stderr(&output).contains(said), "{first}: {output:?}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn others_cannot_write_to_the_files_that_a_caller_wants() {
    let bundle = Bundle::new("", |_| {});
    fs::create_dir(bundle.at("new")).expect("make a directory");
    after(&bundle, "umask 0", "--log log state missing");
    after(&bundle, "umask 0", "spec --bundle new");
    after(&bundle, "umask 0", "run --pid-file pid one");
    for file in ["log", "new/config.json", "pid"] {
        let found = fs::metadata(bundle.at(file)).expect(file);
        assert_eq!(found.permissions().mode() & 0o777, 0o644, "{file}");
    }
}

#[test]
fn the_command_takes_each_signal() {
    // A shell cannot trap a signal that it ignored at its start.
    let script = "grep SigBlk /proc/self/status; \
                  for it in HUP PIPE TERM 64; do trap \"echo $it\" $it; kill -$it $$; done";
    let bundle = Bundle::new(script, |_| {});
    let mut caller = Command::new("env");
    caller.args(["--block-signal=USR1,INT", "--ignore-signal=HUP,PIPE,TERM,64"]);
    caller.arg("--").arg(bin(STEP));
    caller.current_dir(bundle.0.path()).args(["--root", "state", "run", "one"]);
    let output = caller.stdin(Stdio::null()).output().expect("start env");
    if stderr(&output).starts_with("env:") {
        skip("env on this host cannot block signals");
        return;
    }
    let each = "SigBlk:\t0000000000000000\nHUP\nPIPE\nTERM\n64";
    assert_eq!(stdout(&output), each, "{}", stderr(&output));
}

#[test]
fn no_capability_of_the_caller_is_ambient_in_the_container() {
    if !is_root() {
        return;
    }
    let bundle = Bundle::new("grep CapAmb /proc/self/status", |config| {
        let sets = &mut config["process"]["capabilities"];
        sets["inheritable"] = sets["permitted"].clone();
    });
    let mut caller = Command::new("setpriv");
    caller.args(["--inh-caps", "+kill", "--ambient-caps", "+kill"]).arg(bin(STEP));
    caller.current_dir(bundle.0.path()).args(["--root", "state", "run", "one"]);
    let output = caller.stdin(Stdio::null()).output().expect("start setpriv");
    assert_eq!(stdout(&output), "CapAmb:\t0000000000000000", "{}", stderr(&output));
}

#[test]
fn a_capability_that_the_bounding_set_lacks_is_an_error_of_create() {
    let bundle = Bundle::new("true", |config| {
        let sets = &mut config["process"]["capabilities"];
        sets["inheritable"] = sets["bounding"].take();
    });
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("set the capabilities"), "{said}");
}

#[test]
fn a_bundle_without_a_process_ends_at_its_start() {
    let bundle = Bundle::new("", |config| {
        config.as_object_mut().map(|config| config.remove("process"));
    });
    bundle.succeeds(&["create", "one"]);
    assert_eq!(bundle.state("one")["status"], "created");
    bundle.succeeds(&["start", "one"]);
    bundle.becomes("one", "stopped");
    bundle.succeeds(&["delete", "one"]);
}

#[test]
fn a_container_whose_start_was_killed_ends() {
    let bundle = Bundle::new("echo begun", |_| {});
    bundle.succeeds(&["create", "one"]);
    let socket = UnixStream::connect(bundle.at("state/one/start")).expect("connect");
    drop(socket);
    bundle.becomes("one", "stopped");
    assert_eq!(bundle.read("out").matches("begun").count(), 0);
    assert!(bundle.fails(&["start", "one"]).contains("it is stopped"));
}

#[test]
fn a_killed_create_leaves_nothing_that_stays() {
    let bundle = Bundle::new("sleep 1000", |_| {});
    let begin = Instant::now();
    bundle.succeeds(&["create", "one"]);
    let whole = begin.elapsed();
    bundle.succeeds(&["delete", "--force", "one"]);
    let mut created = 0;
    for moment in 0..40 {
        let mut create = bundle.runtime(&["create", "one"]);
        create.stdout(Stdio::null()).stderr(Stdio::null());
        let mut create = create.spawn().expect("start the step");
        sleep(whole * moment / 36);
        create.kill().and_then(|()| create.wait()).expect("kill it");
        created += usize::from(bundle.at("state/one").exists());
        bundle.succeeds(&["delete", "--force", "one"]);
        assert_eq!(bundle.left(), [""; 0], "{moment}");
    }
    assert!(created > 4, "only {created} have begun");
}

#[test]
fn a_group_of_another_container_is_not_touched() {
    if !is_root() {
        return;
    }
    let bundle = Bundle::new("sleep 1000", |_| {});
    bundle.succeeds(&["create", "one"]);
    bundle.succeeds(&["start", "one"]);
    // The bundle has one path for the groups of all.
    let said = bundle.fails(&["create", "two"]);
    assert!(said.contains("make the control group"), "{said}");
    assert_eq!(bundle.state("one")["status"], "running");
    bundle.succeeds(&["delete", "--force", "one"]);
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_group_with_groups_of_others_in_it_is_not_taken() {
    if !is_root() {
        return;
    }
    let bundle = Bundle::new("sleep 1000", |_| {});
    let all = Path::new("/sys/fs/cgroup");
    let v1 = all.join("pids");
    let all = if v1.join("cgroup.procs").exists() { &v1 } else { all };
    let group = all.join(&bundle.group()[1..]);
    fs::create_dir_all(group.join("inner")).expect("make two groups");
    let said = bundle.fails(&["create", "one"]);
    assert!(said.contains("make the control group"), "{said}");
    fs::remove_dir(group.join("inner")).expect("remove the inner group");
    fs::remove_dir(&group).expect("remove the group");
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_frozen_group_stays_as_it_is() {
    if !is_root() {
        return;
    }
    let bundle = Bundle::new("sleep 1000", |_| {});
    let v1 = Path::new("/sys/fs/cgroup/freezer");
    let (all, file, word) = match v1.join("cgroup.procs").exists() {
        true => (v1, "freezer.state", "FROZEN"),
        false => (Path::new("/sys/fs/cgroup"), "cgroup.freeze", "1"),
    };
    let group = all.join(&bundle.group()[1..]);
    fs::create_dir(&group).expect("make a group");
    fs::write(group.join(file), word).expect("freeze it");
    let said = [(); 2].map(|()| bundle.fails(&["create", "one"]));
    assert!(said.iter().all(|it| it.contains("unexpectedly frozen")), "{said:?}");
    fs::remove_dir(&group).expect("remove the group");
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_group_above_that_no_engine_knows_goes_with_the_last_container() {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let is_beside = unified.join("cgroup.procs").exists();
    if !(is_root() && is_beside || skip("this needs root, and groups v2 beside v1")) {
        return;
    }
    let bundle = Bundle::new("sleep 1000", |_| {});
    let (pod, text) = (bundle.group(), bundle.read("config.json"));
    for name in ["one", "two"] {
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["linux"]["cgroupsPath"] = json!(format!("{pod}/{name}"));
        fs::write(bundle.at("config.json"), config.to_string()).expect("write");
        bundle.succeeds(&["create", name]);
    }
    let pod = unified.join(&pod[1..]);
    bundle.succeeds(&["delete", "--force", "two"]);
    assert!(pod.join("one").exists());
    bundle.succeeds(&["delete", "--force", "one"]);
    assert!(!pod.exists(), "{}", pod.display());
    // An engine knows those of v1.
    bundle.left().iter().for_each(|group| drop(fs::remove_dir(group)));
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn a_create_that_fails_leaves_no_group_above() {
    if !is_root() {
        return;
    }
    for (place, value) in [
        ("/process/args", json!(["/no-such"])),
        ("/linux/resources/pids", json!({ "limit": 1_u64 << 40 })),
    ] {
        let bundle = Bundle::new("true", |config| {
            let group = config["linux"]["cgroupsPath"].as_str().expect("a path");
            config["linux"]["cgroupsPath"] = json!(format!("{group}/a/b"));
            config["linux"]["resources"] = json!({});
            let (parent, name) = place.rsplit_once('/').expect("a place");
            config.pointer_mut(parent).expect("a parent")[name] = value;
        });
        bundle.fails(&["create", "one"]);
        assert_eq!(bundle.left(), [""; 0], "{place}");
    }
}

#[test]
fn several_containers_are_made_at_once() {
    let bundle = Bundle::new("sleep 1000", |config| {
        config["linux"]["cgroupsPath"] = json!("");
    });
    std::thread::scope(|scope| {
        for number in 0..8 {
            let bundle = &bundle;
            scope.spawn(move || {
                let name = format!("many-{}-{number}", std::process::id());
                let create = bundle.runtime(&["create", &name]).status();
                assert!(create.expect("start the step").success());
                let delete = bundle.runtime(&["delete", "--force", &name]).status();
                assert!(delete.expect("start the step").success());
            });
        }
    });
    assert_eq!(bundle.left(), [""; 0]);
}

#[test]
fn the_command_line_is_that_of_runtimes() {
    let bundle = Bundle::new("exit 5", |_| {});
    assert!(bundle.succeeds(&["--version"]).starts_with("step19-runtime version "));
    // Nothing names a directory for containers.
    let mut help = Command::new(bin(STEP));
    let output = help.args(["kill", "--help"]).env_remove("XDG_RUNTIME_DIR").output();
    let output = output.expect("start the runtime");
    assert!(stdout(&output).starts_with("usage: step19-runtime "), "{}", stderr(&output));
    assert_eq!(bundle.ask(&["run", "one"]).status.code(), Some(5));
    assert_eq!(bundle.succeeds(&["list", "-q"]), "");
    let features: Value =
        serde_json::from_str(&bundle.succeeds(&["features"])).expect("JSON");
    let versions = [&features["ociVersionMin"], &features["ociVersionMax"]];
    assert_eq!(versions, ["1.0.0", "1.3.0"]);
    assert!(bundle.succeeds(&["--version"]).ends_with("\nspec: 1.3.0"));
    assert_eq!(features["hooks"][3], "startContainer");
    let linux = &features["linux"];
    let policy = ["modes", "flags"].map(|it| &linux["memoryPolicy"][it][1]);
    assert_eq!(policy, ["MPOL_PREFERRED", "MPOL_F_RELATIVE_NODES"]);
    assert_eq!(linux["netDevices"]["enabled"], false);
    let options = features["mountOptions"].as_array().expect("a list");
    let has = |name| options.contains(&json!(name));
    assert!(has("rnoexec") && has("defaults") && has("silent") && !has("rsilent"));
    bundle.succeeds(&["create", "two"]);
    assert_eq!(bundle.succeeds(&["list", "-q"]), "two");
    let list = bundle.succeeds(&["list", "--format", "json"]);
    // Some programs read it without a parser: the order is that of runc.
    assert!(list.starts_with(r#"[{"ociVersion":"1."#), "{list}");
    let fields = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"];
    assert!(fields.map(|it| list.find(&format!("\"{it}\":"))).is_sorted(), "{list}");
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!("two"), &json!("created")));
    let details = bundle.ask(&["--debug", "list", "-q"]);
    assert!(stderr(&details).contains("debug: list [\"-q\"] with"), "{details:?}");
    bundle.succeeds(&["--debug", "--log", "log", "list"]);
    assert!(bundle.read("log").contains("level=debug msg=\"list [] with"));
    fs::create_dir(bundle.at("user")).expect("make a directory");
    bundle.succeeds(&["spec", "--rootless", "--bundle", "user"]);
    assert!(bundle.read("user/config.json").contains("uidMappings"));
    for (words, said) in [
        (&["create", "--no-pivot", "a"][..], "--no-pivot is not done here"),
        (&["create", "--nonsense", "a"], "unknown option --nonsense"),
        (&["create", "--preserve-fds", "x", "a"], "--preserve-fds x: give a number"),
        (&["create"], "give the name of a container"),
        (&["create", "a/b"], "give 1 to 255 letters, digits and _ . + -"),
        (&["create", "a", "b"], "b is too much"),
        (&["kill", "two", "0", "more"], "more is too much"),
        (&["list", "more"], "more is too much"),
        (&["spec", "more"], "more is too much"),
        (&["features", "more"], "more is too much"),
        (&["features", "--nonsense"], "unknown option --nonsense"),
        (&["--log-format", "x", "list"], "there is no --log-format x"),
        (&["--cgroup-manager", "systemd", "list"], "--cgroup-manager systemd is not"),
        (&["--systemd-cgroup", "list"], "true is not done here; use cgroupfs"),
        (&["--rootless", "true", "list"], "--rootless true is not done"),
        (&["nonsense"], "there is no verb nonsense"),
        (&[], "give a verb: create, start"),
    ] {
        let error = bundle.fails(words);
        assert!(error.contains(said), "{words:?}: {error}");
    }
}
