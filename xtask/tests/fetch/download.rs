//! Downloads: the task checks them, waits for a slow mirror, and downloads nothing
//! twice.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::getuid;
use testkit::archives::gz;
use testkit::{skip, stderr, stdout};

use crate::mirror::{Answer, Mirror, sha512_file};
use crate::place::{Place, refusal, sole_refusal};
use crate::{NAME, PINNED, PINNED_SHA256, PLACE, RELEASE, sha256, sha512, small};

#[test]
fn an_archive_is_fetched_checked_unpacked_and_kept() {
    let archive = small("one");
    let mirror = Mirror::with(&archive);
    let place = Place::new();
    let output = place.fetch_from(&mirror, &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let root = fs::canonicalize(place.root()).expect("a root");
    assert_eq!(
        stdout(&output),
        format!(
            "rootfs: Alpine 3.99.1 x86_64 in {} (checked against the SHA-512 from the mirror)",
            common::printable(&root.display().to_string())
        )
    );
    // Without a terminal, no progress bar.
    assert_eq!(
        stderr(&output),
        format!("xtask: fetch {}{}", mirror.url(), &PLACE["/alpine".len()..])
    );
    assert_eq!(place.mark(), "one");
    for name in ["", "bin", "bin/busybox", "bin/sh", "mark"] {
        let found = fs::symlink_metadata(root.join(name)).expect(name);
        assert_eq!(found.uid(), getuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o6000, 0, "{name}");
    }
    assert_eq!(fs::read(place.cache(NAME)).expect("kept"), archive);

    // The second run downloads nothing.
    let asked = mirror.asked.lock().expect("no panic").len();
    for args in [&["--release", RELEASE, "--arch", "x86_64"][..], &["--arch", "x86_64"], &[]] {
        let again = place.fetch(args);
        assert!(again.status.success() && stdout(&again).ends_with("(already there)"), "{again:?}");
    }
    // The options ask for another root.
    for args in [["--release", "3.15.4"], ["--arch", "aarch64"], ["--from-host", "--force=x"]] {
        let other = place.fetch(&args[..args.len() - usize::from(args[0] == "--from-host")]);
        sole_refusal(&other, &["Alpine 3.99.1 x86_64 is there", "--force"]);
    }
    assert_eq!(mirror.asked.lock().expect("no panic").len(), asked);

    // Without a network, --force restores the same release.
    drop(mirror);
    fs::write(root.join("mark"), "spoilt").expect("write");
    fs::set_permissions(root.join("bin"), fs::Permissions::from_mode(0o000)).expect("chmod");
    let output = place.fetch(&["--force"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.mark(), "one");
    assert!(root.join("bin/busybox").exists());
    assert_eq!(place.leftovers(), [""; 0]);
}

#[test]
fn a_kept_archive_that_is_spoilt_is_fetched_again() {
    let mirror = Mirror::with(&small("one"));
    let place = Place::new();
    assert!(place.fetch_from(&mirror, &[]).status.success());
    assert!(place.fetch_from(&mirror, &["--force"]).status.success());
    assert_eq!(mirror.asked(PLACE), 1);
    fs::write(place.cache(NAME), small("evil")).expect("write");
    let output = place.fetch_from(&mirror, &["--force"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("because its digest is wrong"), "{}", stderr(&output));
    assert_eq!((mirror.asked(PLACE), place.mark()), (2, "one".to_owned()));
}

#[test]
fn the_older_digest_will_do_and_none_will_not() {
    let archive = small("one");
    let sha256_file = format!("{}  {NAME}\n", sha256(&archive)).into();
    let whole = [Answer::Whole(archive)];
    let mirror = Mirror::new(&[
        (PLACE, &whole),
        (&format!("{PLACE}.sha256"), &[Answer::Whole(sha256_file)]),
    ]);
    let output = Place::new().fetch_from(&mirror, &[]);
    assert!(
        stdout(&output).ends_with("(checked against the SHA-256 from the mirror)"),
        "{output:?}"
    );

    let mirror = Mirror::new(&[(PLACE, &whole)]);
    let place = Place::new();
    let output = place.fetch_from(&mirror, &[]);
    let words = [PLACE, ".sha512", ".sha256", "404", "the release may not exist"];
    sole_refusal(&output, &words);
    assert!(!place.root().exists());

    for wrong in [b"<html>Log in to this network</html>".to_vec(), vec![b'x'; 100_000]] {
        let mirror =
            Mirror::new(&[(PLACE, &whole), (&format!("{PLACE}.sha512"), &[Answer::Whole(wrong)])]);
        let place = Place::new();
        sole_refusal(
            &place.fetch_from(&mirror, &[]),
            &[".sha512", "name another mirror with --mirror"],
        );
        assert!(!place.root().exists());
    }
}

#[test]
fn wrong_bytes_are_not_kept() {
    let (right, wrong) = (small("right"), small("wrong"));
    let place = Place::with_root("old");
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Whole(wrong.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&right))]),
        (PINNED, &[Answer::Whole(wrong.clone())]),
    ]);
    let output = place.fetch_from(&mirror, &["--force"]);
    refusal(&output, &[PLACE, "SHA-512", &sha512(&right), &sha512(&wrong), "not kept"]);
    // For a pinned release, the task does not ask the mirror for a digest.
    let output = place.fetch_pinned_from(&mirror, &["--force"]);
    refusal(&output, &[PINNED, "SHA-256", PINNED_SHA256, &sha256(&wrong), "not kept"]);
    assert_eq!((mirror.asked(PLACE), mirror.asked(PINNED)), (1, 1), "no further try");
    assert_eq!(mirror.asked(&format!("{PINNED}.sha256")), 0);
    assert_eq!(place.mark(), "old");
    assert_eq!(place.leftovers(), [""; 0]);
    assert!(!place.cache(NAME).exists());
}

#[test]
fn a_release_that_is_not_there_is_not_tried_again() {
    let mirror = Mirror::new(&[]);
    let place = Place::new();
    let output = place.fetch_pinned_from(&mirror, &[]);
    refusal(
        &output,
        &[&mirror.url(), &PINNED["/alpine".len()..], "404", "the release may not exist"],
    );
    assert_eq!(mirror.asked(PINNED), 1);
    assert!(!place.root().exists());
    assert_eq!(place.leftovers(), [""; 0]);

    let mirror = Mirror::new(&[(PINNED, &[Answer::Status(403)])]);
    let output = place.fetch_pinned_from(&mirror, &[]);
    refusal(&output, &[&mirror.url(), "403", "--mirror"]);
    assert_eq!(mirror.asked(PINNED), 1);
}

/// The test uses the default time-out: at least three seconds for the answer to each
/// try.
#[test]
fn what_may_pass_is_tried_again() {
    let archive = small("one");
    let status = (Answer::Status(503), "the mirror answers with status 503");
    let cut_off = (Answer::CutOff(archive.clone()), "the mirror broke off");
    let stalls = (Answer::Stalls(archive.clone()), " bytes came within 12.0 seconds");
    let silent = (Answer::Silent, "no answer within ");
    let whole = Answer::Whole(archive.clone());
    // The bad answers, and the answer to the last try.
    let cases =
        [([&stalls, &silent], &whole, None), ([&status, &cut_off], &stalls.0, Some(stalls.1))];
    let try_out = |(bad, last, refused): ([&(Answer, &str); 2], &Answer, Option<&str>)| {
        let answers = [bad[0].0.clone(), bad[1].0.clone(), last.clone()];
        let digest = [Answer::Whole(sha512_file(&archive))];
        let mirror = Mirror::new(&[(PLACE, &answers), (&format!("{PLACE}.sha512"), &digest)]);
        let place = Place::with_root("old");
        let output = place.fetch_from(&mirror, &["--force", "--timeout=12"]);
        let said = stderr(&output);
        let failed = said.lines().filter(|line| line.contains(&format!("{NAME}: ")));
        let failed: Vec<_> = failed.collect();
        assert!(failed.len() >= 2, "{said}");
        for ((line, (_, why)), left) in failed.iter().zip(bad).zip([2, 1]) {
            let end = format!("; try again, {left} of 3 tries left");
            assert!(line.contains(why) && line.ends_with(&end), "no {why:?}: {said}");
        }
        match refused {
            None => assert!(output.status.success(), "{said}"),
            Some(why) => {
                refusal(&output, &[PLACE, why, "at the last of 3 tries", "--from-host"]);
            }
        }
        let mark = if refused.is_some() { "old" } else { "one" };
        assert_eq!((mirror.asked(PLACE), &*place.mark()), (3, mark), "{said}");
        assert_eq!(place.leftovers(), [""; 0]);
    };
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || try_out(case));
        }
    });
}

#[test]
fn only_the_rest_of_a_broken_download_is_fetched() {
    let archive = small("one");
    let digest = [Answer::Whole(sha512_file(&archive))];
    let half = Answer::CutOff(archive.clone());
    let fetched = |rest: Vec<u8>| {
        let answers = [half.clone(), Answer::Rest(rest)];
        let mirror = Mirror::new(&[(PLACE, &answers), (&format!("{PLACE}.sha512"), &digest)]);
        let place = Place::with_root("old");
        let output = place.fetch_from(&mirror, &["--force", "--timeout=12"]);
        assert_eq!(mirror.asked(PLACE), 2, "{output:?}");
        (place, output)
    };
    let (place, output) = fetched(archive.clone());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(fs::read(place.cache(NAME)).expect("kept"), archive);
    // The rest of another file: the digest is that of all bytes.
    let (place, output) = fetched([&archive[..archive.len() - 1], b"x"].concat());
    refusal(&output, &[PLACE, &sha512(&archive), "not kept"]);
    assert_eq!((place.mark(), place.leftovers().len()), ("old".to_owned(), 0));
}

#[test]
fn a_slow_mirror_is_waited_for() {
    // Each piece has more bytes than a mirror must send in the time-out.
    let noise: String = (0..2000_u16).map(|n| sha512(&n.to_ne_bytes())).collect();
    let archive = [small("one"), gz(noise.as_bytes())].concat();
    let mirror = Mirror::new(&[
        (PLACE, &[Answer::Slowly(archive.clone())]),
        (&format!("{PLACE}.sha512"), &[Answer::Whole(sha512_file(&archive))]),
    ]);
    assert!(archive.len() / 20 > 6 * 1024);
    // The download takes eight seconds. An answer must begin after less than that.
    let output = Place::new().fetch_from(&mirror, &["--timeout=6"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stderr(&output).contains("bytes came within"), "{}", stderr(&output));
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let archive = small("one");
    let target = Mirror::with(&archive);
    let to = |end: &str| [Answer::Redirect(format!("http://{}{PLACE}{end}", target.address))];
    let mirror = Mirror::new(&[(PLACE, &to("")), (&format!("{PLACE}.sha512"), &to(".sha512"))]);
    let place = Place::new();
    assert!(place.fetch_from(&mirror, &[]).status.success());
    assert_eq!(place.mark(), "one");

    let mirror = Mirror::new(&[(PINNED, &[Answer::Redirect(PINNED.to_owned())])]);
    let output = Place::new().fetch_pinned_from(&mirror, &[]);
    refusal(&output, &[PINNED, "redirects"]);
}

#[test]
fn a_mirror_that_cannot_be_reached_is_noticed_in_time() {
    let place = Place::new();
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.local_addr().expect("an address")
    };
    // The kernel accepts the connection. No program answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("listen");
    let silent_address = silent.local_addr().expect("an address");
    // A server with a full queue of connections drops new connections.
    let full = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = full.local_addr().expect("an address");
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
        assert!(queue.len() < 10_000, "the queue is never full");
    }
    for (mirror, timeout, why) in [
        (format!("http://{refused}"), "12", "Connection refused"),
        (format!("http://{address}"), "2", "no answer"),
        (format!("http://{silent_address}"), "2", "no answer"),
        ("http://nowhere.invalid".to_owned(), "2", "http://nowhere.invalid"),
    ] {
        let output = place.fetch(&["--mirror", &mirror, "--timeout", timeout]);
        refusal(&output, &[&mirror, why, "at the last of 3 tries", "--mirror", "--from-host"]);
        assert!(!place.root().exists());
    }
    // The same without --timeout. The kernel gives up after more than two minutes.
    let start = Instant::now();
    refusal(&place.fetch(&["--mirror", &format!("http://{address}")]), &["no answer"]);
    assert!(start.elapsed() < Duration::from_secs(100), "{:?}", start.elapsed());
}

#[test]
fn the_real_archive_is_fetched() {
    let Some(archive) = std::env::var_os("CONTAINERS_TEST_ARCHIVE") else {
        skip("CONTAINERS_TEST_ARCHIVE names no archive of Alpine 3.15.11 for x86_64");
        return;
    };
    let archive = fs::read(archive).expect("read the archive");
    let path = "/alpine/v3.15/releases/x86_64/alpine-minirootfs-3.15.11-x86_64.tar.gz";
    let mirror = Mirror::new(&[(path, &[Answer::Whole(archive)])]);
    let place = Place::new();
    let url = format!("{}/", mirror.url());
    let args = ["--release", "3.15.11", "--arch", "x86_64", "--timeout=120", "--mirror", &url];
    let output = place.fetch(&args);
    assert!(stdout(&output).ends_with("(checked against the pinned SHA-256)"), "{output:?}");
    let release = fs::read_to_string(place.root().join("etc/alpine-release")).expect("read");
    assert_eq!(release, "3.15.11\n");
    assert_eq!(
        fs::read_link(place.root().join("bin/sh")).expect("a link"),
        Path::new("/bin/busybox")
    );
    // 97 directories, 331 symbolic links, 82 files and one hard link.
    let mut counts = [0; 3];
    let mut left = vec![place.root()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path).expect("look");
        assert_eq!(found.uid(), getuid().as_raw(), "{path:?}");
        counts[if found.is_dir() { 0 } else { 1 + usize::from(found.is_file()) }] += 1;
        if found.is_dir() {
            left.extend(fs::read_dir(&path).expect("list").map(|it| it.expect("list").path()));
        }
    }
    assert_eq!(counts, [97, 331, 83]);
}
