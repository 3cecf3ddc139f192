//! A page of the workspace on its way into the book.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// A page of the book.
pub(super) struct Page {
    /// Where it lies in the book, from its top.
    pub(super) path: PathBuf,
    /// Markdown.
    pub(super) text: String,
}

impl Page {
    /// Reads a page of the workspace.
    pub(super) fn read(name: &str) -> Result<Page> {
        let file = common::workspace().join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
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

    /// Leads the links to where the book has things, and makes links of the
    /// manual pages. Returns the files that it leads to.
    pub(super) fn adapt(&mut self, pages: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let mut text = String::new();
        let mut in_code = false;
        for line in self.text.split_inclusive('\n') {
            let fence = line.starts_with("```");
            if in_code && fence && text.ends_with("\n\n") {
                // It ends the block for the test that runs it.
                text.pop();
            }
            in_code ^= fence;
            if in_code || fence || line.starts_with('<') {
                text += line;
            } else {
                text += &link_manuals(&self.lead(line, pages, &mut files)?);
            }
        }
        self.text = text;
        Ok(files)
    }

    /// A line with its links led to where the book has things.
    fn lead(
        &self,
        line: &str,
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
            let (path, fragment) = link.find('#').map_or((link, ""), |at| link.split_at(at));
            let led = if path.is_empty() || path.contains("://") {
                path.to_owned()
            } else if path.ends_with(".md") {
                let path = path.replace("README.md", "index.md");
                ensure!(
                    pages.contains(&self.target(&path)?),
                    "make a page of {}: it leads to {path}, which is no page of the book",
                    self.path.display()
                );
                path
            } else if path == "src/main.rs" {
                "program.md".to_owned()
            } else {
                files.push(self.target(path)?);
                in_book(Path::new(path)).display().to_string()
            };
            out += &format!("]({led}{fragment}){rest}");
        }
        Ok(out)
    }

    /// Where a relative link leads, from the top.
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

/// A file's name in the book: a picture's own, and for the others one by which
/// a browser shows them as text.
pub(super) fn in_book(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    if file.extension() != Some(OsStr::new("svg")) {
        name.push(".txt");
    }
    name.into()
}

/// A line in which `mount(2)` leads to the manual page, where it is neither
/// code nor part of a link.
fn link_manuals(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let manual = if out.ends_with(is_name) { None } else { manual(rest) };
        if let Some((name, section)) = manual {
            let folder = &section[..1];
            out += &format!(
                "[{name}({section})](https://man7.org/linux/man-pages/man{folder}/{name}.{section}.html)"
            );
            rest = &rest[name.len() + section.len() + 2..];
        } else {
            let (verbatim, after) = rest.split_at(verbatim(rest).unwrap_or(c.len_utf8()));
            out += verbatim;
            rest = after;
        }
    }
    out
}

/// The length of the code or link that a text begins with.
fn verbatim(text: &str) -> Option<usize> {
    if let Some(code) = text.strip_prefix('`') {
        return Some(code.find('`')? + 2);
    }
    let end = text.strip_prefix('[')?.find(']')? + 2;
    let address = text[end..].strip_prefix('(')?;
    Some(end + address.find(')')? + 2)
}

/// The manual page that a text begins with: a name and its section, such as
/// `PR_SET_PDEATHSIG(2const)`.
fn manual(text: &str) -> Option<(&str, &str)> {
    let open = text.find(|c: char| !is_name(c)).filter(|&at| at > 0)?;
    let (section, _) = text[open..].strip_prefix('(')?.split_once(')')?;
    let known = section.starts_with(|c: char| c.is_ascii_digit())
        && section[1..].chars().all(|c| c.is_ascii_lowercase());
    known.then_some((&text[..open], section))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
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
        let pages = BTreeSet::from(["b/index.md".into()]);
        let mut files = Vec::new();
        let mut of = |line: &str| page.lead(line, &pages, &mut files);
        assert_eq!(of("[b](../b/README.md#x) y").expect("b"), "[b](../b/index.md#x) y");
        assert_eq!(of("[s](src/main.rs)").expect("s"), "[s](program.md)");
        assert_eq!(of("[w](https://x.y/z) ]( x").expect("w"), "[w](https://x.y/z) ]( x");
        assert_eq!(of("[l](../LICENSE)").expect("l"), "[l](../LICENSE.txt)");
        assert_eq!(of("![p](../p.svg)").expect("p"), "![p](../p.svg)");
        assert!(of("[c](../c/README.md)").is_err());
        assert!(of("[c](../../c)").is_err());
        assert_eq!(files, [Path::new("LICENSE"), Path::new("p.svg")]);
    }
}
