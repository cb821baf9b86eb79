//! What reading an executable costs, whatever it is: less than 64 MiB and a second of processor time, or it is given up with a reason. `doctor`
//! plans it as the daemon does.

use std::{
    env, fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use kubewitness_tests::{build::cache, figures::Figures, scenarios::Bed};

use super::crafted::{Crafted, Kind};

const MEMORY: u64 = 64 << 10;
const TIME: Duration = Duration::from_secs(1);
/// A kubelet all the same: nothing refers to them.
const HARMLESS: &str = "a million relocations";
const FIGURES: Figures = Figures::of("docs/reliability-hostile.md", "executables");

pub(crate) fn all() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("executables");
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let whole = Crafted::kubelet().bytes();
    assert_eq!(cost(&file(&folder, "crafted", &whole, None)).reason, None, "the crafted kubelet has a plan");
    for path in kubelets() {
        let cost = cost(&path);
        // Which of them have a plan is for the tests of plans.
        check(&format!("kubelet {}", name(&path)), &path, &cost);
    }
    for (what, bytes, length) in cases(&whole) {
        let path = file(&folder, "hostile", &bytes, length);
        let cost = cost(&path);
        let given_up = cost.reason.as_ref().is_some_and(|reason| reason.len() > 30);
        assert_eq!(given_up, what != HARMLESS, "{what}: {:?}", cost.reason);
        check(what, &path, &cost);
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// What it is, its bytes, and the length that it is made to have.
fn cases(whole: &[u8]) -> Vec<(&'static str, Vec<u8>, Option<u64>)> {
    let gib = 1 << 30;
    vec![
        ("10 GiB, nearly all of it a hole", whole.to_vec(), Some(10 * gib)),
        ("a kubelet cut in the middle", whole[..whole.len() / 2].to_vec(), None),
        ("900 MB of names of no length", names_to(whole, 900 << 20), Some(gib - 1)),
        ("a million functions that answer to one name", many_names(1 << 20), None),
        ("100 million functions, and the names of none", functions(whole, 100_000_000), Some(gib - 1)),
        ("a million functions, and the names of none", functions(whole, 1_000_000), Some(64 << 20)),
        ("two million types of the same name", many_types(2 << 20), None),
        ("a type with 65,000 fields of 4,000 letters", many_fields(65_000), None),
        ("a type that is a pointer to itself", itself(), None),
        (HARMLESS, relocations(1 << 20), None),
        ("40 million relocations", relocations_in_a_hole(whole, 40_000_000), Some(gib - 1)),
        ("three million itabs", many_itabs(3 << 20), None),
        ("4 billion sections", counts(whole, true), None),
        ("4 billion segments", counts(whole, false), None),
        ("sections with names that do not end", endless_names(whole), None),
    ]
}

fn check(what: &str, path: &Path, cost: &Cost) {
    let size = fs::metadata(path).unwrap().len();
    let reason = cost.reason.as_deref().unwrap_or("a plan");
    let row = [
        what,
        &format!("{} MB", size / 1_000_000),
        &format!("{} MiB", cost.memory / 1024),
        &format!("{} ms", cost.time.as_millis()),
        reason,
    ];
    FIGURES.row(&row);
    assert!(cost.memory < MEMORY, "{what} took {} KiB", cost.memory);
    assert!(cost.time < TIME, "{what} took {:?}", cost.time);
}

struct Cost {
    /// KiB, at most.
    memory: u64,
    /// Of the processor.
    time: Duration,
    /// Why there is no plan.
    reason: Option<String>,
}

/// Looks at a child a thousand times a second: what it holds it holds to its end.
fn cost(path: &Path) -> Cost {
    let mut command = Command::new(Bed::binary());
    command.args(["doctor", "--kubelet-file"]).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let (mut memory, mut ticks) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
        let peak = of("status").lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse().ok());
        memory = memory.max(peak.unwrap_or(0));
        // `utime` and `stime`, in hundredths of a second.
        let stat = of("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        ticks = ticks.max(fields.filter_map(|field| field.parse::<u64>().ok()).sum());
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let reason = said.lines().find_map(|line| line.trim_start().strip_prefix("FAIL")).map(|reason| reason.trim().to_owned());
    assert_eq!(output.status.success(), reason.is_none(), "{}: {} {said}", path.display(), output.status);
    Cost { memory, time: Duration::from_millis(10 * ticks), reason }
}

fn file(folder: &Path, name: &str, bytes: &[u8], length: Option<u64>) -> PathBuf {
    let path = folder.join(name);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(bytes).unwrap();
    if let Some(length) = length {
        file.set_len(length).unwrap();
    }
    file.seek(SeekFrom::Start(0)).unwrap();
    path
}

/// The kubelets that the testbed has built.
fn kubelets() -> Vec<PathBuf> {
    let folders = fs::read_dir(cache().join("kubernetes")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        folders.map(|folder| folder.path().join("kubelet")).filter(|path| path.is_file() && !name(path).contains("arm64")).collect();
    found.sort();
    if env::var_os("KUBEWITNESS_FIGURES").is_none() {
        found.truncate(2);
    }
    found
}

fn name(path: &Path) -> String {
    path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
}

/// Where a section's header is in the file; the first is none.
fn header(bytes: &[u8], name: &str) -> usize {
    let crafted = Crafted::kubelet();
    let index = crafted.sections.iter().position(|section| section.name == name).expect("the section is there") + 1;
    word(bytes, 40) + 64 * index
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Its names end far behind, where the file has nothing but zeros.
fn names_to(whole: &[u8], end: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let header = header(whole, ".gopclntab");
    let table = word(whole, header + 24);
    put(&mut bytes, header + 32, end + 1000);
    put(&mut bytes, table + 8 + 8 * 4, end);
    bytes
}

/// As many functions as are claimed, in a table that the hole holds.
fn functions(whole: &[u8], count: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let header = header(whole, ".gopclntab");
    let table = word(whole, header + 24);
    let functions = u64::try_from(whole.len()).unwrap().next_multiple_of(8) - table as u64;
    put(&mut bytes, header + 32, functions + 8 * count + 100);
    put(&mut bytes, table + 8, count);
    put(&mut bytes, table + 8 + 8 * 7, functions);
    // The module is found by the first function and the end of the last, which are 0 now.
    let (module, text) = (word(whole, self::header(whole, ".go.module") + 24), Crafted::kubelet().text());
    put(&mut bytes, module + 160, text);
    put(&mut bytes, module + 168, text);
    bytes
}

fn many_names(count: usize) -> Vec<u8> {
    let name = "k8s.io/kubernetes/pkg/kubelet/server.InstallAuthFilter.func1";
    Crafted::kubelet_with(|_| {}, &vec![name; count]).bytes()
}

fn many_types(count: usize) -> Vec<u8> {
    let more = |this: &mut Crafted| {
        let int = this.basic("int", Kind::Int, 8);
        let other = this.structure("http.Request", "evil.example/http", 8, &[("Method", int, 0)]);
        let pointer = this.pointer("http.Request", other);
        this.link("*http.Request", pointer, count);
    };
    Crafted::kubelet_without("http.Request", more).bytes()
}

fn many_fields(count: usize) -> Vec<u8> {
    let more = |this: &mut Crafted| {
        let int = this.basic("int", Kind::Int, 8);
        let long = "x".repeat(4000);
        let fields = vec![(long.as_str(), int, 0); count];
        let server = this.structure("server.Server", "k8s.io/kubernetes/pkg/kubelet/server", 8, &fields);
        this.pointer("server.Server", server);
    };
    Crafted::kubelet_without("server.Server", more).bytes()
}

fn itself() -> Vec<u8> {
    let more = |this: &mut Crafted| {
        let pointer = this.pointer("http.Request", 0);
        this.point_at(pointer, pointer);
    };
    Crafted::kubelet_without("http.Request", more).bytes()
}

fn relocations(count: usize) -> Vec<u8> {
    let more = |this: &mut Crafted| {
        let entry: Vec<u8> = [0x1000u64, 8, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        this.section(".rela", &entry.repeat(count));
    };
    let mut bytes = Crafted::kubelet_with(more, &[]).bytes();
    // ET_DYN: its pointers are relocations, and none of these is one.
    bytes[16] = 3;
    bytes
}

fn relocations_in_a_hole(whole: &[u8], count: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[16] = 3;
    let header = header(whole, ".itablink");
    put(&mut bytes, header + 32, 24 * count);
    let name = memchr::memmem::find(&bytes, b".itablink\0").expect("the section's name");
    bytes[name..name + 6].copy_from_slice(b".rela\0");
    bytes
}

fn many_itabs(count: usize) -> Vec<u8> {
    Crafted::kubelet_with(|this| this.repeat_itabs(count), &[]).bytes()
}

/// The numbers of sections or segments as the first section header tells them where they do not fit.
fn counts(whole: &[u8], sections: bool) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let first = word(whole, 40);
    if sections {
        bytes[60..62].fill(0);
        put(&mut bytes, first + 32, u64::from(u32::MAX));
    } else {
        bytes[56..58].fill(0xff);
        bytes[first + 44..first + 48].fill(0xff);
    }
    bytes
}

/// A table of names of 256 MiB without an end, and a thousand sections whose names begin in it.
fn endless_names(whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let names = bytes.len() as u64;
    bytes.resize(bytes.len() + (256 << 20), b'a');
    let table = bytes.len() as u64;
    for _ in 0..1000 {
        let mut header = [0; 64];
        header[4] = 1;
        bytes.extend(header);
    }
    let mut last = [0; 64];
    last[4] = 3;
    last[24..32].copy_from_slice(&names.to_le_bytes());
    last[32..40].copy_from_slice(&(256u64 << 20).to_le_bytes());
    bytes.extend(last);
    put(&mut bytes, 40, table);
    bytes[60..62].copy_from_slice(&1001u16.to_le_bytes());
    bytes[62..64].copy_from_slice(&1000u16.to_le_bytes());
    bytes
}
