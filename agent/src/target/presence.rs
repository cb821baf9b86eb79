//! Whether the probes are where they were put: in the memory of a kubelet that runs.
//!
//! A uprobe is a breakpoint that the kernel wrote over the first byte of an instruction, in a page of the process's own. Whoever may write to the
//! process can write the instruction back, and the kernel does not notice: the probe is registered, and never hit again. So the instructions are
//! looked at, which is all that is ever read of a kubelet's memory from here: its code, never its data.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use procfs::process::{MMPermissions, MMapPath, MemoryMaps, Process};

use super::{executable, plan::PlannedSite};

/// The sites without a probe in the memory of a process that runs their executable.
///
/// # Errors
/// If the memory cannot be looked at: the process is gone, or the agent may not (`CAP_SYS_PTRACE`, `kernel.yama.ptrace_scope` = 3).
pub(crate) fn bare_sites(pid: u32, sites: &[PlannedSite]) -> io::Result<Vec<&PlannedSite>> {
    let maps = Process::new(pid.cast_signed()).and_then(|process| process.maps()).map_err(io::Error::other)?;
    let file = fs::read_link(executable(pid))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut bare = Vec::new();
    for site in sites {
        let address = loaded_at(&maps, &file, site.file_offset)
            .ok_or_else(|| io::Error::other(format!("{} is not mapped in process {pid}", site.symbol)))?;
        let mut there = vec![0; site.bytes.len()];
        memory.read_exact_at(&mut there, address)?;
        if there == site.bytes {
            bare.push(site);
        }
    }
    Ok(bare)
}

/// Where the code at an offset of a file is in memory.
fn loaded_at(maps: &MemoryMaps, file: &Path, offset: u64) -> Option<u64> {
    let holds = |start: u64, end: u64, from: u64| (from..from + (end - start)).contains(&offset);
    maps.iter()
        .filter(|map| map.perms.contains(MMPermissions::EXECUTE))
        .filter(|map| matches!(&map.pathname, MMapPath::Path(path) if path == file))
        .find(|map| holds(map.address.0, map.address.1, map.offset))
        .map(|map| map.address.0 + (offset - map.offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::plan::SiteKind;

    /// A site at some code of this test's own executable.
    fn own(offset_in_code: u64) -> PlannedSite {
        let own = Process::myself().unwrap();
        let file = own.exe().unwrap();
        let maps = own.maps().unwrap();
        let code = maps
            .iter()
            .find(|map| map.perms.contains(MMPermissions::EXECUTE) && matches!(&map.pathname, MMapPath::Path(path) if *path == file))
            .unwrap();
        let file_offset = code.offset + offset_in_code;
        let mut bytes = vec![0; 4];
        File::open(&file).unwrap().read_exact_at(&mut bytes, file_offset).unwrap();
        PlannedSite {
            kind: SiteKind::Request,
            symbol: "here".to_owned(),
            address: 0,
            file_offset,
            instruction: String::new(),
            bytes,
            why: String::new(),
        }
    }

    #[test]
    fn an_instruction_as_in_the_file_has_no_probe_and_another_one_has() {
        let bare = own(64);
        let probed = PlannedSite { bytes: bare.bytes.iter().map(|byte| !byte).collect(), ..own(64) };
        let sites = [bare, probed];
        assert_eq!(bare_sites(std::process::id(), &sites).unwrap(), [&sites[0]]);
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error_and_not_bare() {
        let beyond = PlannedSite { file_offset: 1 << 40, ..own(0) };
        assert!(bare_sites(std::process::id(), &[beyond]).unwrap_err().to_string().contains("here is not mapped"));
        assert!(bare_sites(u32::MAX >> 2, &[own(0)]).is_err());
    }
}
