//! The book as a single file: a PDF for paper, an EPUB for e-readers.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Seek, Write};
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};

use super::page::Form;
use super::{Book, book_file};
use crate::file::read_toml;
use crate::say;

/// The names of Chromium's program. The name in `$CHROMIUM` comes first.
const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Writes the book to `file` as a PDF: mdBook makes a single page, and a browser
/// prints it.
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
            // The page is our own and uses no network. Root cannot have a sandbox,
            // nor can most containers.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
            .args(["--no-pdf-header-footer", "--generate-pdf-document-outline"])
            .arg(&print)
            .arg(out.join("print.html"))
            // The browser's files are removed with the directory.
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
        // Chromium exits with 0 even if it could not load the page.
        ensure!(made.exists(), "print the book: Chromium failed: {}", last_line(&output));
        return copy_to(&made, file, book.pages.len());
    }
    bail!("print the book: Chromium is not installed; install it, or name it in $CHROMIUM")
}

/// Writes the book to `file` as an EPUB: pandoc makes it from a single text.
pub(super) fn epub(file: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("make a temporary directory")?;
    let book = Book::lay_out(Form::Epub)?;
    let mut text = tempfile::tempfile().context("make a temporary file")?;
    let pages = book.pages.iter().try_for_each(|page| write!(text, "{}\n\n", page.text));
    pages.and_then(|()| text.rewind()).context("write the pages")?;

    let settings = book_file("book.toml");
    let table = read_toml(&settings)?;
    let said = |key: &str| table.get("book")?.get(key)?.as_str();

    let made = dir.path().join("book.epub");
    let mut command = Command::new("pandoc");
    command.args(["--from", "gfm+attributes", "--to", "epub3", "--toc-depth", "1"]);
    command.arg("--resource-path").arg(common::workspace());
    command.arg("--css").arg(book_file("epub.css")).arg("--output").arg(&made);
    for (ours, its) in [("title", "title"), ("description", "description"), ("language", "lang")] {
        let value = said(ours);
        let value = value.with_context(|| format!("find {ours} in {}", settings.display()))?;
        command.arg("--metadata").arg(format!("{its}={value}"));
    }
    let output = match command.stdin(text).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("make an EPUB of the book: pandoc is not installed; install it, see pandoc.org")
        }
        output => output.context("start pandoc")?,
    };
    // A warning means that something is missing, such as a picture.
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "make an EPUB of the book: pandoc failed: {}",
        last_line(&output)
    );
    copy_to(&made, file, book.pages.len())
}

/// Copies the complete book to `file`.
fn copy_to(made: &Path, file: &Path, pages: usize) -> Result<()> {
    fs::copy(made, file).with_context(|| format!("write {}", file.display()))?;
    say::line(&format!("{}: {pages} pages", file.display()))
}

/// The last line of a program's standard error.
fn last_line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    said.lines().last().unwrap_or("it printed no reason").to_owned()
}
