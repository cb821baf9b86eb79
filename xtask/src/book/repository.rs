//! What pages of the book link to outside of `docs`: each such file becomes a page of the book, under `repository/`, behind all others.
//!
//! mdBook hands a book over as JSON on standard input, `[context, book]`, and takes the book back on standard output (mdBook's manual, "For
//! developers: Preprocessors").

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kubewitness_pages::{Page, resolved};
use serde_json::{Value, json};

use crate::project;

const DOCS: &str = "docs";
/// Where those pages are in the book.
const FOLDER: &str = "repository";

pub(super) fn preprocess() -> Result<()> {
    let (_, mut book): (Value, Value) = serde_json::from_reader(io::stdin().lock()).context("mdBook's standard input is no book")?;
    bring_along(&mut book)?;
    serde_json::to_writer(io::stdout().lock(), &book).context("the book cannot be given back to mdBook")
}

/// Adds the pages, and leads the links to them.
fn bring_along(book: &mut Value) -> Result<()> {
    let mut wanted = Wanted::default();
    let items = book["items"].as_array_mut().context("a book without items")?;
    for_each_chapter(items, &mut |chapter| {
        let Some(path) = chapter["path"].as_str() else { return Ok(()) };
        let page = Page { path: format!("{DOCS}/{path}"), text: chapter["content"].as_str().unwrap_or_default().to_owned() };
        chapter["content"] = wanted.rewritten(&page)?.into();
        Ok(())
    })?;
    let mut pages = Vec::new();
    while let Some(file) = wanted.next() {
        pages.push(chapter(&file, &mut wanted)?);
    }
    if !pages.is_empty() {
        pages.sort_by_key(|page| page["Chapter"]["name"].to_string());
        items.push(json!({"PartTitle": "Of the repository"}));
        items.append(&mut pages);
    }
    Ok(())
}

fn for_each_chapter(items: &mut [Value], work: &mut impl FnMut(&mut Value) -> Result<()>) -> Result<()> {
    for item in items {
        let Some(chapter) = item.get_mut("Chapter") else { continue };
        work(chapter)?;
        for_each_chapter(chapter["sub_items"].as_array_mut().context("a chapter without a list of those below it")?, work)?;
    }
    Ok(())
}

/// A file as a chapter: a page as it is, everything else as a block of code.
fn chapter(file: &str, wanted: &mut Wanted) -> Result<Value> {
    let text = fs::read_to_string(project::root().join(file)).with_context(|| format!("a page of the book links to {file}"))?;
    let content = if is_page(file) {
        wanted.rewritten(&Page { path: file.to_owned(), text })?
    } else {
        let language = Path::new(file).extension().and_then(|extension| extension.to_str()).unwrap_or("text");
        format!("# {file}\n\n````{language}\n{text}````\n")
    };
    let path = place(file);
    Ok(json!({"Chapter": {
        "name": file, "content": content, "number": null, "sub_items": [], "path": path, "source_path": path, "parent_names": [],
    }}))
}

/// Where a file of the repository is in the book.
fn place(file: &str) -> String {
    if is_page(file) { format!("{FOLDER}/{file}") } else { format!("{FOLDER}/{file}.md") }
}

fn is_page(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "md")
}

/// Files of the repository that the book needs, and whether they were taken.
#[derive(Default)]
struct Wanted(BTreeMap<String, bool>);

impl Wanted {
    /// One that was not taken yet.
    fn next(&mut self) -> Option<String> {
        let (file, taken) = self.0.iter_mut().find(|(_, taken)| !**taken)?;
        *taken = true;
        Some(file.clone())
    }

    /// The page's text with its links as they must be in the book.
    fn rewritten(&mut self, page: &Page) -> Result<String> {
        let own = in_book(&page.path);
        let mut text = page.text.clone();
        // From the end, so that the places before stay where they are.
        for link in page.links().into_iter().rev() {
            let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let Some(target) = resolved(&page.path, file) else {
                bail!("{}:{}: {} leads out of the repository", page.path, link.line, file)
            };
            let outside = !target.starts_with(&format!("{DOCS}/"));
            if outside {
                self.0.entry(target.clone()).or_default();
            }
            if outside || !page.path.starts_with(DOCS) {
                let hash = if anchor.is_empty() { "" } else { "#" };
                text.replace_range(link.place.clone(), &format!("{}{hash}{anchor}", relative(&own, &in_book(&target))));
            }
        }
        Ok(text)
    }
}

/// The path in the book of a path in the repository.
fn in_book(path: &str) -> String {
    path.strip_prefix(&format!("{DOCS}/")).map_or_else(|| place(path), str::to_owned)
}

/// `to` as a link on the page `from`, both in the book.
fn relative(from: &str, to: &str) -> String {
    "../".repeat(from.matches('/').count()) + to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_to_comes_along_with_what_that_links_to() {
        let below = json!([{"Chapter": {"path": "runbooks/b.md", "content": "[c](../../deploy/rules/kubewitness.yaml)", "sub_items": []}}]);
        let content = "[a](start.md#x) [b](../CONTRIBUTING.md#build) `[n](../no.md)` <https://a.example/>";
        let mut book = json!({"items": [
            {"Chapter": {"path": "a.md", "content": content, "sub_items": below}}, "Separator", {"PartTitle": "P"},
        ]});
        bring_along(&mut book).expect("a book");
        let items = book["items"].as_array().expect("items");
        assert_eq!(
            items[0]["Chapter"]["content"],
            "[a](start.md#x) [b](repository/CONTRIBUTING.md#build) `[n](../no.md)` <https://a.example/>"
        );
        let below = &items[0]["Chapter"]["sub_items"][0]["Chapter"]["content"];
        assert_eq!(*below, "[c](../repository/deploy/rules/kubewitness.yaml.md)");
        let chapter = |path: &str| {
            let found = items.iter().find(|item| item["Chapter"]["path"] == path).unwrap_or_else(|| panic!("{path} is not there"));
            found["Chapter"]["content"].as_str().expect("text")
        };
        assert!(chapter("repository/deploy/rules/kubewitness.yaml.md").starts_with("# deploy/rules/kubewitness.yaml\n\n````yaml\n"));
        // What CONTRIBUTING.md links to came along too, and it finds the way.
        assert!(chapter("repository/CONTRIBUTING.md").contains("](../repository/ARCHITECTURE.md)"));
        assert!(chapter("repository/ARCHITECTURE.md").starts_with("# Architecture\n"));
    }

    #[test]
    fn a_link_that_leads_out_of_the_repository_is_an_error() {
        let mut book = json!({"items": [{"Chapter": {"path": "a.md", "content": "x\n[a](../../b.md)", "sub_items": []}}]});
        let error = bring_along(&mut book).expect_err("it leads out");
        assert_eq!(error.to_string(), "docs/a.md:2: ../../b.md leads out of the repository");
    }
}
