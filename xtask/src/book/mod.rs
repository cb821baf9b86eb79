//! `cargo xtask book`: the pages of `docs` as a book, in `target/book`.

mod built;
mod repository;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::args::{self, Usage};
use crate::progress::{note, step};
use crate::{project, setup};

const HELP: &str = "\
Usage: cargo xtask book [--open]

Makes a book of docs/ with mdBook: target/book/index.html, which needs no server. Looks whether every link in it leads somewhere.

Options:
  --open        show it in the browser
  --preprocess  what mdBook calls itself: brings files of the repository along that pages link to

Examples:
  cargo xtask book
  cargo xtask book --open
";

pub(crate) fn command(args: &[String]) -> Result<()> {
    if args::help_was_asked(args, HELP) {
        return Ok(());
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => build(false),
        ["--open"] => build(true),
        // What mdBook asks first: whether this is for its kind of output.
        ["--preprocess", "supports", _] => Ok(()),
        ["--preprocess"] => repository::preprocess(),
        _ => Err(Usage::error(format!("`{}` is not understood", args.join(" ")), "cargo xtask book --help")),
    }
}

/// Makes the book, and fails if something in it leads nowhere.
pub(crate) fn build(open: bool) -> Result<()> {
    let mdbook = setup::mdbook()?;
    let folder = folder();
    step("book: docs as pages in target/book", || {
        let own = env::current_exe().context("this program cannot tell its own file")?;
        let own = own.to_str().context("the path of this program is no text, which mdBook wants")?;
        // The same as docs/book.toml says, without asking cargo again.
        let preprocess = format!("\"{own}\" book --preprocess");
        let mut command = Command::new(mdbook);
        command.arg("build").arg(project::root().join("docs")).env("MDBOOK_PREPROCESSOR__REPOSITORY__COMMAND", preprocess);
        project::run(&mut command)?;
        let checked = built::check(&folder)?;
        note(&format!("{} pages, {} links; begin with {}", checked.pages, checked.links, folder.join("index.html").display()));
        Ok(())
    })?;
    if open {
        project::run(Command::new("xdg-open").arg(folder.join("index.html"))).context("no browser can be asked to show it")?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    project::root().join("target/book")
}
