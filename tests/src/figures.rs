//! Figures in `docs/`, written by the run that measured them.
//!
//! A table stands in a document between `<!-- figures: NAME -->` and `<!-- end -->`. Its head is written by hand, beside the command that repeats
//! it; its rows are written here, and only by a run that is meant to: `KUBEWITNESS_FIGURES=1`, which `cargo xtask matrix` and `torture` set.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// One table of one document.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    document: &'static str,
    table: &'static str,
}

impl Figures {
    /// The table `table` of `document`, a path from the project's root such as `docs/reliability.md`.
    pub const fn of(document: &'static str, table: &'static str) -> Self {
        Self { document, table }
    }

    /// Writes or prints a row, as this run is meant to.
    ///
    /// # Panics
    ///
    /// If the document cannot be written or has no such table.
    pub fn row<S: AsRef<str>>(self, cells: &[S]) {
        self.put(cells, env::var_os("KUBEWITNESS_FIGURES").is_some_and(|value| value == "1"));
    }

    /// Shows a row; where it `is_kept`, also puts it in the place of the one with the same first cell, or behind the last one.
    ///
    /// # Panics
    ///
    /// If the document cannot be written or has no such table.
    pub fn put<S: AsRef<str>>(self, cells: &[S], is_kept: bool) {
        let row = line(cells);
        eprintln!("{} {}: {row}", self.document, self.table);
        if is_kept {
            self.write(&row);
        }
    }

    fn write(self, row: &str) {
        let path = root().join(self.document);
        // Tests of several processes may write the same document.
        let lock = fs::File::open(root()).expect("the project's folder can be opened");
        lock.lock().expect("the project's folder can be locked");
        let old = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let new = with_row(&old, self.table, row).unwrap_or_else(|| panic!("{} has no table {} with a head", path.display(), self.table));
        fs::write(&path, new).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A row of Markdown. Bars and line ends would break the table.
fn line<S: AsRef<str>>(cells: &[S]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', "\\|").replace('\n', " ")).collect();
    format!("| {} |", cells.join(" | "))
}

/// The document with the row in its table; `None` where it has no such table, or one without a head.
fn with_row(document: &str, table: &str, row: &str) -> Option<String> {
    let begin = format!("<!-- figures: {table} -->\n");
    let from = document.find(&begin)? + begin.len();
    let to = from + document[from..].find("<!-- end -->")?;
    let mut rows: Vec<&str> = document[from..to].lines().filter(|line| !line.trim().is_empty()).collect();
    // Without its head inside, the table would be none to a reader, and its first rows would never be replaced.
    rows.get(1).filter(|line| line.starts_with("|---"))?;
    match rows.iter_mut().skip(2).find(|old| first_cell(old) == first_cell(row)) {
        Some(old) => *old = row,
        None => rows.push(row),
    }
    Some(format!("{}{}\n{}", &document[..from], rows.join("\n"), &document[to..]))
}

fn first_cell(row: &str) -> &str {
    row.trim_start_matches('|').split(" | ").next().unwrap_or_default().trim().trim_end_matches(" |")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "Text.\n\n<!-- figures: faults -->\n| fault | seen |\n|---|---|\n| a | 1 |\n| b | 2 |\n<!-- end -->\n\nMore.\n";

    #[test]
    fn a_row_takes_the_place_of_the_one_that_measured_the_same() {
        let new = with_row(DOCUMENT, "faults", &line(&["a", "3"])).unwrap();
        assert_eq!(new, DOCUMENT.replace("| a | 1 |", "| a | 3 |"));
    }

    #[test]
    fn a_new_row_comes_last_and_the_rest_stays() {
        let new = with_row(DOCUMENT, "faults", &line(&["a | b", "x\ny"])).unwrap();
        assert_eq!(new, DOCUMENT.replace("| b | 2 |\n", "| b | 2 |\n| a \\| b | x y |\n"));
        assert_eq!(with_row(&new, "faults", &line(&["a | b", "x y"])), Some(new));
    }

    #[test]
    fn a_table_that_is_not_there_is_not_made_up() {
        assert_eq!(with_row(DOCUMENT, "floods", "| a |"), None);
        let headless = DOCUMENT.replace("| fault | seen |\n|---|---|\n", "");
        assert_eq!(with_row(&headless, "faults", "| a |"), None);
    }
}
