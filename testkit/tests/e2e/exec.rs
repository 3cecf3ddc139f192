//! Lesson 17: containers that have a name, in the background, and a second way into them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::procs::{
    IDLE, Proc, end_of, every, gone, having, ignored, line, running, token, wait_for, wait_until,
};
use testkit::pty::{INTERRUPT, SUSPEND, Terminal, keys_work};
use testkit::{Scratches, bin, containers_work, is_one_line, is_root, rootfs, scratch_place};
use testkit::{skip, stderr, stdout, step};

use crate::escapes::Host;

const STEP: &str = "step17-exec";

/// A place for the state and the scratch directories of the containers of a test.
struct Place(Scratches);

impl Place {
    fn new() -> Place {
        Place(scratch_place())
    }

    /// A command on this place.
    fn set(&self, mut command: Command) -> Command {
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("TMPDIR", self.0.path());
        command
    }

    /// The step with these words.
    fn step(&self, words: &[&str]) -> Command {
        let mut command = self.set(step(STEP));
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.step(words).output().expect("start a step")
    }

    /// Runs the step, which must succeed without a message. Returns what it prints.
    fn does(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {} {}", output.status, stderr(&output));
        stdout(&output)
    }

    /// Starts a container that sleeps. Its processes have the token on their command lines.
    fn sleeps(&self, name: &str, token: &str) {
        let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
        let mut start = self.step(&["--detach", "--name", name, "/bin/sh", "-c", script, token]);
        // A pipe is its standard input, and the container must not get that.
        let started = start.stdin(Stdio::piped()).output().expect("start a step");
        assert!(started.status.success(), "{}", stderr(&started));
    }

    fn list(&self) -> Vec<Value> {
        let list = self.does(&["--list", "--format", "json"]);
        serde_json::from_str(&list).expect("a list")
    }

    /// The row of a container in the list.
    fn row(&self, name: &str) -> Value {
        self.list().into_iter().find(|row| row["name"] == name).unwrap_or_default()
    }

    fn state(&self, name: &str) -> String {
        self.row(name)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// The directory with the states.
    fn home(&self) -> PathBuf {
        self.0.path().join(format!("named-containers-{}", nix::unistd::getuid()))
    }

    /// A process of a container, as its state says.
    fn process(&self, name: &str, key: &str) -> Proc {
        let facts = fs::read(self.home().join(name).join("facts.json")).expect("read the facts");
        let facts: Value = serde_json::from_slice(&facts).expect("facts");
        Proc(facts[key]["id"].as_i64().and_then(|id| id.try_into().ok()).expect("a process"))
    }

    /// Fails if anything is left of the containers with `token` on their command line.
    fn is_clean(&self, token: &str) {
        gone(token);
        assert_eq!(self.list(), [Value::Null; 0]);
        // The next start removes the scratch directories of killed keepers.
        wait_until("an empty place", || {
            self.does(&["true"]);
            self.0.path().read_dir().expect("a directory").count() == 0
        });
    }
}

#[test]
fn a_container_in_the_background_stays_until_it_is_stopped() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    let row = place.row("web");
    assert_eq!((&row["state"], &row["status"]), (&"running".into(), &Value::Null), "{row}");
    assert_eq!(row["root"], rootfs().display().to_string());
    let id = row["process"].as_i64().expect("a process");
    let init = Proc(i32::try_from(id).expect("an ID"));
    assert!(having(&token).contains(&init));
    // The keeper is in a session of its own, and has no terminal of the caller's.
    let keeper = init.parent().expect("a keeper");
    assert_eq!(keeper.group(), Some(keeper.0.into()));
    let input = format!("/proc/{}/fd/0", place.process("web", "command").0);
    assert_eq!(fs::read_link(input).expect("a link"), Path::new("/dev/null"));
    let table = place.does(&["--list"]);
    let words: Vec<_> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(words[..3], ["web", &*id.to_string(), "running"], "{table}");
    let refused = place.run(&["--remove", "web"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(stderr(&refused).contains("it runs; --stop web first"), "{}", stderr(&refused));

    let waiting = place.step(&["--wait", "web"]).spawn();
    place.does(&["--stop", "web"]);
    assert_eq!(end_of(&mut waiting.expect("start a step")).code(), Some(9));
    gone(&token);
    let row = place.row("web");
    assert_eq!((&row["state"], &row["status"]), (&"ended".into(), &9.into()), "{row}");
    assert_eq!(place.run(&["--wait", "web"]).status.code(), Some(9));
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn what_does_not_start_leaves_nothing_and_says_why() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for (words, status, part) in [
        (&["--detach", "no-such-command"][..], 127, "not found in PATH"),
        (&["--detach", "/etc"], 126, "it is a directory"),
        (&["--detach", "--rootfs", "/no/such", "true"], 125, "fetch"),
        (&["--detach", "--user", "no-such-user", "true"], 125, "no-such-user"),
    ] {
        let output = place.run(words);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        assert_eq!(stdout(&output), "", "{words:?}");
        let last = said.lines().last().unwrap_or_default();
        assert!(is_one_line(STEP, last) && last.contains(part), "{words:?}: {said}");
        assert_eq!(place.list(), [Value::Null; 0], "{words:?}");
    }
    place.is_clean(&token());
}

/// The limit on files is also for the state and the log, which are files of the keeper.
#[test]
fn a_limit_on_files_ends_only_what_needs_a_file() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    // The number of blocks of 512 bytes.
    let limited = |blocks: u32, words: &[&str]| {
        let mut command = place.set(Command::new("/bin/sh"));
        command.env("CONTAINER_ROOTFS", rootfs());
        command.args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"]).arg(bin(STEP));
        command.args(words).args(["/bin/sh", "-c", "kill -XFSZ $$; exit 9", &"a".repeat(512)]);
        command.stdin(Stdio::null()).output().expect("start a step")
    };
    // Without a name, it needs no state. The command has the caller's action of the signal.
    let output = limited(1, &[]);
    let (status, said) = (output.status.code(), stderr(&output));
    let wanted = if ignored(libc::SIGXFSZ) { 9 } else { 153 };
    assert!(status == Some(wanted) && !said.contains("File too large"), "{status:?} {said}");
    for words in [&["--name", "a"][..], &["--detach", "--name", "a"]] {
        let output = limited(0, words);
        let said = stderr(&output);
        let last = said.lines().last().unwrap_or_default();
        let is_said = is_one_line(STEP, last) && last.contains("File too large");
        assert!(is_said && output.status.code() == Some(125), "{words:?}: {said}");
        assert_eq!(place.list(), [Value::Null; 0], "{words:?}");
    }
    let script = "head -c 900000 /dev/zero | tr '\\0' a; exit 4";
    let mut command = place.set(Command::new("/bin/sh"));
    command.env("CONTAINER_ROOTFS", rootfs()).args(["-c", "ulimit -f 40; exec \"$@\"", "sh"]);
    command.arg(bin(STEP)).args(["--detach", "--name", "b", "/bin/sh", "-c", script]);
    let output = command.output().expect("start a step");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.run(&["--wait", "b"]).status.code(), Some(4));
    place.does(&["--remove", "b"]);
    place.is_clean(&token());
}

#[test]
fn a_command_that_ends_at_once_was_executed() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    for _ in 0..20 {
        let name = place.does(&["--detach", "/bin/sh", "-c", "echo x; exit 3"]);
        assert_eq!(place.run(&["--wait", &name]).status.code(), Some(3));
        assert_eq!(place.does(&["--logs", &name]), "x");
        place.does(&["--remove", &name]);
        place.does(&["--detach", "--rm", "--name", "short", "true"]);
        wait_until("the end of a container", || place.state("short").is_empty());
    }
    place.is_clean(&token());
}

#[test]
fn a_name_belongs_to_one_container() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    let second = place.run(&["--name", "web", "true"]);
    assert_eq!(second.status.code(), Some(125));
    assert!(stderr(&second).contains("the name web is taken"), "{}", stderr(&second));
    let second = place.run(&["--detach", "--name", "web", "true"]);
    assert_eq!(second.status.code(), Some(125));
    assert!(stderr(&second).contains("the name web is taken"), "{}", stderr(&second));
    let names = [0, 1].map(|_| place.does(&["--detach", "/bin/sleep", "1000"]));
    assert_ne!(names[0], names[1]);
    assert_eq!(place.list().len(), 3);
    for name in ["../web", ".", "-x", "a/b", ""] {
        assert_eq!(place.run(&["--name", name, "true"]).status.code(), Some(2), "{name}");
        assert_eq!(place.run(&["--stop", name]).status.code(), Some(2), "{name}");
    }
    for verb in ["--exec", "--logs", "--stop", "--kill", "--remove", "--wait"] {
        let mut words = vec![verb, "other"];
        words.extend((verb == "--exec").then_some("true"));
        let output = place.run(&words);
        assert_eq!(output.status.code(), Some(125), "{verb}");
        assert!(stderr(&output).contains("find the container other"), "{verb}");
    }
    // A start that is refused changes nothing.
    assert_eq!(place.state("web"), "running");
    for name in ["web", &names[0], &names[1]] {
        place.does(&["--kill", name]);
        assert_eq!(place.run(&["--wait", name]).status.code(), Some(137));
        place.does(&["--remove", name]);
    }
    place.is_clean(&token);
}

#[test]
fn a_signal_and_a_time_end_a_container_that_does_not_listen() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let script = "trap '' TERM; trap 'echo one' USR1; echo ready; while :; do sleep 0.1; done";
    place.does(&["--detach", "--name", "deaf", "/bin/sh", "-c", script, &token]);
    wait_until("a trap", || place.does(&["--logs", "deaf"]).contains("ready"));
    place.does(&["--kill", "deaf", "usr1"]);
    wait_until("a trap", || place.does(&["--logs", "deaf"]).contains("one"));
    let begin = Instant::now();
    place.does(&["--stop", "deaf", "--time", "1"]);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(place.row("deaf")["status"], 137);
    let late = place.run(&["--kill", "deaf"]);
    assert!(stderr(&late).contains("it has ended"), "{}", stderr(&late));
    place.does(&["--stop", "deaf"]);
    place.does(&["--remove", "deaf"]);
    place.is_clean(&token);
}

#[test]
fn a_process_with_another_start_is_not_that_of_the_container() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    let file = place.home().join("web/facts.json");
    let right = fs::read(&file).expect("read the facts");
    let mut facts: Value = serde_json::from_slice(&right).expect("facts");
    // As if the command had ended, and another process had its ID.
    let start = facts["command"]["start"].as_u64().expect("a time");
    facts["command"]["start"] = (start + 1).into();
    fs::write(&file, facts.to_string()).expect("write the facts");
    for words in [&["--exec", "web", "true"][..], &["--kill", "web"]] {
        let output = place.run(words);
        assert!(stderr(&output).contains("has ended"), "{words:?}: {}", stderr(&output));
    }
    fs::write(&file, right).expect("write the facts");
    assert_eq!(place.state("web"), "running");
    place.does(&["--stop", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

/// What a process inside prints about itself: the namespaces, the capabilities, no_new_privs,
/// the filter, the root, and what it has in the place of the caller's.
const LOOK: &str = r#"for it in user mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$it; done
    grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; stat -c %d:%i / /proc 2>&1
    echo "$PATH $HOME $(umask)""#;

#[test]
fn a_command_that_enters_is_as_the_first() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    for options in
        [&[][..], &["--cap-drop", "ALL"], &["--cap-add", "SYS_PTRACE"], &["--ids", "one"]]
    {
        let script = format!("{{ {LOOK}; }} >/look; echo ready; sleep 1000");
        let mut words = vec!["--detach", "--name", "web"];
        words.extend(options);
        words.extend(["/bin/sh", "-c", &script, &token]);
        place.run(&words);
        wait_until("a look", || place.does(&["--logs", "web"]).contains("ready"));
        let first = stdout(&place.run(&["--exec", "web", "cat", "/look"]));
        let second = stdout(&place.run(&["--exec", "web", "/bin/sh", "-c", LOOK]));
        assert!(first.lines().count() > 12 && first.contains("Seccomp:\t2"), "{first}");
        assert_eq!(first, second, "{options:?}");
        if options.contains(&"--cap-drop") {
            // The process that entered only sends signals, from outside of the PID namespace.
            let time = sleep_of(&token);
            let mut child = place.step(&["--exec", "web", "/bin/sleep", &time]);
            let mut child = child.spawn().expect("start a step");
            let entered = running("/bin/sleep", &time).parent().expect("a process that entered");
            let only_kill = |set: String| set.trim_start_matches('0') == "20";
            wait_until("only CAP_KILL", || entered.status("CapPrm").is_some_and(only_kill));
            Proc::of(&child).kill(Signal::SIGTERM);
            end_of(&mut child);
        }
        place.does(&["--kill", "web"]);
        place.run(&["--wait", "web"]);
        place.does(&["--remove", "web"]);
    }
    place.is_clean(&token);
}

#[test]
fn a_command_that_enters_ends_as_any_command() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    for (words, status) in [
        (&["sh", "-c", "exit 42"][..], 42),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["no-such-command"], 127),
        (&["/etc"], 126),
    ] {
        let output = place.run(&[&["--exec", "web"], words].concat());
        assert_eq!(output.status.code(), Some(status), "{words:?}: {}", stderr(&output));
    }
    // Its streams are the caller's. A device is the container's, on a mount of the container, where
    // root inside cannot change its mode.
    let mount = "id=$(sed -n 's/^mnt_id:\t//p' /proc/self/fdinfo/0)";
    let look = format!("{mount}; readlink /proc/self/fd/0; grep -c \"^$id \" /proc/self/mountinfo");
    assert_eq!(place.does(&["--exec", "web", "sh", "-c", &look]), "/dev/null\n1");
    // A file of the caller is a pipe inside.
    let mut cat = place.step(&["--exec", "web", "cat"]);
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start a step");
    cat.stdin.take().expect("a pipe").write_all(b"through").expect("write");
    assert_eq!(stdout(&cat.wait_with_output().expect("wait")), "through");
    let file = place.0.path().join("out");
    let out = fs::File::create(&file).expect("make a file");
    let links = "readlink /proc/self/fd/1; ls /proc/self/fd | wc -l";
    let status = place.step(&["--exec", "web", "sh", "-c", links]).stdout(out).status();
    assert!(status.expect("start a step").success());
    let said = fs::read_to_string(&file).expect("read it");
    assert!(said.starts_with("pipe:"), "{said}");
    fs::remove_file(file).expect("remove it");

    // A signal to the runner goes on to the command.
    let entered = format!("{token}entered");
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = place.step(&["--exec", "web", "/bin/sh", "-c", script, &entered]);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("start a step");
    assert_eq!(line(&mut BufReader::new(child.stdout.take().expect("a pipe"))), "ready");
    assert!(Proc::of(&child).kill(Signal::SIGTERM));
    assert_eq!(end_of(&mut child).code(), Some(7));
    gone(&entered);

    // The end of the container ends those that entered it.
    let mut child = place.step(&["--exec", "web", "/bin/sleep", &sleep_of(&entered)]);
    let mut child = child.spawn().expect("start a step");
    running("/bin/sleep", &sleep_of(&entered));
    place.does(&["--stop", "web"]);
    assert_eq!(end_of(&mut child).code(), Some(137));
    let late = place.run(&["--exec", "web", "true"]);
    assert!(stderr(&late).contains("it has ended"), "{}", stderr(&late));
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

/// A time that only the command with this token sleeps.
fn sleep_of(token: &str) -> String {
    let digits: String = token.chars().filter(char::is_ascii_digit).collect();
    format!("1{digits}")
}

#[test]
fn the_user_the_variables_and_the_directory_are_those_of_the_container_or_of_the_caller() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let words = ["--detach", "--name", "web", "--env", "A=1", "--env", "B=1", "--workdir", "/usr"];
    place.run(&[&words[..], &["/bin/sh", "-c", "sleep 1000; :", &token]].concat());
    let look = "echo $(id -u) $A $B $PWD";
    assert_eq!(place.does(&["--exec", "web", "sh", "-c", look]), "0 1 1 /usr");
    let changed = ["--exec", "web", "--env", "B=2", "--workdir", "/etc", "sh", "-c", look];
    assert_eq!(place.does(&changed), "0 1 2 /etc");
    let refused = place.run(&["--exec", "web", "--workdir", "/no/such", "true"]);
    assert_eq!(refused.status.code(), Some(125));
    // A link of the container leads to a place in the container.
    place.does(&["--exec", "web", "ln", "-s", "/../../../tmp", "/link"]);
    let through = place.does(&["--exec", "web", "--workdir", "/link", "sh", "-c", "pwd -P"]);
    assert_eq!(through, "/tmp");
    let options = place.run(&["--exec", "web", "--memory", "1G", "true"]);
    assert_eq!(options.status.code(), Some(2));
    assert!(stderr(&options).contains("--memory does not go with --exec"));
    place.does(&["--kill", "web"]);
    place.run(&["--wait", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn a_shell_that_enters_has_the_terminal() {
    if !keys_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    let mut terminal = Terminal::shell("/bin/sh");
    terminal.run(&format!("export XDG_RUNTIME_DIR={}", place.0.path().display()));
    terminal.line(&format!("{STEP} --exec web /bin/sh"));
    terminal.line(r#"PS1="in""> ""#);
    let said = terminal.see("in> ");
    assert!(!said.contains("job control"), "{said}");
    let time = testkit::procs::naptime();
    terminal.line(&format!("sleep {time}"));
    terminal.is_lent_to(running("sleep", &time));
    terminal.keys(SUSPEND);
    terminal.see("in> ");
    terminal.line("fg");
    terminal.is_lent_to(running("sleep", &time));
    terminal.keys(INTERRUPT);
    terminal.see("in> ");
    terminal.line("exit 5");
    terminal.see("host> ");
    assert_eq!(terminal.run("echo =$?"), "=5\n");
    // A shell gives the terminal back to the command that has started it.
    let script = r#"/bin/sh; echo le""ft; read word; echo =$word"#;
    terminal.line(&format!("{STEP} --exec web /bin/sh -c '{script}'"));
    terminal.line(r#"PS1="in""> ""#);
    terminal.see("in> ");
    terminal.line("exit");
    terminal.see("left");
    terminal.line("back");
    terminal.see("=back");
    terminal.see("host> ");
    let script = format!(r#"trap "stty size; exit 3" WINCH; echo rea""dy; {IDLE}"#);
    terminal.line(&format!("{STEP} --exec web /bin/sh -c '{script}'"));
    terminal.see("ready");
    terminal.resize(33, 99);
    terminal.see("33 99");
    terminal.see("host> ");
    // Ctrl-Z stops the job of the host's shell.
    terminal.line(&format!("{STEP} --exec web sleep {time}"));
    terminal.is_lent_to(running("sleep", &time));
    terminal.keys(SUSPEND);
    terminal.see("host> ");
    terminal.line("fg");
    terminal.is_lent_to(running("sleep", &time));
    terminal.keys(INTERRUPT);
    terminal.see("host> ");
    gone(&time);
    terminal.line(&format!("{STEP} --exec web sleep {time}"));
    terminal.is_lent_to(running("sleep", &time));
    let mut shell = terminal.hang_up();
    gone(&time);
    end_of(&mut shell);
    assert_eq!(place.state("web"), "running");
    place.does(&["--stop", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn a_container_survives_the_terminal_of_its_caller() {
    if !keys_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let mut terminal = Terminal::shell("/bin/sh");
    terminal.run(&format!("export XDG_RUNTIME_DIR={0} TMPDIR={0}", place.0.path().display()));
    let shown = terminal.run(&format!("{STEP} --detach --name web sh -c 'sleep 1000; :' {token}"));
    assert_eq!(shown.lines().last(), Some("web"), "{shown}");
    assert_eq!(place.process("web", "keeper").terminal(), Some(0));
    let mut shell = terminal.hang_up();
    end_of(&mut shell);
    assert_eq!(place.state("web"), "running");
    // Nothing of the container has the terminal.
    for name in ["keeper", "init", "command"] {
        let process = place.process("web", name);
        let links = process.descriptors();
        let has = |link: &Path| link.starts_with("/dev/pts");
        assert!(!links.iter().any(|(_, link)| has(link)), "{name}: {links:?}");
    }
    place.does(&["--kill", "web"]);
    place.run(&["--wait", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn the_log_has_each_stream_and_its_times() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let script = r"echo out; echo err >&2; printf 'a\000b\377'; sleep 0.1; echo c; while ! [ -e /go ]; do sleep 0.1; done; echo last";
    place.does(&["--detach", "--name", "web", "/bin/sh", "-c", script, &token]);
    let whole = b"out\na\0b\xffc\n";
    wait_until("the log", || place.run(&["--logs", "web"]).stdout == whole);
    let output = place.run(&["--logs", "web", "--timestamps"]);
    assert_eq!(stderr(&output).len(), "2026-01-01T00:00:00.000000000Z err".len());
    let lines: Vec<_> = output.stdout.split(|&byte| byte == b'\n').collect();
    for (line, end) in lines.iter().zip([&b"Z out"[..], b"Z a\0b\xffc"]) {
        assert!(line.starts_with(b"20") && line.ends_with(end), "{}", line.escape_ascii());
    }
    let mut follow = place.step(&["--logs", "web", "--follow"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start");
    let mut output = BufReader::new(follow.stdout.take().expect("a pipe"));
    assert_eq!(line(&mut output), "out");
    place.does(&["--exec", "web", "touch", "/go"]);
    let rest: Vec<_> = output.split(b'\n').map_while(Result::ok).collect();
    assert_eq!(rest.last().map(Vec::as_slice), Some(&b"last"[..]));
    assert_eq!(end_of(&mut follow).code(), Some(0));
    // A reader that goes away ends it.
    let head = "\"$1\" --logs web | head -n 1; \"$1\" --logs web >/dev/full";
    let mut shell = place.set(Command::new("/bin/sh"));
    let output = shell.args(["-c", head, "sh"]).arg(bin(STEP)).output().expect("start a shell");
    assert!(stderr(&output).contains("write to standard output"), "{}", stderr(&output));
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn a_log_has_a_limit_and_keeps_the_newest_lines() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let script = "i=0; while [ $i -lt 200000 ]; do echo $i 0123456789012345678901234567890123456789; i=$((i+1)); done";
    place.does(&["--detach", "--name", "web", "/bin/sh", "-c", script, &token]);
    // A reader that follows slowly loses only what the note says.
    let mut follow = place.step(&["--logs", "web", "--follow"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    assert_eq!(place.run(&["--wait", "web"]).status.code(), Some(0));
    let followed = follow.wait_with_output().expect("wait");
    let size: u64 = fs::read_dir(place.home().join("web"))
        .expect("a directory")
        .flatten()
        .map(|file| file.metadata().expect("look").len())
        .sum();
    assert!((4 << 20..12 << 20).contains(&size), "{size}");
    let printed = place.run(&["--logs", "web"]);
    for (output, may_lose) in [(&printed, true), (&followed, !stderr(&followed).is_empty())] {
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<u32> = text
            .lines()
            .map(|line| line.split(' ').next().and_then(|it| it.parse().ok()).expect("a number"))
            .collect();
        assert_eq!(numbers.last(), Some(&199_999));
        let gaps = numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count();
        assert!(gaps == 0 || may_lose, "{gaps}");
        assert!(numbers.is_sorted());
        assert!(numbers.len() > 50_000, "{}", numbers.len());
    }
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

/// Whether a process is the step, and not the command.
fn is_step(proc: &Proc) -> bool {
    proc.words().first().is_some_and(|word| word.ends_with(STEP))
}

#[test]
fn no_moment_of_a_kill_leaves_a_false_list() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    // The caller, the keeper and process 1, in the order of their starts.
    for number in 0..3 {
        for moment in 0..40 {
            let words = ["--detach", "--name", "web", "/bin/sh", "-c", "sleep 1000; :", &token];
            let mut start = place.step(&words);
            start.stdout(Stdio::null()).stderr(Stdio::null());
            let mut start = start.spawn().expect("start a step");
            let victim = wait_for("a victim", || {
                let all: Vec<Proc> = having(&token).into_iter().filter(is_step).collect();
                let ended = start.try_wait().expect("wait").is_some();
                all.get(number).copied().map(Some).or(ended.then_some(None))
            });
            let until = Instant::now() + Duration::from_micros(moment * 150);
            while Instant::now() < until {}
            victim.map(|victim| victim.kill(Signal::SIGKILL));
            end_of(&mut start);
            // What runs is on the list, and what does not run is not shown as running.
            wait_until("a true list", || {
                let runs = having(&token).iter().any(|proc| !is_step(proc));
                match place.state("web").as_str() {
                    "running" => runs,
                    "starting" => false,
                    _ => having(&token).is_empty(),
                }
            });
            match place.state("web").as_str() {
                "" => continue,
                // If its caller was killed, it may be ending now.
                "running" => drop(place.run(&["--stop", "web", "--time", "0"])),
                "killed" => {
                    let wait = place.run(&["--wait", "web"]);
                    assert!(stderr(&wait).contains("the status is lost"), "{}", stderr(&wait));
                }
                state => assert_eq!(state, "ended"),
            }
            place.run(&["--remove", "web"]);
            wait_until("an empty list", || place.list().is_empty());
        }
    }
    place.is_clean(&token);
}

#[test]
fn the_next_start_removes_the_state_of_a_killed_container() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    let mut command = place.step(&["cat", "-", &token]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("start a step");
    running("cat", &token);
    child.kill().expect("kill the runner");
    end_of(&mut child);
    gone(&token);
    assert!(place.home().exists());
    place.does(&["true"]);
    assert!(!place.home().exists());
}

/// `--detach` either prints the name of a container that runs, or there is none.
#[test]
fn a_caller_that_goes_before_the_command_runs_gets_no_container() {
    if !containers_work() {
        return;
    }
    let (place, token, tools) = (Place::new(), token(), testkit::tempdir());
    // The container waits for its network until the file `go` is there.
    let wait =
        "#!/bin/sh\n: >${0%/*}/called\nwhile ! [ -e ${0%/*}/go ]; do /bin/sleep 0.05; done\n";
    for (tool, script) in [("nsenter", wait), ("pasta", "#!/bin/sh\n")] {
        let tool = tools.path().join(tool);
        fs::write(&tool, script).expect("write a script");
        fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    for (goes, state) in [(true, ""), (false, "running")] {
        let words = ["--detach", "--name", "web", "--network", "pasta", "/bin/sh", "-c"];
        let mut start = place.step(&words);
        start.args(["sleep 1000; :", &token]).env("PATH", tools.path());
        start.stdout(Stdio::null()).stderr(Stdio::null());
        let mut start = start.spawn().expect("start a step");
        wait_until("a tool", || tools.path().join("called").exists());
        assert_eq!(place.state("web"), "starting");
        if goes {
            start.kill().expect("kill the caller");
            end_of(&mut start);
        }
        fs::write(tools.path().join("go"), "").expect("write a file");
        wait_until("the end of the start", || place.state("web") == state);
        end_of(&mut start);
        for file in ["called", "go"] {
            fs::remove_file(tools.path().join(file)).expect("remove it");
        }
    }
    place.does(&["--kill", "web"]);
    place.run(&["--wait", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn a_runner_that_enters_can_be_killed_at_any_moment() {
    if !containers_work() {
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    for moment in 0..40 {
        let entered = format!("{token}in-{moment}-");
        let mut child = place.step(&["--exec", "web", "/bin/sh", "-c", "sleep 1000; :", &entered]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
        let until = Instant::now() + Duration::from_micros(moment * 250);
        while Instant::now() < until {}
        child.kill().expect("kill the runner");
        end_of(&mut child);
        gone(&entered);
    }
    assert_eq!(place.state("web"), "running");
    place.does(&["--stop", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

#[test]
fn many_at_once_are_all_on_the_list() {
    if !containers_work() {
        return;
    }
    // Each container has a key, and an ordinary user 200; keyrings(7). Other tests run, too.
    let number = if is_root() { 100 } else { 60 };
    let (place, token) = (Place::new(), token());
    let starts: Vec<Child> = (0..number)
        .map(|index| {
            let name = format!("c{index}");
            let words = ["--detach", "--name", &name, "/bin/sleep", &sleep_of(&token)];
            place.step(&words).stdout(Stdio::null()).spawn().expect("start a step")
        })
        .collect();
    for mut start in starts {
        assert_eq!(end_of(&mut start).code(), Some(0));
    }
    assert!(place.list().iter().all(|row| row["state"] == "running"));
    assert_eq!(place.list().len(), number);
    // Keepers that are killed take their containers with them.
    for index in 0..number {
        place.process(&format!("c{index}"), "keeper").kill(Signal::SIGKILL);
    }
    wait_until("the end of all", || {
        every().iter().all(|it| !it.words().contains(&sleep_of(&token)))
    });
    wait_until("a true list", || place.list().iter().all(|row| row["state"] == "killed"));
    assert_eq!(place.list().len(), number);
    for index in 0..number {
        place.does(&["--remove", &format!("c{index}")]);
    }
    place.is_clean(&token);
}

#[test]
fn a_neighbour_neither_reads_nor_enters_nor_stops() {
    if !containers_work() {
        return;
    }
    if !is_root() {
        skip("only root can be another user, too");
        return;
    }
    let (place, token) = (Place::new(), token());
    place.sleeps("web", &token);
    let home = fs::metadata(place.home()).expect("look at it");
    assert_eq!((home.mode() & 0o777, home.uid()), (0o700, 0));
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
    let neighbour = |words: &[&str]| {
        let mut command = place.step(words);
        command.uid(54_321).gid(54_321).env_remove("TMPDIR");
        command.output().expect("start a step")
    };
    for words in
        [&["--exec", "web", "true"][..], &["--stop", "web"], &["--kill", "web"], &["--logs", "web"]]
    {
        let output = neighbour(words);
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        assert!(stderr(&output).contains("find the container web"), "{}", stderr(&output));
    }
    assert_eq!(stdout(&neighbour(&["--list"])).lines().count(), 1);
    let enter = format!("nsenter --target {} --all true", place.process("web", "command").0);
    let status =
        Command::new("/bin/sh").args(["-c", &enter]).uid(54_321).stderr(Stdio::null()).status();
    assert!(!status.expect("start a shell").success());
    assert_eq!(place.state("web"), "running");

    // The other way round, a user's directory in its place is not used.
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o777)).expect("chmod");
    let refused = place.run(&["--list"]);
    assert_eq!(refused.status.code(), Some(125));
    assert!(stderr(&refused).contains("no other user may write to it"), "{}", stderr(&refused));
    fs::set_permissions(place.home(), fs::Permissions::from_mode(0o700)).expect("chmod");
    place.does(&["--stop", "web"]);
    place.does(&["--remove", "web"]);
    place.is_clean(&token);
}

/// Looks at each process that is new, inside, until the file `/stop` is there. Fails if none of
/// them was open to it before it became the command: CVE-2016-9962 and CVE-2019-5736 began so.
///
/// The link to the program is the least that the kernel protects: whoever cannot read it can
/// neither use the memory of the process nor its descriptors, nor trace it; ptrace(2), "Ptrace
/// access mode checking".
pub(crate) fn watch_for_newcomers() -> std::io::Result<()> {
    let mut looks = 0;
    let own = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    let known: std::collections::BTreeSet<_> = own.collect();
    std::io::stdout().write_all(b"watching\n")?;
    while !Path::new("/stop").exists() {
        for entry in fs::read_dir("/proc")?.flatten() {
            let name = entry.file_name();
            if known.contains(&name)
                || name.to_str().and_then(|it| it.parse::<i32>().ok()).is_none()
            {
                continue;
            }
            looks += 1;
            let is_open = fs::read_link(entry.path().join("exe"));
            if is_open.is_ok_and(|program| program.ends_with(STEP)) {
                return Ok(());
            }
            let files = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
            if links.any(|link| link.display().to_string().contains("containers-")) {
                return Ok(());
            }
        }
    }
    Err(std::io::Error::other(format!("no newcomer was open in {looks} looks")))
}

#[test]
fn a_newcomer_is_out_of_reach_until_it_is_the_command() {
    if !containers_work() {
        return;
    }
    let (place, host) = (Place::new(), Host::new());
    let mut start = place.set(host.step(&bin(STEP), None));
    start.args(["--detach", "--name", "web", "--cap-add", "SYS_PTRACE"]);
    let started = host.inside(start, "newcomer").output().expect("start a step");
    assert!(started.status.success(), "{}", stderr(&started));
    wait_until("a watcher", || place.does(&["--logs", "web"]).contains("watching"));
    for _ in 0..50 {
        place.does(&["--exec", "web", "true"]);
    }
    place.does(&["--exec", "web", "touch", "/stop"]);
    place.run(&["--wait", "web"]);
    let said = place.does(&["--logs", "web"]);
    let looks = said.split_once("no newcomer was open in ").map(|(_, rest)| rest);
    let looks = looks.and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    // A watcher that sees nobody proves nothing.
    assert!(looks.is_some_and(|looks| looks > 50), "{said}");
    place.does(&["--remove", "web"]);
    place.is_clean(&token());
}
