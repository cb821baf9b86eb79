//! What the compiler recorded about a build: section `.go.buildinfo` (`debug/buildinfo`) and the notes with build ids.

use super::{Error, image::Image};

/// What the compiler recorded about a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo<'a> {
    /// The toolchain, such as `go1.26.8`.
    pub go_version: &'a str,
    /// The main module and its version, such as `k8s.io/kubernetes` and `v1.36.3` or `(devel)`.
    pub main_module: Option<(&'a str, &'a str)>,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The strings follow the header; before Go 1.18 it held pointers to them.
const INLINE: u8 = 2;
/// Before and after the module lines there are 16 bytes of markers.
const MARKER: usize = 16;

pub(super) fn read<'a>(image: &Image<'a>) -> Result<BuildInfo<'a>, Error> {
    let section = image.section(".go.buildinfo").ok_or(Error::Unsupported("the executable has no build information (.go.buildinfo)"))?;
    let broken = || Error::malformed("the build information", section.address);
    let bytes = image.contents(&section)?;
    if !bytes.starts_with(MAGIC) || bytes.get(15).is_none_or(|flags| flags & INLINE == 0) {
        return Err(broken());
    }
    let (go_version, rest) = text(bytes.get(32..).ok_or_else(broken)?).ok_or_else(broken)?;
    let go_version = std::str::from_utf8(go_version).map_err(|_| broken())?;
    let lines = text(rest).and_then(|(modules, _)| modules.get(MARKER..modules.len().checked_sub(MARKER)?)).unwrap_or_default();
    let main_module = lines.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).find_map(|line| {
        let mut words = line.strip_prefix("mod\t")?.split('\t');
        Some((words.next()?, words.next()?))
    });
    Ok(BuildInfo { go_version, main_module })
}

pub(super) fn build_id(image: &Image<'_>) -> Option<String> {
    let contents = |name| image.section(name).and_then(|section| image.contents(&section).ok());
    let go = contents(".note.go.buildid").and_then(|bytes| note(bytes, *b"Go\0\0"));
    if let Some(id) = go.and_then(|id| std::str::from_utf8(id).ok()) {
        return Some(id.to_owned());
    }
    let gnu = contents(".note.gnu.build-id").and_then(|bytes| note(bytes, *b"GNU\0"))?;
    Some(hex(gnu))
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The description of an ELF note of that owner, if it is short enough for an id.
fn note(bytes: &[u8], owner: [u8; 4]) -> Option<&[u8]> {
    let (sizes, rest) = bytes.split_first_chunk::<12>()?;
    let (words, _) = sizes.as_chunks::<4>();
    let len = usize::try_from(u32::from_le_bytes(words[1])).ok().filter(|len| (1..=256).contains(len))?;
    rest.strip_prefix(&owner)?.get(..len)
}

/// A varint length and so many bytes; what follows them.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(len);
        }
    }
    None
}
