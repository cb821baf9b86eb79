//! The crates that are in the binary: what cargo links for its target, and what it links into the kernel programs inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::project;

/// A crate with its version: the name by which others refer to it.
pub(crate) type Name = String;

/// A crate that is in the binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) licence: Option<String>,
    /// SHA-256 of the `.crate` file, as the lock file has it; crates of the workspace have none.
    pub(crate) checksum: Option<String>,
    pub(crate) uses: BTreeSet<Name>,
}

/// Every crate that is linked for a machine, by its name and version.
pub(crate) fn linked(arch: Arch) -> Result<BTreeMap<Name, Crate>> {
    let agent = tree("kubewitness", arch.musl())?;
    let programs = tree("kubewitness-ebpf", "all")?;
    let lock = project::root().join("Cargo.lock");
    let lock = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let mut crates = BTreeMap::new();
    read_tree(&agent, &mut crates).and_then(|()| read_tree(&programs, &mut crates)).context("`cargo tree` said what is not understood")?;
    let checksums = checksums(&lock);
    for (name, linked) in &mut crates {
        linked.checksum = checksums.get(name).cloned();
    }
    Ok(crates)
}

/// Neither what only builds or tests need, nor procedural macros: they run in the compiler.
fn tree(package: &str, target: &str) -> Result<String> {
    let what = ["tree", "--locked", "--package", package, "--target", target, "--edges", "normal,no-proc-macro"];
    project::answer(project::cargo(&what).args(["--prefix", "depth", "--format", "|{p}|{l}"]))
}

/// Reads lines such as `2|aya-ebpf v0.3.0 (/folder)|MIT OR Apache-2.0 (*)`: the depth, a crate that the last one above it uses, and
/// a star where its own crates were listed before.
fn read_tree(tree: &str, crates: &mut BTreeMap<Name, Crate>) -> Result<()> {
    let mut above: Vec<Name> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let parts = || -> Option<(usize, &str, &str, &str)> {
            let (depth, rest) = line.split_once('|')?;
            let (package, licence) = rest.rsplit_once('|')?;
            let mut words = package.split(' ');
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            Some((depth.parse().ok()?, name, version, licence.trim_end_matches("(*)").trim()))
        };
        let (depth, name, version, licence) = parts().with_context(|| format!("`{line}`"))?;
        let key = format!("{name}@{version}");
        above.truncate(depth);
        if let Some(user) = above.last().and_then(|user| crates.get_mut(user)) {
            user.uses.insert(key.clone());
        }
        crates.entry(key.clone()).or_insert_with(|| Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            // The slash is what cargo took before SPDX expressions.
            licence: (!licence.is_empty()).then(|| licence.replace('/', " OR ")),
            checksum: None,
            uses: BTreeSet::new(),
        });
        above.push(key);
    }
    Ok(())
}

/// The checksums of a `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Name, String> {
    let packages = lock.split("[[package]]").skip(1).filter_map(|package| {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        };
        Some((format!("{}@{}", value("name")?, value("version")?), value("checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_crates_and_who_uses_them() {
        let tree = "0|agent v0.1.0 (/a b/agent)|MIT\n1|bytes v1.12.2|MIT/Apache-2.0\n1|http v1.5.0|\n2|bytes v1.12.2|MIT/Apache-2.0 (*)\n";
        let mut crates = BTreeMap::new();
        read_tree(tree, &mut crates).expect("understood");
        let uses = |name: &str| crates[name].uses.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(uses("agent@0.1.0"), ["bytes@1.12.2", "http@1.5.0"]);
        assert_eq!(uses("http@1.5.0"), ["bytes@1.12.2"]);
        assert_eq!(crates["bytes@1.12.2"].licence.as_deref(), Some("MIT OR Apache-2.0"));
        assert_eq!(crates["http@1.5.0"].licence, None);
        assert!(read_tree("nonsense", &mut crates).is_err());
    }

    #[test]
    fn what_is_linked_is_told_from_what_builds_and_tests() {
        for arch in Arch::ALL {
            is_told(&linked(arch).expect("cargo answers"));
        }
    }

    fn is_told(crates: &BTreeMap<Name, Crate>) {
        let has = |name: &str| crates.values().any(|linked| linked.name == name);
        for linked in ["kubewitness", "kubewitness-wire", "ring", "aya", "aya-ebpf"] {
            assert!(has(linked), "{linked}");
        }
        for other in ["proptest", "serde_derive", "cc", "kubewitness-tests", "tar"] {
            assert!(!has(other), "{other}");
        }
        for (name, linked) in crates {
            assert!(linked.licence.is_some(), "{name} has no licence");
            assert_eq!(linked.checksum.is_none(), linked.name.starts_with("kubewitness"), "{name}");
            assert!(linked.uses.iter().all(|used| crates.contains_key(used)), "{name}");
        }
    }
}
