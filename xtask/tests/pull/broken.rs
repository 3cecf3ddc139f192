//! Downloads that break off, runs that are killed, and runs at the same time.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::stderr;

use crate::registry::{Answer, Files, OCI, Registry, digest, layer};
use crate::{Place, kill, refusal, succeeds, wait_for};

/// An image with two layers, whose second layer is `answer` at first. It is long, so that
/// a half of it comes.
fn registry(answer: impl Fn(Vec<u8>) -> Answer + Send + Sync + 'static, times: usize) -> Registry {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one", LONG]);
    let long = long();
    Registry::new(move |request, nth| match files.answer(&request.path) {
        Answer::File(file) if request.path.ends_with(&long) && nth < times => answer(file),
        same => same,
    })
}

const LONG: &str = "a longer layer";

fn long() -> String {
    digest(&layer(LONG))
}

fn part(place: &Place) -> std::path::PathBuf {
    place.layout().join(format!("blobs/{}.part", long().replace(':', "/")))
}

/// The places from which the long layer was asked for.
fn froms(registry: &Registry) -> Vec<Option<usize>> {
    registry.asked(&long()).iter().map(|request| request.from).collect()
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let registry = registry(Answer::CutOff, 1);
    let place = Place::new();
    let output = place.pull(&[&registry.reference("1"), "--timeout=12"]);
    succeeds(&output);
    assert!(stderr(&output).contains("the registry broke off; try again"), "{}", stderr(&output));
    assert_eq!(froms(&registry), [None, Some(layer(LONG).len() / 2)]);
    assert_eq!(place.tags(), ["1"]);
}

#[test]
fn the_next_run_goes_on_where_a_failed_run_stopped() {
    let registry = registry(Answer::Stalls, 3);
    let place = Place::new();
    let name = registry.reference("1");
    let output = place.pull(&[&name, "--timeout=1"]);
    let half = layer(LONG).len() / 2;
    refusal(&output, &["bytes came within 1.0 seconds", "what came is kept"]);
    assert!(!place.layout().join("index.json").exists());
    assert_eq!(fs::metadata(part(&place)).expect("kept").len() as usize, half);
    succeeds(&place.pull(&[&name]));
    assert_eq!(froms(&registry).last(), Some(&Some(half)));
    assert_eq!((registry.asked(&digest(&layer("one"))).len(), place.tags().len()), (1, 1));
}

#[test]
fn wrong_bytes_of_an_earlier_run_are_fetched_again() {
    let registry = registry(Answer::File, 0);
    let name = registry.reference("1");
    let length = layer(LONG).len();
    for wrong in [3, length, length + 9] {
        let place = Place::new();
        fs::create_dir_all(part(&place).parent().expect("above")).expect("make");
        fs::write(part(&place), vec![b'x'; wrong]).expect("write");
        succeeds(&place.pull(&[&name]));
        assert_eq!(place.tags(), ["1"]);
    }
}

#[test]
fn a_killed_run_leaves_nothing_that_is_taken_for_whole() {
    let registry = registry(Answer::Stalls, 1);
    let place = Place::new();
    let name = registry.reference("1");
    let child = place.command(&[&name]).spawn().expect("start xtask");
    wait_for(|| part(&place).metadata().is_ok_and(|part| part.len() > 0));
    let one = digest(&layer("one")).replace(':', "/");
    wait_for(|| place.layout().join("blobs").join(&one).exists());
    kill(child);
    assert!(!place.layout().join("index.json").exists());
    let half = fs::metadata(part(&place)).expect("left").len() as usize;
    let said = succeeds(&place.pull(&[&name]));
    assert!(said.ends_with("(1 of 2 layers fetched)"), "{said}");
    assert_eq!(froms(&registry), [None, Some(half)]);
    assert_eq!(place.tags(), ["1"]);
}

#[test]
fn what_a_killed_run_left_of_another_image_is_removed() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["one"]);
    let registry = Registry::with(files);
    let place = Place::new();
    fs::create_dir_all(part(&place).parent().expect("above")).expect("make");
    fs::write(part(&place), "x").expect("write");
    succeeds(&place.pull(&[&registry.reference("1")]));
    assert!(!part(&place).exists());
    place.images();
}

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let mut files = Files::default();
    files.image(&OCI, "1", &["base", "one"]);
    files.image(&OCI, "2", &["base", "two"]);
    let base = digest(&layer("base"));
    let count = AtomicUsize::new(0);
    let registry = Registry::new(move |request, _| {
        // Both runs have read a manifest before a layer comes.
        if request.path.contains("/manifests/") {
            count.fetch_add(1, Ordering::SeqCst);
            wait_for(|| count.load(Ordering::SeqCst) >= 2);
        }
        files.answer(&request.path)
    });
    let place = Place::new();
    let start = |tag| place.command(&[&registry.reference(tag)]).spawn().expect("start xtask");
    let outputs = [start("1"), start("2")].map(|it| it.wait_with_output().expect("wait"));
    outputs.iter().for_each(|output| drop(succeeds(output)));
    let mut tags = place.tags();
    tags.sort();
    assert_eq!((tags, registry.asked(&base).len()), (vec!["1".to_owned(), "2".to_owned()], 1));
}
