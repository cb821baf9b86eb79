//! The list of dependencies inside the binary, as `cargo auditable` puts it there: `cargo audit bin`, trivy, grype and others read it, so what is known
//! of a vulnerable crate can be asked of a binary that somebody found on a node.
//!
//! The section `.dep-v0` holds JSON, compressed with zlib (`rust-secure-code/cargo-auditable`, PARSING.md). It is not loaded: the program headers, and so
//! what runs, are as the linker left them.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::arch::Arch;
use crate::image::inventory::{self, Crate, Name};

const SECTION: &[u8] = b".dep-v0\0";
/// Bytes of an ELF64 section header.
const HEADER: usize = 64;

/// The binary with the list of the crates that it was linked from.
pub(crate) fn with_dependencies(elf: &[u8], arch: Arch) -> Result<Vec<u8>> {
    let list = list(&inventory::linked(arch)?).to_string();
    let mut compressed = ZlibEncoder::new(Vec::new(), Compression::best());
    compressed.write_all(list.as_bytes())?;
    with_section(elf, &compressed.finish()?).context("the binary is no ELF file with sections")
}

/// `{"packages": […]}`, each with the indices of those that it uses.
fn list(crates: &BTreeMap<Name, Crate>) -> Value {
    let index: BTreeMap<&str, usize> = crates.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let package = |linked: &Crate| {
        let uses: Vec<usize> = linked.uses.iter().filter_map(|used| index.get(used.as_str()).copied()).collect();
        let mut package = json!({
            "name": linked.name,
            "version": linked.version,
            "source": if linked.checksum.is_some() { "crates.io" } else { "local" },
        });
        if !uses.is_empty() {
            package["dependencies"] = uses.into();
        }
        if linked.name == "kubewitness" {
            package["root"] = true.into();
        }
        package
    };
    json!({"packages": crates.values().map(package).collect::<Vec<_>>()})
}

/// Appends a section: its bytes, the names of all sections anew, and their headers anew. `None` if it is no ELF file with sections.
fn with_section(elf: &[u8], content: &[u8]) -> Option<Vec<u8>> {
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?)));
    let word = |at: usize| usize::try_from(u64::from_le_bytes(*elf.get(at..)?.first_chunk()?)).ok();
    if !elf.starts_with(b"\x7fELF\x02\x01") || half(0x3a)? != HEADER {
        return None;
    }
    let (table, count, names) = (word(0x28)?, half(0x3c)?, half(0x3e)?);
    let mut headers = elf.get(table..table.checked_add(count.checked_mul(HEADER)?)?)?.to_vec();
    let of_names = names.checked_mul(HEADER)?;
    let (start, size) = (word(table + of_names + 0x18)?, word(table + of_names + 0x20)?);
    let mut all_names = elf.get(start..start.checked_add(size)?)?.to_vec();
    let name = u32::try_from(all_names.len()).ok()?;
    all_names.extend(SECTION);

    let mut file = elf.to_vec();
    let mut append = |bytes: &[u8]| {
        file.resize(file.len().next_multiple_of(8), 0);
        let at = file.len() as u64;
        file.extend(bytes);
        at
    };
    let content_at = append(content);
    let names_at = append(&all_names);
    headers.get_mut(of_names + 0x18..of_names + 0x20)?.copy_from_slice(&names_at.to_le_bytes());
    headers.get_mut(of_names + 0x20..of_names + 0x28)?.copy_from_slice(&(all_names.len() as u64).to_le_bytes());
    // SHT_PROGBITS, in no segment, aligned to a byte.
    headers.extend(name.to_le_bytes());
    headers.extend(1u32.to_le_bytes());
    headers.extend([0, 0, content_at, content.len() as u64, 0, 1, 0].into_iter().flat_map(u64::to_le_bytes));
    let headers_at = append(&headers);
    file.get_mut(0x28..0x30)?.copy_from_slice(&headers_at.to_le_bytes());
    file.get_mut(0x3c..0x3e)?.copy_from_slice(&u16::try_from(count + 1).ok()?.to_le_bytes());
    Some(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::process::Command;

    use flate2::read::ZlibDecoder;

    use super::*;

    #[test]
    fn a_program_still_runs_and_tells_what_is_in_it() {
        let own = fs::read(std::env::current_exe().expect("a test has a file")).expect("it can be read");
        let changed = with_dependencies(&own, Arch::Amd64).expect("it is an ELF file");
        let path = std::env::temp_dir().join(format!("kubewitness-auditable-{}", std::process::id()));
        fs::write(&path, &changed).expect("it can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&path, mode).expect("it can be made executable");
        let output = Command::new(&path).arg("--list").output().expect("it runs");
        fs::remove_file(&path).expect("it can be removed");
        assert!(output.status.success() && !output.stdout.is_empty());

        let section = section(&changed).expect("the section is there");
        let mut text = String::new();
        ZlibDecoder::new(section).read_to_string(&mut text).expect("zlib");
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let packages = list["packages"].as_array().expect("packages");
        let root: Vec<_> = packages.iter().filter(|package| package["root"] == true).collect();
        assert_eq!(root.len(), 1);
        let uses = root[0]["dependencies"].as_array().expect("it uses something");
        let names: Vec<_> =
            uses.iter().map(|index| packages[usize::try_from(index.as_u64().unwrap()).unwrap()]["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"aya") && names.contains(&"rustls"), "{names:?}");
        assert!(with_section(b"nonsense", b"").is_none());
    }

    fn section(elf: &[u8]) -> Option<&[u8]> {
        let half = |at: usize| usize::from(u16::from_le_bytes(elf[at..at + 2].try_into().unwrap()));
        let word = |at: usize| usize::try_from(u64::from_le_bytes(elf[at..at + 8].try_into().unwrap())).unwrap();
        let (table, count, names) = (word(0x28), half(0x3c), half(0x3e));
        let names = word(table + names * HEADER + 0x18);
        let is_it = |at: usize| {
            let name = names + usize::try_from(u32::from_le_bytes(elf[at..at + 4].try_into().unwrap())).unwrap();
            elf[name..].starts_with(SECTION)
        };
        let header = (0..count).map(|index| table + index * HEADER).find(|at| is_it(*at))?;
        elf.get(word(header + 0x18)..word(header + 0x18) + word(header + 0x20))
    }
}
