//! What a package holds: one list for all formats, and the few places where distributions differ.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};

use super::Format;

/// What is built or read before packages are made.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// The static binary.
    pub(super) binary: Vec<u8>,
    /// Man pages by their file names, such as `kubewitness-run.1`.
    pub(super) pages: Vec<(String, Vec<u8>)>,
    /// Completion scripts for bash, zsh and fish.
    pub(super) completions: [Vec<u8>; 3],
    /// Licences by their file names.
    pub(super) licences: Vec<(String, Vec<u8>)>,
    /// The unit, the settings, what logrotate is told, and Debian's own files: `deploy/packages`.
    pub(super) unit: Vec<u8>,
    pub(super) settings: Vec<u8>,
    pub(super) logrotate: Vec<u8>,
    pub(super) copyright: Vec<u8>,
    pub(super) overrides: Vec<u8>,
    /// What changed, as Debian wants it.
    pub(super) changelog: Vec<u8>,
}

/// One entry of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// Without the first slash.
    pub(super) path: String,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A folder that the package owns.
    Folder,
    Program(Vec<u8>),
    File(Vec<u8>),
    /// A file that belongs to the administrator once it is installed.
    Settings(Vec<u8>),
    Link(&'static str),
}

/// The entries of a package, in the order of their paths.
pub(super) fn contents(format: Format, parts: &Parts) -> Result<Vec<Item>> {
    let mut items = vec![
        item("etc/kubewitness", What::Folder),
        item("etc/kubewitness/kubewitness.env", What::Settings(parts.settings.clone())),
        item("etc/logrotate.d/kubewitness", What::Settings(parts.logrotate.clone())),
        item("usr/bin/kubewitness", What::Program(parts.binary.clone())),
        item("usr/bin/kubectl-kubewitness", What::Link("kubewitness")),
        item("usr/lib/systemd/system/kubewitness.service", What::File(parts.unit.clone())),
    ];
    let zsh = match format {
        Format::Deb => "vendor-completions",
        Format::Rpm | Format::Tar => "site-functions",
    };
    let [bash, of_zsh, fish] = &parts.completions;
    items.push(item("usr/share/bash-completion/completions/kubewitness", What::File(bash.clone())));
    items.push(item(format!("usr/share/zsh/{zsh}/_kubewitness"), What::File(of_zsh.clone())));
    items.push(item("usr/share/fish/vendor_completions.d/kubewitness.fish", What::File(fish.clone())));
    for (name, page) in &parts.pages {
        items.push(item(format!("usr/share/man/man1/{name}.gz"), What::File(packed(page)?)));
    }
    let folder = match format {
        Format::Deb => "usr/share/doc/kubewitness",
        Format::Rpm | Format::Tar => "usr/share/licenses/kubewitness",
    };
    items.push(item(folder, What::Folder));
    items.extend(parts.licences.iter().map(|(name, text)| item(format!("{folder}/{name}"), What::File(text.clone()))));
    if format == Format::Deb {
        items.push(item(format!("{folder}/copyright"), What::File(parts.copyright.clone())));
        items.push(item(format!("{folder}/changelog.Debian.gz"), What::File(packed(&parts.changelog)?)));
        items.push(item("usr/share/lintian/overrides/kubewitness", What::File(parts.overrides.clone())));
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

fn item(path: impl Into<String>, what: What) -> Item {
    Item { path: path.into(), what }
}

/// Packed with neither a name nor a time in it.
fn packed(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(content).and_then(|()| gzip.finish()).context("a text cannot be packed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(format: Format) -> Vec<String> {
        let licences = ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY"].map(|name| (name.to_owned(), Vec::new())).to_vec();
        let pages = vec![("kubewitness.1".to_owned(), b"page".to_vec())];
        let parts = Parts { pages, licences, ..Parts::default() };
        contents(format, &parts).expect("made").into_iter().map(|item| item.path).collect()
    }

    #[test]
    fn a_deb_has_these_files() {
        assert_eq!(
            paths(Format::Deb),
            [
                "etc/kubewitness",
                "etc/kubewitness/kubewitness.env",
                "etc/logrotate.d/kubewitness",
                "usr/bin/kubectl-kubewitness",
                "usr/bin/kubewitness",
                "usr/lib/systemd/system/kubewitness.service",
                "usr/share/bash-completion/completions/kubewitness",
                "usr/share/doc/kubewitness",
                "usr/share/doc/kubewitness/LICENSE-APACHE",
                "usr/share/doc/kubewitness/LICENSE-MIT",
                "usr/share/doc/kubewitness/THIRD-PARTY",
                "usr/share/doc/kubewitness/changelog.Debian.gz",
                "usr/share/doc/kubewitness/copyright",
                "usr/share/fish/vendor_completions.d/kubewitness.fish",
                "usr/share/lintian/overrides/kubewitness",
                "usr/share/man/man1/kubewitness.1.gz",
                "usr/share/zsh/vendor-completions/_kubewitness",
            ]
        );
    }

    #[test]
    fn an_rpm_and_a_tarball_have_these() {
        for format in [Format::Rpm, Format::Tar] {
            assert_eq!(
                paths(format),
                [
                    "etc/kubewitness",
                    "etc/kubewitness/kubewitness.env",
                    "etc/logrotate.d/kubewitness",
                    "usr/bin/kubectl-kubewitness",
                    "usr/bin/kubewitness",
                    "usr/lib/systemd/system/kubewitness.service",
                    "usr/share/bash-completion/completions/kubewitness",
                    "usr/share/fish/vendor_completions.d/kubewitness.fish",
                    "usr/share/licenses/kubewitness",
                    "usr/share/licenses/kubewitness/LICENSE-APACHE",
                    "usr/share/licenses/kubewitness/LICENSE-MIT",
                    "usr/share/licenses/kubewitness/THIRD-PARTY",
                    "usr/share/man/man1/kubewitness.1.gz",
                    "usr/share/zsh/site-functions/_kubewitness",
                ]
            );
        }
    }
}
