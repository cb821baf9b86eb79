//! Executables made by hand: an ELF file with the tables that Go's linker writes (1.26), and nothing else. Small enough to be a seed for fuzzing,
//! and every number in them can be made a lie.

#![allow(dead_code, reason = "each test that makes executables needs some of it")]

use std::{collections::HashMap, fmt::Write as _};

/// Where the data is; functions keep the addresses that they had in the kubelet that they were taken from.
const DATA: u64 = 0x2000_0000;
/// The functions of a kubelet at which probes sit, a line each: name, address, bytes. `KUBEWITNESS_RECORD=1` writes them anew.
const FUNCTIONS: &str = include_str!("../fixtures/functions-1.36.3.txt");

/// A function with its instructions.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A part of the data that has a section header.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// An executable in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crafted {
    code: Vec<Code>,
    data: Vec<u8>,
    pub(crate) sections: Vec<Section>,
    /// The list of types, by the name of the pointer.
    links: Vec<(String, u32)>,
    itabs: Vec<u64>,
    names: HashMap<String, u64>,
    /// A type that is left out of the list.
    without: Option<String>,
}

/// What kinds of types are called in descriptors (`internal/abi/type.go`).
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Bool = 1,
    Int = 2,
    Array = 17,
    Interface = 20,
    Map = 21,
    Pointer = 22,
    Slice = 23,
    String = 24,
    Struct = 25,
}

/// A field: name, type, offset.
type Field<'a> = (&'a str, u64, u64);

impl Crafted {
    /// The smallest executable that a whole plan can be made of: a kubelet's functions, and the types that are looked at.
    pub(crate) fn kubelet() -> Self {
        Self::kubelet_with(|_| {}, &[])
    }

    /// The same with more in it: types and sections, and names of functions that are none.
    pub(crate) fn kubelet_with(more: impl FnOnce(&mut Self), names: &[&str]) -> Self {
        let mut this = Self { code: functions(), ..Self::default() };
        this.types();
        more(&mut this);
        this.finish(names);
        this
    }

    /// The same with another type, or none, in the place of one.
    pub(crate) fn kubelet_without(name: &str, more: impl FnOnce(&mut Self)) -> Self {
        let mut this = Self { code: functions(), without: Some(format!("*{name}")), ..Self::default() };
        this.types();
        this.without = None;
        more(&mut this);
        this.finish(&[]);
        this
    }

    /// Where its text begins.
    pub(crate) fn text(&self) -> u64 {
        self.code.first().expect("a function").address
    }

    /// Puts a type so many times more into the list of types.
    pub(crate) fn link(&mut self, name: &str, address: u64, count: usize) {
        let offset = u32::try_from(address - DATA).unwrap();
        self.links.extend((0..count).map(|_| (name.to_owned(), offset)));
    }

    /// Puts the first itab so many times more into their list.
    pub(crate) fn repeat_itabs(&mut self, count: usize) {
        let first = self.itabs[0];
        self.itabs.extend((0..count).map(|_| first));
    }

    /// Makes a type of pointers one to another type.
    pub(crate) fn point_at(&mut self, pointer: u64, to: u64) {
        let at = usize::try_from(pointer - DATA).unwrap() + 48;
        self.data[at..at + 8].copy_from_slice(&to.to_le_bytes());
    }

    /// A Go executable with these functions, of which none is a kubelet's, and one type.
    pub(crate) fn program(names: &[&str]) -> Self {
        let code = names.iter().zip(0u64..).map(|(name, index)| Code {
            name: (*name).to_owned(),
            address: 0x40_1000 + 64 * index,
            bytes: vec![0xc3; 16],
        });
        let mut this = Self { code: code.collect(), ..Self::default() };
        let int = this.basic("int", Kind::Int, 8);
        let sample = this.structure("main.Sample", "main", 64, &[("Number", int, 16)]);
        this.pointer("main.Sample", sample);
        this.finish(&[]);
        this
    }

    /// Adds bytes to the data; their address.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> u64 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let address = DATA + self.data.len() as u64;
        self.data.extend(bytes);
        address
    }

    /// The same, as a section.
    pub(crate) fn section(&mut self, name: &str, bytes: &[u8]) -> u64 {
        let address = self.place(bytes);
        self.sections.push(Section { name: name.to_owned(), address, size: bytes.len() as u64 });
        address
    }

    fn types(&mut self) {
        let int = self.basic("int", Kind::Int, 8);
        let text = self.basic("string", Kind::String, 16);
        let texts = self.typed(Kind::Slice, 24, "[]string", None, &[text]);
        let slot = self.typed_struct("struct { key string; elem []string }", None, 40, &[("key", text, 0), ("elem", texts, 16)]);
        let slots = self.typed(Kind::Array, 320, "[8]struct { key string; elem []string }", None, &[slot, 0, 8]);
        let group = self.typed_struct("map.group[string][]string", None, 328, &[("ctrl", int, 0), ("slots", slots, 8)]);
        let map = self.typed(Kind::Map, 8, "map[string][]string", None, &[text, texts, group, 0, 328, 40, 16]);
        let any = self.typed(Kind::Interface, 16, "interface {}", None, &[0, 0, 0, 0]);

        let url = self.structure("url.URL", "net/url", 120, &[("Scheme", text, 0), ("Path", text, 56)]);
        let url = self.pointer("url.URL", url);
        let request: [Field<'_>; 5] =
            [("Method", text, 0), ("URL", url, 16), ("Header", map, 56), ("RemoteAddr", text, 176), ("RequestURI", text, 192)];
        let request = self.structure("http.Request", "net/http", 248, &request);
        self.pointer("http.Request", request);
        let buffer = self.structure("bufio.Writer", "bufio", 40, &[("n", int, 24)]);
        let buffer = self.pointer("bufio.Writer", buffer);
        let response = self.structure("http.response", "net/http", 300, &[("w", buffer, 48), ("written", int, 120), ("status", int, 136)]);
        let response = self.pointer("http.response", response);
        let state = self.structure("http.http2responseWriterState", "net/http", 160, &[("status", int, 64), ("wroteBytes", int, 120)]);
        let state = self.pointer("http.http2responseWriterState", state);
        let second = self.structure("http.http2responseWriter", "net/http", 8, &[("rws", state, 0)]);
        let second = self.pointer("http.http2responseWriter", second);

        let user = "k8s.io/apiserver/pkg/authentication/user";
        let info: [Field<'_>; 4] = [("Name", text, 0), ("UID", text, 16), ("Groups", texts, 32), ("Extra", map, 56)];
        let info = self.structure("user.DefaultInfo", user, 64, &info);
        let info = self.pointer("user.DefaultInfo", info);
        let authorizer = "k8s.io/apiserver/pkg/authorization/authorizer";
        let record: [Field<'_>; 4] = [("User", any, 0), ("Verb", text, 16), ("Subresource", text, 80), ("Name", text, 96)];
        let record = self.structure("authorizer.AttributesRecord", authorizer, 200, &record);
        self.pointer("authorizer.AttributesRecord", record);
        let package = "k8s.io/kubernetes/pkg/kubelet/server";
        let auth = self.structure("server.KubeletAuth", package, 48, &[("a", any, 0)]);
        let auth = self.pointer("server.KubeletAuth", auth);
        let server = self.structure("server.Server", package, 96, &[("auth", any, 0)]);
        self.pointer("server.Server", server);

        let authorize = self.code.iter().find(|code| code.name.ends_with("(*KubeletAuth).Authorize")).map_or(0, |code| code.address);
        let some = self.code[0].address;
        for (package, interface, concrete, methods) in [
            ("net/http", "http.ResponseWriter", response, &[some; 3][..]),
            ("net/http", "http.ResponseWriter", second, &[some; 3]),
            (authorizer, "authorizer.Attributes", record, &[some; 4]),
            (user, "user.Info", info, &[some; 4]),
            // The third method: slot 0x28, as the functions of 1.36.3 call it.
            (package, "server.AuthInterface", auth, &[some, some, authorize, some]),
        ] {
            let interface = self.typed(Kind::Interface, 16, interface, Some(package), &[0, 0, methods.len() as u64, 0]);
            let words = [interface, concrete, 0].into_iter().chain(methods.iter().copied());
            let itab = self.place(&words.flat_map(u64::to_le_bytes).collect::<Vec<_>>());
            self.itabs.push(itab);
        }
    }

    pub(crate) fn basic(&mut self, name: &str, kind: Kind, size: u64) -> u64 {
        self.typed(kind, size, name, None, &[])
    }

    pub(crate) fn structure(&mut self, name: &str, package: &str, size: u64, fields: &[Field<'_>]) -> u64 {
        self.typed_struct(name, Some(package), size, fields)
    }

    fn typed_struct(&mut self, name: &str, package: Option<&str>, size: u64, fields: &[Field<'_>]) -> u64 {
        let fields: Vec<u64> = fields.iter().flat_map(|(name, of, offset)| [self.name(name), *of, *offset]).collect();
        let list = self.place(&fields.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        self.typed(Kind::Struct, size, name, package, &[0, list, fields.len() as u64 / 3, fields.len() as u64 / 3])
    }

    /// The type of pointers to a defined type, which is in the list of types.
    pub(crate) fn pointer(&mut self, name: &str, to: u64) -> u64 {
        let name = format!("*{name}");
        let address = self.typed(Kind::Pointer, 8, &name, None, &[to]);
        if self.without.as_ref() != Some(&name) {
            self.links.push((name, u32::try_from(address - DATA).unwrap()));
        }
        address
    }

    /// A descriptor; a type with a package is a defined one.
    fn typed(&mut self, kind: Kind, size: u64, name: &str, package: Option<&str>, tail: &[u64]) -> u64 {
        let name = self.offset_of_name(name);
        let package = package.map(|package| self.offset_of_name(package));
        let mut bytes = vec![0; 48];
        bytes[..8].copy_from_slice(&size.to_le_bytes());
        // TFlagNamed and TFlagUncommon.
        bytes[20] = if package.is_some() { 5 } else { 0 };
        bytes[23] = kind as u8;
        bytes[40..44].copy_from_slice(&name.to_le_bytes());
        bytes.extend(tail.iter().flat_map(|word| word.to_le_bytes()));
        if let Some(package) = package {
            bytes.extend(package.to_le_bytes());
            bytes.extend([0; 12]);
        }
        self.place(&bytes)
    }

    fn offset_of_name(&mut self, name: &str) -> u32 {
        u32::try_from(self.name(name) - DATA).unwrap()
    }

    fn name(&mut self, name: &str) -> u64 {
        if let Some(address) = self.names.get(name) {
            return *address;
        }
        let (mut len, mut varint) = (name.len(), Vec::new());
        while len > 127 {
            varint.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
            len >>= 7;
        }
        varint.push(u8::try_from(len).unwrap());
        let address = self.place(&[&[0][..], &varint, name.as_bytes()].concat());
        self.names.insert(name.to_owned(), address);
        address
    }

    /// The tables that lead to what is there.
    fn finish(&mut self, names: &[&str]) {
        let end_of_types = DATA + self.data.len() as u64;
        self.links.sort();
        let links: Vec<u8> = self.links.iter().flat_map(|(_, offset)| offset.to_le_bytes()).collect();
        let (type_links, type_count) = (self.section(".typelink", &links), self.links.len() as u64);
        let itabs: Vec<u8> = self.itabs.iter().flat_map(|itab| itab.to_le_bytes()).collect();
        let (itab_links, itab_count) = (self.section(".itablink", &itabs), self.itabs.len() as u64);
        self.section(".go.buildinfo", &build_info());
        self.section(".note.go.buildid", &[&[4, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0][..], b"Go\0\0", b"a/b/c/d"].concat());
        self.code.sort_by_key(|code| code.address);
        let text = self.code.first().expect("a function").address;
        let end = self.code.last().map_or(0, |code| code.address + code.bytes.len() as u64);
        let table = pclntab(&self.code, text, names);
        let table = self.section(".gopclntab", &table);
        let mut module = [0u64; 64];
        for (offset, word) in [(0, table), (160, text), (168, end), (176, text), (184, end), (296, DATA), (304, end_of_types)] {
            module[offset / 8] = word;
        }
        // As of Go 1.26.
        module[360 / 8..][..6].copy_from_slice(&[type_links, type_count, type_count, itab_links, itab_count, itab_count]);
        self.section(".go.module", &module.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let loads: Vec<(u64, &[u8], u32)> =
            self.code.iter().map(|code| (code.address, &code.bytes[..], 5)).chain([(DATA, &self.data[..], 6)]).collect();
        let mut file = vec![0; 64 + 56 * loads.len()];
        let mut data_offset = 0;
        for (index, (address, bytes, flags)) in loads.iter().enumerate() {
            let (offset, size) = (file.len() as u64, bytes.len() as u64);
            data_offset = offset;
            let words = [offset, *address, *address, size, size, 0x1000];
            let header: Vec<u8> =
                [1, *flags].iter().flat_map(|word| word.to_le_bytes()).chain(words.iter().flat_map(|word| word.to_le_bytes())).collect();
            file[64 + 56 * index..64 + 56 * (index + 1)].copy_from_slice(&header);
            file.extend(*bytes);
        }
        let mut names = vec![0];
        let mut headers = vec![0; 64];
        for section in &self.sections {
            headers.extend(section_header(names.len(), 1, section.address, data_offset + (section.address - DATA), section.size));
            names.extend(section.name.bytes().chain([0]));
        }
        let name = names.len();
        names.extend(b".shstrtab\0");
        headers.extend(section_header(name, 3, 0, file.len() as u64, names.len() as u64));
        file.extend(&names);
        let table = file.len() as u64;
        file.extend(&headers);
        let count = u16::try_from(self.sections.len() + 2).unwrap();
        file[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>();
        file[16..20].copy_from_slice(&halves(&[2, 62]));
        file[20] = 1;
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[52..64].copy_from_slice(&halves(&[64, 56, u16::try_from(loads.len()).unwrap(), 64, count, count - 1]));
        file
    }
}

fn section_header(name: usize, kind: u32, address: u64, offset: u64, size: u64) -> Vec<u8> {
    let words = [0, address, offset, size, 0, 1, 0];
    let head = [u32::try_from(name).unwrap(), kind].into_iter().flat_map(u32::to_le_bytes);
    head.chain(words.into_iter().flat_map(u64::to_le_bytes)).collect()
}

/// Between two functions of a kubelet lies one that nobody asks for.
fn pclntab(code: &[Code], text: u64, more: &[&str]) -> Vec<u8> {
    let offset = |address: u64| u32::try_from(address - text).unwrap();
    let mut names = b"gap\0".to_vec();
    let (mut entries, mut functions) = (Vec::new(), Vec::new());
    for (code, next) in code.iter().zip(code.iter().skip(1).map(Some).chain([None])) {
        entries.push((offset(code.address), names.len()));
        names.extend(code.name.bytes().chain([0]));
        let end = code.address + code.bytes.len() as u64;
        if next.is_some_and(|next| next.address > end) {
            entries.push((offset(end), 0));
        }
    }
    names.extend(more.iter().flat_map(|name| name.bytes().chain([0])));
    let end = code.last().map_or(0, |code| offset(code.address + code.bytes.len() as u64));
    let size = 8 * entries.len() + 8;
    let mut table = Vec::new();
    for (entry, name) in &entries {
        table.extend(entry.to_le_bytes());
        table.extend(u32::try_from(size + functions.len()).unwrap().to_le_bytes());
        functions.extend(entry.to_le_bytes());
        functions.extend(u32::try_from(*name).unwrap().to_le_bytes());
    }
    table.extend(end.to_le_bytes());
    table.extend([0; 4]);
    table.extend(functions);
    names.resize(names.len().next_multiple_of(8), 0);
    let (first, after) = (72, 72 + names.len() as u64);
    let words = [entries.len() as u64, 0, 0, first, after, after, after, after];
    let mut bytes = b"\xf1\xff\xff\xff\0\0\x01\x08".to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(names);
    bytes.extend(table);
    bytes
}

fn build_info() -> Vec<u8> {
    let modules = format!("{0}path\tk8s.io/kubernetes/cmd/kubelet\nmod\tk8s.io/kubernetes\tv1.36.3\t\n{0}", "0123456789abcdef");
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    for text in ["go1.26.8", &modules] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.bytes());
    }
    bytes
}

fn functions() -> Vec<Code> {
    let line = |line: &str| {
        let [name, address, hex] = line.split(' ').collect::<Vec<_>>().try_into().expect("name, address, bytes");
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        Code { name: name.to_owned(), address: u64::from_str_radix(address, 16).expect("hex"), bytes }
    };
    FUNCTIONS.lines().map(line).collect()
}

/// The functions of a real kubelet in the form of the fixture.
pub(crate) fn record(kubelet: &[u8]) -> String {
    let wanted = [
        "k8s.io/kubernetes/pkg/kubelet/server.(*Server).ServeHTTP",
        "k8s.io/kubernetes/pkg/kubelet/server.(*Server).ServeHTTP.deferwrap1",
        "k8s.io/kubernetes/pkg/kubelet/server.(*KubeletAuth).Authorize",
        "k8s.io/apimachinery/pkg/util/proxy.(*UpgradeAwareHandler).tryUpgrade",
        "runtime.gorecover",
    ];
    let executable = kubewitness::gobin::Executable::parse(kubelet).expect("a kubelet");
    let is_wanted = |name: &str| wanted.contains(&name) || name.ends_with("(*Server).InstallAuthFilter.func1");
    let mut text = String::new();
    for function in executable.functions(is_wanted).expect("functions") {
        let hex: String = function.bytes.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        });
        let _infallible = writeln!(text, "{} {:x} {hex}", function.name, function.address);
    }
    text
}
