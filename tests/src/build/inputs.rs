//! What a program is built from, as a text that is compared and never parsed.

use std::path::Path;
use std::{fs, io};

use ring::digest::{Context, SHA256};

use super::Recipe;

/// Toolchain, flags, package and the SHA-256 of the module's files, one a line.
pub(super) fn describe(recipe: &Recipe) -> io::Result<String> {
    let mut files = Vec::new();
    collect(&recipe.module, &recipe.module, &mut files)?;
    let mut lines = vec![format!("toolchain {}", recipe.toolchain), format!("package {}", recipe.package)];
    // What a recipe does not set has no line, so that its text is the same as before that could be set.
    lines.extend(Some(recipe.tags).filter(|tags| !tags.is_empty()).map(|tags| format!("tags {tags}")));
    lines.push(format!("ldflags {}", recipe.linker_flags));
    lines.extend(recipe.environment.iter().map(|(name, value)| format!("environment {name}={value}")));
    lines.extend(recipe.arguments.iter().map(|argument| format!("argument {argument}")));
    lines.push(format!("module {}\n", digest(files)));
    Ok(lines.join("\n"))
}

/// Adds every file below `folder` with its path relative to `root`. Go tests are left out: they do not change the program.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if !path.to_string_lossy().ends_with("_test.go") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, fs::read(&path)?));
        }
    }
    Ok(())
}

/// SHA-256 in hex over names and contents, each with its length, in the order of the names.
fn digest(mut files: Vec<(String, Vec<u8>)>) -> String {
    files.sort();
    let mut context = Context::new(&SHA256);
    for (name, content) in &files {
        for part in [name.as_bytes(), content] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
    }
    crate::hex(context.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::digest;

    fn of(files: &[(&str, &str)]) -> String {
        digest(files.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect())
    }

    #[test]
    fn every_change_of_a_file_changes_the_digest_and_the_order_does_not() {
        let base = of(&[("go.mod", "module x"), ("main.go", "package main")]);
        assert_eq!(base, of(&[("main.go", "package main"), ("go.mod", "module x")]));
        for changed in [
            of(&[("go.mod", "module y"), ("main.go", "package main")]),
            of(&[("go.mod", "module x")]),
            of(&[("go.mod", "module x"), ("main2.go", "package main")]),
            of(&[("go.mod", "module xmain.go"), ("", "package main")]),
            of(&[("go.mod", ""), ("module xmain.go", "package main")]),
        ] {
            assert_ne!(base, changed);
        }
    }
}
