//! How a command line is read.

use std::path::Path;

use super::*;

fn parse(words: &[&str]) -> Result<Parsed> {
    let step = crate::step!().takes_rootfs().takes_layers();
    step.parse(words.iter().map(OsString::from))
}

fn run(words: &[&str]) -> Args {
    match parse(words).expect("a good command line") {
        Parsed::Start(args) => *args,
        _ => panic!("{words:?} runs nothing"),
    }
}

#[test]
fn options_end_at_the_first_word_that_is_none() {
    assert_eq!(run(&["sh", "-c", "--help"]).command, [c"sh", c"-c", c"--help"]);
    assert_eq!(run(&["--", "--rootfs"]).command, [c"--rootfs"]);
    assert_eq!(run(&["-"]).command, [c"-"]);
    assert_eq!(run(&["", "x"]).command, [c"", c"x"]);
    assert_eq!(run(&["--", "--", "x"]).command, [c"--", c"x"]);
}

#[test]
fn an_option_takes_the_next_word_or_what_follows_its_equals_sign() {
    assert_eq!(run(&["--rootfs", "--", "sh"]).rootfs, Some("--".into()));
    let args = run(&["--lower=a=b", "--lower", "c", "--scratch=d", "sh"]);
    assert_eq!(args.lower, [Path::new("a=b"), Path::new("c")]);
    assert_eq!(args.scratch, Some("d".into()));
    assert_eq!(args.command, [c"sh"]);
}

#[test]
fn a_command_line_without_sense_is_refused() {
    for words in [
        &[][..],
        &["--"],
        &["--rootfs"],
        &["--rootfs", "x"],
        &["--rootfs=", "sh"],
        &["--lower", "", "sh"],
        &["-x", "sh"],
        &["--rootfs", "a", "--lower", "b", "sh"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    assert!(crate::step!().parse(["--rootfs".into(), "x".into(), "sh".into()]).is_err());
}

#[test]
fn bytes_that_are_not_utf8_arrive() {
    let word = OsString::from_vec(vec![b'-', b'-', b'l', b'=', 0xff]);
    assert!(crate::step!().parse([word]).is_err());
    let words = [OsString::from("sh"), OsString::from_vec(vec![0xff])];
    match crate::step!().parse(words) {
        Ok(Parsed::Start(args)) => assert_eq!(args.command[1].to_bytes(), [0xff]),
        _ => panic!("a good command line"),
    }
}

#[test]
fn help_and_version_stand_before_the_command_only() {
    assert!(matches!(parse(&["--help", "sh"]), Ok(Parsed::Help)));
    assert!(matches!(parse(&["-V"]), Ok(Parsed::Version)));
    assert!(matches!(parse(&["sh", "--version"]), Ok(Parsed::Start(_))));
}

fn of_image(words: &[&str]) -> Result<Args> {
    let step = crate::step!().takes_rootfs().takes_layers();
    let step = step.takes_image().takes_process().takes_users();
    match step.parse(words.iter().map(OsString::from))? {
        Parsed::Start(args) => Ok(*args),
        _ => panic!("{words:?} runs nothing"),
    }
}

#[test]
fn an_image_may_bring_the_root_and_the_command() {
    let args = of_image(&["--image", "a:b", "--store=c", "--read-only", "sh"]).expect("good");
    assert_eq!(args.image, Some("a:b".into()));
    assert_eq!(args.store().expect("named"), Path::new("c"));
    assert!(args.read_only && args.lower().is_empty());
    assert_eq!(args.command, [c"sh"]);
    for words in [&["--image", "a"][..], &["--entrypoint", "sh"], &["--image", "a", "--"]] {
        assert!(of_image(words).expect("good").command.is_empty(), "{words:?}");
    }
    let args = of_image(&["--entrypoint", "", "--tmpfs=/run", "--env", "A=", "sh"]).expect("good");
    assert_eq!(args.entrypoint, Some(vec![c"".to_owned()]));
    assert_eq!((args.tmpfs.len(), &args.env[..]), (1, &[c"A=".to_owned()][..]));
    for words in [
        &[][..],
        &["--env", "A=b"],
        &["--store", "c", "sh"],
        &["--image", "a", "--rootfs", "b", "sh"],
        &["--image", "a", "--lower", "b", "sh"],
        &["--read-only=yes", "sh"],
        &["--image", "", "sh"],
        &["--env", "=b", "sh"],
        &["--workdir", "a", "sh"],
        &["--workdir", "/a/..", "sh"],
    ] {
        assert!(of_image(words).is_err(), "{words:?}");
    }
}
