//! Runs that are killed, and runs at the same time.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use testkit::stderr;

use crate::mirror::{Answer, Mirror, sha512_file};
use crate::place::{Place, kill, text, wait_for};
use crate::{NAME, PLACE, RELEASE, large, small};

#[test]
fn a_run_killed_while_it_downloads_harms_nothing() {
    let archive = small("new");
    let place = Place::with_root("old");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Stalls(archive.clone()), Answer::Whole(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    let url = mirror.url();
    let args = ["--release", RELEASE, "--arch", "x86_64", "--timeout=120", "--mirror", &url];
    let args = [&args[..], &["--force"]].concat();
    let child = place.command(&args).stderr(Stdio::null()).spawn().expect("start xtask");
    let part = place.cache(&format!("{NAME}.part"));
    wait_for(|| part.metadata().is_ok_and(|part| part.len() > 0));
    kill(child);
    assert_eq!(place.mark(), "old");
    assert!(part.exists() && !place.cache(NAME).exists());
    // A run that has nothing to fetch also cleans up.
    assert!(place.fetch(&[]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0));
    assert!(place.fetch_from(&mirror, &["--force"]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("new".to_owned(), 0));
}

#[test]
fn a_run_killed_while_it_unpacks_harms_nothing() {
    let place = Place::with_root("old");
    let archive = place.path("large.tar.gz");
    fs::write(&archive, large(900)).expect("write");
    let args = ["--archive", text(&archive), "--force"];
    let child = place.command(&args).stderr(Stdio::null()).spawn().expect("start xtask");
    let begun = || {
        let new = place.leftovers().pop().map(|new| place.cache(&new).join("zeros"));
        new.and_then(|zeros| zeros.metadata().ok()).is_some_and(|zeros| zeros.len() > 0)
    };
    wait_for(begun);
    kill(child);
    assert_eq!(place.mark(), "old");
    assert_eq!(place.leftovers().len(), 1, "only the unfinished root is left");
    assert!(place.fetch(&[]).status.success());
    assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0));
}

#[test]
fn the_root_is_never_missing_while_it_is_replaced() {
    let place = Place::with_root("one");
    let mark = place.root().join("mark");
    let over = Arc::new(AtomicBool::new(false));
    let of_thread = over.clone();
    let watcher = thread::spawn(move || {
        let mut looks = 0;
        while !of_thread.load(Ordering::SeqCst) {
            assert!(mark.exists(), "after {looks} looks");
            looks += 1;
        }
        looks
    });
    for _ in 0..20 {
        let output = place.fetch(&["--archive", text(&place.path("old.tar.gz")), "--force"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    over.store(true, Ordering::SeqCst);
    assert!(watcher.join().expect("the root is always there") > 20);
}

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let archive = small("one");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Slowly(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    let url = mirror.url();
    for force in [&[][..], &["--force"]] {
        let place = Place::new();
        let before = mirror.asked(PLACE);
        let args = ["--release", RELEASE, "--arch", "x86_64", "--timeout=120", "--mirror", &url];
        let args = [&args, force].concat();
        let start = || {
            let mut command = place.command(&args);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start xtask")
        };
        let outputs =
            [start(), start(), start()].map(|child| child.wait_with_output().expect("wait"));
        for output in &outputs {
            assert!(output.status.success(), "{}", stderr(output));
        }
        let waited = outputs
            .iter()
            .filter(|output| stderr(output).contains("waiting for another fetch-rootfs"));
        assert_eq!(waited.count(), 2);
        assert_eq!((mirror.asked(PLACE) - before, place.mark()), (1, "one".to_owned()));
        assert_eq!(place.leftovers(), [""; 0]);
    }
}
