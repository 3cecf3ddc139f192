//! The files of the book, and the errors when a tool is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use testkit::{ALL, Scratches, bin, stderr, tempdir, workspace};

/// Makes a book with only `tools` in `PATH`, each of them a shell script. Returns
/// the current directory of the task, and its output.
fn book(tools: &[(&str, &str)], words: &[&str]) -> (Scratches, Output) {
    let dir = tempdir();
    let path = dir.path().join("bin");
    fs::create_dir(&path).expect("make a directory");
    for (name, script) in tools {
        let tool = path.join(name);
        fs::write(&tool, format!("#!/bin/sh\n{script}\n")).expect("write a tool");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    // A relative path in PATH: the absolute path may have a colon.
    let mut command = Command::new(bin("xtask"));
    command.arg("book").args(words).current_dir(dir.path()).env("PATH", "bin");
    command.env_remove("CHROMIUM").env("TMPDIR", dir.path());
    let output = command.output().expect("start xtask");
    (dir, output)
}

#[test]
fn a_book_that_cannot_be_made_says_what_is_missing() {
    let version = fs::read_to_string(workspace().join("book/mdbook-version")).expect("a version");
    let mdbook = format!(
        "[ \"$1\" = build ] || echo 'mdbook v{}'; [ \"$1\" != build ] || /bin/mkdir -p \"$4\"",
        version.trim()
    );
    let mdbook = ("mdbook", &*mdbook);
    let fails = |name| (name, "/bin/cat >/dev/null; echo a line >&2; echo why >&2; exit 1");
    let (epub, pdf) = (&["--epub", "x"][..], &["--pdf", "x"][..]);
    for (tools, words, expected) in [
        (&[][..], &[][..], "build the book: mdbook is not installed; run `cargo install mdbook "),
        (&[], pdf, "build the book: mdbook is not installed; run `cargo install mdbook "),
        (&[], epub, "make an EPUB of the book: pandoc is not installed; install it"),
        (&[fails("pandoc")], epub, "make an EPUB of the book: pandoc failed: why"),
        (&[mdbook], pdf, "print the book: Chromium is not installed; install it"),
        (&[mdbook, fails("chromium")], pdf, "print the book: Chromium failed: why"),
        (&[mdbook, fails("google-chrome")], pdf, "print the book: Chromium failed: why"),
    ] {
        let (dir, output) = book(tools, words);
        let said = stderr(&output);
        assert!(said.starts_with(&format!("xtask: {expected}")), "{said}");
        assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)), "{said}");
        let left: Vec<_> = fs::read_dir(dir.path()).expect("list").flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[test]
fn a_file_of_the_book_goes_where_it_was_asked_for() {
    let pandoc = "while [ \"$1\" != --output ]; do shift; done; /bin/cat >\"$2\"";
    let (dir, output) = book(&[("pandoc", pandoc)], &["--epub", "a book.epub"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(dir.path().join("a book.epub")).expect("a book");
    for &step in ALL.iter() {
        assert!(text.contains(&format!("{{#{step}-program}}\n")), "{step}");
        assert!(text.contains(&format!("](#{step}-index)")), "{step}");
    }
    assert!(!text.contains(".md)") && !text.contains("](.."), "{text}");
    let (_dir, output) = book(&[("pandoc", pandoc)], &["--epub", "none/x.epub"]);
    assert_eq!(stderr(&output), "xtask: write none/x.epub: No such file or directory");
}
