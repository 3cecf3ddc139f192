//! The book as one file: a PDF for paper, an EPUB for e-readers.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::page::Form;
use super::{Book, furniture};
use crate::say;

/// Chromium under the names it has, after the one in `$CHROMIUM`.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Writes the book to `file` as a PDF: mdBook makes one page of it, and a
/// browser prints that.
pub(super) fn pdf(file: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("make a temporary directory")?;
    let out = dir.path().join("out");
    let book = Book::lay_out(Form::Pdf)?;
    book.build(&out, false)?;

    let made = dir.path().join("book.pdf");
    let mut print = OsString::from("--print-to-pdf=");
    print.push(&made);
    let print = |browser: OsString| {
        Command::new(browser)
            // The page is our own and asks nothing of the network. A sandbox is
            // not to be had by root, or in most containers.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--no-pdf-header-footer", "--generate-pdf-document-outline"])
            .arg(&print)
            .arg(out.join("print.html"))
            // What it keeps goes with the directory.
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            .output()
    };
    let browsers = env::var_os("CHROMIUM").into_iter().chain(BROWSERS.map(OsString::from));
    for browser in browsers {
        let output = match print(browser) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            output => output.context("start Chromium")?,
        };
        // It exits with 0 where it could not load the page, too.
        ensure!(made.exists(), "print the book: Chromium failed: {}", last_line(&output));
        return hand_over(&made, file, book.pages.len());
    }
    bail!("print the book: Chromium is not installed; install it, or name it in $CHROMIUM")
}

/// Writes the book to `file` as an EPUB: pandoc makes it of one text.
pub(super) fn epub(file: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("make a temporary directory")?;
    let book = Book::lay_out(Form::Epub)?;
    let texts: Vec<_> = book.pages.iter().map(|page| &*page.text).collect();

    let settings = furniture("book.toml");
    let doing = || format!("read {}", settings.display());
    let settings: toml::Table =
        fs::read_to_string(&settings).with_context(doing)?.parse().with_context(doing)?;
    let said = |key: &str| settings.get("book")?.get(key)?.as_str();

    let made = dir.path().join("book.epub");
    let mut command = Command::new("pandoc");
    command.args(["--from", "gfm+attributes", "--to", "epub3", "--toc-depth", "1"]);
    command.arg("--resource-path").arg(common::workspace());
    command.arg("--css").arg(furniture("epub.css")).arg("--output").arg(&made);
    for (ours, its) in [("title", "title"), ("description", "description"), ("language", "lang")] {
        let value = said(ours).with_context(|| format!("{}: it has no {ours}", doing()))?;
        command.arg("--metadata").arg(format!("{its}={value}"));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pandoc = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("make an EPUB of the book: pandoc is not installed; install it, see pandoc.org")
        }
        pandoc => pandoc.context("start pandoc")?,
    };
    if let Some(mut stdin) = pandoc.stdin.take() {
        // One that ends early says why on its standard error.
        let _ = stdin.write_all(texts.join("\n\n").as_bytes());
    }
    let output = pandoc.wait_with_output().context("wait for pandoc")?;
    // Its warnings are of what is not there, such as a picture.
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "make an EPUB of the book: pandoc failed: {}",
        last_line(&output)
    );
    hand_over(&made, file, book.pages.len())
}

/// Puts a file that is whole where it was asked for.
fn hand_over(made: &Path, file: &Path, pages: usize) -> Result<()> {
    fs::copy(made, file).with_context(|| format!("write {}", file.display()))?;
    say::line(&format!("{}: {pages} pages of the course", file.display()))
}

/// The last line of what a program has to complain about.
fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().last().unwrap_or("it says nothing").to_owned()
}
