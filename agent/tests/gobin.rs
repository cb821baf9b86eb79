//! Reads small programs that the Go toolchains of this machine build, in each form that a linker gives them, whole and damaged.

use std::{env, fs, ops::Range, path::PathBuf, process::Command, sync::OnceLock};

use kubewitness::gobin::{Architecture, Error, Executable, Kind, METHODS, MapShape, fuzz_entry};
use object::{Object, ObjectSection};
use proptest::prelude::*;

/// One of each Go release, those that the kubelets of the testbed are built with; what is not on this machine is left out, and said so.
const TOOLCHAINS: [&str; 7] = ["go1.21.11", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.9", "go1.26.8", "go1.27.3"];
const FORMS: [Form; 3] = [
    Form { architecture: "amd64", mode: "exe", external: false },
    Form { architecture: "amd64", mode: "pie", external: false },
    Form { architecture: "amd64", mode: "pie", external: true },
];
const ARM64: Form = Form { architecture: "arm64", mode: "exe", external: false };

#[derive(Clone, Copy, Debug)]
struct Form {
    architecture: &'static str,
    mode: &'static str,
    /// Linked by the linker of the C compiler, which puts sections together that Go's keeps apart.
    external: bool,
}

#[test]
fn every_form_of_a_program_is_read() {
    for toolchain in TOOLCHAINS {
        for form in FORMS {
            match build(toolchain, form) {
                Some(bytes) => check(&bytes, toolchain),
                None => println!("{toolchain} {form:?}: not checked, this machine cannot build it"),
            }
        }
    }
}

#[test]
fn the_tables_are_the_same_on_arm64() {
    let Some(bytes) = build("go1.26.8", ARM64) else {
        println!("{ARM64:?}: not checked, this machine cannot build it");
        return;
    };
    assert_eq!(Executable::parse(&bytes).map(|e| e.architecture()), Ok(Architecture::Aarch64));
    check(&bytes, "go1.26.8");
}

fn check(bytes: &[u8], toolchain: &str) {
    let executable = Executable::parse(bytes).expect("a Go executable");
    let build = executable.build_info().expect("build information");
    assert_eq!(build.go_version, toolchain);
    assert_eq!(build.main_module, Some(("example.com/sample", "(devel)")));
    assert!(executable.build_id().is_some_and(|id| id.split('/').count() == 4), "{toolchain}: Go build ids have four parts");

    let functions = executable.functions(|name| name.starts_with("main.")).expect("functions");
    let names: Vec<_> = functions.iter().map(|f| f.name).collect();
    for wanted in ["main.main", "main.work", "main.(*Sample).Speak", "main.(*Sample).Alpha", "main.work.func1"] {
        assert_eq!(names.iter().filter(|name| **name == wanted).count(), 1, "{wanted} in {names:?}");
    }
    for function in &functions {
        let start = usize::try_from(function.file_offset).expect("an offset in the file");
        assert_eq!(&bytes[start..start + function.bytes.len()], function.bytes, "{}", function.name);
    }
    assert_eq!(executable.functions(|name| name == "main.missing"), Ok(vec![]));

    let wanted = [("main", "main.Sample"), ("other", "main.Sample"), ("main", "main.Missing")];
    let [Some(sample), None, None] = executable.types(wanted).expect("types") else { panic!("main.Sample alone is there") };
    let fields: Vec<_> = sample.defined.fields().expect("a struct").map(|f| f.expect("a field")).collect();
    let found: Vec<_> = fields.iter().map(|f| (f.name, f.offset, f.of.kind().expect("a kind"))).collect();
    assert_eq!(
        found,
        [
            ("Name", 0, Kind::String),
            ("Number", 16, Kind::Basic),
            ("Labels", 24, Kind::Map),
            ("Speaker", 32, Kind::Interface),
            ("Next", 48, Kind::Pointer),
            ("flag", 56, Kind::Basic),
        ]
    );
    assert_eq!(sample.defined.size(), Ok(64));
    assert_eq!(fields[2].of.map_shape(), Ok(if toolchain < "go1.24" { BUCKETS } else { SWISS }));
    assert_eq!(fields[3].of.package(), Ok(Some("main")));
    assert_eq!(fields[4].of.address(), sample.pointer.address());
    assert!(matches!(fields[0].of.map_shape(), Err(Error::Malformed { .. })), "a string is not a map");

    let itabs = executable.itabs(&[sample.pointer]).expect("itabs");
    let itab = itabs.iter().find(|itab| itab.interface.is("main", "main.Speaker") == Ok(true)).expect("the itab");
    let slot = |name| itab.slot_of(functions.iter().find(|f| f.name == name).expect("the method").address);
    assert_eq!(slot("main.(*Sample).Alpha"), Ok(Some(METHODS)));
    assert_eq!(slot("main.(*Sample).Speak"), Ok(Some(METHODS + 8)));
    assert_eq!(slot("main.main"), Ok(None));
}

/// `map[string][]string` since Go 1.24, and before.
const SWISS: MapShape = MapShape { group_size: 328, key: 8, key_stride: 40, value: 24, value_stride: 40, overflow: None };
const BUCKETS: MapShape = MapShape { group_size: 336, key: 8, key_stride: 16, value: 136, value_stride: 24, overflow: Some(328) };

#[test]
fn what_is_no_go_executable_is_told_apart() {
    let this_test = fs::read(env::current_exe().expect("a test has a file")).expect("the test can be read");
    for (what, bytes, error) in [
        ("nothing", &b""[..], Error::NotElf),
        ("a script", b"#!/bin/sh\n", Error::NotElf),
        ("half a header", b"\x7fELF\x02\x01\x01", Error::NotElf),
        ("another language", &this_test, Error::NotGo),
    ] {
        assert_eq!(Executable::parse(bytes).err(), Some(error), "{what}");
    }
    if let Some(mut bytes) = build("go1.26.8", FORMS[0]) {
        // e_shoff, e_shnum and e_shstrndx: the section headers are gone.
        bytes[0x28..0x30].fill(0);
        bytes[0x3c..0x40].fill(0);
        assert!(matches!(Executable::parse(&bytes), Err(Error::Unsupported(why)) if why.contains("no section headers")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cut anywhere, and with any bytes of its tables replaced, a program gives answers or errors.
    #[test]
    fn damage_never_panics(
        form in 0..samples().len().max(1),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let Some(Sample { bytes, regions }) = samples().get(form) else { return Ok(()) };
        let mut bytes = bytes.clone();
        for (region, place, value) in damage {
            let region = &regions[region.index(regions.len())];
            bytes[region.start + place.index(region.len())] = value;
        }
        let end = cut.map_or(bytes.len(), |cut| cut.index(bytes.len()));
        fuzz_entry(&bytes[..end]);
    }
}

/// A program to damage.
struct Sample {
    bytes: Vec<u8>,
    /// Where its headers and tables are.
    regions: Vec<Range<usize>>,
}

fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let forms = ["go1.26.8", "go1.27.3"].into_iter().flat_map(|toolchain| FORMS.map(|form| (toolchain, form)));
        let programs = forms.filter_map(|(toolchain, form)| build(toolchain, form));
        programs.map(|bytes| Sample { regions: regions(&bytes), bytes }).collect()
    })
}

fn regions(bytes: &[u8]) -> Vec<Range<usize>> {
    let file = object::File::parse(bytes).expect("an ELF file");
    let tables = file.sections().filter(|s| s.name().is_ok_and(|name| name != ".text")).filter_map(|s| s.file_range());
    let mut regions: Vec<_> = tables
        .filter_map(|(start, len)| Some(usize::try_from(start).ok()?..usize::try_from(start + len).ok()?))
        .filter(|range| !range.is_empty())
        .collect();
    // The beginning of a table decides most.
    let heads: Vec<_> = regions.iter().map(|range| range.start..range.end.min(range.start + 512)).collect();
    regions.extend(heads);
    regions.extend([0..1024, bytes.len().saturating_sub(2048)..bytes.len()]);
    regions
}

/// The sample as that toolchain builds it, stripped; `None` where the toolchain is not on this machine.
fn build(toolchain: &str, Form { architecture, mode, external }: Form) -> Option<Vec<u8>> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sample");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("sample-{toolchain}-{architecture}-{mode}-{external}-{:?}", std::thread::current().id()));
    let flags = if external { "-ldflags=-s -w -linkmode=external" } else { "-ldflags=-s -w" };
    let built = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", flags, "-buildmode", mode, "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("GOTOOLCHAIN", toolchain)
        .env("CGO_ENABLED", if external { "1" } else { "0" })
        .env("GOOS", "linux")
        .env("GOARCH", architecture)
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-mod=mod")
        .output();
    if !built.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let bytes = fs::read(&program).ok();
    let _ = fs::remove_file(&program);
    bytes
}
