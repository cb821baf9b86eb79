//! Plans every kubelet of the cache (`$KUBEWITNESS_CACHE`, else `~/.cache/kubewitness`), which the testbed builds.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use kubewitness::gobin::{Architecture, Executable};
use kubewitness::target::plan::{Attributes, Place, Plan, PlanError, PlannedSite, SiteKind, plan};
use kubewitness_wire::{Layout, Register};

/// What was measured on a running kubelet of amd64, or read in the disassembly of one of arm64.
struct Measured {
    release: &'static str,
    go: &'static str,
    architecture: Architecture,
    /// Slots of `attr` in each clone of the filter.
    slots: &'static [(i32, i32, Place)],
    /// 1 for Swiss maps.
    swiss: u32,
    /// The register that the runtime's status is in.
    status: Register,
}

const AMD64: Architecture = Architecture::X86_64;
const ARM64: Architecture = Architecture::Aarch64;

#[rustfmt::skip]
const MEASURED: [Measured; 4] = [
    Measured { release: "v1.30.14", go: "go1.23.12", architecture: AMD64, slots: &[(0x48, 0x80, Place::Frame), (0x18, 0x20, Place::Spill)], swiss: 0, status: Register::Rdx },
    Measured { release: "v1.36.3", go: "go1.26.8", architecture: AMD64, slots: &[(0x88, 0xe8, Place::Frame)], swiss: 1, status: Register::Rdx },
    Measured { release: "v1.37.2", go: "go1.27.3", architecture: AMD64, slots: &[(0x80, 0xe0, Place::Frame)], swiss: 1, status: Register::Rdx },
    Measured { release: "v1.36.3", go: "go1.26.8", architecture: ARM64, slots: &[(0x98, 0xf8, Place::Frame)], swiss: 1, status: Register::X5 },
];

#[test]
fn every_cached_kubelet_has_a_plan() {
    let kubelets = cached("kubelet");
    if kubelets.is_empty() {
        println!("no kubelet in the cache: nothing was checked");
    }
    for path in kubelets {
        let bytes = fs::read(&path).expect("the kubelet can be read");
        if path.iter().any(|part| part.to_string_lossy().ends_with("-unoptimized")) {
            let refused = plan(&bytes);
            assert!(matches!(refused, Err(PlanError::Doubt { .. })), "{}: {refused:?}", path.display());
            continue;
        }
        let plan = plan(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}:\n{plan}", path.display());
        check_sites(&plan, &bytes);
        check_layout(&plan.layout);
        check_measured(&plan);
        check_json(&plan);
    }
}

#[test]
fn other_programs_have_none_and_are_told_apart() {
    for path in ["kube-apiserver", "kubectl"].into_iter().flat_map(cached) {
        println!("{}", path.display());
        let bytes = fs::read(&path).expect("the program can be read");
        assert_eq!(plan(&bytes), Err(PlanError::NotAKubelet));
    }
    let this_test = fs::read(env::current_exe().expect("a test has a file")).expect("the test can be read");
    assert!(matches!(plan(&this_test), Err(PlanError::NotGo(_))));
    assert!(matches!(plan(b"#!/bin/sh\n"), Err(PlanError::NotGo(_))));
    assert!(matches!(plan(b""), Err(PlanError::NotGo(_))));
}

/// A kubelet is too large to copy for each case: a byte is replaced and put back.
#[test]
fn a_damaged_kubelet_never_panics() {
    for architecture in [AMD64, ARM64] {
        let mut kubelets = cached("kubelet");
        kubelets.sort_by_key(|path| fs::metadata(path).map_or(u64::MAX, |m| m.len()));
        let is_wanted = |bytes: &Vec<u8>| Executable::parse(bytes).is_ok_and(|e| e.architecture() == architecture);
        let whole = kubelets.into_iter().map(|path| fs::read(path).expect("the kubelet can be read")).find(is_wanted);
        match whole {
            Some(bytes) => damage(bytes),
            None => println!("no kubelet for {} in the cache: nothing was damaged", architecture.name()),
        }
    }
}

fn damage(mut bytes: Vec<u8>) {
    let whole = plan(&bytes).expect("a plan");
    let places = whole.sites.iter().flat_map(|site| site.file_offset - 40..site.file_offset + 8);
    let mut without_plan = 0;
    for place in places.step_by(3).map(|place| usize::try_from(place).expect("an offset in the file")) {
        let was = std::mem::replace(&mut bytes[place], 0x06);
        without_plan += usize::from(plan(&bytes).is_err());
        bytes[place] = was;
    }
    assert!(without_plan > 0, "some of these must be doubted");
    assert_eq!(plan(&bytes), Ok(whole), "a plan depends on the bytes alone");
    for cut in [64, 4096, bytes.len() / 2, bytes.len() - 1] {
        assert!(plan(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

fn check_sites(plan: &Plan, bytes: &[u8]) {
    let kinds: Vec<_> = plan.sites.iter().map(|site| site.kind).collect();
    let [SiteKind::Request, checks @ .., SiteKind::Answer(status), SiteKind::End { panicking: Some(0x20) }] = kinds.as_slice() else {
        panic!("not request, checks, answer, end: {kinds:?}")
    };
    assert!(!checks.is_empty() && checks.iter().all(|kind| matches!(kind, SiteKind::Check(_))), "{checks:?}");
    let of_the_machine = Register::ARM64.contains(status) == (plan.architecture == ARM64);
    assert!(of_the_machine && !matches!(status, Register::Rsp | Register::R14 | Register::X28), "{status:?} holds no status");
    for site in &plan.sites {
        let start = usize::try_from(site.file_offset).expect("an offset in the file");
        assert_eq!(bytes[start..start + site.bytes.len()], site.bytes, "{}: the proof is what is in the file", site.symbol);
        match plan.architecture {
            AMD64 => check_x86(site),
            ARM64 => check_arm64(site),
        }
        let wire = site.wire(&plan.layout);
        assert_eq!((wire.address, wire.layout), (site.address, plan.layout));
        if let SiteKind::Check(attributes) = site.kind {
            assert_eq!((wire.attr_itab, wire.attr_data), (attributes.itab, attributes.data));
        }
    }
}

fn check_x86(site: &PlannedSite) {
    match site.kind {
        SiteKind::Request | SiteKind::End { .. } => {
            assert_eq!((site.bytes.as_slice(), site.instruction.as_str()), (&[0x55][..], "push rbp"));
        }
        SiteKind::Check(_) => assert!(site.instruction.starts_with("jne 0x") && is_jump(&site.bytes, 5), "{site:?}"),
        SiteKind::Answer(_) => assert!(site.instruction.starts_with("je 0x") && is_jump(&site.bytes, 4), "{site:?}"),
    }
}

/// `b.ls`, `cbnz x3`, `b.eq`: the bits that are not where they lead to.
fn check_arm64(site: &PlannedSite) {
    let (mask, bits, text) = match site.kind {
        SiteKind::Request | SiteKind::End { .. } => (0xff00_001f, 0x5400_0009, "b.ls 0x"),
        SiteKind::Check(_) => (0xff00_001f, 0xb500_0003, "cbnz x3, 0x"),
        SiteKind::Answer(_) => (0xff00_001f, 0x5400_0000, "b.eq 0x"),
    };
    let word = u32::from_le_bytes(*site.bytes.as_array().expect("four bytes"));
    assert!(word & mask == bits && site.instruction.starts_with(text) && site.address.is_multiple_of(4), "{site:?}");
}

/// A conditional jump of that condition, short or near.
fn is_jump(bytes: &[u8], condition: u8) -> bool {
    match bytes {
        [short, _] => *short == 0x70 | condition,
        [0x0f, near, _, _, _, _] => *near == 0x80 | condition,
        _ => false,
    }
}

/// Relations that hold whatever the release.
fn check_layout(l: &Layout) {
    assert!(0 < l.constants_start && l.constants_start < l.constants_end, "{l:?}");
    assert!([l.itab_response, l.itab_attributes, l.itab_user].iter().all(|itab| *itab != 0 && itab % 8 == 0), "{l:?}");
    assert_eq!(l.request_method, 0, "Method is the first field of http.Request");
    assert_eq!(l.request_url, 16, "URL follows it");
    assert!(l.request_header > l.request_url && l.request_remote_addr < l.request_uri, "{l:?}");
    assert_eq!((l.user_name, l.user_uid, l.user_groups, l.user_extra), (0, 16, 32, 56), "user.DefaultInfo");
    assert_eq!((l.attributes_user, l.attributes_verb), (0, 16), "authorizer.AttributesRecord");
    assert!(0 < l.response_buffer && l.response_buffer < l.response_written && l.response_written < l.response_status, "http.response");
    assert_eq!(l.itab_response2 != 0, l.response2_status != 0, "HTTP/2: both or none");
    let m = &l.map;
    assert_eq!(m.count, 0, "the compiler's len() relies on it");
    if m.swiss == 1 {
        assert_eq!((m.group_size, m.key, m.key_stride, m.value, m.value_stride), (8 + 8 * 40, 8, 40, 24, 40));
        assert_eq!((m.dir, m.dir_len, m.table_groups, m.table_mask, m.old, m.overflow), (16, 24, 16, 24, 0, 0));
    } else {
        assert_eq!((m.group_size, m.key, m.key_stride, m.value, m.value_stride), (8 + 8 * 40 + 8, 8, 16, 8 + 8 * 16, 24));
        assert_eq!((m.dir, m.dir_len, m.old, m.overflow, m.table_groups, m.table_mask), (16, 9, 24, 8 + 8 * 40, 0, 0));
    }
}

fn check_measured(plan: &Plan) {
    let version = plan.kubelet_version.as_deref().expect("the testbed sets the version");
    let wanted = (version, plan.go_version.as_str(), plan.architecture);
    let measured = MEASURED.iter().find(|m| (m.release, m.go, m.architecture) == wanted);
    let Some(measured) = measured else { return };
    let expected: Vec<_> =
        measured.slots.iter().map(|(itab, data, place)| Attributes { itab: *itab, data: *data, place: *place }).collect();
    let found: Vec<_> = plan.sites.iter().filter_map(|site| if let SiteKind::Check(a) = site.kind { Some(a) } else { None }).collect();
    assert_eq!(found, expected, "{version}");
    assert_eq!(plan.layout.map.swiss, measured.swiss, "{version}");
    assert!(plan.sites.iter().any(|site| site.kind == SiteKind::Answer(measured.status)), "{version}");
}

fn check_json(plan: &Plan) {
    let json = serde_json::to_value(plan).expect("a plan is data");
    let [first, ..] = plan.sites.as_slice() else { panic!("no sites") };
    assert_eq!(json["sites"][0]["kind"], "request");
    assert_eq!(json["sites"][0]["address"], format!("{:#x}", first.address));
    assert_eq!(json["sites"][0]["file_offset"], format!("{:#x}", first.file_offset));
    assert_eq!(json["architecture"], plan.architecture.name());
    assert_eq!(json["sites"][0]["bytes"].as_str().map(str::len), Some(2 * first.bytes.len()));
    assert_eq!(json["layout"]["itab *user.DefaultInfo"], format!("{:#x}", plan.layout.itab_user));
    assert_eq!(json["layout"]["url.URL.Path"], plan.layout.url_path);
}

fn cached(program: &str) -> Vec<PathBuf> {
    let cache = env::var_os("KUBEWITNESS_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache/kubewitness")));
    let releases = cache.and_then(|cache| fs::read_dir(cache.join("kubernetes")).ok());
    let mut found: Vec<_> = releases.into_iter().flatten().flatten().map(|r| r.path().join(program)).filter(|p| p.is_file()).collect();
    found.sort();
    found
}
