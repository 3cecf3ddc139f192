use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

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

    /// A walk that has reached the directory `name` of the tree.
    fn walk_to<'a>(&self, tree: &'a Path, name: &str, most: usize) -> Walk<'a> {
        let above = fs::File::open(self.path("")).expect("open").into();
        let mut walk = Walk::new(above, c"tree".to_owned(), tree, most);
        while walk.levels.last().is_none_or(|level| level.name.to_bytes() != name.as_bytes()) {
            assert!(walk.step(), "the walk does not reach {name}");
        }
        walk
    }
}

fn end(mut walk: Walk<'_>) -> Result<()> {
    while walk.step() {}
    walk.end()
}

/// A mode that no directory has by chance.
const MODE: u32 = 0o751;

#[test]
fn a_directory_that_is_moved_away_takes_the_removal_nowhere() {
    // First with the upper directories open; then the walk must open them again.
    for most in [DESCRIPTORS, 1] {
        let place = Place::new();
        place.files(&["tree/a/b/c/x", "tree/a/other/x", "tree/other/x"]);
        place.files(&["outside/other/x", "outside/c/x", "outside/x"]);
        for dir in ["outside", "outside/other", "outside/c"] {
            fs::set_permissions(place.path(dir), Permissions::from_mode(MODE)).expect("chmod");
        }
        let tree = place.path("tree");
        let walk = place.walk_to(&tree, "c", most);
        fs::rename(place.path("tree/a/b"), place.path("outside/b")).expect("move");
        end(walk).expect("remove the tree");
        assert!(!tree.exists(), "{most}");
        for file in ["outside/other/x", "outside/c/x", "outside/x"] {
            assert!(place.path(file).exists(), "{most}: {file}");
        }
        for dir in ["outside", "outside/other", "outside/c"] {
            let mode = fs::metadata(place.path(dir)).expect("look").mode();
            assert_eq!(mode & 0o7777, MODE, "{most}: {dir}");
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
        let tree = place.path("tree");
        let walk = place.walk_to(&tree, "a", DESCRIPTORS);
        let (outside, there) = (place.path("outside"), place.path("tree/a/b"));
        // This mount has the same device.
        mount(Some(&outside), &there, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        let error = end(walk).expect_err("something stays").to_string();
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
    let tree = place.path("tree");
    let walk = place.walk_to(&tree, "c", 1);
    fs::rename(place.path("tree/a"), place.path("away")).expect("move");
    fs::rename(place.path("other"), place.path("tree/a")).expect("move");
    let error = end(walk).expect_err("something stays");
    let tree = tree.display();
    assert_eq!(
        error.to_string(),
        format!("remove {tree}: {tree}/a stays: another process has moved it; remove {tree} again")
    );
    assert!(place.path("tree/a/b/y").exists() && place.path("tree/a/b/c/x").exists());
    assert!(!place.path("tree/z").exists());
}

#[test]
fn a_link_in_the_place_of_a_directory_is_not_followed() {
    for most in [DESCRIPTORS, 1] {
        let place = Place::new();
        place.files(&["tree/a/b/c/x", "outside/b/c/x", "outside/x"]);
        let tree = place.path("tree");
        let walk = place.walk_to(&tree, "c", most);
        fs::rename(place.path("tree/a"), place.path("away")).expect("move");
        symlink("../outside", place.path("tree/a")).expect("link");
        assert!(end(walk).is_err(), "{most}");
        assert!(place.path("outside/b/c/x").exists() && place.path("outside/x").exists());
        // The removal follows no link in a tree that does not change, either.
        assert!(remove_tree(&tree).is_ok());
        assert!(place.path("outside/b/c/x").exists() && !tree.exists());
    }
    // The link replaces the directory before the walk enters it.
    let place = Place::new();
    place.files(&["tree/a/b/x", "outside/x"]);
    let tree = place.path("tree");
    let walk = place.walk_to(&tree, "a", DESCRIPTORS);
    fs::rename(place.path("tree/a/b"), place.path("away")).expect("move");
    symlink("../../outside", place.path("tree/a/b")).expect("link");
    assert!(end(walk).is_err());
    assert!(place.path("outside/x").exists() && place.path("tree/a/b").is_symlink());
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

#[test]
fn a_deep_tree_is_removed_with_few_descriptors() {
    for (most, depth) in [(1, 40), (3, 300), (DESCRIPTORS, 2000)] {
        let place = Place::new();
        let mut at = fs::File::open(place.path("")).map(OwnedFd::from).expect("open");
        for name in std::iter::once(c"tree").chain(std::iter::repeat_n(c"d", depth)) {
            nix::sys::stat::mkdirat(&at, name, Mode::S_IRWXU).expect("make");
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            at = openat(&at, name, flags, Mode::empty()).expect("open");
        }
        let (tree, mut deepest) = (place.path("tree"), 0);
        let mut walk = place.walk_to(&tree, "tree", most);
        while walk.step() {
            deepest = deepest.max(walk.levels.len());
            let open = walk.levels.iter().filter(|level| level.dir.is_some()).count();
            assert!(open <= most + 1, "{open}");
        }
        walk.end().expect("it can be removed");
        assert_eq!(deepest, depth + 1);
        assert!(!tree.exists());
    }
}

#[test]
fn it_makes_do_with_fewer_descriptors() {
    let place = Place::new();
    place.files(&["tree/a/b/c/d/e/f/x"]);
    let tree = place.path("tree");
    let mut walk = place.walk_to(&tree, "e", DESCRIPTORS);
    let open = |walk: &Walk<'_>| walk.levels.iter().filter(|it| it.dir.is_some()).count();
    for left in (2..7).rev() {
        assert!(walk.close_one());
        assert_eq!(open(&walk), left);
    }
    assert!(!walk.close_one());
    end(walk).expect("it can be removed");
    assert!(!tree.exists());
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
