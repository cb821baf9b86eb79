//! Parts of pages that the code writes which they are about.
//!
//! Such a part stands between `<!-- generated: NAME -->` and `<!-- end -->`. The test that knows what belongs there compares it with what is
//! there; with `UPDATE_DOCS=1` it writes it instead. Figures that runs measure are in tables of another kind, `kubewitness_tests::figures`.

use std::{
    env,
    fs::{self, File},
};

use crate::root;

/// Compares the part `name` of a page, or writes it, as the environment says. `page` is a path from the root, `how` the command that writes.
///
/// # Panics
///
/// If the page has no such part, cannot be read or written, or is not current.
pub fn keep(page: &str, name: &str, fresh: &str, how: &str) {
    // Other tests may write other parts of the same page, in this process and in others.
    let lock = File::open(root()).expect("the project's folder can be opened");
    lock.lock().expect("the project's folder can be locked");
    let text = fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
    let current = replaced(&text, name, fresh).unwrap_or_else(|| panic!("{page} has no part <!-- generated: {name} -->, or no end of it"));
    keep_file(page, &current, how);
}

/// The same for a whole file, which need not be there yet to be written.
///
/// # Panics
///
/// If it cannot be read or written, or is not current.
pub fn keep_file(file: &str, fresh: &str, how: &str) {
    let path = root().join(file);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, fresh).unwrap_or_else(|error| panic!("{file}: {error}"));
        return;
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(text == fresh, "{file} is not current: UPDATE_DOCS=1 {how}");
}

/// The page with another content of the part; `None` if it has none of that name.
fn replaced(page: &str, name: &str, fresh: &str) -> Option<String> {
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once("<!-- end -->")?;
    Some(format!("{before}{begin}{fresh}<!-- end -->{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_is_replaced_and_the_rest_stays() {
        let page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n<!-- generated: y -->\nold\n<!-- end -->\n";
        let expected = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n<!-- generated: y -->\nnew\n<!-- end -->\n";
        assert_eq!(replaced(page, "y", "new\n").as_deref(), Some(expected));
        assert_eq!(replaced(page, "z", "new\n"), None);
        assert_eq!(replaced("<!-- generated: x -->\n", "x", ""), None);
    }
}
