//! `cargo xtask package --try`: each package in a clean Debian, as its user would have it, from its installation to its removal.

mod boot;
mod root;
mod usage;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::Format;
use crate::progress::step;
use crate::{machine, project};
use root::Root;

/// Tries the packages that were made, `package` says where each is.
pub(super) fn all(formats: &[Format], package: &dyn Fn(Format) -> PathBuf) -> Result<()> {
    machine::root()?;
    for (program, from) in [("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container"), ("rpm", "rpm"), ("lintian", "lintian")]
    {
        let there = project::answer(Command::new(program).arg("--version"));
        there.with_context(|| format!("`cargo xtask package --try` needs {program}: install the package {from}"))?;
    }
    step("try: a clean Debian, about 2 minutes the first time", root::base)?;
    for format in formats {
        let package = package(*format);
        step(&format!("try: {} installed, used and removed", format.name()), || one(*format, &package))?;
    }
    if formats.contains(&Format::Deb) {
        let package = package(Format::Deb);
        step("try: what Debian's lintian finds in it", || {
            project::run(Command::new("lintian").arg("--fail-on=error,warning").arg(&package))
        })?;
        step("try: a Debian with it, booted, and the agent watching under its unit", || boot::watch(&package))?;
    }
    Ok(())
}

fn one(format: Format, package: &std::path::Path) -> Result<()> {
    let root = Root::fresh()?;
    if format == Format::Rpm {
        // The distribution's own package `filesystem` has them.
        root.run("mkdir -p /usr/share/licenses /usr/share/zsh/site-functions")?;
    }
    let before = root.files()?;
    root.copy(package, "tmp/package")?;
    match format {
        Format::Deb => root.run("dpkg --install /tmp/package")?,
        // Its scripts run inside; what it wants of the distribution is not Debian's to give.
        Format::Rpm => rpm(&root, &["--install", "--nodeps", "--nosignature"], &root.path("tmp/package"))?,
        Format::Tar => root.run("tar --extract --gzip --file /tmp/package --directory / --strip-components 1")?,
    }
    root.run("rm /tmp/package")?;
    usage::check(&root, format)?;
    match format {
        Format::Deb => {
            root.run("mkdir /var/log/kubewitness /var/lib/kubewitness && touch /var/log/kubewitness/events.jsonl")?;
            root.run("dpkg --remove kubewitness && test -e /etc/kubewitness/kubewitness.env && test -e /var/log/kubewitness/events.jsonl")?;
            root.run("dpkg --purge kubewitness")?;
        }
        Format::Rpm => rpm(&root, &["--erase"], "kubewitness".as_ref())?,
        // A tarball is removed by its list.
        Format::Tar => return Ok(()),
    }
    let after = root.files()?;
    let left: Vec<&String> = after.difference(&before).collect();
    ensure!(left.is_empty(), "it leaves behind {left:?}");
    let gone: Vec<&String> = before.difference(&after).collect();
    ensure!(gone.is_empty(), "it took along {gone:?}");
    Ok(())
}

/// rpm from outside, on the root's own database. Debian's asks to be told that it is meant.
fn rpm(root: &Root, arguments: &[&str], what: &std::path::Path) -> Result<()> {
    let mut command = Command::new("rpm");
    command.arg("--root").arg(root.path("")).args(arguments).arg(what);
    if std::path::Path::new("/etc/debian_version").exists() {
        command.arg("--force-debian");
    }
    project::answer(&mut command).map(drop)
}
