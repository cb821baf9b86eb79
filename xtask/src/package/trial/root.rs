//! A clean Debian to try something in: made once, and used through an overlay that goes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::project;

const RELEASE: &str = "bookworm";
/// What a machine has that the smallest Debian has not: an init system, and what the package is used with.
const WITH: &str = "--include=systemd,systemd-sysv,dbus,logrotate,man-db,bash-completion,zsh,fish,procps";

/// The untouched Debian; debootstrap makes it, from its own default mirror, if it is not there.
pub(super) fn base() -> Result<PathBuf> {
    let base = project::cache()?.join("roots").join(RELEASE);
    if base.is_dir() {
        return Ok(base);
    }
    let unfinished = base.with_extension("unfinished");
    // What an interrupted one left.
    let _absent = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot make the folder {}", unfinished.display()))?;
    project::answer(Command::new("debootstrap").args(["--variant=minbase", WITH, RELEASE]).arg(&unfinished))?;
    fs::rename(&unfinished, &base).with_context(|| format!("cannot make {}", base.display()))?;
    Ok(base)
}

/// A root of a trial's own. What is changed in it is gone with it.
pub(super) struct Root {
    folder: PathBuf,
}

impl Root {
    pub(super) fn fresh() -> Result<Self> {
        let folder = project::root().join("target/package/root");
        let root = Self { folder };
        // What an interrupted trial left.
        root.clear();
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(root.folder.join(name)).context("the folder of the trial cannot be made")?;
        }
        let part = |name: &str| root.folder.join(name).display().to_string();
        let layers = format!("lowerdir={},upperdir={},workdir={}", base()?.display(), part("upper"), part("work"));
        project::answer(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers, &part("root")]))?;
        project::answer(Command::new("mount").args(["-t", "proc", "proc"]).arg(root.path("proc")))?;
        Ok(root)
    }

    /// A path of it, as this machine sees it.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.join("root").join(path)
    }

    pub(super) fn copy(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.path(to)).map(drop).with_context(|| format!("{} cannot be copied into the Debian", from.display()))
    }

    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        fs::write(self.path(path), text).with_context(|| format!("{path} cannot be written in the Debian"))
    }

    /// A line of shell in it, which must succeed.
    pub(super) fn run(&self, line: &str) -> Result<()> {
        project::answer(&mut self.command(line)).map(drop)
    }

    /// A line of shell in it.
    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.path("")).args(["sh", "-c", line]).env_clear();
        command.envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LANG", "C.UTF-8"),
            ("HOME", "/root"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ]);
        command
    }

    /// Without the `/proc` of this machine, so that a container mounts its own.
    pub(super) fn unplug(&self) -> Result<()> {
        project::answer(Command::new("umount").arg(self.path("proc"))).map(drop)
    }

    /// All files, but for what package managers keep of themselves and what is not of the disk.
    pub(super) fn files(&self) -> Result<BTreeSet<String>> {
        let own = ["./proc", "./sys", "./dev", "./tmp", "./run", "./var/lib/dpkg", "./var/lib/rpm", "./var/cache", "./root"];
        let mut find = Command::new("find");
        find.arg(".").current_dir(self.path(""));
        find.args(["("]).args(own.join(" -o -path ").split(' ').fold(vec!["-path"], |mut words, word| {
            words.push(word);
            words
        }));
        find.args([")", "-prune", "-o", "-print"]);
        Ok(project::answer(&mut find)?.lines().map(str::to_owned).collect())
    }

    fn clear(&self) {
        for mounted in ["root/proc", "root"] {
            // It is not mounted, mostly.
            let _unmounted = project::answer(Command::new("umount").arg(self.folder.join(mounted)));
        }
        let _absent = fs::remove_dir_all(&self.folder);
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.clear();
    }
}
