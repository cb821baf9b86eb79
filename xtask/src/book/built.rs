//! The book as it was made: every link in its pages leads to a file that is there, and to a place that is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use kubewitness_pages::resolved;

/// What was looked at.
pub(super) struct Checked {
    pub(super) pages: usize,
    pub(super) links: usize,
}

/// Pages that mdBook makes of itself: one of all pages together, one for a wrong address, the table of contents, which is a frame.
const MADE: [&str; 3] = ["print.html", "404.html", "toc.html"];

pub(super) fn check(folder: &Path) -> Result<Checked> {
    let mut pages = BTreeMap::new();
    read(folder, folder, &mut pages)?;
    let ids: BTreeMap<&String, BTreeSet<&str>> = pages.iter().map(|(path, html)| (path, values(html, " id=\""))).collect();
    let (mut links, mut wrong) = (0, Vec::new());
    for (path, html) in &pages {
        for target in values(html, " href=\"").into_iter().chain(values(html, " src=\"")) {
            if target.contains("://") || target.starts_with("data:") || target.is_empty() {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() { Some(path.clone()) } else { resolved(path, file) };
            let there = there.filter(|there| folder.join(there).is_file());
            let leads = there.as_ref().is_some_and(|there| anchor.is_empty() || ids.get(there).is_some_and(|ids| ids.contains(anchor)));
            if !leads {
                wrong.push(format!("{path}: {target}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "links of the book that lead nowhere:\n{}", wrong.join("\n"));
    Ok(Checked { pages: pages.len(), links })
}

/// The pages below a folder, by their paths from the first one.
fn read(root: &Path, folder: &Path, pages: &mut BTreeMap<String, String>) -> Result<()> {
    let context = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_str().context("a page whose path is no text")?.to_owned();
        if path.is_dir() {
            read(root, &path, pages)?;
        } else if path.extension().is_some_and(|extension| extension == "html") && !MADE.contains(&name.as_str()) {
            pages.insert(name, fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
    }
    Ok(())
}

/// The values of an attribute, which mdBook always writes with these quotes.
fn values<'a>(html: &'a str, attribute: &str) -> BTreeSet<&'a str> {
    html.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}
