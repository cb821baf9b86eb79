//! The plan of every kubelet of the matrix, in every shape: all sites on instructions that the kernel emulates, or a refusal that says why.
//!
//! A kubelet that is not built yet is built, which takes minutes. Needs no root. `KUBEWITNESS_E2E_KUBELETS` names builds instead of all.

use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use kubewitness::target::{
    ExecutableFile,
    plan::{Place, Plan, PlanError, PlannedSite, SiteKind, plan},
};
use kubewitness_tests::{
    build::{KubernetesProgram, Release, Shape},
    figures::Figures,
    scenarios::Bed,
};

const FIGURES: Figures = Figures::of("docs/compatibility.md", "plans");
/// What reading any executable may take.
const WITHIN: Duration = Duration::from_secs(1);
const LIMIT_KIB: u64 = 64 << 10;
/// Go's maps have been Swiss tables since this minor release.
const SWISS_SINCE: u32 = 24;

#[test]
fn the_kubelet_of_the_ordinary_run_has_a_plan() {
    let measured = Measured::of(Release::V1_36);
    eprintln!("{:?}", measured.row());
    assert_eq!(measured.wrong(), Vec::<String>::new());
}

#[test]
#[ignore = "plans every kubelet of the matrix, and builds those that are not there: minutes each"]
fn every_kubelet_of_the_matrix_has_a_plan_or_a_reason() {
    let mut wrong = Vec::new();
    for release in chosen() {
        let measured = Measured::of(release);
        if let Ok(plan) = &measured.planned {
            eprintln!("{release}\n{plan}");
        }
        FIGURES.row(&measured.row());
        wrong.extend(measured.wrong());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn chosen() -> Vec<Release> {
    let named = env::var("KUBEWITNESS_E2E_KUBELETS").ok();
    let parse = |name: &str| name.parse().unwrap_or_else(|error: String| panic!("{error}"));
    named.map_or_else(|| Release::MATRIX.into_iter().chain(Release::SHAPES).collect(), |names| names.split(',').map(parse).collect())
}

/// A plan, and what it took.
struct Measured {
    release: Release,
    planned: Result<Plan, PlanError>,
    /// By the agent itself, from its start to its end; the fastest of three.
    took: Duration,
    /// What planning added to the peak of a process, with the pages of the executable that it touched.
    peak_kib: u64,
    /// Whether the agent says the same as the library.
    agent_agrees: bool,
}

impl Measured {
    fn of(release: Release) -> Self {
        let file = release.program(KubernetesProgram::Kubelet).build().unwrap_or_else(|error| panic!("{release}: {error}"));
        let run = || {
            let begun = Instant::now();
            let output = Command::new(Bed::binary()).args(["doctor", "--kubelet-file"]).arg(&file).output().expect("the agent runs");
            (begun.elapsed(), output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let runs = [run(), run(), run()];
        let took = runs.iter().map(|(took, ..)| *took).min().unwrap_or_default();

        let before = resident("VmRSS");
        fs::write("/proc/self/clear_refs", "5").expect("a process may reset its own peak");
        let planned = plan(&ExecutableFile::open(&file).expect("the kubelet can be opened"));
        let peak_kib = resident("VmHWM").saturating_sub(before);

        let agent_agrees = match &planned {
            Ok(plan) => {
                runs.iter().all(|(_, fine, said)| *fine && plan.sites.iter().all(|site| said.contains(&format!("{:#x}", site.address))))
            }
            Err(error) => runs.iter().all(|(_, fine, said)| !fine && said.contains(&error.to_string())),
        };
        Self { release, planned, took, peak_kib, agent_agrees }
    }

    /// What is not as it must be.
    fn wrong(&self) -> Vec<String> {
        let release = self.release;
        let mut wrong = match &self.planned {
            Ok(plan) => doubts(plan, release),
            // Whoever reads it must learn what was not found, and what becomes of it.
            Err(error) if refused(release) && error.to_string().contains("nothing is attached") => Vec::new(),
            Err(error) => vec![format!("no plan: {error}")],
        };
        if self.planned.is_ok() && refused(release) {
            wrong.push("it has a plan, though it was believed to be refused".to_owned());
        }
        if !self.agent_agrees {
            wrong.push("`kubewitness doctor` says something else".to_owned());
        }
        if self.took > WITHIN || self.peak_kib > LIMIT_KIB {
            wrong.push(format!("planning took {:?} and {} KiB", self.took, self.peak_kib));
        }
        wrong.into_iter().map(|what| format!("{release}: {what}")).collect()
    }

    fn row(&self) -> [String; 6] {
        let (sites, attributes, second) = match &self.planned {
            Ok(plan) => (sites(plan), attributes(plan), plan.notes.join("; ")),
            Err(error) => (format!("refused: {error}"), String::new(), String::new()),
        };
        let memory = format!("{:.1} MiB", f64::from(u32::try_from(self.peak_kib).unwrap_or(u32::MAX)) / 1024.0);
        [self.release.to_string(), sites, attributes, second, format!("{} ms", self.took.as_millis()), memory]
    }
}

/// Builds that are known to be refused: without optimizations every value goes through memory, so the instructions that prove a site are not
/// there.
fn refused(release: Release) -> bool {
    release.shape() == Shape::Unoptimized
}

fn doubts(plan: &Plan, release: Release) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |holds: bool, what: String| wrong.extend((!holds).then_some(what));
    check(plan.kubelet_version == Some(format!("v{}", release.version())), format!("the version is {:?}", plan.kubelet_version));
    check(plan.go_version == release.toolchain(), format!("the toolchain is {}", plan.go_version));
    let kinds: Vec<_> = plan.sites.iter().map(|site| site.kind).collect();
    let ordered =
        matches!(kinds.as_slice(), [SiteKind::Request, SiteKind::Check(_), .., SiteKind::Answer(_), SiteKind::End { panicking: Some(_) }]);
    check(ordered, format!("not request, checks, answer, end that tells a panic: {kinds:?}"));
    for site in &plan.sites {
        check(is_emulated(site), format!("{} is not emulated: {}", site.kind.label(), site.instruction));
    }
    let swiss = u32::from(go_minor(release) >= SWISS_SINCE);
    check(plan.layout.map.swiss == swiss, "maps are not of the kind that this Go has".to_owned());
    check(plan.layout.itab_response2 != 0, "HTTP/2 responses are not known".to_owned());
    wrong
}

/// One-byte `push`, and conditional jumps: `push_setup_xol_ops` and `branch_setup_xol_ops` of `arch/x86/kernel/uprobes.c`.
fn is_emulated(site: &PlannedSite) -> bool {
    matches!(site.bytes.as_slice(), [0x50..=0x57] | [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, _, _, _, _])
}

fn go_minor(release: Release) -> u32 {
    release.toolchain().split('.').nth(1).and_then(|minor| minor.parse().ok()).expect("a toolchain such as go1.26.8")
}

/// Such as `request push, 2 × check jne, answer je, end push`.
fn sites(plan: &Plan) -> String {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for site in &plan.sites {
        let what = format!("{} {}", site.kind.label(), site.instruction.split(' ').next().unwrap_or_default());
        match counted.last_mut().filter(|(last, _)| *last == what) {
            Some((_, count)) => *count += 1,
            None => counted.push((what, 1)),
        }
    }
    let each = counted.into_iter().map(|(what, count)| if count == 1 { what } else { format!("{count} × {what}") });
    each.collect::<Vec<_>>().join(", ")
}

/// Where the attributes of each check are read, and whose memory it is.
fn attributes(plan: &Plan) -> String {
    let places = plan.sites.iter().filter_map(|site| match site.kind {
        SiteKind::Check(at) => {
            let place = if at.place == Place::Frame { "frame" } else { "spill" };
            Some(format!("{place} {:#x}, {:#x}", at.itab, at.data))
        }
        _ => None,
    });
    places.collect::<Vec<_>>().join("; ")
}

/// A line of `/proc/self/status`, in KiB.
fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let value = status.lines().find_map(|status| status.strip_prefix(line)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
    value.and_then(|kib| kib.parse().ok()).expect("a number of KiB")
}
