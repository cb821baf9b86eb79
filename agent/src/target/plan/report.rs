//! A plan for people and for programs: addresses in hex, offsets by the names of their fields.

use std::fmt;

use kubewitness_wire::{Layout, Register};
use serde::{Serialize, Serializer};

use super::{Attributes, Plan, SiteKind};
use crate::gobin;

impl fmt::Display for Plan {
    /// One paragraph a site, under a line about the executable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = "unknown";
        let version = self.kubelet_version.as_deref().unwrap_or(unknown);
        let (architecture, build_id) = (self.architecture.name(), self.build_id.as_deref().unwrap_or(unknown));
        writeln!(f, "kubelet {version} for {architecture}, {}, build id {build_id}", self.go_version)?;
        writeln!(f, "{} sites, all on instructions that the kernel emulates:", self.sites.len())?;
        for site in &self.sites {
            writeln!(f, "\n{:<8} {}", site.kind.label(), site.symbol)?;
            let bytes = gobin::hex(&site.bytes);
            writeln!(f, "         address {:#x}, file offset {:#x}: `{}` ({bytes})", site.address, site.file_offset, site.instruction)?;
            writeln!(f, "         {}", site.why)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "\nnote: {note}"))
    }
}

impl SiteKind {
    /// A word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Check(_) => "check",
            Self::Answer(_) => "answer",
            Self::End { .. } => "end",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn hex<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

pub(super) fn hex_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&gobin::hex(bytes))
}

pub(super) fn attributes<S: Serializer>(attributes: &Attributes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("itab", format!("[sp+{:#x}]", attributes.itab)), ("data", format!("[sp+{:#x}]", attributes.data))])
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn register<S: Serializer>(register: &Register, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{register:?}").to_lowercase())
}

/// Offsets as numbers, addresses in hex, by what they are of.
pub(super) fn layout<S: Serializer>(layout: &Layout, serializer: S) -> Result<S::Ok, S::Error> {
    let addresses = addresses(layout).map(|(name, address)| (name, Value::Address(address)));
    let offsets = offsets(layout).into_iter().map(|(name, offset)| (name, Value::Offset(offset)));
    serializer.collect_map(addresses.into_iter().chain(offsets))
}

enum Value {
    Address(u64),
    Offset(u32),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Address(address) => hex(address, serializer),
            Self::Offset(offset) => serializer.serialize_u32(*offset),
        }
    }
}

fn addresses(l: &Layout) -> [(&'static str, u64); 7] {
    [
        ("itab *http.response", l.itab_response),
        ("itab http2responseWriter", l.itab_response2),
        ("itab authorizer.AttributesRecord", l.itab_attributes),
        ("itab *authorizer.AttributesRecord", l.itab_attributes_pointer),
        ("itab *user.DefaultInfo", l.itab_user),
        ("constants begin", l.constants_start),
        ("constants end", l.constants_end),
    ]
}

fn offsets(l: &Layout) -> Vec<(&'static str, u32)> {
    let m = &l.map;
    vec![
        ("server.Server.auth", l.server_auth),
        ("http.Request.Method", l.request_method),
        ("http.Request.URL", l.request_url),
        ("http.Request.Header", l.request_header),
        ("http.Request.RequestURI", l.request_uri),
        ("http.Request.RemoteAddr", l.request_remote_addr),
        ("url.URL.Path", l.url_path),
        ("authorizer.AttributesRecord.User", l.attributes_user),
        ("authorizer.AttributesRecord.Verb", l.attributes_verb),
        ("authorizer.AttributesRecord.Subresource", l.attributes_subresource),
        ("authorizer.AttributesRecord.Name", l.attributes_name),
        ("user.DefaultInfo.Name", l.user_name),
        ("user.DefaultInfo.UID", l.user_uid),
        ("user.DefaultInfo.Groups", l.user_groups),
        ("user.DefaultInfo.Extra", l.user_extra),
        ("http.response.w", l.response_buffer),
        ("http.response.status", l.response_status),
        ("http.response.written", l.response_written),
        ("http2responseWriter.rws", l.response2_state),
        ("http2responseWriterState.status", l.response2_status),
        ("http2responseWriterState.wroteBytes", l.response2_written),
        ("map is swiss", m.swiss),
        ("map.count", m.count),
        ("map.dir", m.dir),
        ("map.dir_len", m.dir_len),
        ("map.old", m.old),
        ("map group size", m.group_size),
        ("map group key", m.key),
        ("map group key stride", m.key_stride),
        ("map group value", m.value),
        ("map group value stride", m.value_stride),
        ("map group overflow", m.overflow),
        ("map table.groups.data", m.table_groups),
        ("map table.groups.lengthMask", m.table_mask),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_layout_is_reported() {
        let layout = Layout::default();
        let reported = 8 * addresses(&layout).len() + 4 * offsets(&layout).len();
        assert_eq!(reported, size_of::<Layout>(), "a field of the layout has no name here");
    }
}
