//! `kubewitness report -o html` in a real browser: what callers chose does no harm there, everything can be reached, and ten thousand identities
//! open at once.
//!
//! They are ignored because they need Chromium, which the other tests do not; `cargo xtask torture --only hostile` runs them:
//! `cargo test -p kubewitness-tests --test page -- --ignored`.

mod chromium;
mod reading;
mod sample;
mod size;
mod strangers;

use std::fs;
use std::path::{Path, PathBuf};

use chromium::Chromium;

/// A folder for the pages of a test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page").join(name);
    fs::create_dir_all(&folder).expect("a folder for the pages");
    folder
}

/// A page in a file.
fn file(folder: &Path, name: &str, page: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, page).expect("the page can be written");
    file
}

/// Opens a page, which must have nothing to complain of, and asks for nothing.
fn open(browser: &mut Chromium, file: &Path) {
    browser.open(file);
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.requests(), [format!("file://{}", file.display())]);
}

/// How it looks, for people: the files are in `target/tmp/page/looks`.
#[test]
#[ignore = "needs Chromium"]
fn looks() {
    let folder = folder("looks");
    let page = file(&folder, "report.html", &sample::week());
    let mut browser = Chromium::start(&folder);
    for (name, scheme, width) in [("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 480)] {
        browser.show("screen", scheme, width);
        open(&mut browser, &page);
        fs::write(folder.join(format!("{name}.png")), browser.picture()).expect("a picture");
        browser.value("document.getElementById('unfold').click()");
        fs::write(folder.join(format!("{name}-unfolded.png")), browser.picture()).expect("a picture");
    }
    browser.show("", "light", 1280);
    open(&mut browser, &page);
    let paper = browser.print();
    assert!(paper.starts_with(b"%PDF-"));
    fs::write(folder.join("report.pdf"), paper).expect("a document");
}
