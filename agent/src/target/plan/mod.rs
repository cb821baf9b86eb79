//! Where to stand in a kubelet, and how to read what is there: the probe plan, with its proof. Pure: an executable in, a value out.
//!
//! Four kinds of sites, all on instructions that the kernel emulates; how they are found in the code of one machine or another is in
//! `x86` and `arm64`. A plan is whole or there is none: a probe on a wrong
//! instruction kills the kubelet, so any doubt ends in a [`PlanError`] that says what was doubted.

mod arm64;
mod error;
mod fuzz;
mod layout;
mod machine;
mod report;
mod version;
mod x86;

pub use error::{Doubt, PlanError};
pub use fuzz::fuzz_entry;
pub use machine::{Attributes, Place};

use kubewitness_wire::{Layout, Register, Site};

use crate::gobin::{Architecture, Executable, Function, Source};
use machine::{Landing, Machine};

/// All that is needed to observe one kubelet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The Kubernetes release, such as `v1.36.3`, if the executable tells.
    pub kubelet_version: Option<String>,
    /// What it was compiled for.
    pub architecture: Architecture,
    /// The Go toolchain that compiled it.
    pub go_version: String,
    /// The Go build id, or the GNU one in hex.
    pub build_id: Option<String>,
    /// Where probes go: one request, one or more checks, one answer, one end, in this order.
    pub sites: Vec<PlannedSite>,
    /// Offsets and itabs, from its own type descriptors.
    #[serde(serialize_with = "report::layout")]
    pub layout: Layout,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

/// One instruction to probe, and why it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlannedSite {
    /// What it tells, and where.
    pub kind: SiteKind,
    /// The function that it is in.
    pub symbol: String,
    /// Its address in the executable.
    #[serde(serialize_with = "report::hex")]
    pub address: u64,
    /// Its offset in the file, which is what a uprobe wants.
    #[serde(serialize_with = "report::hex")]
    pub file_offset: u64,
    /// The instruction, in the syntax of the processor's maker.
    pub instruction: String,
    /// Its bytes.
    #[serde(serialize_with = "report::hex_bytes")]
    pub bytes: Vec<u8>,
    /// Why this one.
    pub why: String,
}

/// What a site tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// A request begins.
    Request,
    /// `Authorize` has answered about these attributes.
    Check(#[serde(serialize_with = "report::attributes")] Attributes),
    /// The container runtime has answered with the status in this register.
    Answer(#[serde(serialize_with = "report::register")] Register),
    /// A request is over.
    End {
        /// Where a goroutine notes that it panics, in bytes from `g`; without it a panic looks like an empty answer.
        panicking: Option<u32>,
    },
}

impl PlannedSite {
    /// The same for the kernel programs.
    pub fn wire(&self, layout: &Layout) -> Site {
        let site = Site { address: self.address, layout: *layout, ..Site::default() };
        match self.kind {
            SiteKind::Request => site,
            SiteKind::End { panicking } => Site { panicking: panicking.unwrap_or(0), ..site },
            SiteKind::Check(attributes) => Site { attr_itab: attributes.itab, attr_data: attributes.data, ..site },
            SiteKind::Answer(register) => Site { status: register as u32, ..site },
        }
    }
}

/// The package of the kubelet's server.
const SERVER: &str = "k8s.io/kubernetes/pkg/kubelet/server.";
const SERVE_HTTP: &str = "k8s.io/kubernetes/pkg/kubelet/server.(*Server).ServeHTTP";
const DEFERRED: &str = "k8s.io/kubernetes/pkg/kubelet/server.(*Server).ServeHTTP.deferwrap1";
const AUTHORIZE: &str = "k8s.io/kubernetes/pkg/kubelet/server.(*KubeletAuth).Authorize";
/// The compiler clones this closure with each inlining of its parent; all clones are wanted, of which some never run.
const FILTER: &str = "InstallAuthFilter.func1";
const RECOVER: &str = "runtime.gorecover";
const TRY_UPGRADE: &str = "k8s.io/apimachinery/pkg/util/proxy.(*UpgradeAwareHandler).tryUpgrade";

/// Plans an executable.
pub fn plan<'a>(source: impl Into<Source<'a>>) -> Result<Plan, PlanError> {
    let executable = Executable::parse(source)?;
    let functions = executable.functions(|name| is_filter(name) || is_closure(name) || version::tells(name) || SINGLE.contains(&name))?;
    let named = |symbol: &'static str| functions.iter().find(|f| f.name == symbol).ok_or(PlanError::Function { symbol });
    let serve_http = named(SERVE_HTTP).map_err(|_| PlanError::NotAKubelet)?;
    let authorize = named(AUTHORIZE)?;
    let facts = layout::read(&executable, authorize.address)?;

    let machine = machine::of(executable.architecture());
    let doubted = |function: &Function<'_>| {
        let symbol = function.name.to_owned();
        |doubt| PlanError::Doubt { symbol, doubt }
    };
    let mut sites = vec![site(SiteKind::Request, serve_http, machine.entry(serve_http).map_err(doubted(serve_http))?)];
    for filter in functions.iter().filter(|f| is_filter(f.name)) {
        let (landing, attributes) = machine.check(filter, facts.authorize_slot, authorize).map_err(doubted(filter))?;
        sites.push(site(SiteKind::Check(attributes), filter, landing));
    }
    if sites.len() == 1 {
        return Err(PlanError::Function { symbol: FILTER });
    }
    let upgrade = named(TRY_UPGRADE)?;
    let (landing, register) = machine.answer(upgrade).map_err(doubted(upgrade))?;
    sites.push(site(SiteKind::Answer(register), upgrade, landing));

    let panicking = named(RECOVER).ok().and_then(|recover| machine.panicking(recover).ok());
    let mut notes = facts.notes;
    if panicking.is_none() {
        notes.push("panics of handlers cannot be told from empty answers: runtime.gorecover is not as in known Go releases".to_owned());
    }
    let deferred = deferred_call(&functions, serve_http, machine, panicking)?;
    machine.runs_last(serve_http, deferred.address).map_err(doubted(serve_http))?;
    let mut end = machine.entry(deferred).map_err(doubted(deferred))?;
    end.why.push_str("; ServeHTTP defers this call first, so it runs last, after a panic too");
    sites.push(site(SiteKind::End { panicking }, deferred, end));

    let build = executable.build_info()?;
    Ok(Plan {
        kubelet_version: version::read(&executable, machine, &functions, &build),
        architecture: executable.architecture(),
        go_version: if is_printable(build.go_version) { build.go_version } else { "?" }.to_owned(),
        build_id: executable.build_id().filter(|id| is_printable(id)),
        sites,
        layout: facts.layout,
        notes,
    })
}

/// Functions that are wanted by their whole name.
const SINGLE: [&str; 5] = [SERVE_HTTP, DEFERRED, AUTHORIZE, TRY_UPGRADE, RECOVER];

fn is_filter(name: &str) -> bool {
    name.starts_with(SERVER) && name.ends_with(FILTER) && is_printable(name)
}

/// Whether a text of the executable can be shown anywhere: real ones are of plain letters.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a name is that of a closure of `ServeHTTP` itself, such as `….ServeHTTP.func3`.
fn is_closure(name: &str) -> bool {
    let number = name.strip_prefix(SERVE_HTTP).and_then(|rest| rest.strip_prefix(".func"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The deferred call that runs last. Before Go 1.22 the compiler named it like any closure of the function; it is the one that is a wrapper
/// and is registered first.
fn deferred_call<'f, 'a>(
    functions: &'f [Function<'a>],
    serve_http: &Function<'_>,
    machine: &dyn Machine,
    panicking: Option<u32>,
) -> Result<&'f Function<'a>, PlanError> {
    if let Some(named) = functions.iter().find(|f| f.name == DEFERRED) {
        return Ok(named);
    }
    let is_it = |f: &&Function<'_>| {
        is_closure(f.name)
            && panicking.is_some_and(|panicking| machine.is_wrapper(f, panicking))
            && machine.runs_last(serve_http, f.address).is_ok()
    };
    let mut candidates = functions.iter().filter(is_it);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(PlanError::Function { symbol: DEFERRED }),
        (Some(_), Some(_)) => Err(PlanError::Ambiguous { what: "which deferred call of ServeHTTP runs last" }),
    }
}

/// A site in a function, from where it was found.
fn site(kind: SiteKind, function: &Function<'_>, landing: Landing) -> PlannedSite {
    let Landing { address, text, bytes, why } = landing;
    let file_offset = function.file_offset + (address - function.address);
    PlannedSite { kind, symbol: function.name.to_owned(), address, file_offset, instruction: text, bytes, why }
}
