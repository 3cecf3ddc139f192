//! `cargo xtask book`: makes a book from the pages of the course.
//!
//! The pages are Markdown files of the workspace. This task copies them to a
//! directory that mdBook reads. It changes the links to the paths in the book, and
//! makes links from the names of manual pages.

mod page;
mod paper;
mod program;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::file;
use crate::say;
use page::{Form, Page};

/// Make a book from the pages, in book/out. Needs mdBook
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Open the book in a browser
    #[arg(long, conflicts_with_all = ["pdf", "epub"])]
    open: bool,
    /// Write the book to FILE as a PDF. Needs Chromium, too
    #[arg(long, value_name = "FILE")]
    pdf: Option<PathBuf>,
    /// Write the book to FILE as an EPUB for e-readers. Needs pandoc, and no mdBook
    #[arg(long, value_name = "FILE")]
    epub: Option<PathBuf>,
}

/// The version of mdBook. Only this file pins it.
const MDBOOK: &str = include_str!("../../book/mdbook-version").trim_ascii();

/// The files besides the pages: the settings of mdBook, the styles, the scripts.
const FILES: [&str; 5] = ["book.toml", "course.css", "course.js", "slides.css", "slides.js"];

/// The pages after the lessons, in order, below their headings.
const AFTER: [(&str, &[&str]); 2] = [
    (
        "A closer look",
        &[
            "docs/engines.md", "docs/isolation.md", "docs/trust.md", "docs/common.md",
            "docs/time.md", "docs/hosts.md", "docs/glossary.md",
        ],
    ),
    ("Teaching it, adding to it", &["docs/teachers.md", "docs/contributors.md"]),
];

impl Args {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(file) = &self.pdf {
            paper::pdf(file)?;
        }
        if let Some(file) = &self.epub {
            paper::epub(file)?;
        }
        if self.pdf.is_none() && self.epub.is_none() {
            let out = common::workspace().join("book/out");
            let book = Book::lay_out(Form::Web)?;
            book.build(&out, self.open)?;
            say::line(&format!(
                "{}: {} pages",
                out.join("index.html").display(),
                book.pages.len()
            ))?;
        }
        Ok(())
    }
}

/// The mdbook in `PATH`, if it has the pinned version.
fn mdbook() -> Result<&'static str> {
    let asked = Command::new("mdbook").arg("--version").output();
    let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let wrong = match said {
        Ok(said) if said == format!("mdbook v{MDBOOK}") => return Ok("mdbook"),
        Ok(said) => format!("mdbook has the wrong version {said:?}"),
        Err(_) => "mdbook is not installed".to_owned(),
    };
    bail!("build the book: {wrong}; run `cargo install mdbook --version {MDBOOK} --locked`")
}

/// The pages, and the files that they need.
struct Book {
    pages: Vec<Page>,
    summary: String,
    /// Files of the workspace that the pages link to.
    files: BTreeSet<PathBuf>,
}

impl Book {
    /// Reads every page and puts it into the table of contents.
    fn lay_out(form: Form) -> Result<Book> {
        let mut pages = vec![Page::read("README.md")?];
        let mut summary = format!("# Summary\n\n{}\n# The lessons\n\n", pages[0].entry("")?);
        let lessons = lessons::all()?;
        for (index, lesson) in lessons.iter().enumerate() {
            let page = Page::read(&format!("{}/README.md", lesson.name))?;
            summary += &page.entry("- ")?;
            pages.push(page);
            let program = program::page(lesson, &lessons[..index], form)?;
            summary += &program.entry("  - ")?;
            pages.push(program);
        }
        for (heading, names) in AFTER {
            summary += &format!("\n# {heading}\n\n");
            for name in names {
                let page = Page::read(name)?;
                summary += &page.entry("- ")?;
                pages.push(page);
            }
        }
        let paths: BTreeSet<_> = pages.iter().map(|page| page.path.clone()).collect();
        let mut files = BTreeSet::new();
        for page in &mut pages {
            files.extend(page.adapt(form, &paths)?);
        }
        Ok(Book { pages, summary, files })
    }

    /// Builds the book with mdBook in the directory `out`.
    fn build(&self, out: &Path, open: bool) -> Result<()> {
        let mdbook = mdbook()?;
        let dir = tempfile::tempdir().context("make a temporary directory")?;
        for name in FILES {
            file::write(&dir.path().join(name), file::read(&book_file(name))?)?;
        }
        self.write(&dir.path().join("src"))?;

        let mut command = Command::new(mdbook);
        command.arg("build").arg(dir.path()).arg("--dest-dir").arg(out);
        command.env("MDBOOK_LOG", "warn");
        if open {
            command.arg("--open");
        }
        let status = command.status().context("start mdbook")?;
        ensure!(status.success(), "build the book: mdbook failed");
        Ok(())
    }

    /// Writes the pages and files in the form that mdBook reads.
    fn write(&self, dir: &Path) -> Result<()> {
        for page in &self.pages {
            file::write(&dir.join(&page.path), &page.text)?;
        }
        for file in &self.files {
            let text = file::read(&common::workspace().join(file))?;
            file::write(&dir.join(page::in_book(file)), text)?;
        }
        file::write(&dir.join("SUMMARY.md"), &self.summary)
    }
}

/// A file from the directory book/.
fn book_file(name: &str) -> PathBuf {
    common::workspace().join("book").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_place() {
        let placed: Vec<_> = AFTER.iter().flat_map(|(_, names)| *names).collect();
        let docs = common::workspace().join("docs");
        for entry in std::fs::read_dir(docs).expect("docs").flatten() {
            let name = format!("docs/{}", entry.file_name().display());
            assert!(
                !name.ends_with(".md") || placed.iter().any(|place| **place == name),
                "{name} is not in the list"
            );
        }
    }

    #[test]
    fn every_link_and_picture_of_every_page_is_there() {
        let book = Book::lay_out(Form::Web).expect("a book");
        for file in &book.files {
            assert!(common::workspace().join(file).is_file(), "{}", file.display());
        }
        assert!(book.files.contains(Path::new("LICENSE")));
        assert!(book.files.contains(Path::new("docs/isolation.svg")));
    }

    #[test]
    fn every_lesson_leads_to_the_diff_of_its_new_code() {
        let book = Book::lay_out(Form::Web).expect("a book");
        for lesson in &lessons::all().expect("lessons")[1..] {
            let path = format!("{}/index.md", lesson.name);
            let page =
                book.pages.iter().find(|page| page.path == Path::new(&path)).expect("a page");
            let (_, code) = page.text.split_once("\n## The new code\n").expect("new code");
            let section = code.split("\n## ").next().unwrap_or_default();
            assert!(section.contains("](program.md)"), "{}", lesson.name);
        }
    }
}
