//! The machine that plays `script.sh`, and what it left.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubewitness::gobin::Architecture;
use kubewitness::target::plan::{Plan, SiteKind, plan};
use kubewitness_tests::build::{OwnProgram, Recipe, ServerProgram};
use kubewitness_tests::vm::{Machine, Processor, Report, Series};
use serde_json::Value;

const SCRIPT: &str = include_str!("script.sh");
/// A boot takes half a minute, each request tens of milliseconds.
const LIMIT: Duration = Duration::from_mins(15);

/// What a machine left.
pub(crate) struct Seen(Report);

/// Hits of the branch of a stack check.
#[derive(Debug, Default)]
pub(crate) struct Hits {
    /// The branch was not taken: the function went on.
    pub(crate) passed: u64,
    /// It was: the stack grows, and the function begins anew.
    pub(crate) taken: u64,
}

/// Boots a kernel and plays the script.
pub(crate) fn run(series: Series) -> Seen {
    let server = for_arm64(ServerProgram::KubeletServer.recipe());
    let plan = plan(&fs::read(&server).expect("the server can be read")).expect("the server has a plan");
    assert_eq!(plan.architecture, Architecture::Aarch64);
    println!("{plan}");
    let script = SCRIPT.replace("OFFSET_OF_FIRST", &offset(&plan, |kind| kind == SiteKind::Request));
    let script = script.replace("OFFSET_OF_LAST", &offset(&plan, |kind| matches!(kind, SiteKind::End { .. })));
    let machine = Machine {
        processor: Processor::Arm64,
        kernel: series.fetch(Processor::Arm64).expect("Debian's kernel"),
        kernel_arguments: String::new(),
        memory: 1024,
        files: vec![
            ("bin/kubewitness".to_owned(), agent()),
            ("bin/server".to_owned(), server),
            ("bin/kubeletcall".to_owned(), for_arm64(OwnProgram::KubeletCall.recipe())),
        ],
        script,
        limit: LIMIT,
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("arm64").join(series.name());
    let report = machine.run(&folder).unwrap_or_else(|error| panic!("{error}"));
    for (name, content) in &report.files {
        fs::write(folder.join(name), content).expect("what the machine left can be written");
    }
    println!("Linux {} took {:?}; what it left is in {}", report.release, report.took, folder.display());
    assert_eq!(report.status, 0, "the script failed: {}", report.files["stdout"]);
    Seen(report)
}

/// The offset of the one site of a kind in the file.
fn offset(plan: &Plan, is_wanted: impl Fn(SiteKind) -> bool) -> String {
    let site = plan.sites.iter().find(|site| is_wanted(site.kind)).expect("a plan is whole");
    format!("{:#x}", site.file_offset)
}

/// `target/release/kubewitness-arm64`, or what `KUBEWITNESS_ARM64` names.
fn agent() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/kubewitness-arm64");
    let path = env::var_os("KUBEWITNESS_ARM64").map_or(built, PathBuf::from);
    assert!(path.is_file(), "{} is not there: run `cargo xtask build --arch arm64`", path.display());
    path
}

/// A program of the testbed's, compiled for arm64.
fn for_arm64(recipe: Recipe) -> PathBuf {
    let folder = format!("{}-arm64", recipe.folder);
    let recipe = Recipe { folder, environment: &[("GOARCH", "arm64")], ..recipe };
    recipe.build().unwrap_or_else(|error| panic!("{error}"))
}

impl Seen {
    pub(crate) fn release(&self) -> &str {
        &self.0.release
    }

    /// A file that the script wrote.
    pub(crate) fn file(&self, name: &str) -> &str {
        self.0.files.get(name).unwrap_or_else(|| panic!("the machine left no {name}"))
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        self.file("events").lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The hits of one of the kernel's own probes, by the flags at each: `b.ls` is taken if C is clear or Z is set.
    pub(crate) fn hits(&self, probe: &str) -> Hits {
        const Z: u64 = 1 << 30;
        const C: u64 = 1 << 29;
        let (mut hits, name) = (Hits::default(), format!(" {probe}: "));
        for line in self.file("trace").lines().filter(|line| line.contains(&name)) {
            let flags = line.rsplit_once("pstate=0x").and_then(|(_, flags)| u64::from_str_radix(flags.trim(), 16).ok());
            let flags = flags.unwrap_or_else(|| panic!("no flags in `{line}`"));
            *(if flags & (C | Z) == C { &mut hits.passed } else { &mut hits.taken }) += 1;
        }
        hits
    }
}
