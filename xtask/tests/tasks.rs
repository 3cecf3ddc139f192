//! The messages of the tasks for a wrong command line, and the places where the
//! tasks look for the course.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use testkit::pty::Terminal;
use testkit::{
    ALL, STEPS, Scratches, bin, cargo, containers_work, copy_program, skip, stderr, stdout,
    tempdir, workspace,
};

fn xtask(words: &[&str]) -> Output {
    Command::new(bin("xtask")).args(words).env_remove("CARGO").output().expect("start xtask")
}

#[test]
fn one_who_leaves_out_the_dashes_is_told_where_they_go() {
    for (words, start, remedy) in [
        (&["6", "id"][..], "xtask: run step06-chroot: ", "6 -- id"),
        (&["id"], "xtask: no lesson is called id; the lessons are step01-run, ", "-- id"),
        (&["8", "--scratch", "box", "--", "id"], "xtask: run ", "8 -- --scratch box -- id"),
        (
            &["--image", "alpine:3.20", "sh"],
            "xtask: no lesson is called sh",
            "--image alpine:3.20 -- sh",
        ),
        (&["--scratch", "box"], "xtask: no lesson is called --scratch", "-- --scratch box"),
        (&["step01", "sh", "-c", "it's a"], "xtask: run ", r"step01 -- sh -c 'it'\''s a'"),
    ] {
        let output = xtask(&[&["run"], words].concat());
        let said = stderr(&output);
        let remedy = format!(
            "write the command and the step's own options after `--`: `cargo xtask run {remedy}`"
        );
        assert!(said.starts_with(start) && said.ends_with(&remedy), "{said}");
        assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)), "{said}");
    }
    // Such a word can only mean a lesson.
    for word in ["99", "step98", "step01x"] {
        let said = stderr(&xtask(&["run", word, "id"]));
        assert!(said.contains("no lesson is called") && !said.contains("--"), "{said}");
    }
}

#[test]
fn a_lesson_adds_nothing_to_itself() {
    for words in [["5", "5"], ["5", "step05-pid"]] {
        let output = xtask(&[&["diff"], &words[..]].concat());
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()));
        let why = "xtask: compare step05-pid with itself: name two lessons, as in ";
        assert!(stderr(&output).starts_with(why), "{}", stderr(&output));
    }
}

#[test]
fn the_doctor_names_lessons_that_there_are() {
    if !containers_work() {
        return;
    }
    let said = stdout(&xtask(&["doctor"]));
    let numbers = said.split("(from lesson ").skip(1).filter_map(|rest| rest.split(' ').next());
    let numbers: BTreeSet<usize> =
        numbers.map(|number| number.parse().expect("a number")).collect();
    // Lesson 15 asks for more only if the caller wants a bridge.
    assert!(numbers.contains(&3) && numbers.contains(&14), "{said}");
    assert!(numbers.iter().all(|number| (1..=ALL.len()).contains(number)), "{said}");
}

/// A user without subordinate IDs gets the command for them.
#[test]
fn the_doctor_knows_the_remedy_for_one_user() {
    if !containers_work() {
        return;
    }
    let why = common::Ids::of_caller().err().map(|why| common::one_line(&why));
    let said = stdout(&xtask(&["doctor"]));
    let note = said
        .lines()
        .find_map(|line| line.strip_prefix("note  lesson 16 runs here, but with one user: "));
    assert_eq!(note, why.as_deref(), "{said}");
}

#[test]
fn the_doctor_says_of_each_engine_whether_it_can_use_lesson_19() {
    if !containers_work() {
        return;
    }
    let dir = tempdir();
    for engine in ["podman", "containerd", "docker", "kubelet"] {
        fs::write(dir.path().join(engine), "").expect("write a program");
    }
    let conf = dir.path().join("containers.conf");
    let podman = |text: &str| {
        fs::write(&conf, text).expect("write a file");
        let mut doctor = Command::new(bin("xtask"));
        doctor.arg("doctor").env("PATH", dir.path()).env("CONTAINERS_CONF", &conf);
        let said = stdout(&doctor.output().expect("start xtask"));
        for engine in ["podman", "containerd", "docker", "kubelet"] {
            let lines =
                said.lines().filter(|line| line.get(6..).is_some_and(|it| it.starts_with(engine)));
            assert_eq!(lines.count(), 1, "{engine}: {said}");
        }
        said.lines().find(|line| line.contains("podman can")).expect("a line").to_owned()
    };
    let good = podman("cgroup_manager = \"cgroupfs\"\ndefault_ulimits = []\n");
    let why = common::Ids::of_caller().err().filter(|_| !nix::unistd::getuid().is_root());
    assert_eq!(good.starts_with("ok  "), why.is_none(), "{good}");
    assert!(good.ends_with("; see docs/engines.md"), "{good}");
}

/// A checkout that was copied elsewhere together with its built programs. It has
/// only the files that the tasks need here.
struct Copy {
    _dir: Scratches,
    path: PathBuf,
}

impl Copy {
    fn new() -> Copy {
        let dir = tempdir();
        let path = dir.path().canonicalize().expect("name it").join("a copy");
        let built = path.join("target/debug");
        fs::create_dir_all(&built).expect("make a directory");
        for step in ALL.iter().copied() {
            fs::create_dir(path.join(step)).expect("make a directory");
            let manifest = Path::new(step).join("Cargo.toml");
            fs::copy(workspace().join(&manifest), path.join(&manifest)).expect("copy a manifest");
        }
        for program in ["xtask", "step06-chroot", STEPS[STEPS.len() - 1]] {
            copy_program(&bin(program), &built.join(program));
        }
        Copy { _dir: dir, path }
    }

    /// A program of the copy, without a network: the proxy refuses connections.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path.join("target/debug").join(program));
        command.current_dir("/").env("https_proxy", "http://127.0.0.1:9").stdin(Stdio::null());
        command.env_remove("CARGO").env_remove("CONTAINER_ROOTFS");
        command
    }
}

#[test]
fn a_copied_checkout_is_the_one_that_counts() {
    let copy = Copy::new();
    let rootfs = copy.path.join("rootfs");
    let made = copy.command("xtask").args(["fetch-rootfs", "--from-host"]).output();
    let said = stdout(&made.expect("start xtask"));
    assert!(
        said.contains(&format!(" in {} (", common::printable(&rootfs.display().to_string()))),
        "{said}"
    );

    if containers_work() {
        let ran = copy.command("step06-chroot").args(["cat", "/etc/motd"]).output();
        let ran = ran.expect("start a step");
        assert_eq!(stdout(&ran), "A root of this machine's own programs.", "{}", stderr(&ran));
    }

    // A program outside of the course looks for the course in the current
    // directory.
    let elsewhere = tempdir();
    let xtask = elsewhere.path().join("xtask");
    copy_program(&bin("xtask"), &xtask);
    let mut command = Command::new(&xtask);
    command.current_dir(copy.path.join("step05-pid")).args(["fetch-rootfs", "--from-host"]);
    let said = stdout(&command.output().expect("start xtask"));
    assert!(
        said.ends_with(&format!(
            " in {} (already there)",
            common::printable(&rootfs.display().to_string())
        )),
        "{said}"
    );
    // If it finds none there, it takes the course that built it, if it may enter
    // it.
    if !Path::new(env!("CARGO_MANIFEST_DIR")).exists() {
        skip("this user cannot enter the checkout that was built");
        return;
    }
    let last = ALL[ALL.len() - 1];
    let listed = Command::new(&xtask).args(["diff", last]).current_dir("/").output();
    let said = stderr(&listed.expect("start xtask"));
    assert!(said.contains(&format!("{last} is the last lesson")), "{said}");
}

#[test]
fn a_lesson_of_ones_own_needs_no_description() {
    let copy = Copy::new();
    let mine = copy.path.join("step99-mine");
    fs::create_dir(&mine).expect("make a directory");
    let listed = |manifest: &str| {
        fs::write(mine.join("Cargo.toml"), manifest).expect("write a manifest");
        let output = copy.command("xtask").args(["diff", "none", "2"]).output();
        stderr(&output.expect("start xtask"))
    };
    // As `cargo new` writes it.
    let said = listed("[package]\nname = \"step99-mine\"\n");
    assert!(said.contains(&format!("{}, step99-mine", ALL[ALL.len() - 1])), "{said}");
    let said = listed("[workspace]\n");
    assert!(said.ends_with("step99-mine/Cargo.toml: it has no [package]"), "{said}");
}

#[test]
fn without_a_network_a_first_run_says_in_two_lines_what_it_does_instead() {
    if !containers_work() {
        return;
    }
    let copy = Copy::new();
    let ran = copy.command("xtask").args(["run", "--", "cat", "/etc/container-root"]).output();
    let ran = ran.expect("start xtask");
    assert!(ran.status.success() && !stdout(&ran).is_empty(), "{}", stderr(&ran));
    let said = stderr(&ran);
    // A slow machine says what it waits for.
    let waits = |line: &&str| line.starts_with("xtask: fetch http") && line.ends_with(".tar.gz");
    let said: Vec<_> = said.lines().filter(|line| !waits(line)).collect();
    let [instead, made] = said[..] else { panic!("{said:#?}") };
    for part in [
        "at the last of 3 tries; this task makes a root from this machine's programs instead",
        "; `cargo xtask fetch-rootfs --force` fetches Alpine later",
    ] {
        assert!(instead.contains(part), "{instead}");
    }
    assert!(made.starts_with("xtask: rootfs: this machine's own "), "{made}");
}

/// Git for Windows converts line ends, and WSL reads such a checkout.
#[test]
fn a_checkout_has_the_line_ends_of_a_shell() {
    if Command::new("git").arg("--version").output().is_err() {
        skip("git is not installed");
        return;
    }
    let dir = tempdir();
    let files = ["step01-run/verify.sh", "step01-run/src/main.rs", "xtask/src/verify/lib.sh"];
    let files = [&files[..], &["layers/tests/corpus/climbs.tar.gz", ".gitattributes"]].concat();
    for file in &files {
        let to = dir.path().join(file);
        fs::create_dir_all(to.parent().expect("above")).expect("make a directory");
        fs::copy(workspace().join(file), to).expect("copy a file");
    }
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "core.autocrlf=true"]).args(words).current_dir(dir.path());
        let output = git.output().expect("start git");
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["checkout-index", "--all", "--prefix=out/"]);
    for file in &files {
        let [out, here] = [dir.path().join("out"), workspace().to_owned()];
        let [out, here] = [out, here].map(|dir| fs::read(dir.join(file)).expect("read a file"));
        assert!(out == here, "{file}");
    }
}

#[test]
fn scripts_with_the_line_ends_of_windows_are_told() {
    let copy = Copy::new();
    fs::create_dir_all(copy.path.join("xtask/src/verify")).expect("make a directory");
    let files = ["lib", "containers", "proc"].map(|name| format!("xtask/src/verify/{name}.sh"));
    let files = [&files[..], &["step06-chroot/verify.sh".to_owned()]].concat();
    for windows in &files {
        for file in &files {
            let text = fs::read_to_string(workspace().join(file)).expect("read a script");
            let end = if file == windows { "\r\n" } else { "\n" };
            fs::write(copy.path.join(file), text.replace('\n', end)).expect("write a script");
        }
        let output = copy.command("xtask").args(["verify", "6", "--rootfs", "/"]).output();
        let said = stderr(&output.expect("start xtask"));
        let why = format!("{windows}: it has the line ends of Windows");
        assert!(said.contains(&why) && said.ends_with("; clone the course again"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn an_empty_tmpdir_is_none() {
    // Nothing can be made in the current directory, and no root exists yet.
    let copy = Copy::new();
    let mut command = copy.command("xtask");
    command.arg("isolation").current_dir("/proc").env("TMPDIR", "");
    let said = stderr(&command.output().expect("start xtask"));
    assert!(said.contains("xtask: ") && !said.contains("temporary directory"), "{said}");
}

/// The bar shows only while cargo compiles. A log gets no bar.
#[test]
fn compiling_shows_on_the_terminal() {
    let config = workspace().join(".cargo/config.toml");
    let config: toml::Table =
        fs::read_to_string(config).expect("read").parse().expect("a configuration");
    if cargo().is_none() {
        skip("cargo is not installed");
        return;
    }
    let dir = tempdir();
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().expect("above")).expect("make a directory");
        fs::write(file, text).expect("write a file");
    };
    let alias = toml::Table::from_iter([("alias".to_owned(), config["alias"].clone())]);
    write(".cargo/config.toml", &alias.to_string());
    let members = r#"["xtask", "xtask/start"]"#;
    write("Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = {members}\n"));
    let package = |name| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
    write("xtask/start/Cargo.toml", &package("start"));
    for file in ["xtask/start/src/main.rs", "xtask/start/src/lib.rs"] {
        write(file, &fs::read_to_string(workspace().join(file)).expect("read the program"));
    }
    write("xtask/Cargo.toml", &package("xtask"));
    write("xtask/src/main.rs", "fn main() { print!(\"{:?}\", std::env::args().nth(1)) }");
    // cargo shows no bar for a shorter build.
    let slow = "fn main() { std::thread::sleep(std::time::Duration::from_secs(2)) }";
    let command = || {
        let mut command = cargo().expect("it is there");
        command.args(["xtask", "word"]).current_dir(dir.path());
        command.env_remove("CARGO_TARGET_DIR").env_remove("CI").env("TERM", "xterm");
        command
    };
    let in_a_log = || {
        let output = command().output().expect("start cargo");
        assert_eq!((&*stdout(&output), &*stderr(&output)), ("Some(\"word\")", ""));
    };
    let on_a_terminal = |variable: (&str, &str)| {
        let mut command = command();
        command.env(variable.0, variable.1);
        let (status, said) = Terminal::start(command).end();
        assert!(status.success() && said.contains("Some(\"word\")"), "{said}");
        said
    };
    write("xtask/build.rs", slow);
    in_a_log();
    for (variable, shows) in
        [(("TERM", "xterm"), true), (("TERM", "dumb"), false), (("CI", "true"), false)]
    {
        // cargo compiles again, except for the program that has just started.
        write("xtask/build.rs", &format!("{slow}\n// {variable:?}"));
        let said = on_a_terminal(variable);
        assert_eq!(said.contains("/3: xtask"), shows, "{variable:?}: {said}");
        assert_eq!(said == "Some(\"word\")", !shows, "{variable:?}: {said}");
    }
    assert_eq!(on_a_terminal(("TERM", "xterm")), "Some(\"word\")");
    in_a_log();
}

/// Otherwise `cargo build` and `cargo xtask` would compile the same crate twice.
#[test]
fn the_tasks_want_no_crate_in_another_way_than_the_rest() {
    if cargo().is_none() {
        skip("cargo is not installed");
        return;
    }
    let crates = |packages: &[&str]| -> BTreeSet<String> {
        let mut tree = cargo().expect("it is there");
        tree.args(["tree", "--offline", "--edges=normal,build", "--prefix=none"]);
        tree.args(["--no-dedupe", "--format={p} {f}"]).args(packages).current_dir(workspace());
        let output = tree.output().expect("start cargo");
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).lines().map(str::to_owned).collect()
    };
    let all = crates(&["--workspace"]);
    let tasks = crates(&["--package=xtask"]);
    assert_eq!(tasks.difference(&all).collect::<Vec<_>>(), [""; 0]);
    // As `run` builds a step.
    let with_a_step = crates(&["--package=xtask", "--package=step08-overlay"]);
    assert_eq!(with_a_step.difference(&all).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_latest_alpine_can_be_asked_for_by_that_name() {
    let dir = tempdir();
    let dest = dir.path().join("rootfs");
    let nobody = ["--mirror", "http://127.0.0.1:9", "--timeout", "1"];
    let asked = Command::new(bin("xtask"))
        .args(["fetch-rootfs", "--release", "latest", "--dest"])
        .arg(&dest)
        .args(nobody)
        .output();
    let said = stderr(&asked.expect("start xtask"));
    assert!(said.contains("alpine-minirootfs-3."), "{said}");
}

#[test]
fn a_long_diff_says_how_to_leave_it() {
    if Command::new("less").arg("--version").output().is_err() {
        skip("there is no less(1)");
        return;
    }
    let mut diff = Command::new(bin("xtask"));
    diff.args(["diff", "7", "8", "-U", "1000"]).env_remove("PAGER").env_remove("LESS");
    diff.env("TERM", "xterm");
    let mut terminal = Terminal::start(diff);
    terminal.see("q leaves the diff");
    terminal.keys("q");
    assert!(terminal.end().0.success());
}

#[test]
fn a_temporary_directory_goes_with_the_program_that_asked_for_it() {
    let place = tempdir();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).expect("make");
    let mut command = Command::new(bin("xtask"));
    command.arg("temporary").env("TMPDIR", place.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("start xtask");
    let mut dir = Vec::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_until(0, &mut dir).expect("read a path");
    assert_eq!(dir.pop(), Some(0));
    let dir = PathBuf::from(OsString::from_vec(dir));
    assert!(dir.starts_with(place.path()) && dir.is_dir(), "{dir:?}");
    assert_eq!(fs::metadata(&dir).expect("look").permissions().mode() & 0o7777, 0o700);
    // The `rm -rf` of a shell cannot remove this.
    let locked = dir.join("a/b");
    fs::create_dir_all(&locked).expect("make");
    std::os::unix::fs::symlink("../outside", dir.join("a/link")).expect("link");
    fs::set_permissions(dir.join("a"), Permissions::from_mode(0o000)).expect("chmod");
    // The kernel closes it too, when the other program ends in any way.
    drop(child.stdin.take());
    assert!(child.wait().expect("wait").success());
    assert!(!dir.exists() && outside.exists());
}
