//! Offsets of fields in the running kernel, from its own type information (BTF, `Documentation/bpf/btf.rst`). Pure: bytes in.

use std::collections::HashMap;

use kubewitness_wire::Kernel;
use thiserror::Error;

/// Why the kernel's types could not be used.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The data is not BTF, or it is cut.
    #[error("the kernel's type information (/sys/kernel/btf/vmlinux) is malformed at byte {0}; please report this kernel")]
    Malformed(usize),
    /// A field that the socket or namespace probes read is not there.
    #[error("this kernel's types have no `{0}.{1}`; it is too new or too old for this release, please report its version")]
    NoField(&'static str, &'static str),
}

/// Finds what the kernel programs need; the watched ports and the PID namespace are left to the caller.
pub fn kernel_offsets(btf: &[u8]) -> Result<Kernel, BtfError> {
    let types = Types::parse(btf, &["task_struct", "nsproxy", "net", "ns_common", "sock", "sock_common", "inet_sock"])?;
    let common = types.offset("sock", "__sk_common")?;
    let shared = |field| types.offset("sock_common", field).map(|offset| common + offset);
    Ok(Kernel {
        task_nsproxy: types.offset("task_struct", "nsproxy")?,
        nsproxy_net: types.offset("nsproxy", "net_ns")?,
        net_inum: types.offset("net", "ns")? + types.offset("ns_common", "inum")?,
        sock_net: shared("skc_net")?,
        sock_family: shared("skc_family")?,
        sock_sport: types.offset("inet_sock", "inet_sport")?,
        sock_dport: shared("skc_dport")?,
        sock_saddr: shared("skc_rcv_saddr")?,
        sock_daddr: shared("skc_daddr")?,
        sock_saddr6: shared("skc_v6_rcv_saddr")?,
        sock_daddr6: shared("skc_v6_daddr")?,
        sock_protocol: types.offset("sock", "sk_protocol")?,
        ..Kernel::default()
    })
}

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const MEMBER: usize = 12;

struct Types<'a> {
    data: &'a [u8],
    strings: usize,
    /// Where each type begins; type 1 is the first.
    begins: Vec<usize>,
    structs: HashMap<&'a str, usize>,
}

impl<'a> Types<'a> {
    fn parse(data: &'a [u8], wanted: &[&str]) -> Result<Self, BtfError> {
        if half(data, 0)? != MAGIC {
            return Err(BtfError::Malformed(0));
        }
        let header = word(data, 4)? as usize;
        let (types, length) = (header + word(data, 8)? as usize, word(data, 12)? as usize);
        let mut this = Self { data, strings: header + word(data, 16)? as usize, begins: Vec::new(), structs: HashMap::new() };
        let mut at = types;
        while at < types.saturating_add(length) {
            let info = word(data, at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if kind == STRUCT {
                let name = this.string(word(data, at)?)?;
                if wanted.contains(&name) {
                    this.structs.entry(name).or_insert(at);
                }
            }
            this.begins.push(at);
            at += 12 + trailer(kind, count).ok_or(BtfError::Malformed(at))?;
        }
        Ok(this)
    }

    /// Bytes from the begin of a struct to one of its fields, those of its anonymous members included.
    fn offset(&self, name: &'static str, field: &'static str) -> Result<u32, BtfError> {
        let begin = self.structs.get(name).ok_or(BtfError::NoField(name, field))?;
        self.search(*begin, field, 0)?.ok_or(BtfError::NoField(name, field))
    }

    fn search(&self, at: usize, field: &str, depth: u32) -> Result<Option<u32>, BtfError> {
        let info = word(self.data, at + 4)?;
        if !matches!(info >> 24 & 0x1f, STRUCT | UNION) || depth > 8 {
            return Ok(None);
        }
        for index in 0..(info & 0xffff) as usize {
            let member = at + 12 + MEMBER * index;
            let name = self.string(word(self.data, member)?)?;
            let position = word(self.data, member + 8)?;
            // With the kind flag the upper byte is the width of a bit field.
            let bits = if info >> 31 == 1 { position & 0x00ff_ffff } else { position };
            if name == field {
                return Ok(Some(bits / 8));
            }
            if name.is_empty() {
                let kind = word(self.data, member + 4)? as usize;
                let Some(begin) = kind.checked_sub(1).and_then(|index| self.begins.get(index)) else { continue };
                if let Some(inner) = self.search(*begin, field, depth + 1)? {
                    return Ok(Some(bits / 8 + inner));
                }
            }
        }
        Ok(None)
    }

    fn string(&self, offset: u32) -> Result<&'a str, BtfError> {
        let begin = self.strings.saturating_add(offset as usize);
        let rest = self.data.get(begin..).ok_or(BtfError::Malformed(begin))?;
        let end = rest.iter().position(|byte| *byte == 0).ok_or(BtfError::Malformed(begin))?;
        std::str::from_utf8(&rest[..end]).map_err(|_| BtfError::Malformed(begin))
    }
}

/// Bytes behind the common part of a type, by its kind.
fn trailer(kind: u32, count: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn half(data: &[u8], at: usize) -> Result<u16, BtfError> {
    let bytes = data.get(at..at.saturating_add(2)).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u16::from_ne_bytes).ok_or(BtfError::Malformed(at))
}

fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    let bytes = data.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u32::from_ne_bytes).ok_or(BtfError::Malformed(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sock { char pad[2]; union { int a; short skc_num; }; }` as `pahole` would write it.
    fn sample() -> Vec<u8> {
        let strings = b"\0sock\0a\0skc_num\0pad\0";
        let struct_of = |name: u32, kind: u32, size: u32, members: &[[u32; 3]]| {
            let mut words = vec![name, kind << 24 | u32::try_from(members.len()).unwrap(), size];
            words.extend(members.iter().flatten());
            words
        };
        let mut words = struct_of(0, UNION, 4, &[[6, 0, 0], [8, 0, 0]]);
        words.extend(struct_of(1, STRUCT, 8, &[[16, 0, 0], [0, 1, 32]]));
        let types: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        for word in [24, 0, types.len(), types.len(), strings.len()] {
            data.extend(u32::try_from(word).unwrap().to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn a_field_of_an_anonymous_union_is_found() {
        let data = sample();
        let types = Types::parse(&data, &["sock"]).unwrap();
        assert_eq!(types.offset("sock", "skc_num").unwrap(), 4);
        assert_eq!(types.offset("sock", "pad").unwrap(), 0);
        assert_eq!(
            types.offset("sock", "nothing").unwrap_err().to_string().split(';').next(),
            Some("this kernel's types have no `sock.nothing`")
        );
    }

    #[test]
    fn cut_data_is_an_error_and_never_a_panic() {
        let data = sample();
        for end in 0..data.len() - 1 {
            let all = Types::parse(&data[..end], &["sock"]).and_then(|types| types.offset("sock", "skc_num"));
            assert!(all.is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_running_kernel_has_every_field() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("this machine has no /sys/kernel/btf/vmlinux: nothing to check");
            return;
        };
        let kernel = kernel_offsets(&btf).unwrap();
        assert_ne!(kernel.task_nsproxy, 0);
        assert_eq!(kernel.sock_family, 16, "skc_family has followed two words of addresses, a hash and two ports since 3.9");
        assert!(kernel.sock_sport > kernel.sock_protocol, "an inet_sock begins with a sock");
    }
}
