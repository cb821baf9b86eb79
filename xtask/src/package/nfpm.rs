//! Packages of Debian and of RPM, made by [nfpm](https://nfpm.goreleaser.com) from one description.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use kubewitness_tests::build;
use serde_json::{Value, json};

use super::contents::{Item, What};
use super::{Format, Release};
use crate::arch::Arch;
use crate::project;

/// A line, and then lines of at most 80 columns.
const DESCRIPTION: &str = "audit log of what is asked of the kubelet itself
Tells who did what on the kubelet's own port, 10250, and which permission let
them, with eBPF and without restarting the kubelet. `kubewitness rbac` and
`kubewitness report` ask a cluster, also as `kubectl kubewitness`.";

/// Makes the package of what is laid out below `staging`. The same input gives the same bytes.
pub(super) fn package(format: Format, arch: Arch, release: &Release, items: &[Item], staging: &Path, to: &Path) -> Result<()> {
    lay_out(items, staging)?;
    let config = staging.with_extension("json");
    let described = describe(format, arch, release, items, staging);
    fs::write(&config, serde_json::to_vec_pretty(&described)?).with_context(|| format!("cannot write {}", config.display()))?;
    let program = build::nfpm().build().context("nfpm cannot be built")?;
    let mut nfpm = Command::new(program);
    nfpm.args(["package", "--packager", format.name(), "--config"]).arg(&config).arg("--target").arg(to);
    // Its own lines on stdout say no more than the names.
    project::answer(nfpm.env("SOURCE_DATE_EPOCH", release.epoch.to_string())).map(drop)
}

/// The files, as nfpm wants to read them.
fn lay_out(items: &[Item], staging: &Path) -> Result<()> {
    for Item { path, what } in items {
        let (What::Program(content) | What::File(content) | What::Settings(content)) = what else { continue };
        let path = staging.join(path);
        let folder = path.parent().unwrap_or(staging);
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// nfpm's configuration. It is YAML, and JSON is that too.
fn describe(format: Format, arch: Arch, release: &Release, items: &[Item], staging: &Path) -> Value {
    let contents: Vec<Value> = items.iter().map(|item| entry(item, staging, &release.date)).collect();
    json!({
        "name": "kubewitness",
        "arch": arch.name(),
        "platform": "linux",
        "version": release.version,
        "version_schema": "none",
        "release": "1",
        "section": "admin",
        "priority": "optional",
        "maintainer": release.maintainer,
        "vendor": "kubewitness",
        "license": "MIT OR Apache-2.0",
        "description": DESCRIPTION,
        "mtime": release.date,
        // Without it the agent's own limits hold.
        "recommends": ["logrotate"],
        "contents": contents,
        "scripts": scripts(format),
        "rpm": {"buildhost": "localhost", "summary": "Audit log of what is asked of the kubelet itself", "packager": release.maintainer},
    })
}

fn entry(item: &Item, staging: &Path, date: &str) -> Value {
    let Item { path, what } = item;
    let (kind, mode, source) = match what {
        What::Folder => ("dir", 0o755, None),
        What::Program(_) => ("", 0o755, Some(staging.join(path))),
        What::File(_) => ("", 0o644, Some(staging.join(path))),
        What::Settings(_) => ("config|noreplace", 0o644, Some(staging.join(path))),
        What::Link(target) => ("symlink", 0o777, Some(PathBuf::from(target))),
    };
    let mut entry = json!({"dst": format!("/{path}"), "type": kind, "file_info": {"owner": "root", "group": "root", "mtime": date}});
    if !matches!(what, What::Link(_)) {
        entry["file_info"]["mode"] = mode.into();
    }
    if let Some(source) = source {
        entry["src"] = source.display().to_string().into();
    }
    entry
}

/// What is run when a package comes and goes, by the names of nfpm.
fn scripts(format: Format) -> Value {
    let script = |name: &str| project::root().join("deploy/packages").join(name).display().to_string();
    match format {
        Format::Deb => json!({
            "postinstall": script("deb-postinst"),
            "preremove": script("deb-prerm"),
            "postremove": script("deb-postrm"),
        }),
        Format::Rpm => json!({
            "postinstall": script("rpm-post"),
            "preremove": script("rpm-preun"),
            "postremove": script("rpm-postun"),
        }),
        Format::Tar => json!({}),
    }
}

/// The maintainer's name as packages want it, with an address.
pub(super) fn maintainer() -> Result<String> {
    let Ok(named) = std::env::var("KUBEWITNESS_MAINTAINER") else {
        // RFC 2606 keeps the domain free: there is no address of the project to write to.
        return Ok("the kubewitness contributors <kubewitness@example.invalid>".to_owned());
    };
    let has_address = named.split_once(" <").is_some_and(|(_, address)| address.ends_with('>') && address.contains('@'));
    if !has_address {
        bail!("KUBEWITNESS_MAINTAINER is `{named}`: it must be of the form `NAME <ADDRESS>`");
    }
    Ok(named)
}
