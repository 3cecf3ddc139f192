//! Changes a page of the workspace for the book.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use regex_lite::{Captures, Regex};

use crate::file;

/// The form of a book.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A folder for a browser, with the files that the pages link to.
    Web,
    /// The same pages on paper. A link leads to another page or to the Web.
    Pdf,
    /// A single text. A link to a page leads to its first heading.
    Epub,
}

/// The heading of the section about the new code.
const NEW_CODE: &str = "## The new code";

/// The text that the book adds below this heading.
const WHOLE_PROGRAM: &str =
    "\nIn this book: [the program, with the new lines marked](src/main.rs).\n";

/// A page of the book.
pub(super) struct Page {
    /// The path in the book, from its top.
    pub(super) path: PathBuf,
    /// Markdown.
    pub(super) text: String,
}

impl Page {
    /// Reads a page of the workspace.
    pub(super) fn read(name: &str) -> Result<Page> {
        let text = file::read(&common::workspace().join(name))?;
        Ok(Page { path: name.replace("README.md", "index.md").into(), text })
    }

    /// The page's line in the book's table of contents.
    pub(super) fn entry(&self, before: &str) -> Result<String> {
        let title = self.text.lines().find_map(|line| line.strip_prefix("# "));
        let title = title.with_context(|| {
            format!("make a page of {}: it has no heading", self.path.display())
        })?;
        Ok(format!("{before}[{title}]({})\n", self.path.display()))
    }

    /// Changes the links to the paths in the book, makes links from the names of
    /// manual pages, and adds a link to the marked program below "The new code".
    /// Returns the files that the page links to.
    pub(super) fn adapt(&mut self, form: Form, pages: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut text = String::new();
        let mut in_code = false;
        for line in self.text.split_inclusive('\n') {
            let fence = line.starts_with("```");
            if in_code && fence && text.ends_with("\n\n") {
                // Remove the empty line: it ends the block for the test of the
                // pages.
                text.pop();
            }
            in_code ^= fence;
            if in_code || fence || line.starts_with('<') {
                text += line;
                continue;
            }
            let led = link_manuals(&self.lead(line, form, pages, &mut files)?);
            match self.name(line) {
                Some(name) if form == Form::Epub => {
                    text += &format!("{} {{#{name}}}\n", led.trim_end());
                }
                _ => text += &led,
            }
            if line.trim_end() == NEW_CODE {
                text += &self.lead(WHOLE_PROGRAM, form, pages, &mut files)?;
            }
        }
        self.text = text;
        Ok(files)
    }

    /// A line with its links changed to the paths in the book.
    fn lead(
        &self,
        line: &str,
        form: Form,
        pages: &BTreeSet<PathBuf>,
        files: &mut Vec<PathBuf>,
    ) -> Result<String> {
        let mut pieces = line.split("](");
        let mut out = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let Some((link, rest)) = piece.split_once(')') else {
                out += &format!("]({piece}");
                continue;
            };
            if link.contains("://") {
                out += &format!("]({link}){rest}");
                continue;
            }
            let (path, fragment) = link.find('#').map_or((link, ""), |at| link.split_at(at));
            let path = path.replace("README.md", "index.md");
            let program = path.replace("src/main.rs", "program.md");
            let path = if pages.contains(&self.target(&program)?) { program } else { path };
            let target = if path.is_empty() { self.path.clone() } else { self.target(&path)? };
            let is_page = pages.contains(&target);
            ensure!(
                is_page || !path.ends_with(".md"),
                "make a page of {}: it links to {path}, which is not a page of the book",
                self.path.display()
            );
            if !is_page && !is_picture(&target) && form != Form::Web {
                // This form of the book does not have the file: keep only the words
                // of the link.
                if let Some(bracket) = out.rfind('[') {
                    out.remove(bracket);
                }
                out += rest;
                continue;
            }
            let led = match form {
                Form::Epub if is_page => format!("#{}", anchor(&target, fragment)),
                Form::Epub => target.display().to_string(),
                Form::Web | Form::Pdf if is_page => format!("{path}{fragment}"),
                Form::Web | Form::Pdf => in_book(path.as_ref()).display().to_string(),
            };
            if !is_page {
                files.push(target);
            }
            out += &format!("]({led}){rest}");
        }
        Ok(out)
    }

    /// If the line is a heading: its name in a book that is a single text.
    fn name(&self, line: &str) -> Option<String> {
        let (level, heading) = line.trim_end().split_once(' ')?;
        let is_heading = level.starts_with('#') && level.trim_matches('#').is_empty();
        let fragment = if level == "#" { String::new() } else { format!("#{}", slug(heading)) };
        is_heading.then(|| anchor(&self.path, &fragment))
    }

    /// The target of a relative link, as a path from the top.
    fn target(&self, link: &str) -> Result<PathBuf> {
        let mut target = self.path.clone();
        target.pop();
        for part in Path::new(link).components() {
            let inside = match part {
                Component::ParentDir => target.pop(),
                part => {
                    target.push(part);
                    true
                }
            };
            ensure!(
                inside,
                "make a page of {}: {link} leads out of the workspace",
                self.path.display()
            );
        }
        Ok(target)
    }
}

/// The name of a file in the book. A picture keeps its name. Other files get a name
/// that a browser shows as text.
pub(super) fn in_book(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    if !is_picture(file) {
        name.push(".txt");
    }
    name.into()
}

fn is_picture(file: &Path) -> bool {
    file.extension() == Some(OsStr::new("svg"))
}

/// The name of a heading in a book that is a single text: the name of its page,
/// then its name on the page.
fn anchor(page: &Path, fragment: &str) -> String {
    let page = page.with_extension("").display().to_string().replace('/', "-");
    page + &fragment.replacen('#', "-", 1)
}

/// The name of a heading on its page, as mdBook makes it.
pub(super) fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Code, a link, or a manual page: a name and its section, such as
/// `PR_SET_PDEATHSIG(2const)`.
static MANUAL: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"`[^`]*`|\[[^\]]*\]\([^)]*\)|([\w.-]+)\((\d)([a-z]*)\)";
    Regex::new(pattern).expect("a pattern")
});

/// A line in which each name such as `mount(2)` is a link to the manual page,
/// except in code and in other links.
fn link_manuals(line: &str) -> String {
    let link = |found: &Captures<'_>| match (found.get(1), found.get(2), found.get(3)) {
        (Some(name), Some(folder), Some(rest)) => {
            let (name, folder, rest) = (name.as_str(), folder.as_str(), rest.as_str());
            let page = format!("man{folder}/{name}.{folder}{rest}.html");
            format!("[{name}({folder}{rest})](https://man7.org/linux/man-pages/{page})")
        }
        _ => found[0].to_owned(),
    };
    MANUAL.replace_all(line, link).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_page_becomes_a_link() {
        let of = |line: &str| link_manuals(line);
        let mount = "[mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html)";
        assert_eq!(of("see mount(2)."), format!("see {mount}."));
        assert_eq!(of("mount(2)"), mount);
        let constant = "[X_Y(2const)](https://man7.org/linux/man-pages/man2/X_Y.2const.html)";
        assert_eq!(of("(X_Y(2const))"), format!("({constant})"));
        for line in ["`mount(2)`", "[mount(2)](x)", "a (2)", "f(x)", "g(2", "mount(two)", "é(1)"] {
            assert_eq!(of(line), line);
        }
        assert_eq!(of("[x](y) mount(2)"), format!("[x](y) {mount}"));
        assert_eq!(of("[x] mount(2)"), format!("[x] {mount}"));
    }

    #[test]
    fn a_link_leads_to_where_the_book_has_it() {
        let page = Page { path: "a/index.md".into(), text: String::new() };
        let pages = ["a/index.md", "a/program.md", "b/index.md"].map(PathBuf::from).into();
        let led = |form, line: &str| {
            let mut files = Vec::new();
            page.lead(line, form, &pages, &mut files).map(|line| (line, files))
        };
        for (line, web, pdf, epub) in [
            ("[b](../b/README.md#x) y", "[b](../b/index.md#x) y", "", "[b](#b-index-x) y"),
            ("[h](#x)", "[h](#x)", "", "[h](#a-index-x)"),
            ("[s](src/main.rs)", "[s](program.md)", "", "[s](#a-program)"),
            (
                "[w](https://x.y/z#a) ]( x",
                "[w](https://x.y/z#a) ]( x",
                "",
                "[w](https://x.y/z#a) ]( x",
            ),
            ("a](x)", "a](x.txt)", "a", "a"),
            ("[w](https://x/../..)", "[w](https://x/../..)", "", "[w](https://x/../..)"),
            ("[l](../LICENSE).", "[l](../LICENSE.txt).", "l.", "l."),
            ("[m](../c/src/main.rs)", "[m](../c/src/main.rs.txt)", "m", "m"),
            ("![p](../d/p.svg)", "![p](../d/p.svg)", "", "![p](d/p.svg)"),
        ] {
            let pdf = if pdf.is_empty() { web } else { pdf };
            for (form, expected) in [(Form::Web, web), (Form::Pdf, pdf), (Form::Epub, epub)] {
                assert_eq!(led(form, line).expect(line).0, expected);
            }
        }
        for form in [Form::Web, Form::Pdf, Form::Epub] {
            assert!(led(form, "[c](../c/README.md)").is_err());
            assert!(led(form, "[c](../../c)").is_err());
            let (_, files) = led(form, "[l](../LICENSE) ![p](../p.svg)").expect("links");
            assert_eq!(files.contains(&"LICENSE".into()), form == Form::Web);
            assert!(files.contains(&"p.svg".into()));
        }
    }

    #[test]
    fn a_heading_of_one_text_has_its_page_s_name() {
        let page = Page { path: "docs/time.md".into(), text: String::new() };
        let name = |line: &str| page.name(line);
        assert_eq!(name("# Time\n").as_deref(), Some("docs-time"));
        assert_eq!(
            name("## What `a(2)` is, in_all\n").as_deref(),
            Some("docs-time-what-a2-is-in_all")
        );
        for line in ["text\n", "#! x\n", "\n", "a # b\n"] {
            assert_eq!(name(line), None);
        }
    }

    #[test]
    fn the_new_code_leads_to_where_it_is_marked() {
        let text = "# A\n\n## The new code\n\nx\n".to_owned();
        let mut page = Page { path: "a/index.md".into(), text };
        let pages = ["a/index.md", "a/program.md"].map(PathBuf::from).into();
        page.adapt(Form::Web, &pages).expect("a page");
        let led = WHOLE_PROGRAM.replace("src/main.rs", "program.md");
        assert_eq!(page.text, format!("# A\n\n## The new code\n{led}\nx\n"));
    }
}
