//! Offsets and itabs, from the type descriptors of the very executable that is probed: no table of versions that could go stale.

use kubewitness_wire::{Layout, MapLayout, limit};

use super::PlanError;
use crate::gobin::{Executable, Itab, Kind, MapShape, Named, Type};

/// Import paths.
const HTTP: &str = "net/http";
const AUTHORIZER: &str = "k8s.io/apiserver/pkg/authorization/authorizer";
const USER: &str = "k8s.io/apiserver/pkg/authentication/user";
const SERVER: &str = "k8s.io/kubernetes/pkg/kubelet/server";

/// What the types of a kubelet say.
pub(super) struct Facts {
    /// What the kernel programs need of it.
    pub(super) layout: Layout,
    /// The offset of `Authorize` in the itab of an `AuthInterface`.
    pub(super) authorize_slot: u64,
    /// How an HTTP/2 response is found, or that there is none.
    pub(super) notes: Vec<String>,
}

/// Reads all layouts. `authorize` is the address of `(*KubeletAuth).Authorize`.
pub(super) fn read(executable: &Executable<'_>, authorize: u64) -> Result<Facts, PlanError> {
    let [request, response, old_response2, response2, attributes, user, server, auth, table, hmap] = executable.types([
        (HTTP, "http.Request"),
        (HTTP, "http.response"),
        (HTTP, "http.http2responseWriter"),
        (HTTP, "http.http2ResponseWriter"),
        (AUTHORIZER, "authorizer.AttributesRecord"),
        (USER, "user.DefaultInfo"),
        (SERVER, "server.Server"),
        (SERVER, "server.KubeletAuth"),
        ("internal/runtime/maps", "maps.table"),
        ("runtime", "runtime.hmap"),
    ])?;
    let request = present(request, "http.Request")?;
    let response = present(response, "http.response")?;
    let attributes = present(attributes, "authorizer.AttributesRecord")?;
    let user = present(user, "user.DefaultInfo")?;
    let auth = present(auth, "server.KubeletAuth")?;
    let second = Second::of(old_response2, response2)?;

    let mut concrete = vec![response.pointer, attributes.defined, attributes.pointer, user.pointer, auth.pointer];
    concrete.extend(second.as_ref().map(|s| s.held));
    let itabs = Itabs(executable.itabs(&concrete)?);

    let server = Struct { name: "server.Server", of: present(server, "server.Server")?.defined };
    let request = Struct { name: "http.Request", of: request.defined };
    let url = Struct { name: "url.URL", of: request.field("URL", Kind::Pointer)?.1.element()? };
    let response_of = Struct { name: "http.response", of: response.defined };
    let record = Struct { name: "authorizer.AttributesRecord", of: attributes.defined };
    let info = Struct { name: "user.DefaultInfo", of: user.defined };
    let (request_header, header) = request.field("Header", Kind::Map)?;
    let (user_extra, extra) = info.field("Extra", Kind::Map)?;

    let mut layout = Layout {
        itab_response: itabs.required(response.pointer, HTTP, "http.ResponseWriter")?,
        itab_attributes: itabs.required(attributes.defined, AUTHORIZER, "authorizer.Attributes")?,
        itab_attributes_pointer: itabs.optional(attributes.pointer, AUTHORIZER, "authorizer.Attributes")?,
        itab_user: itabs.required(user.pointer, USER, "user.Info")?,
        server_auth: server.at("auth", Kind::Interface)?,
        request_method: request.at("Method", Kind::String)?,
        request_url: request.at("URL", Kind::Pointer)?,
        request_header,
        request_uri: request.at("RequestURI", Kind::String)?,
        request_remote_addr: request.at("RemoteAddr", Kind::String)?,
        url_path: url.at("Path", Kind::String)?,
        attributes_user: record.at("User", Kind::Interface)?,
        attributes_verb: record.at("Verb", Kind::String)?,
        attributes_subresource: record.at("Subresource", Kind::String)?,
        attributes_name: record.at("Name", Kind::String)?,
        user_name: info.at("Name", Kind::String)?,
        user_uid: info.at("UID", Kind::String)?,
        user_groups: info.at("Groups", Kind::Slice)?,
        user_extra,
        response_buffer: response_of.at("w", Kind::Pointer)?,
        response_status: response_of.number("status", 8)?,
        response_written: response_of.number("written", 8)?,
        map: map_layout(&[("http.Request.Header", header), ("user.DefaultInfo.Extra", extra)], table, hmap)?,
        ..Layout::default()
    };
    let mut notes = Vec::new();
    match second {
        Some(second) => {
            layout.itab_response2 = itabs.required(second.held, HTTP, "http.ResponseWriter")?;
            (layout.response2_state, layout.response2_status, layout.response2_written) = second.offsets()?;
            notes.push(format!("HTTP/2 responses are {}", second.held.name()?));
        }
        None => notes.push("this kubelet has no HTTP/2 server".to_owned()),
    }
    (layout.constants_start, layout.constants_end) = executable.constants().map_or((0, 0), |range| (range.start, range.end));
    are_within_reach(&layout)?;
    let authorize_slot = itabs.slot(auth.pointer, authorize)?;
    Ok(Facts { layout, authorize_slot, notes })
}

/// The kernel programs read these structs at once, and no more of them than so much.
fn are_within_reach(layout: &Layout) -> Result<(), PlanError> {
    let fields = [
        ("http.Request", "Method", layout.request_method),
        ("http.Request", "URL", layout.request_url),
        ("http.Request", "Header", layout.request_header),
        ("http.Request", "RequestURI", layout.request_uri),
        ("http.Request", "RemoteAddr", layout.request_remote_addr),
        ("authorizer.AttributesRecord", "User", layout.attributes_user),
        ("authorizer.AttributesRecord", "Verb", layout.attributes_verb),
        ("authorizer.AttributesRecord", "Subresource", layout.attributes_subresource),
        ("authorizer.AttributesRecord", "Name", layout.attributes_name),
        ("user.DefaultInfo", "Name", layout.user_name),
        ("user.DefaultInfo", "UID", layout.user_uid),
        ("user.DefaultInfo", "Groups", layout.user_groups),
        ("user.DefaultInfo", "Extra", layout.user_extra),
        ("http.response", "w", layout.response_buffer),
        ("http.response", "status", layout.response_status),
        ("http.response", "written", layout.response_written),
    ];
    // An interface or a string has two words.
    match fields.into_iter().find(|(_, _, offset)| offset + 16 > limit::STRUCT) {
        Some((of, field, _)) => Err(PlanError::Field { of, field }),
        None => Ok(()),
    }
}

/// The type that answers HTTP/2 requests.
struct Second<'e> {
    /// What the interface holds; either is one pointer, so the data word points to `writer`.
    held: Type<'e>,
    /// The struct with the field `rws`.
    writer: Struct<'e>,
}

impl<'e> Second<'e> {
    /// Until Go 1.26 `*http.http2responseWriter`; since Go 1.27 `http.http2ResponseWriter`, a struct around a pointer to the same in
    /// `net/http/internal/http2`.
    fn of(old: Option<Named<'e>>, new: Option<Named<'e>>) -> Result<Option<Self>, PlanError> {
        let name = "http2responseWriter";
        match (old, new) {
            (None, None) => Ok(None),
            (Some(old), None) => Ok(Some(Self { held: old.pointer, writer: Struct { name, of: old.defined } })),
            (None, Some(new)) => {
                let around = Struct { name: "http.http2ResponseWriter", of: new.defined };
                let (offset, pointer) = around.field("ResponseWriter", Kind::Pointer)?;
                if offset != 0 || new.defined.size()? != 8 {
                    return Err(around.doubt("ResponseWriter"));
                }
                Ok(Some(Self { held: new.defined, writer: Struct { name, of: pointer.element()? } }))
            }
            (Some(_), Some(_)) => Err(PlanError::Ambiguous { what: "HTTP/2 responses" }),
        }
    }

    /// Of `rws` in the writer; of `status` and `wroteBytes` in what it points to.
    fn offsets(&self) -> Result<(u32, u32, u32), PlanError> {
        let (state, pointer) = self.writer.field("rws", Kind::Pointer)?;
        let rws = Struct { name: "http2responseWriterState", of: pointer.element()? };
        Ok((state, rws.number("status", 8)?, rws.number("wroteBytes", 8)?))
    }
}

struct Struct<'e> {
    name: &'static str,
    of: Type<'e>,
}

impl<'e> Struct<'e> {
    /// The offset of a field of that kind.
    fn at(&self, name: &'static str, kind: Kind) -> Result<u32, PlanError> {
        self.field(name, kind).map(|(offset, _)| offset)
    }

    /// The offset of a number or truth value of so many bytes.
    fn number(&self, name: &'static str, size: u64) -> Result<u32, PlanError> {
        let (offset, of) = self.field(name, Kind::Basic)?;
        if of.size()? == size { Ok(offset) } else { Err(self.doubt(name)) }
    }

    fn field(&self, name: &'static str, kind: Kind) -> Result<(u32, Type<'e>), PlanError> {
        let field = self.of.field(name)?.ok_or(self.doubt(name))?;
        if field.of.kind()? != kind || field.offset >= self.of.size()? {
            return Err(self.doubt(name));
        }
        let offset = u32::try_from(field.offset).map_err(|_| self.doubt(name))?;
        Ok((offset, field.of))
    }

    fn doubt(&self, field: &'static str) -> PlanError {
        PlanError::Field { of: self.name, field }
    }
}

struct Itabs<'e>(Vec<Itab<'e>>);

impl Itabs<'_> {
    fn required(&self, concrete: Type<'_>, package: &str, interface: &'static str) -> Result<u64, PlanError> {
        match self.optional(concrete, package, interface)? {
            0 => Err(PlanError::Itab { concrete: concrete.name()?.to_owned(), interface }),
            address => Ok(address),
        }
    }

    /// The address of the itab, 0 if the executable has none.
    fn optional(&self, concrete: Type<'_>, package: &str, interface: &'static str) -> Result<u64, PlanError> {
        Ok(self.find(concrete, package, interface)?.map_or(0, |itab| itab.address))
    }

    /// The offset of a method in the itab of `*KubeletAuth` as `AuthInterface`.
    fn slot(&self, auth: Type<'_>, authorize: u64) -> Result<u64, PlanError> {
        let interface = "server.AuthInterface";
        let missing = || PlanError::Itab { concrete: "*server.KubeletAuth".to_owned(), interface };
        let itab = self.find(auth, SERVER, interface)?.ok_or_else(missing)?;
        itab.slot_of(authorize)?.ok_or_else(missing)
    }

    fn find(&self, concrete: Type<'_>, package: &str, interface: &'static str) -> Result<Option<&Itab<'_>>, PlanError> {
        for itab in self.0.iter().filter(|itab| itab.concrete.address() == concrete.address()) {
            if itab.interface.is(package, interface)? {
                return Ok(Some(itab));
            }
        }
        Ok(None)
    }
}

fn present<'e>(named: Option<Named<'e>>, name: &'static str) -> Result<Named<'e>, PlanError> {
    named.ok_or(PlanError::Type { name })
}

/// Where the fields of a map's head are. The compiler itself relies on them: `cmd/compile/internal/reflectdata/map.go`.
/// Go 1.24 to 1.27, `internal/runtime/maps.Map`: `used`, `dirPtr`, `dirLen`; `maps.table`: `groups.data`, `groups.lengthMask`.
const SWISS: [u32; 5] = [0, 16, 24, 16, 24];
/// Go 1.23 and before, `runtime.hmap`: `count`, `buckets`, `B`, `oldbuckets`.
const HMAP: [u32; 4] = [0, 16, 9, 24];

/// The layout that all the given maps share.
fn map_layout(maps: &[(&'static str, Type<'_>); 2], table: Option<Named<'_>>, hmap: Option<Named<'_>>) -> Result<MapLayout, PlanError> {
    for (what, map) in maps {
        let (key, element) = map.key_and_element()?;
        if key.kind()? != Kind::String || element.name()? != "[]string" {
            return Err(PlanError::Ambiguous { what });
        }
    }
    let shape = maps[0].1.map_shape()?;
    if maps[1].1.map_shape()? != shape {
        return Err(PlanError::Ambiguous { what: "the layout of maps" });
    }
    let common = common(&shape)?;
    match shape.overflow {
        None => {
            let [count, dir, dir_len, table_groups, table_mask] = SWISS;
            if let Some(table) = table {
                let table = Struct { name: "maps.table", of: table.defined };
                let (at, groups) = table.field("groups", Kind::Struct)?;
                let groups = Struct { name: "maps.groupsReference", of: groups };
                let found = (at + groups.at("data", Kind::Basic)?, at + groups.number("lengthMask", 8)?);
                if found != (table_groups, table_mask) {
                    return Err(table.doubt("groups"));
                }
            }
            Ok(MapLayout { swiss: 1, count, dir, dir_len, table_groups, table_mask, ..common })
        }
        Some(overflow) => {
            let [count, dir, dir_len, old] = HMAP;
            if let Some(hmap) = hmap {
                let hmap = Struct { name: "runtime.hmap", of: hmap.defined };
                for (field, expected) in [("count", count), ("buckets", dir), ("B", dir_len), ("oldbuckets", old)] {
                    if hmap.at(field, Kind::Basic)? != expected {
                        return Err(hmap.doubt(field));
                    }
                }
            }
            Ok(MapLayout { swiss: 0, count, dir, dir_len, old, overflow: small(overflow)?, ..common })
        }
    }
}

fn common(shape: &MapShape) -> Result<MapLayout, PlanError> {
    Ok(MapLayout {
        group_size: small(shape.group_size)?,
        key: small(shape.key)?,
        key_stride: small(shape.key_stride)?,
        value: small(shape.value)?,
        value_stride: small(shape.value_stride)?,
        ..MapLayout::default()
    })
}

fn small(value: u64) -> Result<u32, PlanError> {
    u32::try_from(value).map_err(|_| PlanError::Ambiguous { what: "the layout of maps" })
}
