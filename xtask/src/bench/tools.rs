//! Lessons 16 to 19, each next to other programs that do the same.

use std::io::Write;
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use layers::oci::{MANIFESTS, Platform, TAG};
use layers::{Algorithm, Digest};
use nix::unistd::getuid;
use serde_json::{Value, json};

use super::measure::{Turns, try_once};
use super::peers::{contender, fill};
use super::{Args, circumstances};
use crate::bundle;
use crate::dist::Dist;
use crate::file::{self, make_dir};
use crate::rootfs::Root;
use crate::say::{self, note, quoted};
use crate::temporary::Temporary;

/// The name of the image, and of the container that is entered.
const NAME: &str = "bench";

/// Without systemd, with limits that a container may have, too, and with locks in files in the
/// place: podman's usual ones stay in `/dev/shm`.
const PODMAN_CONF: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=2048:2048"]
[engine]
cgroup_manager = "cgroupfs"
lock_type = "file"
"#;
const PODMAN: &str = "env CONTAINERS_CONF=$PLACE/podman.conf podman --root $PLACE/podman --runroot $PLACE/podman-run --tmpdir $PLACE/podman-tmp --log-level error";
const PODMAN_RUN: &str = "$PODMAN $RUNTIME run --rm --network none localhost/layout true";

/// With --all, an ordinary user is refused the time namespace, which is the host's. One
/// mapped ID has no groups to set.
const NSENTER: &str = "$SELF --target $PID --preserve-credentials --user --mount --uts --ipc --net --pid --cgroup true";

const RUN: &str = "$SELF --root $STATE run --bundle $PLACE/bundle $ID";
/// As an engine calls it.
const VERBS: &str = "$SELF --root $STATE create --bundle $PLACE/bundle $ID && $SELF --root $STATE start $ID && $SELF --root $STATE delete --force $ID";

/// The tasks, each with a [`Peer`](super::peers::Peer) that does it. The first of a task is
/// the step.
#[rustfmt::skip]
const TASKS: [(&str, &str, &str, &str); 14] = [
    ("start an image", "step16-images", "the layers are unpacked before",
     "$SELF --image $LAYOUT --store $PLACE/store --ids one -- true"),
    ("start an image", "podman", "also a monitor, a log, a record of the container", PODMAN_RUN),
    (UNPACK, "step16-images, new store", "checks, unpacks, starts",
     "$SELF --image $LAYOUT --store $PLACE/new --ids one -- true"),
    (UNPACK, "umoci", "checks, unpacks, makes a bundle; starts nothing",
     "$UMOCI --image $LAYOUT $PLACE/unpacked"),
    (UNPACK, "skopeo, umoci", "also copies the layout",
     "$SELF --insecure-policy copy --quiet oci:$LAYOUT oci:$PLACE/copy:it && $UMOCI --image $PLACE/copy:it $PLACE/unpacked"),
    ("enter a container", "step17-exec --exec", "the limits of the container",
     "$SELF --exec bench true"),
    ("enter a container", "nsenter", "no filter, every capability", NSENTER),
    ("run a bundle", "step18-bundle run", "keeps no state",
     "$SELF run --bundle $PLACE/bundle $ID"),
    ("run a bundle", "step19-runtime run", "", RUN),
    ("run a bundle", "runc run", "", RUN),
    ("run a bundle", "crun run", "", RUN),
    ("create, start, delete", "step19-runtime", "", VERBS),
    ("create, start, delete", "runc", "", VERBS),
    ("create, start, delete", "crun", "", VERBS),
];

const UNPACK: &str = "unpack an image";
/// Runs before each command that unpacks, and is not measured.
const PREPARE: &str = "rm -rf $PLACE/new $PLACE/copy $PLACE/unpacked";

/// Measures each task by turns, and prints one table.
pub(super) fn compare(args: &Args, built: &Dist) -> Result<()> {
    let place = Temporary::new()?;
    let root = Root::find(None)?;
    let root = root.dir().canonicalize().context("use the root")?;
    let at = |name: &str| place.dir().join(name);
    make_image(&root, &at("layout"))?;
    file::write(&at("podman.conf"), PODMAN_CONF)?;
    make_dir(&at("bundle"))?;
    let step18 = built.dir.join("step18-bundle");
    bundle::make(&step18, &at("bundle"), &root, &["true"], false)?;
    let bench = Bench { place: place.dir(), steps: &built.dir };
    let rootless = if getuid().is_root() { "" } else { " --rootless" };
    let mut words = vec![
        ("$PODMAN", PODMAN.to_owned()),
        ("$UMOCI", format!("umoci unpack{rootless}")),
        ("$LAYOUT", format!("$PLACE/layout:{NAME}")),
        ("$STEPS", quoted(&built.dir)),
        ("$PLACE", quoted(place.dir())),
        // No other container on this host has this name.
        ("$ID", format!("xtask-bench-{}", process::id())),
        ("$PID", bench.start(&root)?),
    ];
    if getuid().is_root() {
        words.insert(0, ("$RUNTIME", bench.runtime_of_podman(&words).to_owned()));
    }

    let mut rows = Vec::new();
    for task in TASKS.chunk_by(|one, other| one.0 == other.0) {
        let (name, step, ..) = task[0];
        let prepare = fill(PREPARE, &words);
        let prepare = (name == UNPACK).then_some(&*prepare);
        let turns = Turns { runs: args.runs, place: place.dir(), prepare };
        let mut contenders = Vec::new();
        for &(_, peer, remark, command) in task {
            if peer == "podman" && !getuid().is_root() {
                // The files in its store would belong to subordinate IDs.
                note("left out: podman, which is measured only when root runs this task");
                continue;
            }
            let found = contender((peer, remark, command), &words);
            contenders.extend(found.filter(|it| turns.works(it)));
        }
        ensure!(
            contenders.first().is_some_and(|it| it.name == step),
            "measure {step}: it does not run here; read the message above"
        );
        let measured = turns.measure(&contenders)?;
        rows.extend(measured.iter().map(|row| {
            let ratio = format!("{:.2}", row.median / measured[0].median);
            [vec![name.to_owned()], row.cells(&ratio, &row.remark)].concat()
        }));
    }
    let head = ["task", "command", "median ms", "fastest ms", "ratio", "what it does more or less"];
    let circumstances = circumstances(args.runs, built.libc).join(" ");
    say::print(&format!("{circumstances}\n\n{}", args.table(&head, rows)))
}

/// What ends with the measurement: a container, and the store of podman.
struct Bench<'a> {
    place: &'a Path,
    steps: &'a Path,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // The state goes away with the place in which it is.
        for words in [&["--kill", NAME, "KILL"][..], &["--wait", NAME]] {
            let _ = self.step17().args(words).stderr(Stdio::null()).status();
        }
        // podman leaves its store mounted.
        let store = self.place.join("podman/overlay");
        if store.exists() {
            let _ = Command::new("umount").arg(store).stderr(Stdio::null()).status();
        }
    }
}

impl Bench<'_> {
    fn step17(&self) -> Command {
        let mut command = Command::new(self.steps.join("step17-exec"));
        command.env("XDG_RUNTIME_DIR", self.place).stdout(Stdio::null());
        command
    }

    /// Starts the container that is entered. Returns a process in it: process 1 is not open
    /// to an ordinary user, but its child is.
    fn start(&self, root: &Path) -> Result<String> {
        let mut start = self.step17();
        start.args(["--detach", "--name", NAME, "--ids", "one", "--rootfs"]).arg(root);
        let started = start.args(["--", "sleep", "100000"]).status().context("start lesson 17")?;
        ensure!(started.success(), "start lesson 17: it failed; read the message above");
        let mut list = self.step17();
        let listed = list.args(["--list", "--format", "json"]).stdout(Stdio::piped()).output();
        let listed = listed.context("list the containers")?;
        let list: Value = serde_json::from_slice(&listed.stdout).context("read the list")?;
        let Some(first) = list[0]["process"].as_u64() else { bail!("find the container: {list}") };
        let children = format!("/proc/{first}/task/{first}/children");
        let children = file::read(Path::new(&children))?;
        Ok(children.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Gives podman the image, and returns the option for a runtime that works here: its
    /// usual one may refuse this host.
    fn runtime_of_podman(&self, words: &[(&str, String)]) -> &'static str {
        // The path becomes the name of the image, and a name has no capital letters.
        let pull = format!("cd $PLACE && $PODMAN pull --quiet oci:layout:{NAME}");
        let run = PODMAN_RUN.replace("$RUNTIME", "");
        let try_out = |command: &str| try_once(&fill(command, words), self.place);
        match try_out(&pull).and_then(|()| try_out(&run)) {
            Ok(()) => "",
            Err(_) => "--runtime runc",
        }
    }
}

/// An image of the root with one layer, as a layout.
fn make_image(root: &Path, layout: &Path) -> Result<()> {
    let blobs = layout.join("blobs/sha256");
    let doing = || format!("make an image of {}", root.display());
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
    tar.append_dir_all(".", root).with_context(doing)?;
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
    Ok(())
}
