//! Another tool's probes: the kernel's own, as `perf probe` and `trace-cmd` make them (`Documentation/trace/uprobetracer.rst`).

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A group of probes; they go when it is dropped.
pub(crate) struct Tracefs {
    mount: PathBuf,
    group: &'static str,
    probes: Vec<String>,
}

impl Tracefs {
    /// Mounts the file system in `folder`, where it is nobody's business.
    pub(crate) fn new(folder: &Path, group: &'static str) -> Self {
        let point = folder.join("tracefs");
        fs::create_dir_all(&point).unwrap();
        mount("tracefs", &point, "tracefs", MountFlags::empty(), None).expect("tracefs can be mounted (CONFIG_UPROBE_EVENTS, root)");
        let mut this = Self { mount: point, group, probes: Vec::new() };
        // What an interrupted run left.
        let left = fs::read_to_string(this.mount.join("uprobe_events")).unwrap();
        let begin = format!("{group}/");
        this.probes =
            left.lines().filter_map(|line| line.split_once(':')?.1.strip_prefix(&begin)?.split(' ').next()).map(str::to_owned).collect();
        this.clear();
        this
    }

    /// Adds a probe: `kind` is `p`, or `r` for one on the return; `place` is an offset, and in parentheses that of a counter.
    pub(crate) fn add(&mut self, kind: char, name: &str, file: &Path, place: &str) {
        self.write("uprobe_events", &format!("{kind}:{}/{name} {}:{place}", self.group, file.display())).unwrap();
        self.probes.push(name.to_owned());
    }

    pub(crate) fn enable(&self) {
        self.write(&format!("events/{}/enable", self.group), "1").unwrap();
    }

    /// How often each probe was hit.
    pub(crate) fn hits(&self) -> Vec<(String, u64)> {
        let profile = fs::read_to_string(self.mount.join("uprobe_profile")).unwrap();
        let line = |line: &str| {
            let mut words = line.split_whitespace().rev();
            let hits = words.next()?.parse().ok()?;
            Some((words.next()?.to_owned(), hits))
        };
        profile.lines().filter_map(line).filter(|(name, _)| self.probes.contains(name)).collect()
    }

    /// Takes all off.
    pub(crate) fn clear(&mut self) {
        if self.probes.is_empty() {
            return;
        }
        self.write(&format!("events/{}/enable", self.group), "0").unwrap();
        for name in std::mem::take(&mut self.probes) {
            self.write("uprobe_events", &format!("-:{}/{name}", self.group)).unwrap();
        }
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        OpenOptions::new().append(true).open(self.mount.join(file))?.write_all(text.as_bytes())
    }
}

impl Drop for Tracefs {
    fn drop(&mut self) {
        self.clear();
        // The folder is removed with the server's.
        let _left = unmount(&self.mount, UnmountFlags::DETACH);
    }
}
