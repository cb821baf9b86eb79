//! The licences of the crates that are in the binary, as one text: most of them ask to go where the binary goes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::inventory::Crate;

/// How the files are called that hold licences and what they ask to be kept.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];

/// Each text once, under the names of the crates that it came with. `sources` are the folders where cargo unpacks crates. A crate of the
/// workspace has the project's own licences; one without such a file is named with what it says of itself.
pub(super) fn notices<'a>(crates: impl Iterator<Item = &'a Crate>, sources: &[PathBuf]) -> Result<String> {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = String::new();
    for linked in crates.filter(|linked| linked.checksum.is_some()) {
        let name = format!("{} {}", linked.name, linked.version);
        let folder = format!("{}-{}", linked.name, linked.version);
        let folder = sources.iter().map(|source| source.join(&folder)).find(|folder| folder.is_dir());
        let folder = folder.with_context(|| format!("the source of {name} is not where cargo unpacks it: run `cargo xtask build`"))?;
        let texts = texts(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        if texts.is_empty() {
            let _infallible = writeln!(without, "{name}: {}", linked.licence.as_deref().unwrap_or("unknown"));
        }
        for text in texts {
            owners.entry(text).or_default().push(name.clone());
        }
    }
    let mut ordered: Vec<(Vec<String>, String)> = owners.into_iter().map(|(text, owners)| (owners, text)).collect();
    ordered.sort();
    let mut all = String::new();
    for (owners, text) in ordered {
        let _infallible = writeln!(all, "==== {}\n\n{}\n", owners.join(", "), text.trim());
    }
    let _infallible = writeln!(all, "==== Crates without a file of their licence\n\n{}", without.trim_end());
    Ok(all)
}

fn texts(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_uppercase();
        if FILES.iter().any(|file| name.starts_with(file)) && entry.path().is_file() {
            texts.push(String::from_utf8_lossy(&fs::read(entry.path())?).replace('\r', ""));
        }
    }
    texts.sort();
    texts.dedup();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn linked(name: &str, checksum: Option<&str>) -> Crate {
        let (version, licence) = ("1.0.0".into(), Some("MIT".into()));
        Crate { name: name.into(), version, licence, checksum: checksum.map(Into::into), uses: BTreeSet::new() }
    }

    #[test]
    fn a_text_is_there_once_with_all_who_brought_it() {
        let sources = std::env::temp_dir().join(format!("kubewitness-notices-{}", std::process::id()));
        for (file, text) in
            [("b-1.0.0/LICENSE-MIT", "the text\n"), ("a-1.0.0/license.txt", "the text\r\n"), ("c-1.0.0/README", "no licence")]
        {
            let path = sources.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let crates = [linked("a", Some("0")), linked("b", Some("0")), linked("c", Some("0")), linked("own", None)];
        let made = notices(crates.iter(), &[sources.join("elsewhere"), sources.clone()]);
        let missing = notices([linked("d", Some("0"))].iter(), std::slice::from_ref(&sources));
        fs::remove_dir_all(&sources).expect("removed");
        assert_eq!(
            made.expect("all are there"),
            "==== a 1.0.0, b 1.0.0\n\nthe text\n\n==== Crates without a file of their licence\n\nc 1.0.0: MIT\n"
        );
        assert!(format!("{:#}", missing.expect_err("no source")).contains("d 1.0.0"));
    }
}
