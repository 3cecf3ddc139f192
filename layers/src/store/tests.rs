use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;

const MARKER: &str = "made-by-a-test";
const KEPT: &str = "kept.tar.gz";

pub(crate) const CLIENT: Client =
    Client { name: "a-test", puts: "a root", option: "--dest", tell: |note| panic!("{note}") };

fn open(dest: &Path) -> Store {
    Store::open(dest, CLIENT).expect("open")
}

fn put(store: &Store, mark: &str) {
    let found = store.look().expect("look");
    let made = store.replace(&found, |new| {
        fs::write(new.join(mark), "")?;
        Ok((mark, ()))
    });
    made.expect("put in place");
}

fn there(store: &Store) -> Contents {
    store.look().expect("look").contents
}

#[test]
fn a_record_goes_with_its_root() {
    let dir = testkit::tempdir();
    let dest = dir.path().join("rootfs");
    let store = open(&dest);
    assert_eq!(there(&store), Contents::Nothing);
    for mark in ["a", "b"] {
        put(&store, mark);
        assert_eq!(there(&store), Contents::Root(mark.to_owned()));
        assert!(dest.join(mark).exists());
    }
    assert!(!dest.join("a").exists(), "the old root is gone");
    // A directory that another program makes there is not a root.
    fs::remove_dir_all(&dest).expect("remove");
    fs::create_dir(&dest).expect("make");
    assert_eq!(there(&store), Contents::Nothing);
    fs::write(dest.join("x"), "").expect("write");
    assert_eq!(there(&store), Contents::Other);
}

#[test]
fn a_record_counts_only_for_this_directory_of_this_user() {
    let dir = testkit::tempdir();
    let dest = dir.path().join("rootfs");
    let store = open(&dest);
    put(&store, "a");
    let record = record_name(&store.above.folder("rootfs").expect("open")).expect("a name");
    let inode = fs::metadata(&dest).expect("look").ino();
    assert!(record.ends_with(&format!("-{inode}")) && store.cache().has(&record), "{record}");
    drop(store);
    let store = open(&dest);
    assert_eq!(there(&store), Contents::Root("a".to_owned()));
    if !testkit::is_root() {
        testkit::skip("only root can give a directory to another user");
        return;
    }
    chown(&dest, Some(65534), None).expect("chown");
    assert_eq!(there(&store), Contents::Other);
}

#[test]
fn what_came_after_the_look_is_not_replaced() {
    let dir = testkit::tempdir();
    let (dest, away) = (dir.path().join("rootfs"), dir.path().join("away"));
    fs::create_dir_all(away.join("mine")).expect("make");
    let store = open(&dest);
    let put_after = |change: &dyn Fn()| {
        let put = store.replace(&store.look().expect("look"), |new| {
            fs::write(new.join("new"), "")?;
            change();
            Ok(("ab", ()))
        });
        let error = put.expect_err("it is refused");
        assert!(error.root_cause().to_string().contains("another program changed it"), "{error:?}");
        assert!(!dest.join("new").exists() && !store.cache().has(NEW));
    };
    // Nothing was there. Another program makes a directory with a file, a file, or a
    // symbolic link.
    put_after(&|| fs::rename(&away, &dest).expect("move"));
    fs::rename(&dest, &away).expect("it is still there");
    put_after(&|| fs::write(&dest, "mine").expect("write"));
    fs::remove_file(&dest).expect("it is still there");
    put_after(&|| symlink(&away, &dest).expect("link"));
    fs::remove_file(&dest).expect("it is still there");
    // An empty directory was there. Another program makes a file in it.
    fs::create_dir(&dest).expect("make");
    put_after(&|| fs::write(dest.join("mine"), "").expect("write"));
    assert!(dest.join("mine").exists());
    // A directory was there. Another program replaces it with another directory,
    // with a link to it, or removes it.
    let old = dir.path().join("old");
    put_after(&|| {
        fs::rename(&dest, &old).expect("move");
        fs::rename(&away, &dest).expect("move");
    });
    assert!(dest.join("mine").is_dir() && old.join("mine").is_file());
    put_after(&|| {
        fs::rename(&dest, &away).expect("move");
        symlink(&away, &dest).expect("link");
    });
    assert!(dest.is_symlink() && away.join("mine").exists());
    fs::remove_file(&dest).expect("remove");
    fs::rename(&away, &dest).expect("move");
    put_after(&|| fs::rename(&dest, &away).expect("move"));
    assert!(away.join("mine").exists());
}

#[test]
fn a_directory_that_others_can_put_there_is_not_replaced() {
    let dir = testkit::tempdir();
    let dest = dir.path().join("rootfs");
    let store = open(&dest);
    fs::create_dir_all(dest.join("mine")).expect("make");
    for (mode, is_refused) in [(0o777, true), (0o1777, false), (0o755, false)] {
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).expect("chmod");
        let refused = store.may_replace(&store.look().expect("look"));
        assert_eq!(refused.is_err(), is_refused, "{mode:o}: {refused:?}");
    }
    // A root of fetch-rootfs is known by its record.
    fs::remove_dir_all(&dest).expect("remove");
    put(&store, "root");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("chmod");
    store.may_replace(&store.look().expect("look")).expect("it is a root");
}

#[test]
fn what_is_exchanged_and_is_another_is_never_removed() {
    let dir = testkit::tempdir();
    let dest = dir.path().join("rootfs");
    let store = open(&dest);
    put(&store, "old");
    let found = store.look().expect("look").dir.expect("a directory");
    for number in 0..2 {
        // Another program put its directory in the place before the exchange.
        let put = store.cache.in_new(|new| {
            fs::write(new.join("mine"), "")?;
            store.keep_others(&found)
        });
        let error = put.expect_err("another directory").to_string();
        // The names of former runs stay.
        let kept = store.cache().join(format!("found-{number}"));
        assert!(kept.join("mine").exists() && !store.cache().has(NEW));
        assert!(error.ends_with(&format!("is now {}", kept.display())), "{error}");
    }
    // The old root is removed.
    fs::rename(&dest, store.cache().join(NEW)).expect("move");
    store.keep_others(&found).expect("it was found");
}

#[test]
fn files_of_the_client_and_the_archive_of_the_root_stay() {
    let dir = testkit::tempdir();
    let dest = dir.path().join("rootfs");
    let of_root = format!("{}.tar.gz", "ab".repeat(32));
    let (stay, go) = (["x", KEPT, &of_root], ["new", "left-0", "x.part", "root-1-2"]);
    let store = open(&dest);
    put(&store, &format!("the archive {}", "ab".repeat(32)));
    let other = format!("{}.tar.gz", "cd".repeat(32));
    for name in stay.iter().chain(&go).chain([&&*other]) {
        fs::write(store.cache().join(name), "").expect("write");
    }
    drop(store);
    let store = open(&dest);
    assert!(stay.iter().all(|name| store.cache().has(name)));
    assert!(!go.iter().any(|name| store.cache().has(name)) && !store.cache().has(&other));
    assert!(matches!(there(&store), Contents::Root(_)));
}

#[test]
fn a_cache_is_known_by_its_marker() {
    let dir = testkit::tempdir();
    let (dest, cache) = (dir.path().join("npm"), dir.path().join(".npm-cache"));
    // The caches of other programs, with any contents.
    for names in [&["_logs"][..], &["_logs", KEPT], &["new"], &[KEPT]] {
        for name in names {
            fs::create_dir_all(cache.join(name)).expect("make");
        }
        let error = Store::open(&dest, CLIENT).err().expect("it is refused").to_string();
        assert!(error.contains("a-test did not make it"), "{error}");
        assert_eq!(fs::read_dir(&cache).expect("list").count(), names.len());
        fs::remove_dir_all(&cache).expect("remove");
    }
    // A copy of a cache, an empty cache, and an unfinished cache.
    for names in [&[MARKER, KEPT, "root-1-2", "new"][..], &[], &["made-by-a-test.part"]] {
        fs::create_dir_all(&cache).expect("make");
        for name in names {
            fs::write(cache.join(name), "").expect("write");
        }
        drop(open(&dest));
        let mode = fs::metadata(&cache).expect("look").mode();
        assert_eq!(mode & 0o7777, 0o700, "another user could open it, and lock it for ever");
        assert!(cache.join(MARKER).exists() && !cache.join("new").exists());
        // The store does not remove a file that the user adds.
        fs::write(cache.join("mine"), "").expect("write");
        drop(open(&dest));
        assert!(cache.join("mine").exists());
        assert_eq!(cache.join(KEPT).exists(), names.contains(&KEPT));
        fs::remove_dir_all(&cache).expect("remove");
    }
}
