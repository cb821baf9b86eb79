//! Where to stand in a kubelet, and how to read what is there: the probe plan, with its proof. Pure: an executable in, a value out.
//!
//! Four kinds of sites, all on instructions that an x86 kernel emulates. A plan is whole or there is none: a probe on a wrong
//! instruction kills the kubelet, so any doubt ends in a [`PlanError`] that says what was doubted.

mod answer;
mod body;
mod check;
mod deferred;
mod entry;
mod error;
mod layout;
mod panicking;
#[cfg(test)]
mod listing;
mod report;
mod version;

pub use check::{Attributes, Place};
pub use error::{Doubt, PlanError};

use kubewitness_wire::{Layout, Register, Site};

use crate::gobin::{Architecture, Executable, Function};
use body::Body;

/// All that is needed to observe one kubelet.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The Kubernetes release, such as `v1.36.3`, if the executable tells.
    pub kubelet_version: Option<String>,
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
    /// The instruction, in Intel's syntax.
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

/// Plans the executable in these bytes, typically memory-mapped.
pub fn plan(bytes: &[u8]) -> Result<Plan, PlanError> {
    let executable = Executable::parse(bytes)?;
    let functions = executable.functions(|name| is_filter(name) || is_closure(name) || version::tells(name) || SINGLE.contains(&name))?;
    let named = |symbol: &'static str| functions.iter().find(|f| f.name == symbol).ok_or(PlanError::Function { symbol });
    let serve_http = named(SERVE_HTTP).map_err(|_| PlanError::NotAKubelet)?;
    if executable.architecture() != Architecture::X86_64 {
        return Err(PlanError::Architecture);
    }
    let authorize = named(AUTHORIZE)?;
    let facts = layout::read(&executable, authorize.address)?;

    let mut sites = vec![request(serve_http)?];
    for filter in functions.iter().filter(|f| is_filter(f.name)) {
        sites.push(check(filter, facts.authorize_slot, authorize)?);
    }
    if sites.len() == 1 {
        return Err(PlanError::Function { symbol: FILTER });
    }
    sites.push(answer(named(TRY_UPGRADE)?)?);
    let panicking = named(RECOVER).ok().and_then(|recover| Body::decode(recover.address, recover.bytes).ok());
    let panicking = panicking.and_then(|body| panicking::find(&body).ok());
    let mut notes = facts.notes;
    if panicking.is_none() {
        notes.push("panics of handlers cannot be told from empty answers: runtime.gorecover is not as in known Go releases".to_owned());
    }
    sites.push(end(deferred_call(&functions, serve_http, panicking)?, serve_http, panicking)?);

    let build = executable.build_info()?;
    Ok(Plan {
        kubelet_version: version::read(&executable, &functions, &build),
        go_version: build.go_version.to_owned(),
        build_id: executable.build_id(),
        sites,
        layout: facts.layout,
        notes,
    })
}

/// Functions that are wanted by their whole name.
const SINGLE: [&str; 5] = [SERVE_HTTP, DEFERRED, AUTHORIZE, TRY_UPGRADE, RECOVER];

fn is_filter(name: &str) -> bool {
    name.starts_with(SERVER) && name.ends_with(FILTER)
}

/// Whether a name is that of a closure of `ServeHTTP` itself, such as `….ServeHTTP.func3`.
fn is_closure(name: &str) -> bool {
    let number = name.strip_prefix(SERVE_HTTP).and_then(|rest| rest.strip_prefix(".func"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn request(function: &Function<'_>) -> Result<PlannedSite, PlanError> {
    let why = "the first push after the stack check: the arguments are still in their registers, and a growing stack does not hit it twice";
    on(function, |body| Ok((SiteKind::Request, entry::first_push(body)?, why.to_owned())))
}

fn check(function: &Function<'_>, slot: u64, authorize: &Function<'_>) -> Result<PlannedSite, PlanError> {
    on(function, |body| {
        let spill = Body::decode(authorize.address, authorize.bytes).and_then(|wrapper| check::spill(&wrapper));
        let (jump, attributes) = check::find(body, slot, spill)?;
        let place = match attributes.place {
            Place::Frame => "in the frame's slots that were loaded as its arguments",
            Place::Spill => "where (*KubeletAuth).Authorize stored its arguments",
        };
        let why = format!(
            "the jump after the only call through itab slot {slot:#x}, which is Authorize, and the test of its error: \
             the results are in RAX, RBX, RCX, RDI, RSI, the attributes at [rsp+{:#x}] and [rsp+{:#x}], {place}",
            attributes.itab, attributes.data
        );
        Ok((SiteKind::Check(attributes), jump, why))
    })
}

fn answer(function: &Function<'_>) -> Result<PlannedSite, PlanError> {
    on(function, |body| {
        let (jump, register) = answer::find(body)?;
        let doubt = Doubt::at("the status is in no general register", body.address());
        let register = report::wire_register(register).ok_or(doubt)?;
        let why = format!("the jump after the comparison of {register:?} with 101, before that with 400: it holds the runtime's status");
        Ok((SiteKind::Answer(register), jump, why))
    })
}

fn end(function: &Function<'_>, serve_http: &Function<'_>, panicking: Option<u32>) -> Result<PlannedSite, PlanError> {
    let in_server = |doubt| PlanError::Doubt { symbol: serve_http.name.to_owned(), doubt };
    let server = Body::decode(serve_http.address, serve_http.bytes).map_err(in_server)?;
    deferred::runs_last(&server, function.address).map_err(in_server)?;
    let why =
        "the first push after the stack check of the deferred call that ServeHTTP registers first and that so runs last, after a panic too";
    on(function, |body| Ok((SiteKind::End { panicking }, entry::first_push(body)?, why.to_owned())))
}

/// The deferred call that runs last. Before Go 1.22 the compiler named it like any closure of the function; it is the one that is a wrapper
/// and is registered first.
fn deferred_call<'f, 'a>(
    functions: &'f [Function<'a>],
    serve_http: &Function<'_>,
    panicking: Option<u32>,
) -> Result<&'f Function<'a>, PlanError> {
    if let Some(named) = functions.iter().find(|f| f.name == DEFERRED) {
        return Ok(named);
    }
    let in_server = |doubt| PlanError::Doubt { symbol: serve_http.name.to_owned(), doubt };
    let server = Body::decode(serve_http.address, serve_http.bytes).map_err(in_server)?;
    let is_it = |f: &&Function<'_>| {
        let body = Body::decode(f.address, f.bytes).ok();
        let is_wrapper = body.zip(panicking).is_some_and(|(body, panicking)| deferred::is_wrapper(&body, panicking));
        is_wrapper && deferred::runs_last(&server, f.address).is_ok()
    };
    let mut candidates = functions.iter().filter(|f| is_closure(f.name)).filter(is_it);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(PlanError::Function { symbol: DEFERRED }),
        (Some(_), Some(_)) => Err(PlanError::Ambiguous { what: "which deferred call of ServeHTTP runs last" }),
    }
}

/// Finds a site in a function, and checks that a kernel emulates the instruction.
fn on(function: &Function<'_>, find: impl FnOnce(&Body<'_>) -> Result<(SiteKind, usize, String), Doubt>) -> Result<PlannedSite, PlanError> {
    let site = || {
        let body = Body::decode(function.address, function.bytes)?;
        let (kind, index, why) = find(&body)?;
        let instruction = &body.instructions()[index];
        let bytes = body.bytes_of(instruction).to_vec();
        if !is_emulated(&bytes) {
            return Err(Doubt::at("the instruction is not one that the kernel emulates", instruction.ip()));
        }
        Ok(PlannedSite {
            kind,
            symbol: function.name.to_owned(),
            address: instruction.ip(),
            file_offset: function.file_offset + (instruction.ip() - function.address),
            instruction: body::text(instruction),
            bytes,
            why,
        })
    };
    site().map_err(|doubt| PlanError::Doubt { symbol: function.name.to_owned(), doubt })
}

/// Whether x86 kernels emulate the instruction under a uprobe: `push`, short and near conditional jumps, without a prefix
/// (`arch/x86/kernel/uprobes.c`: `push_setup_xol_ops`, `branch_setup_xol_ops`).
fn is_emulated(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x57 | 0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..])
}
