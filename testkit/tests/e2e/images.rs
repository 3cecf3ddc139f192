//! Containers from images. The tests write the images.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getgid, getuid};
use serde_json::{Value, json};
use testkit::archives::{Entry, gz, tar};
use testkit::images::{Images, OCI, architecture};
use testkit::procs::{PATIENCE, wait_for};
use testkit::{
    Scratches, containers_work, dir_of_this_process, is_one_line, stderr, stdout, step, tempdir,
};

const STEP: &str = "step16-images";

/// A layout in a temporary directory.
struct Place {
    images: Images,
    _dir: Scratches,
}

impl Place {
    fn new() -> Place {
        let dir = tempdir();
        Place { images: Images::new(dir.path().join("layout")), _dir: dir }
    }

    /// A layout with an image: the test's root, more layers, and a configuration.
    fn of(layers: &[&[u8]], config: &Value) -> Place {
        let mut place = Place::new();
        let image = place.images.image(layers, config);
        place.images.add("", image);
        place
    }

    /// The step with the image. Without a tag, `name` is empty.
    fn step(&self, tag: &str) -> Command {
        let mut name = self.images.path().as_os_str().to_owned();
        if !tag.is_empty() {
            name.push(format!(":{tag}"));
        }
        of_image(name.as_ref())
    }

    /// What the command prints.
    fn said(&self, words: &[&str]) -> String {
        let output = self.step("").args(words).output().expect("start the step");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        stdout(&output)
    }
}

/// A file of root in a layer.
fn file(name: &str, text: &str) -> Entry {
    Entry { owner: (0, 0), ..Entry::file(name, text) }
}

/// The step with an image, one user and a store that all tests share.
fn of_image(image: &Path) -> Command {
    let mut command = step(STEP);
    command.arg("--image").arg(image).args(["--ids", "one", "--store"]);
    command.arg(dir_of_this_process().join("store"));
    command
}

/// Fails unless the step ended with 125 and one line with these parts.
fn is_refused(output: &Output, parts: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(is_one_line(STEP, &said) && said.len() < 1000, "{said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{part:?} is not in {said}"));
}

#[test]
fn an_image_brings_the_root_and_the_command() {
    if !containers_work() {
        return;
    }
    let script = tar(&[Entry { mode: 0o755, ..file("opt/say", "#!/bin/sh\necho \"$0 $@\"\n") }]);
    let place = Place::of(
        &[&script],
        &json!({
            "Entrypoint": ["say"],
            "Cmd": ["a", ""],
            "Env": ["PATH=/opt:/usr/bin:/bin", "A=b"],
            "Volumes": {"/data": {}},
            "Labels": {"a": "b"},
            "Healthcheck": {"Test": ["CMD", "false"]},
            "ExposedPorts": {"80/tcp": {}},
        }),
    );
    // The command of the caller replaces `Cmd`, and not `Entrypoint`.
    for (words, said) in [
        (&[][..], "/opt/say a"),
        (&["b"], "/opt/say b"),
        (&["--entrypoint", "echo", "b"], "b"),
        // It does not know the words of the image.
        (&["--entrypoint", "/opt/say"], "/opt/say"),
        (&["--entrypoint", "", "echo", "c"], "c"),
        (
            &["--env", "PATH=/bin:/usr/bin", "--entrypoint", "sh", "--", "-c", "echo $PATH"],
            "/bin:/usr/bin",
        ),
    ] {
        assert_eq!(place.said(words), said, "{words:?}");
    }
}

#[test]
fn the_variables_and_the_directory_are_those_of_the_image_unless_the_caller_has_others() {
    if !containers_work() {
        return;
    }
    let config = json!({
        "Cmd": ["sh", "-c", "pwd; env"],
        "Env": ["A=image", "B=image", "A=last", "TERM=image", "E="],
        "WorkingDir": "/made/for it",
    });
    let place = Place::of(&[], &config);
    let lines = |words: &[&str]| {
        let mut step = place.step("");
        step.env("TERM", "mine").env("C", "mine").env_remove("NOT_THERE").args(words);
        let said = stdout(&step.output().expect("start the step"));
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        lines.retain(|line| {
            !["PWD=", "SHLVL=", "PATH=", "_=", "OLDPWD="].iter().any(|it| line.starts_with(it))
        });
        lines.sort();
        lines
    };
    assert_eq!(lines(&[]), ["/made/for it", "A=last", "B=image", "E=", "HOME=/root", "TERM=image"]);
    let words = [
        "--env", "A=b=c", "--env", "C", "--env=NOT_THERE", "--user", "0", "--env", "HOME=/x",
        "--workdir", "/usr",
    ];
    let expected = ["/usr", "A=b=c", "B=image", "C=mine", "E=", "HOME=/x", "TERM=image"];
    assert_eq!(lines(&words), expected);
}

/// Variables such as LD_PRELOAD and RUST_BACKTRACE would change what the step does.
#[test]
fn the_variables_of_an_image_are_not_those_of_the_step() {
    if !containers_work() {
        return;
    }
    let env = ["RUST_BACKTRACE=1", "LD_PRELOAD=/x.so", "LD_LIBRARY_PATH=/x", "PATH=/nowhere"];
    let place = Place::of(&[], &json!({"Env": env, "Cmd": ["no-such-command"]}));
    let output = place.step("").output().expect("start the step");
    assert_eq!(output.status.code(), Some(127));
    let line = format!("{STEP}: execute no-such-command: not found in PATH, which is /nowhere");
    assert_eq!(stderr(&output), line);
    // A command that exists gets them.
    let output = place
        .step("")
        .args(["--entrypoint", "/bin/sh", "--", "-c", "echo $RUST_BACKTRACE"])
        .output();
    assert_eq!(stdout(&output.expect("start the step")), "1");
}

#[test]
fn a_layer_hides_and_replaces_what_lower_layers_have() {
    if !containers_work() {
        return;
    }
    let one = tar(&[
        Entry { owner: (0, 0), ..Entry::new(b'5', "d") },
        file("d/a", "1"),
        file("d/b", "1"),
        file("e/x", "1"),
        file("f", "1"),
    ]);
    let two =
        tar(&[file("d/.wh.a", ""), file("d/b", "2"), file("e/.wh..wh..opq", ""), file("e/y", "2")]);
    let empty = tar(&[]);
    // A layer can be there twice: the first `one` is below `two`.
    for (layers, said) in [
        (&[&one[..], &two][..], "/d/b 2 /e/y 2 /f 1"),
        (&[&one, &two, &empty, &one], "/d/a 1 /d/b 1 /e/x 1 /e/y 2 /f 1"),
        (&[&empty, &one, &empty, &two, &two], "/d/b 2 /e/y 2 /f 1"),
    ] {
        let place = Place::of(layers, &json!({}));
        let script = "for it in /d/* /e/* /f; do echo $it $(cat $it); done";
        assert_eq!(place.said(&["sh", "-c", script]).replace('\n', " "), said);
    }
}

#[test]
fn the_image_is_the_one_with_the_tag_for_this_machine() {
    if !containers_work() {
        return;
    }
    let other = if architecture() == "arm64" { "amd64" } else { "arm64" };
    let mut place = Place::new();
    let images = &place.images;
    let image = |says: &str| images.image(&[], &json!({"Entrypoint": ["echo", says]}));
    let of = |mut image: Value, os: &str, architecture: &str| {
        image["platform"] = json!({"os": os, "architecture": architecture});
        image
    };
    let list = |kind: &str, manifests: &[Value]| {
        images.document(kind, &json!({"schemaVersion": 2, "manifests": manifests}))
    };
    let several = [
        of(images.blob("manifest.v1+json", b"no document"), "linux", other),
        of(images.blob("manifest.v1+json", b"no document"), "unknown", "unknown"),
        of(images.blob("manifest.v1+json", b"no document"), "windows", architecture()),
        of(image("right"), "linux", architecture()),
        of(image("late"), "linux", architecture()),
    ];
    let index = list("index.v1+json", &several);
    let nested = list("index.v1+json", &[list("index.v1+json", &several)]);
    let docker = "application/vnd.docker.distribution.manifest.";
    let list_of_docker = list(&format!("{docker}list.v2+json"), &several);
    let of_docker = {
        let mut layer = images.root();
        layer["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let content = json!({
            "architecture": architecture(), "os": "linux", "config": {"Cmd": ["echo", "docker"]},
            "rootfs": {"diff_ids": [layer["digest"]]},
        });
        let config = images.document("application/vnd.docker.container.image.v1+json", &content);
        let manifest = json!({"config": config, "layers": [layer]});
        images.document(&format!("{docker}v2+json"), &manifest)
    };
    let only_others = list("index.v1+json", &several[..3]);
    let artifact = images.blob("artifact.v1+json", b"{}");
    let (latest, whole) = (image("latest"), image("whole"));
    for (tag, descriptor) in [
        ("index", index),
        ("nested", nested),
        ("list", list_of_docker),
        ("docker", of_docker),
        ("others", only_others),
        ("artifact", artifact),
        ("latest", latest.clone()),
        ("also-latest", latest),
        ("localhost/app:1.2", whole),
    ] {
        place.images.add(tag, descriptor);
    }
    for (tag, said) in [
        ("", "latest"),
        ("also-latest", "latest"),
        ("index", "right"),
        ("nested", "right"),
        ("list", "right"),
        ("docker", "docker"),
        ("1.2", "whole"),
        ("localhost/app:1.2", "whole"),
    ] {
        let output = place.step(tag).output().expect("start the step");
        assert_eq!((stdout(&output), stderr(&output)), (said.to_owned(), String::new()), "{tag}");
    }
    for (tag, parts) in [
        (
            "others",
            &[&*format!(
                "it has nothing for linux/{}, but linux/{other}, windows/",
                architecture()
            )][..],
        ),
        ("artifact", &[&format!("but {OCI}artifact.v1+json")]),
        ("2", &["it has no 2; ", "--image: also-latest, artifact, docker, "]),
        ("1", &["it has no 1; "]),
    ] {
        is_refused(&place.step(tag).output().expect("start the step"), parts);
    }
}

/// Each configuration that has no sense, and a part of the message.
#[test]
fn a_configuration_without_sense_is_refused_in_a_line() {
    let long = "x".repeat(2 << 20);
    let many: Vec<String> = (0..300_000).map(|n| format!("N{n}=x")).collect();
    for (config, part) in [
        (json!({"Cmd": 5}), "invalid type: integer `5`"),
        (json!({"Cmd": long}), "invalid type: string"),
        (json!({"Cmd": ["a", ["b"]]}), "invalid type: sequence"),
        (json!({"Cmd": ["a\0b"]}), "read the command of the image: nul byte"),
        (json!({"Env": {"A": "b"}}), "invalid type: map"),
        (json!({"Env": ["no sense"]}), "the variable no sense is not NAME=VALUE"),
        (json!({"Env": ["=b"]}), "the variable =b is not NAME=VALUE"),
        (json!({"Env": ["A=b\0c"]}), "the variable A=b\\x00c is not NAME=VALUE"),
        (json!({"Env": [long]}), "is not NAME=VALUE"),
        (json!({"WorkingDir": "../.."}), "use the working directory /../..: it has `..`"),
        (json!({"WorkingDir": "/a/../b"}), "it has `..`"),
        (json!({"WorkingDir": ["/"]}), "invalid type: sequence"),
        (json!({"WorkingDir": long}), "or is too long"),
        (json!({"WorkingDir": "/a\0b"}), "make the working directory: "),
        (json!({"WorkingDir": "/etc/passwd/x"}), "make the working directory: "),
        (json!({"User": 7}), "invalid type: integer `7`"),
        (json!({"User": "no such user"}), "no such user"),
        (json!({"User": "0:99999999999"}), "99999999999"),
        (json!({"User": long}), "user"),
        (json!({"StopSignal": "SIGNOTHING"}), "read the signal \"SIGNOTHING\": "),
        (json!({"StopSignal": "-9"}), "read the signal \"-9\": "),
        (json!("text"), "invalid type: string"),
        (json!({"Env": many, "Cmd": ["true"]}), "are too long"),
    ] {
        let what: String = config.to_string().chars().take(60).collect();
        let has_command = config.get("Cmd").is_some();
        let place = Place::of(&[], &config);
        let words: &[&str] = if has_command { &[] } else { &["true"] };
        let output = place.step("").args(words).output().expect("start the step");
        let said = stderr(&output);
        let status = if part == "are too long" { 126 } else { 125 };
        assert_eq!(output.status.code(), Some(status), "{what}: {said}");
        assert!(is_one_line(STEP, &said) && said.len() < 1000, "{what}: {said}");
        assert!(said.contains(part), "{what}: {said}");
    }
}

/// Documents and layers that are not what they should be, and a part of the message.
#[test]
fn a_layout_without_sense_is_refused_in_a_line() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let images = &place.images;
    // No store has it: it is never unpacked.
    let layer = images.blob("layer.v1.tar", &tar(&[file("unseen", "")]));
    let only = std::slice::from_ref(&layer);
    let content = |layers: usize| {
        json!({
            "architecture": architecture(), "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"diff_ids": vec![layer["digest"].clone(); layers]},
        })
    };
    let of = |content: &Value, layers: &[Value]| images.manifest(content, layers);
    let other = content(1);
    let changed = |mut descriptor: Value, key: &str, value: Value| {
        descriptor[key] = value;
        descriptor
    };
    let good = of(&content(1), only);
    let lying = changed(layer.clone(), "digest", json!(format!("sha256:{}", "0".repeat(64))));
    let index =
        |manifests: &[Value]| images.document("index.v1+json", &json!({"manifests": manifests}));
    let mut deep = good.clone();
    for _ in 0..20 {
        deep = index(&[deep]);
    }
    let helm = json!({"config": images.blob("application/vnd.cncf.helm.config.v1+json", b"{}")});
    let many = vec![layer.clone(); 1000];
    for (descriptor, part) in [
        (of(&content(2), only), "the manifest has 1 layers, and the configuration 2"),
        (of(&content(0), &[]), "it has 0 layers; an overlay needs 1"),
        (
            of(&content(1000), &many),
            "it has 1000 layers; an overlay needs 1, and here takes 160 at most",
        ),
        (of(&content(1), &[lying]), "open blob sha256:0000"),
        (of(&content(1), &[changed(layer.clone(), "size", json!(5))]), ", and not 5"),
        (
            of(
                &content(1),
                &[changed(
                    layer.clone(),
                    "mediaType",
                    json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
                )],
            ),
            "it is a foreign layer",
        ),
        (of(&content(1), &[images.blob("layer.v1.tar+encrypted", b"x")]), "it is encrypted"),
        (
            of(&changed(other.clone(), "architecture", json!("pdp11")), only),
            "it is for linux/pdp11, and this machine is linux/",
        ),
        (of(&changed(other.clone(), "rootfs", json!(null)), only), "invalid type: null"),
        (
            of(&changed(other, "rootfs", json!({"diff_ids": ["md5:0"]})), only),
            "\"md5:0\" is not a digest",
        ),
        (changed(good.clone(), "size", json!(7)), ", and not 7"),
        (changed(good.clone(), "size", json!(1_u64 << 40)), "its size is 1099511627776"),
        (changed(good.clone(), "size", json!(-1)), "invalid value"),
        (
            changed(good.clone(), "digest", json!("sha256:../../x")),
            "\"sha256:../../x\" is not a digest",
        ),
        (images.blob("manifest.v1+json", b"no document"), "expected ident at line 1"),
        (
            images.document("manifest.v1+json", &helm),
            "it is no image, but application/vnd.cncf.helm",
        ),
        (images.document("manifest.v1+json", &json!([])), "invalid length 0"),
        (deep, "it has over 16 indexes"),
        (index(&[]), "it has nothing for linux/"),
        (json!({}), "missing field"),
    ] {
        images.write("index.json", &json!({"manifests": [descriptor]}));
        is_refused(&place.step("").output().expect("start the step"), &[part]);
    }
    // A changed blob.
    images.write("index.json", &json!({"manifests": [good]}));
    let digest = good["digest"].as_str().and_then(|it| it.strip_prefix("sha256:"));
    let blob = images.path().join("blobs/sha256").join(digest.expect("a digest"));
    let text =
        fs::read_to_string(&blob).expect("read a blob").replace("schemaVersion", "schemaversion");
    fs::write(&blob, text).expect("change a blob");
    is_refused(&place.step("").output().expect("start the step"), &["its digest is sha256:"]);
    fs::write(images.path().join("index.json"), "{").expect("write");
    is_refused(&place.step("").output().expect("start the step"), &["index.json: EOF"]);
    images.write("oci-layout", &json!({"imageLayoutVersion": "2.0.0"}));
    is_refused(&place.step("").output().expect("start the step"), &["its version 2.0.0 is not 1"]);
    let remedy = "fetch an image with `cargo xtask pull`";
    for (name, parts) in [
        ("no-such", &["it is missing", remedy][..]),
        ("no-such:tag", &["/no-such: it is missing", remedy]),
        ("layout/blobs", &["it has no file oci-layout", remedy, "--rootfs"]),
        ("layout/oci-layout", &["it is not a directory; make one of an archive"]),
    ] {
        let name = images.path().with_file_name(name);
        is_refused(&of_image(&name).arg("true").output().expect("start the step"), parts);
    }
}

/// Docker builds images with up to 127 layers. Each here has one file.
#[test]
fn an_image_of_127_layers_starts() {
    if !containers_work() {
        return;
    }
    let layers: Vec<Vec<u8>> = (1..127).map(|n| tar(&[file(&format!("f{n}"), "")])).collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let place = Place::of(&layers, &json!({}));
    assert_eq!(place.said(&["sh", "-c", "ls -d /f* | wc -l"]).trim(), "126");
}

/// The signal that asks the runner to end asks the command by the image's signal.
#[test]
fn a_sigterm_becomes_the_stop_signal() {
    if !containers_work() {
        return;
    }
    let script = "trap 'echo usr1; exit 3' USR1; trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    for (signal, status, said) in [("SIGUSR1", 3, "usr1\n"), ("", 4, ""), ("9", 137, "")] {
        let place = Place::of(&[], &json!({"StopSignal": signal}));
        let mut runner = place.step("").args(["sh", "-c", script]).stdout(Stdio::piped()).spawn();
        let runner = runner.as_mut().expect("start the step");
        let mut out = BufReader::new(runner.stdout.take().expect("a pipe"));
        let mut line = String::new();
        out.read_line(&mut line).expect("read a line");
        assert_eq!(line, "ready\n");
        assert_eq!(stopped(runner, out), (Some(status), said.to_owned()), "{signal}");
    }
}

/// All options of the process work with --rootfs, too.
#[test]
fn the_process_of_the_command_is_as_the_caller_wants_it() {
    if !containers_work() {
        return;
    }
    let said = |words: &[&str], script: &str| {
        let mut step = step(STEP);
        let output = step.args(["--ids", "one"]).args(words).args(["sh", "-c", script]).output();
        let output = output.expect("start the step");
        format!("{}{}", stdout(&output), stderr(&output)).replace('\n', " ")
    };
    let names = "cat /proc/sys/kernel/hostname /etc/hostname; grep -c web-1 /etc/hosts";
    assert_eq!(said(&["--hostname", "web-1"], names), "web-1 web-1 1");
    let write =
        "for it in / /etc /tmp /dev /dev/shm; do touch $it/new 2>/dev/null && echo $it; done";
    assert_eq!(said(&["--read-only"], write), "/tmp /dev /dev/shm");
    assert_eq!(said(&[], write), "/ /etc /tmp /dev /dev/shm");
    let inside = "cd /run/new && : >x && stat -c %a . && dd if=/dev/zero of=x bs=1k count=99 2>/dev/null || echo full";
    let tmpfs = "/run/new:size=64k,mode=750";
    assert_eq!(said(&["--read-only", "--tmpfs", tmpfs], inside), "750 full");
    // A link of the root does not lead out of it.
    let script = "grep -c ' /run/new .*nosuid,nodev.* - tmpfs ' /proc/self/mountinfo";
    assert_eq!(said(&["--tmpfs", tmpfs], script), "1");
    assert_eq!(said(&["--workdir", "/a/b"], "pwd; stat -c '%a %u' ."), "/a/b 755 0");
    assert_eq!(said(&["--entrypoint", "echo"], "a b"), "sh -c a b");
}

#[test]
fn a_command_is_missing_only_if_the_image_has_none() {
    if !containers_work() {
        return;
    }
    let place = Place::of(&[], &json!({}));
    for (words, line) in [
        (&[][..], "the command is missing, and the image has none"),
        (&["--entrypoint", ""], "the command is missing, and the image has none"),
    ] {
        let output = place.step("").args(words).output().expect("start the step");
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.starts_with(&format!("{STEP}: {line}\nusage: ")), "{said}");
    }
}

/// A start with a store of its own: the directory for the IDs, and a runner.
fn first_start(place: &Place, store: &Path) -> (PathBuf, Child) {
    let mut step = step(STEP);
    step.arg("--image").arg(place.images.path()).args(["--ids", "one", "--store"]).arg(store);
    let runner = step.arg("true").stderr(Stdio::piped()).spawn().expect("start the step");
    (store.join(format!("{}-{}", getuid(), getgid())), runner)
}

/// Sends SIGTERM to the runner, and returns its exit status and what it says until its end.
fn stopped(runner: &mut Child, mut said: impl Read) -> (Option<i32>, String) {
    kill(Pid::from_raw(runner.id() as i32), Signal::SIGTERM).expect("send a signal");
    let start = Instant::now();
    let ended = loop {
        match runner.try_wait().expect("look") {
            Some(ended) => break ended,
            None if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            // The assertion of the caller fails then.
            None => runner.kill().expect("kill the runner"),
        }
    };
    let mut lines = String::new();
    said.read_to_string(&mut lines).expect("read");
    (ended.code(), lines)
}

const STOPPED: &str = "step16-images: SIGTERM has ended the wait\n";

#[test]
fn a_signal_ends_the_unpacking_and_nothing_is_left() {
    if !containers_work() {
        return;
    }
    let mut place = Place::new();
    let images = &place.images;
    // 4 GiB of zeros. The digest would be wrong at its end.
    let entry = Entry { declared: Some(4 << 30), ..file("zeros", "") };
    let zeros = gz(&vec![0; 4 << 20]);
    let mut archive = gz(&tar(&[entry])[..512]);
    (0..1024).for_each(|_| archive.extend_from_slice(&zeros));
    let layer = images.blob("layer.v1.tar+gzip", &archive);
    let content = json!({
        "architecture": architecture(), "os": "linux", "rootfs": {"diff_ids": [layer["digest"]]},
    });
    let image = images.manifest(&content, &[layer]);
    place.images.add("", image);
    let dir = tempdir();
    let (store, mut runner) = first_start(&place, &dir.path().join("store"));
    let said = runner.stderr.take().expect("a pipe");
    wait_for("the file", || store.join("new/zeros").exists().then_some(()));
    assert_eq!(stopped(&mut runner, said), (Some(143), STOPPED.to_owned()));
    let left = fs::read_dir(&store).expect("read the store").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["made-by-container"]);
}

#[test]
fn a_signal_ends_the_wait_for_another_start() {
    if !containers_work() {
        return;
    }
    let place = Place::of(&[], &json!({}));
    let dir = tempdir();
    let store = dir.path().join("store").join(format!("{}-{}", getuid(), getgid()));
    fs::create_dir_all(&store).expect("make a store");
    let lock = fs::File::open(&store).expect("open");
    lock.lock().expect("lock");
    let (store, mut runner) = first_start(&place, &dir.path().join("store"));
    let mut said = BufReader::new(runner.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("read a line");
    let waits = "step16-images: waiting for another container, which works on ";
    assert_eq!(line, format!("{waits}{}\n", store.display()));
    assert_eq!(stopped(&mut runner, said), (Some(143), STOPPED.to_owned()));
}
