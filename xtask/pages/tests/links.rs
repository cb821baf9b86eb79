//! Every link of every page leads somewhere, on GitHub and in the book.

use std::collections::{BTreeMap, BTreeSet};

use kubewitness_pages::{Page, all, resolved, root};

/// The pages of the book are in this folder; what they link to outside of it is brought along by `cargo xtask book`.
const BOOK: &str = "docs";

#[test]
fn every_link_leads_somewhere() {
    let pages = all();
    let anchors: BTreeMap<_, _> = pages.iter().map(|page| (page.path.as_str(), page.anchors())).collect();
    let (mut wrong, mut inside, mut outside) = (Vec::new(), 0, 0);
    for page in &pages {
        for link in page.links() {
            let problem = if link.target.contains("://") || link.target.starts_with("mailto:") {
                outside += 1;
                form(&link.target).err()
            } else {
                inside += 1;
                let (file, anchor) =
                    link.target.split_once('#').map_or((link.target.as_str(), None), |(file, anchor)| (file, Some(anchor)));
                let path = if file.is_empty() { Some(page.path.clone()) } else { resolved(&page.path, file) };
                match (path, anchor) {
                    (None, _) => Some("leads out of the project".to_owned()),
                    (Some(path), _) if !root().join(&path).exists() => Some(format!("there is no {path}")),
                    (Some(path), _) if page.path.starts_with(BOOK) && root().join(&path).is_dir() => {
                        Some("a folder is no page of the book".to_owned())
                    }
                    (Some(_), None) => None,
                    (Some(path), Some(anchor)) => match anchors.get(path.as_str()) {
                        None => Some(format!("{path} has no headings to lead to")),
                        Some(known) if !known.github.contains(anchor) => Some(format!("{path} has no such heading on GitHub")),
                        Some(known) if !known.book.contains(anchor) => Some(format!("{path} has no such heading in the book")),
                        Some(_) => None,
                    },
                }
            };
            wrong.extend(problem.map(|problem| format!("{}:{}: {}: {problem}", page.path, link.line, link.target)));
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    // Fewer would mean that they are not found any more.
    assert!(inside > 100 && outside > 10, "{inside} links inside, {outside} outside");
}

/// No network is asked, so of an address outside only the form is known to be right.
fn form(address: &str) -> Result<(), String> {
    let rest = address.strip_prefix("https://").ok_or("is not https")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if !host.contains('.') || !host.chars().all(is_host) || host.starts_with('.') || host.ends_with('.') {
        return Err(format!("`{host}` is no host"));
    }
    if !address.chars().all(|c| c.is_ascii_graphic()) {
        return Err("has characters that no address has".to_owned());
    }
    Ok(())
}

#[test]
fn every_page_of_the_book_is_in_its_table_of_contents() {
    let summary = Page::read(&root().join(BOOK).join("SUMMARY.md"));
    let listed: Vec<String> = summary.links().iter().filter_map(|link| resolved(&summary.path, &link.target)).collect();
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "a page is listed twice");
    let there: BTreeSet<String> =
        all().into_iter().map(|page| page.path).filter(|path| path.starts_with("docs/") && *path != summary.path).collect();
    assert_eq!(once.into_iter().cloned().collect::<BTreeSet<_>>(), there, "docs/SUMMARY.md, and the pages that are there");
}

#[test]
fn wrong_forms_are_told() {
    for wrong in ["http://kubernetes.io/", "https://localhost/", "https://kubernetes..io./", "https://a.example/b c", "https:///x.y"] {
        assert!(form(wrong).is_err(), "{wrong}");
    }
    assert!(form("https://kubernetes.io/docs/#x").is_ok());
    assert_eq!(resolved("docs/runbooks/a.md", "../b.md").as_deref(), Some("docs/b.md"));
    assert_eq!(resolved("README.md", "../b.md"), None);
    assert_eq!(resolved("README.md", "/b.md"), None);
}
