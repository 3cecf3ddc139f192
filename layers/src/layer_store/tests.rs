use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use testkit::Scratches;
use testkit::archives::{Entry, gz, tar};
use testkit::namespace::{Ids, inside};

use super::*;
use crate::digest::Algorithm::Sha256;

const MARKER: &str = "made-by-a-test";

const CLIENT: Client =
    Client { name: "a-test", puts: "layers", option: "--store", tell: |note| panic!("{note}") };

/// A layer in a file.
struct Layer {
    file: PathBuf,
    blob: Descriptor,
    diff_id: Digest,
}

impl Layer {
    fn new(dir: &Scratches, name: &str, entries: &[Entry]) -> Layer {
        let tar = tar(entries);
        let (blob, file) = (gz(&tar), dir.path().join(name));
        fs::write(&file, &blob).expect("write");
        let blob = Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
            digest: Digest::of_bytes(&blob, Sha256),
            size: blob.len() as u64,
            platform: None,
            annotations: Default::default(),
        };
        Layer { file, blob, diff_id: Digest::of_bytes(&tar, Sha256) }
    }

    fn unpack(&self, store: &LayerStore) -> Result<PathBuf> {
        store.layer(&self.diff_id, &self.blob, || Ok(File::open(&self.file)?))
    }

    /// The directory of the layer, which the store has.
    fn find(&self, store: &LayerStore) -> PathBuf {
        let found = store.layer(&self.diff_id, &self.blob, || panic!("it is not opened"));
        found.expect("the store has it")
    }
}

fn owned(entry: Entry) -> Entry {
    Entry { owner: (0, 0), ..entry }
}

fn small(dir: &Scratches) -> Layer {
    Layer::new(dir, "small", &[owned(Entry::file("a", "x"))])
}

fn open(dir: &Path) -> LayerStore {
    LayerStore::open(dir, CLIENT).expect("open")
}

fn names(store: &Path) -> Vec<String> {
    let entries = fs::read_dir(store).expect("list");
    let mut names: Vec<_> =
        entries.map(|it| it.expect("list").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_layer_is_unpacked_once() {
    if !inside(Ids::One, module_path!(), "a_layer_is_unpacked_once") {
        return;
    }
    let dir = testkit::tempdir();
    let at = dir.path().join("deep/er/store");
    let (small, other) = (small(&dir), Layer::new(&dir, "other", &[owned(Entry::file("b", ""))]));
    let store = open(&at);
    assert_eq!(fs::metadata(&at).expect("look").mode(), 0o40700);
    let path = small.unpack(&store).expect("unpack");
    assert_eq!(path, at.join(small.diff_id.to_string()));
    assert_eq!(fs::read(path.join("a")).expect("read"), b"x");
    assert_eq!(small.find(&store), path);
    other.unpack(&store).expect("unpack");
    // Another run, and another blob with the same archive.
    let again = open(&at);
    assert_eq!(small.find(&again), path);
    other.find(&again);
    assert_eq!(names(&at), sorted([&small, &other]));
}

fn sorted<const N: usize>(layers: [&Layer; N]) -> Vec<String> {
    let mut names = layers.map(|layer| layer.diff_id.to_string()).to_vec();
    names.push(MARKER.to_owned());
    names.sort();
    names
}

#[test]
fn nothing_stays_of_a_layer_that_is_refused() {
    if !inside(Ids::One, module_path!(), "nothing_stays_of_a_layer_that_is_refused") {
        return;
    }
    let dir = testkit::tempdir();
    let at = dir.path().join("store");
    let store = open(&at);
    let layer = small(&dir);
    let (right, zero) =
        (layer.blob.digest.oci(), Digest::parse(&"0".repeat(64)).expect("a digest"));
    let wrong = Layer { diff_id: zero.clone(), ..small(&dir) };
    let refused = |store: &LayerStore, layer: &Layer| {
        let line = common::one_line(&layer.unpack(store).expect_err("it is refused"));
        assert_eq!(names(&at), [MARKER]);
        line
    };
    assert_eq!(
        refused(&store, &wrong),
        format!(
            "unpack layer {right}: the digest of its archive is {}, and not the diff_id {}",
            layer.diff_id.oci(),
            zero.oci()
        )
    );
    let mut wrong = small(&dir);
    wrong.blob.digest = zero.clone();
    let zero = zero.oci();
    assert_eq!(
        refused(&store, &wrong),
        format!("unpack layer {zero}: its digest is {right}, and not {zero}")
    );
    let mut wrong = small(&dir);
    wrong.blob.size = u64::MAX;
    let line = format!("unpack layer {right}: its size is 18446744073709551615");
    assert_eq!(refused(&store, &wrong), line);
    let climbs =
        Layer::new(&dir, "climbs", &[owned(Entry::file("a", "")), Entry::file("../x", "")]);
    let line = refused(&store, &climbs);
    assert!(line.ends_with(": entry ../x: it has .. in its path"), "{line}");
    let missing = Layer { file: "/missing".into(), ..small(&dir) };
    assert!(refused(&store, &missing).ends_with(": No such file or directory"));
    layer.unpack(&store).expect("the store is whole");
}

/// What the store of the next test says.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn two_starts_at_once_unpack_once() {
    if !inside(Ids::One, module_path!(), "two_starts_at_once_unpack_once") {
        return;
    }
    let dir = testkit::tempdir();
    let at = dir.path().join("store");
    let layer = small(&dir);
    let (is_open, opened) = channel();
    let (go_on, goes_on) = channel::<()>();
    let tell = |note: &str| SAID.lock().expect("a lock").push(note.to_owned());
    thread::scope(|scope| {
        // If the test fails here, the first does not wait for ever.
        let go_on = go_on;
        let (at, layer) = (&at, &layer);
        let first = scope.spawn(move || {
            let store = open(at);
            store.layer(&layer.diff_id, &layer.blob, || {
                is_open.send(()).expect("the test waits");
                goes_on.recv().expect("the test goes on");
                Ok(File::open(&layer.file)?)
            })
        });
        opened.recv().expect("the first has the lock");
        let second = scope.spawn(|| {
            let store = LayerStore::open(at, Client { tell, ..CLIENT }).expect("open");
            layer.find(&store)
        });
        while SAID.lock().expect("a lock").is_empty() {
            assert!(!second.is_finished(), "it does not wait");
            thread::yield_now();
        }
        go_on.send(()).expect("the first waits");
        let first = first.join().expect("no panic").expect("unpack");
        assert_eq!(first, second.join().expect("no panic"));
    });
    let waiting = format!("waiting for another a-test, which works on {}", at.display());
    assert_eq!(*SAID.lock().expect("a lock"), [waiting]);
    assert_eq!(names(&at), sorted([&layer]));
}

/// Names the store of the process that is killed.
const KILLED: &str = "LAYER_STORE_TEST_KILLED";

#[test]
fn a_killed_start_leaves_nothing_that_stays_or_counts() {
    let name = "a_killed_start_leaves_nothing_that_stays_or_counts";
    if !inside(Ids::Many, module_path!(), name) {
        return;
    }
    // Its directories belong to another user, so only this namespace can remove them.
    let theirs = |entry| Entry { owner: (1000, 1000), ..entry };
    let files = (0..1500).map(|n| theirs(Entry::file(&format!("d/{n}"), "text")));
    let files: Vec<_> = [theirs(Entry::directory("d"))].into_iter().chain(files).collect();
    if let Some(dir) = std::env::var_os(KILLED) {
        let dir = Path::new(&dir);
        let (file, at) = (dir.join("many"), dir.join("store"));
        let layer = Layer::new(&testkit::tempdir(), "many", &files);
        Layer { file, ..layer }.unpack(&open(&at)).expect("unpack");
        return;
    }
    let dir = testkit::tempdir();
    let (layer, small) = (Layer::new(&dir, "many", &files), small(&dir));
    let at = dir.path().join("store");
    small.unpack(&open(&at)).expect("unpack");
    let (new, whole) = (at.join(NEW), at.join(layer.diff_id.to_string()));
    let test = format!("{}::{name}", module_path!().split_once("::").expect("a module").1);
    // Each is killed when the directory has so many files.
    for files in [None, Some(0), Some(1), Some(700)] {
        let mut start = Command::new(std::env::current_exe().expect("a path"));
        start.args([&test, "--exact"]).env(KILLED, dir.path()).stdout(std::process::Stdio::null());
        let mut start = start.spawn().expect("start this test");
        let count = || fs::read_dir(new.join("d")).map_or(0, Iterator::count);
        loop {
            let is_time = match files {
                None => new.exists(),
                Some(files) => new.join("d").exists() && count() > files,
            };
            if is_time || start.try_wait().expect("look").is_some() {
                break;
            }
            thread::yield_now();
        }
        start.kill().expect("kill");
        start.wait().expect("wait");
        // If it was too late, the layer is whole. The next start finds it.
        if whole.exists() {
            assert_eq!(fs::read_dir(whole.join("d")).expect("list").count(), 1500);
            common::remove_tree(&whole).expect("remove");
            continue;
        }
        assert!(new.exists(), "{files:?}: {:?}", names(&at));
        // Also a start that needs nothing new removes it.
        small.find(&open(&at));
        assert_eq!(names(&at), sorted([&small]), "{files:?}");
    }
    // Another run works on it: it stays.
    let busy = open(&at);
    assert!(busy.cache.try_lock().expect("lock"));
    fs::create_dir(&new).expect("make");
    small.find(&open(&at));
    assert!(new.exists());
    drop(busy);
    let path = layer.unpack(&open(&at)).expect("unpack");
    assert_eq!(fs::read_dir(path.join("d")).expect("list").count(), 1500);
    assert_eq!(names(&at), sorted([&small, &layer]));
}

#[test]
fn a_store_that_another_user_can_change_is_refused() {
    let dir = testkit::tempdir();
    let at = dir.path().join("store");
    let refused = |at: &Path| {
        let refused = LayerStore::open(at, CLIENT).err().expect("it is refused");
        common::one_line(&refused)
    };
    drop(open(&at));
    let remedy = "name another directory with --store";
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    };
    let private = format!(
        "use {}: it must be a directory that only this user can write to; remove it, or {remedy}",
        at.display()
    );
    for shared in [0o722, 0o720, 0o702, 0o1777] {
        mode(&at, shared);
        assert_eq!(refused(&at), private, "{shared:o}");
    }
    // Others could only lock it.
    mode(&at, 0o755);
    drop(open(&at));
    assert_eq!(fs::metadata(&at).expect("look").mode() & 0o7777, 0o700);
    let link = dir.path().join("link");
    symlink(&at, &link).expect("link");
    for link in [link.clone(), link.join("")] {
        let line = format!("put layers in {}: it is a symbolic link; {remedy}", link.display());
        assert_eq!(refused(&link), line);
    }
    let file = dir.path().join("file");
    fs::write(&file, "").expect("write");
    let line = format!("put layers in {}: it is not a directory; {remedy}", file.display());
    assert_eq!(refused(&file), line);
    mode(dir.path(), 0o777);
    let line = refused(&at);
    let start = format!("put layers in {}: {} belongs to ", at.display(), dir.path().display());
    let end = format!(" has mode 777, so other users can rename files in it; {remedy}");
    assert!(line.starts_with(&start) && line.ends_with(&end), "{line}");
    mode(dir.path(), 0o700);
    if !testkit::is_root() {
        testkit::skip("only root can give a directory to another user");
        return;
    }
    chown(&at, Some(65534), None).expect("chown");
    assert_eq!(refused(&at), private);
    chown(&at, Some(0), None).expect("chown");
    let above = dir.path().join("theirs");
    fs::create_dir(&above).expect("make");
    chown(&above, Some(65534), None).expect("chown");
    let line = refused(&above.join("store"));
    assert!(line.contains(&format!("{} belongs to user 65534 ", above.display())), "{line}");
}

#[test]
fn a_directory_of_another_program_is_not_touched() {
    if !inside(Ids::One, module_path!(), "a_directory_of_another_program_is_not_touched") {
        return;
    }
    let dir = testkit::tempdir();
    let at = dir.path().join("store");
    let layer = small(&dir);
    // Even with the names of a store.
    let theirs = [layer.diff_id.to_string(), NEW.to_owned()];
    for name in &theirs {
        fs::create_dir_all(at.join(name)).expect("make");
    }
    let line = common::one_line(&layer.unpack(&open(&at)).expect_err("it is refused"));
    let why = "a-test did not make it; move or remove it, or name another directory with --store";
    assert_eq!(line, format!("use {}: {why}", at.display()));
    assert!(theirs.iter().all(|name| at.join(name).exists()));
}

#[test]
fn the_layers_of_a_copy_do_not_count() {
    if !inside(Ids::One, module_path!(), "the_layers_of_a_copy_do_not_count") {
        return;
    }
    let dir = testkit::tempdir();
    let (at, copy) = (dir.path().join("store"), dir.path().join("copy"));
    let layer = small(&dir);
    let path = layer.unpack(&open(&at)).expect("unpack");
    // A copy without attributes and times, as of a backup.
    let copied = Command::new("cp").arg("-r").args([&at, &copy]).status();
    assert!(copied.expect("start cp").success());
    fs::write(copy.join("mine"), "").expect("write");
    fs::write(copy.join(path.file_name().expect("a name")).join("b"), "").expect("write");
    let path = layer.unpack(&open(&copy)).expect("unpack");
    assert_eq!(names(&path), ["a"]);
    assert!(copy.join("mine").exists(), "a file that the store did not make stays");
    // A moved store is the same store.
    let moved = dir.path().join("moved");
    fs::rename(&at, &moved).expect("move");
    layer.find(&open(&moved));
    // Something else with the name of a layer.
    let name = layer.diff_id.to_string();
    common::remove_tree(&moved.join(&name)).expect("remove");
    fs::write(moved.join(&name), "").expect("write");
    layer.unpack(&open(&moved)).expect("unpack");
    assert!(moved.join(&name).join("a").exists());
}

#[test]
fn a_layer_of_another_type_is_refused_by_name() {
    if !inside(Ids::One, module_path!(), "a_layer_of_another_type_is_refused_by_name") {
        return;
    }
    let dir = testkit::tempdir();
    let at = dir.path().join("store");
    let (oci, docker) =
        ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar");
    let tried = |kind: &str| {
        let mut layer = small(&dir);
        layer.blob.media_type = kind.to_owned();
        layer.unpack(&open(&at)).map_err(|error| common::one_line(&error))
    };
    for end in ["", "+gzip", "+zstd"] {
        tried(&format!("{oci}{end}")).expect("a layer");
        tried(&format!("{docker}{}", end.replace('+', "."))).expect("a layer");
    }
    let digest = small(&dir).blob.digest.oci();
    for (kind, words) in [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "it is a foreign layer"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "it is a foreign layer"),
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "it is encrypted"),
        ("application/vnd.oci.image.layer.v1.tar+encrypted", "it is encrypted"),
        ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "is not that of a layer"),
        ("application/vnd.oci.image.layer.v1.tar+bzip2", "is not that of a layer"),
        ("", "is not that of a layer"),
    ] {
        // The store has the archive, but that does not matter.
        let line = tried(kind).expect_err("it is refused");
        assert!(line.starts_with(&format!("read layer {digest}: ")), "{line}");
        assert!(line.contains(words) && line.contains(kind), "{line}");
    }
    let line = tried(&"x".repeat(1 << 20)).expect_err("it is refused");
    assert!(line.len() < 400, "{line}");
}
