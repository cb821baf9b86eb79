//! The plans of whole kubelets for arm64, cross-compiled as the official builds are. `KUBEWITNESS_E2E_KUBELETS` names some of them instead of
//! all.

use std::{env, fs};

use kubewitness::gobin::Architecture;
use kubewitness::target::plan::{Place, Plan, SiteKind, plan};
use kubewitness_tests::build::{KubernetesProgram, Release};
use kubewitness_tests::figures::Figures;

#[test]
#[ignore = "compiles kubelets that are not there yet, minutes each: cargo xtask matrix --only arm64"]
fn every_kubelet_for_arm64_has_a_plan() {
    for release in chosen() {
        let file = release.program(KubernetesProgram::Kubelet).build().unwrap_or_else(|error| panic!("{release}: {error}"));
        let bytes = fs::read(&file).expect("the kubelet can be read");
        let plan = plan(&bytes).unwrap_or_else(|error| panic!("{release}: {error}"));
        println!("{release}:\n{plan}");
        check(&plan, release);
        let row = [format!("{release}"), plan.sites.len().to_string(), attributes(&plan), status(&plan)];
        Figures::of("docs/compatibility-arm64.md", "plans").row(&row);
    }
}

fn chosen() -> Vec<Release> {
    let named = env::var("KUBEWITNESS_E2E_KUBELETS").ok();
    let parse = |name: &str| name.parse().unwrap_or_else(|error: String| panic!("{error}"));
    named.map_or_else(|| Release::ARM64.to_vec(), |names| names.split(',').map(parse).collect())
}

fn check(plan: &Plan, release: Release) {
    assert_eq!(plan.architecture, Architecture::Aarch64, "{release}");
    assert_eq!(plan.kubelet_version, Some(format!("v{}", release.version())));
    assert_eq!(plan.go_version, release.toolchain());
    for site in &plan.sites {
        let begins = match site.kind {
            SiteKind::Request | SiteKind::End { .. } => "b.ls 0x",
            SiteKind::Check(_) => "cbnz x3, 0x",
            SiteKind::Answer(_) => "b.eq 0x",
        };
        assert!(site.instruction.starts_with(begins), "{release}: {site:?}");
    }
    assert!(plan.sites.iter().any(|site| site.kind == SiteKind::End { panicking: Some(0x20) }), "{release}: panics are told");
}

/// Where the attributes of each check are.
fn attributes(plan: &Plan) -> String {
    let of = |kind| match kind {
        SiteKind::Check(a) => {
            let place = if a.place == Place::Spill { ", spilled" } else { "" };
            Some(format!("`[sp, #{:#x}]`, `[sp, #{:#x}]`{place}", a.itab, a.data))
        }
        _ => None,
    };
    plan.sites.iter().filter_map(|site| of(site.kind)).collect::<Vec<_>>().join("; ")
}

/// The register that the runtime's status is in.
fn status(plan: &Plan) -> String {
    let of = |kind| if let SiteKind::Answer(register) = kind { Some(format!("{register:?}").to_lowercase()) } else { None };
    plan.sites.iter().find_map(|site| of(site.kind)).unwrap_or_default()
}
