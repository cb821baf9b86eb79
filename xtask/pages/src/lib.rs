//! The project's pages as data: every Markdown file that people read, with its links, its headings and its commands.
//!
//! [`Page`] is what the tests of the documentation look at, so that no link leads nowhere and no command is one that was never tried;
//! [`console`] takes command lines apart, and [`generated`] keeps the parts of a page that are written by the code they are about.

pub mod console;
pub mod generated;
mod page;

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

pub use page::{Anchors, Link, Page};

/// Folders whose pages are for people, besides those at the root.
const FOLDERS: [&str; 2] = ["docs", "deploy"];

/// The project's root, from where this crate was compiled.
///
/// # Panics
///
/// Never: the crate is two folders below.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate is two folders below the root")
}

/// Every page, in the order of their paths.
///
/// # Panics
///
/// If a page cannot be read.
pub fn all() -> Vec<Page> {
    let mut files = files_of(root());
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        files.extend(files_of(&folder));
        folders.extend(entries(&folder).into_iter().filter(|entry| entry.is_dir()));
    }
    files.sort();
    files.iter().map(|file| Page::read(file)).collect()
}

/// What a link on the page `page` leads to, as a path from the root like the page's own; `None` if that is outside of the root. `target` is
/// without what stands behind its `#`.
pub fn resolved(page: &str, target: &str) -> Option<String> {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => path.pop().then_some(())?,
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path.to_str()?.to_owned())
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|entry| entry.extension().is_some_and(|extension| extension == "md")).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}
