use std::cell::RefCell;
use std::env;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fchmod, mkdirat};

use super::*;
use crate::places::place::Place;

impl Place {
    /// Makes files, with the directories above them.
    fn files(&self, names: &[&str]) {
        for name in names {
            let file = self.path(name);
            fs::create_dir_all(file.parent().expect("it has one")).expect("make directories");
            fs::write(file, "").expect("write");
        }
    }
}

type Change = Box<dyn FnOnce()>;

thread_local! {
    /// A directory, and what happens when the removal has entered it.
    static MEANWHILE: RefCell<Option<(&'static CStr, Change)>> = RefCell::default();
}

/// The removal has entered a directory.
pub(super) fn entered(name: &CStr) {
    let change = MEANWHILE.with_borrow_mut(|it| it.take_if(|(wanted, _)| *wanted == name));
    if let Some((_, change)) = change {
        change();
    }
}

/// Removes the tree. When the removal has entered the directory `name`, calls `change`.
fn remove_while(
    place: &Place,
    deepest: usize,
    name: &'static CStr,
    change: impl FnOnce() + 'static,
) -> Result<()> {
    MEANWHILE.set(Some((name, Box::new(change))));
    let (tree, above) = (place.path("tree"), fs::File::open(place.path("")).expect("open"));
    let mut removal = Removal::of(&tree, deepest);
    removal.directory(above.as_fd(), c"tree", None);
    assert!(MEANWHILE.take().is_none(), "the removal does not reach {name:?}");
    removal.end()
}

/// A mode that no directory has by chance.
const MODE: u32 = 0o751;

#[test]
fn a_directory_that_is_moved_away_takes_the_removal_nowhere() {
    // With all directories on the way open, and with each moved up.
    for deepest in [DEEPEST, 1] {
        let place = Place::new();
        place.files(&["tree/a/b/c/x", "tree/a/other/x", "tree/other/x"]);
        place.files(&["outside/other/x", "outside/c/x", "outside/x"]);
        for dir in ["outside", "outside/other", "outside/c"] {
            fs::set_permissions(place.path(dir), Permissions::from_mode(MODE)).expect("chmod");
        }
        let (from, to) = (place.path("tree/a"), place.path("outside/b"));
        let gone = remove_while(&place, deepest, c"a", move || {
            fs::rename(from.join("b"), to).expect("move");
        });
        gone.expect("remove the tree");
        assert!(!place.path("tree").exists(), "{deepest}");
        for file in ["outside/other/x", "outside/c/x", "outside/x"] {
            assert!(place.path(file).exists(), "{deepest}: {file}");
        }
        for dir in ["outside", "outside/other", "outside/c"] {
            let mode = fs::metadata(place.path(dir)).expect("look").mode();
            assert_eq!(mode & 0o7777, MODE, "{deepest}: {dir}");
        }
    }
}

#[test]
fn a_mount_that_comes_meanwhile_is_not_entered() {
    // The thread makes its own mount namespace, which ends with the thread.
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?;
        let place = Place::new();
        place.files(&["tree/a/b/x", "tree/c/x", "outside/x"]);
        let (outside, there) = (place.path("outside"), place.path("tree/a/b"));
        let at = there.clone();
        let removed = remove_while(&place, DEEPEST, c"a", move || {
            // This mount has the same device.
            let mounted = mount(Some(&outside), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>);
            mounted.expect("mount");
        });
        let error = removed.expect_err("something stays").to_string();
        assert!(
            error.contains("tree/a/b stays: a file system is mounted there; unmount it"),
            "{error}"
        );
        assert!(place.path("outside/x").exists() && !place.path("tree/c").exists());
        umount(&there)
    });
    if let Err(errno) = tried.join().expect("no panic") {
        assert!(!geteuid().is_root() || errno == Errno::EPERM, "{errno}");
        // Past the capture of the test's output.
        let why = "only root may make a mount namespace by itself";
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
}

#[test]
fn another_directory_in_the_place_of_one_is_left() {
    let place = Place::new();
    place.files(&["tree/a/b/c/x", "tree/z/x", "other/b/c/x", "other/b/y"]);
    let [a, away, other] = ["tree/a", "away", "other"].map(|name| place.path(name));
    let removed = remove_while(&place, DEEPEST, c"c", move || {
        fs::rename(&a, away).expect("move");
        fs::rename(other, a).expect("move");
    });
    let (error, tree) = (removed.expect_err("something stays"), place.path("tree"));
    let tree = tree.display();
    assert_eq!(
        error.to_string(),
        format!("remove {tree}: {tree}/a stays: Directory not empty; remove {tree} again")
    );
    assert!(place.path("tree/a/b/y").exists() && place.path("tree/a/b/c/x").exists());
    assert!(!place.path("tree/z").exists());
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    // Of one that the removal is in, and of one that it has not entered yet.
    for (deepest, entered) in [(DEEPEST, c"c"), (1, c"a"), (DEEPEST, c"a"), (DEEPEST, c"tree")] {
        let place = Place::new();
        place.files(&["tree/a/b/c/x", "outside/b/c/x", "outside/x"]);
        let (tree, a, away) = (place.path("tree"), place.path("tree/a"), place.path("away"));
        let removed = remove_while(&place, deepest, entered, move || {
            fs::rename(&a, away).expect("move");
            symlink("../outside", a).expect("link");
        });
        assert!(removed.is_err() || entered == c"tree", "{entered:?}");
        assert!(place.path("outside/b/c/x").exists() && place.path("outside/x").exists());
        // The removal follows no link in a tree that does not change, either.
        assert!(remove_tree(&tree).is_ok());
        assert!(place.path("outside/b/c/x").exists() && !tree.exists());
    }
}

/// In most cases, a removal that climbs by `..` fails within 100.
const ROUNDS: usize = 300;

#[test]
fn nothing_outside_is_touched_whoever_moves_things_meanwhile() {
    // When `moving` is outside, `..` leads from it to `outside`. The directories
    // there have the same names as directories in the tree.
    let victims: Vec<_> = (0..8).map(|number| format!("victim{number}")).collect();
    let place = Place::new();
    let outside: Vec<_> = ["", "outside/"]
        .iter()
        .flat_map(|above| victims.iter().map(move |victim| format!("{above}{victim}")))
        .collect();
    for victim in &outside {
        place.files(&[&format!("{victim}/x"), &format!("{victim}/d/x")]);
        fs::set_permissions(place.path(victim), Permissions::from_mode(MODE)).expect("chmod");
    }
    let (here, there) = (place.path("tree/a/moving"), place.path("outside/moving"));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // The directory may not exist at this moment.
                let _ = fs::rename(&here, &there);
                let _ = fs::rename(&there, &here);
            }
        });
        for _ in 0..ROUNDS {
            // This, too, may find a directory that is being moved.
            let make = |dir: &str| {
                let dir = place.path("tree").join(dir);
                let _ = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join("x"), ""));
            };
            ["a/moving/d/d", "a/moving/e"].into_iter().for_each(make);
            victims.iter().for_each(|it| make(&format!("a/{it}/d")));
            victims.iter().for_each(|it| make(&format!("{it}/d")));
            // A directory that moved out and back may remain.
            let _ = remove_tree(&place.path("tree"));
        }
        over.store(true, Ordering::Relaxed);
    });
    for victim in &outside {
        let dir = place.path(victim);
        assert_eq!(fs::metadata(&dir).expect(victim).mode() & 0o7777, MODE, "{victim}");
        assert!(dir.join("x").exists() && dir.join("d/x").exists(), "{victim}");
    }
}

/// Makes a tree of this depth, in which only the caller's own rights are missing.
fn deep(place: &Place, depth: usize) -> PathBuf {
    let mut at = fs::File::open(place.path("")).map(OwnedFd::from).expect("open");
    for name in std::iter::once(c"tree").chain(std::iter::repeat_n(c"d", depth)) {
        mkdirat(&at, name, Mode::S_IRWXU).expect("make");
        let next = openat(&at, name, OFlag::O_DIRECTORY, Mode::empty()).expect("open");
        fchmod(&next, Mode::S_IRUSR | Mode::S_IXUSR | Mode::S_IWUSR).expect("chmod");
        at = next;
    }
    fchmod(&at, Mode::empty()).expect("chmod");
    place.path("tree")
}

#[test]
fn a_deep_tree_is_removed_with_few_directories_open() {
    for (deepest, depth) in [(1, 40), (3, 300), (DEEPEST, 2000)] {
        let place = Place::new();
        let tree = deep(&place, depth);
        // The removal does not take names that are there.
        place.files(&["tree/.moved-1", "tree/.moved-2/x"]);
        let above = fs::File::open(place.path("")).expect("open");
        let mut removal = Removal::of(&tree, deepest);
        removal.directory(above.as_fd(), c"tree", None);
        assert!(removal.names >= depth / (deepest + 1), "{}", removal.names);
        removal.end().expect("it can be removed");
        assert!(!tree.exists());
    }
}

/// Says that this process has few descriptors.
const FEW: &str = "REMOVE_TEST_FEW";

#[test]
fn it_makes_do_with_few_descriptors() {
    if env::var_os(FEW).is_some() {
        let place = Place::new();
        let tree = deep(&place, 100);
        return remove_tree(&tree).expect("it can be removed");
    }
    let name = format!("{}::it_makes_do_with_few_descriptors", module_path!());
    let name = name.split_once("::").expect("a module").1;
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 20 && exec \"$@\"", "sh"]).arg(env::current_exe().expect("a path"));
    let output = few.args([name, "--exact"]).env(FEW, "").output().expect("start this test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

#[test]
fn a_directory_keeps_the_rights_that_it_has() {
    let place = Place::new();
    place.files(&["tree/x/x"]);
    let tree = place.path("tree/x");
    fs::set_permissions(&tree, Permissions::from_mode(0o055)).expect("chmod");
    let above = fs::File::open(place.path("tree")).expect("open");
    open(above.as_fd(), c"x").expect("it is ours");
    assert_eq!(fs::metadata(&tree).expect("look").mode() & 0o7777, 0o755);
}
