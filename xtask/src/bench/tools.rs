//! Lessons 16 to 19, each next to other programs that do the same.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use layers::oci::{MANIFESTS, Platform, TAG};
use layers::{Algorithm, Digest};
use nix::unistd::getuid;
use serde_json::{Value, json};

use super::measure::{Turns, try_once};
use super::peers::installed;
use super::{Args, Contender, circumstances};
use crate::bundle;
use crate::dist::Dist;
use crate::file::{self, make_dir};
use crate::rootfs::Root;
use crate::say::{self, note, quoted};
use crate::temporary::Temporary;

/// The name of the image, and of what is made here for other programs.
const NAME: &str = "bench";

/// Commands that do the same. The first is the step.
struct Task {
    name: &'static str,
    contenders: Vec<Contender>,
    /// Runs before each command, and is not measured.
    prepare: Option<String>,
}

/// Measures each task by turns, and prints one table.
pub(super) fn compare(args: &Args, built: &Dist) -> Result<()> {
    let place = Temporary::new()?;
    let root = Root::find(None)?;
    let root = root.dir().canonicalize().context("use the root")?;
    let bench = Bench { place: place.dir(), root: &root, steps: &built.dir };
    let layout = bench.layout()?;
    let (entering, _kept) = bench.enter()?;
    let tasks =
        [bench.start(&layout)?, bench.unpack(&layout), entering, bench.run()?, bench.verbs()];

    let mut rows = Vec::new();
    for mut task in tasks {
        let step = task.contenders[0].name.clone();
        let turns = Turns { runs: args.runs, place: place.dir(), prepare: task.prepare.as_deref() };
        task.contenders.retain(|it| turns.works(it));
        ensure!(
            task.contenders.first().is_some_and(|it| it.name == step),
            "measure {step}: it does not run here; read the message above"
        );
        let measured = turns.measure(&task.contenders)?;
        rows.extend(measured.iter().map(|row| {
            let ratio = format!("{:.2}", row.median / measured[0].median);
            [vec![task.name.to_owned()], row.cells(&ratio, &row.remark)].concat()
        }));
    }
    let head = ["task", "command", "median ms", "fastest ms", "ratio", "what it does more or less"];
    let circumstances = circumstances(args.runs, built.libc).join(" ");
    say::print(&format!("{circumstances}\n\n{}", args.table(&head, rows)))
}

/// A contender, and what it does.
fn contender(name: impl Into<String>, remark: &str, command: String) -> Contender {
    Contender { name: name.into(), remark: remark.to_owned(), command }
}

/// A container that is entered. It ends when this is dropped.
struct Kept<F: Fn() -> Command>(F);

impl<F: Fn() -> Command> Drop for Kept<F> {
    fn drop(&mut self) {
        // The state goes away with the place in which it is.
        for words in [&["--kill", NAME, "KILL"][..], &["--wait", NAME]] {
            let _ = (self.0)().args(words).stderr(Stdio::null()).status();
        }
    }
}

struct Bench<'a> {
    place: &'a Path,
    root: &'a Path,
    steps: &'a Path,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // podman leaves its store mounted.
        let store = self.place.join("podman/overlay");
        if store.exists() {
            let _ = Command::new("umount").arg(store).stderr(Stdio::null()).status();
        }
    }
}

impl Bench<'_> {
    fn at(&self, name: &str) -> String {
        quoted(self.place.join(name))
    }

    fn step(&self, number: usize) -> Result<PathBuf> {
        Ok(self.steps.join(&lessons::find(&number.to_string())?.name))
    }

    /// An image of the root with one layer, as a layout on disk.
    fn layout(&self) -> Result<String> {
        let layout = self.place.join("layout");
        let blobs = layout.join("blobs/sha256");
        let doing = || format!("make an image of {}", self.root.display());
        let blob = |kind: &str, bytes: &[u8]| -> Result<Value> {
            let digest = Digest::of_bytes(bytes, Algorithm::Sha256);
            file::write(&blobs.join(digest.to_string()), bytes)?;
            let kind = format!("application/vnd.oci.image.{kind}");
            Ok(json!({"mediaType": kind, "digest": digest.oci(), "size": bytes.len()}))
        };
        let mut tar = tar::Builder::new(Vec::new());
        tar.follow_symlinks(false);
        // Root owns all files.
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all(".", self.root).with_context(doing)?;
        let tar = tar.into_inner().with_context(doing)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let layer = gzip.write_all(&tar).and_then(|()| gzip.finish()).with_context(doing)?;
        let config = json!({
            "architecture": Platform::here().architecture,
            "os": "linux",
            "rootfs": {
                "type": "layers",
                "diff_ids": [Digest::of_bytes(&tar, Algorithm::Sha256).oci()],
            },
            "config": {"Cmd": ["true"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        });
        let config = blob("config.v1+json", config.to_string().as_bytes())?;
        let layers = [blob("layer.v1.tar+gzip", &layer)?];
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFESTS[0], "config": config, "layers": layers,
        });
        let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({ TAG: NAME });
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        let texts = [("oci-layout", json!({"imageLayoutVersion": "1.0.0"})), ("index.json", index)];
        for (name, text) in texts {
            file::write(&layout.join(name), text.to_string())?;
        }
        Ok(format!("{}:{NAME}", quoted(&layout)))
    }

    /// Lesson 16, when the layers are unpacked.
    fn start(&self, layout: &str) -> Result<Task> {
        let step = self.step(16)?;
        let mut contenders = vec![contender(
            "step16-images",
            "the layers are unpacked before",
            self.image(&step, layout, "store"),
        )];
        if !getuid().is_root() {
            // The files in its store would belong to subordinate IDs.
            note("left out: podman, which is measured only when root runs this task");
        } else if let Some(version) = installed("podman", "podman") {
            match self.podman(&version) {
                Ok(podman) => contenders.push(podman),
                Err(why) => note(&format!("left out: podman does not run here: {why}")),
            }
        }
        Ok(Task { name: "start an image", contenders, prepare: None })
    }

    fn image(&self, step: &Path, layout: &str, store: &str) -> String {
        let step = quoted(step);
        format!("{step} --image {layout} --store {} --ids one -- true", self.at(store))
    }

    fn podman(&self, version: &str) -> Result<Contender, String> {
        // Without systemd, and with limits that a container may have, too.
        let podman = format!(
            "podman --root {} --runroot {} --tmpdir {} --cgroup-manager cgroupfs --log-level error",
            self.at("podman"),
            self.at("podman-run"),
            self.at("podman-tmp")
        );
        // The path becomes the name of the image, and a name has no capital letters.
        let pull = format!("cd {} && {podman} pull --quiet oci:layout:{NAME}", quoted(self.place));
        try_once(&pull, self.place)?;
        let run = |runtime: &str| {
            let limits = "--ulimit nofile=1024:1024 --ulimit nproc=2048:2048";
            format!("{podman} {runtime} run --rm --network none {limits} localhost/layout true")
        };
        // Its usual runtime may refuse this host.
        let command = match try_once(&run(""), self.place) {
            Ok(()) => run(""),
            Err(_) => run("--runtime runc"),
        };
        Ok(contender(
            format!("podman {version}"),
            "also a monitor, a log, a record of the container",
            command,
        ))
    }

    /// Lesson 16, from the layout.
    fn unpack(&self, layout: &str) -> Task {
        let step = self.steps.join("step16-images");
        let mut contenders = vec![contender(
            "step16-images, new store",
            "checks, unpacks, starts",
            self.image(&step, layout, "new"),
        )];
        let (copy, out) = (self.at("copy"), self.at("unpacked"));
        if let Some(umoci) = installed("umoci", "umoci") {
            let rootless = if getuid().is_root() { "" } else { "--rootless" };
            let unpack = |image: &str| format!("umoci unpack {rootless} --image {image} {out}");
            contenders.push(contender(
                format!("umoci {umoci}"),
                "checks, unpacks, makes a bundle; starts nothing",
                unpack(layout),
            ));
            if let Some(skopeo) = installed("skopeo", "skopeo") {
                let both = format!(
                    "skopeo --insecure-policy copy --quiet oci:{layout} oci:{copy}:{NAME} && {}",
                    unpack(&format!("{copy}:{NAME}"))
                );
                contenders.push(contender(
                    format!("skopeo {skopeo}, umoci"),
                    "also copies the layout",
                    format!("sh -c {}", quoted(both)),
                ));
            }
        }
        let prepare = Some(format!("rm -rf {} {copy} {out}", self.at("new")));
        Task { name: "unpack an image", contenders, prepare }
    }

    /// Lesson 17.
    fn enter(&self) -> Result<(Task, Kept<impl Fn() -> Command>)> {
        let step = self.step(17)?;
        let (program, place) = (step.clone(), self.place.to_owned());
        let run = move || {
            let mut command = Command::new(&program);
            command.env("XDG_RUNTIME_DIR", &place).stdout(Stdio::null());
            command
        };
        let mut start = run();
        start.args(["--detach", "--name", NAME, "--ids", "one", "--rootfs"]).arg(self.root);
        let started = start.args(["--", "sleep", "100000"]).status().context("start lesson 17")?;
        ensure!(started.success(), "start lesson 17: it failed; read the message above");
        let kept = Kept(run);
        let listed =
            (kept.0)().args(["--list", "--format", "json"]).stdout(Stdio::piped()).output();
        let listed = listed.context("list the containers")?;
        let list: Value = serde_json::from_slice(&listed.stdout).context("read the list")?;
        let Some(first) = list[0]["process"].as_u64() else { bail!("find the container: {list}") };
        // Process 1 is not open to an ordinary user. Its child is.
        let children = format!("/proc/{first}/task/{first}/children");
        let children = file::read(Path::new(&children))?;
        let child = children.split(' ').next().unwrap_or_default();
        let mut contenders = vec![contender(
            "step17-exec --exec",
            "the limits of the container",
            format!("{} --exec {NAME} true", quoted(&step)),
        )];
        if let Some(version) = installed("nsenter", "util-linux") {
            // With --all, an ordinary user is refused the time namespace, which is the host's. One
            // mapped ID has no groups to set.
            let all = "--preserve-credentials --user --mount --uts --ipc --net --pid --cgroup";
            contenders.push(contender(
                format!("nsenter {version}"),
                "no filter, every capability",
                format!("nsenter --target {child} {all} true"),
            ));
        }
        Ok((Task { name: "enter a container", contenders, prepare: None }, kept))
    }

    /// Lessons 18 and 19: all of them run the same bundle.
    fn run(&self) -> Result<Task> {
        let bundle = self.place.join("bundle");
        make_dir(&bundle)?;
        bundle::make(&self.step(18)?, &bundle, self.root, &["true"], false)?;
        let step = quoted(self.step(18)?);
        let mut contenders = vec![contender(
            "step18-bundle run",
            "keeps no state",
            format!("{step} run --bundle {} {}", self.at("bundle"), id()),
        )];
        contenders.extend(self.runtimes().map(|(name, runtime)| {
            contender(
                format!("{name} run"),
                "",
                format!("{runtime} run --bundle {} {}", self.at("bundle"), id()),
            )
        }));
        Ok(Task { name: "run a bundle", contenders, prepare: None })
    }

    /// Lesson 19, as an engine calls it.
    fn verbs(&self) -> Task {
        let contenders = self.runtimes().map(|(name, runtime)| {
            let (bundle, id) = (self.at("bundle"), id());
            let script = format!(
                "{runtime} create --bundle {bundle} {id} && {runtime} start {id} && {runtime} delete --force {id}"
            );
            contender(name, "", format!("sh -c {}", quoted(script)))
        });
        Task { name: "create, start, delete", contenders: contenders.collect(), prepare: None }
    }

    /// Lesson 19 and the runtimes that are installed, with a state of their own.
    fn runtimes(&self) -> impl Iterator<Item = (String, String)> {
        let ours = ("step19-runtime".to_owned(), quoted(self.steps.join("step19-runtime")));
        let others = ["runc", "crun"].into_iter().filter_map(|name| {
            Some((format!("{name} {}", installed(name, name)?), name.to_owned()))
        });
        [ours].into_iter().chain(others).enumerate().map(|(at, (name, program))| {
            let state = self.at(&format!("state-{at}"));
            (name, format!("{program} --root {state}"))
        })
    }
}

/// The name of a container, which no other program on this host has.
fn id() -> String {
    format!("xtask-bench-{}", process::id())
}
