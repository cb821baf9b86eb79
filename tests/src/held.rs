//! What a process holds in the kernel: programs, maps and links, each by its id.

use std::{collections::BTreeSet, fs};

/// Ids of kernel programs, maps and links. The kernel does not use one again before it has given out two thousand millions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of programs.
    pub programs: BTreeSet<u32>,
    /// Of maps.
    pub maps: BTreeSet<u32>,
    /// Of links: programs that are attached.
    pub links: BTreeSet<u32>,
}

impl Held {
    /// What a process has open, from `/proc/PID/fdinfo` (`kernel/bpf/syscall.c`, the functions that end in `_show_fdinfo`).
    pub fn by(pid: u32) -> Self {
        let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        let mut held = Self::default();
        for info in infos.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
            held.read(&info);
        }
        held
    }

    /// What all processes of this machine have open.
    pub fn by_all() -> Self {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.map(Self::by).fold(Self::default(), |all, one| Self {
            programs: &all.programs | &one.programs,
            maps: &all.maps | &one.maps,
            links: &all.links | &one.links,
        })
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self { programs: &self.programs & &other.programs, maps: &self.maps & &other.maps, links: &self.links & &other.links }
    }

    /// The description of a link names its program too.
    fn read(&mut self, info: &str) {
        let id = |field: &str| info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u32>().ok());
        self.programs.extend(id("prog_id:"));
        self.maps.extend(id("map_id:"));
        self.links.extend(id("link_id:"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_the_description_of_a_file() {
        let mut held = Held::default();
        for info in [
            "pos:\t0\nflags:\t02000002\nlink_type:\tuprobe_multi\nlink_id:\t7\nprog_tag:\t0\nprog_id:\t31\n",
            "pos:\t0\nmap_type:\t27\nmap_id:\t44\n",
            "pos:\t0\nflags:\t02\n",
        ] {
            held.read(info);
        }
        assert_eq!(held, Held { programs: [31].into(), maps: [44].into(), links: [7].into() });
        assert_eq!(held.and(&Held { programs: [31, 32].into(), ..Held::default() }), Held { programs: [31].into(), ..Held::default() });
    }
}
