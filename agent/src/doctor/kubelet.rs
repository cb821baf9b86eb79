//! A kubelet as a file: whether it can be watched, and how.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Finding, Fix, Group, gate::Told};
use crate::target::{
    ExecutableFile, FINER_RIGHTS, GATE, Setting, WITHOUT_FINER_RIGHTS, has_gate,
    plan::{Plan, plan},
};

const GROUP: Group = Group::Kubelet;

/// A kubelet, running or as a file.
#[derive(Serialize)]
pub struct Kubelet {
    /// Absent for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its executable.
    pub file: PathBuf,
    /// What was found about it.
    pub findings: Vec<Finding>,
    /// Where it would be probed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How it is set up; empty for a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_unknown: Option<String>,
    /// Why there is no plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Kubelet {
    /// A file on disk.
    pub fn of_file(file: &Path) -> std::io::Result<Self> {
        let mut kubelet = Self::new(None, file.to_owned());
        kubelet.plan(&ExecutableFile::open(file)?);
        Ok(kubelet)
    }

    pub(super) fn new(pid: Option<u32>, file: PathBuf) -> Self {
        Self { pid, file, findings: Vec::new(), plan: None, settings: Vec::new(), settings_unknown: None, problem: None }
    }

    pub(super) fn plan(&mut self, file: &ExecutableFile) {
        match plan(file) {
            Ok(plan) => {
                let version = plan.kubelet_version.as_deref().unwrap_or("of an unknown release");
                let (sites, machine) = (plan.sites.len(), plan.architecture.name());
                let text =
                    format!("{version} for {machine}, {}: {sites} sites, all on instructions that the kernel emulates", plan.go_version);
                self.findings.push(Finding::ok(GROUP, "plan", text));
                self.plan = Some(plan);
            }
            Err(error) => self.refused(error.to_string()),
        }
    }

    pub(super) fn refused(&mut self, why: String) {
        let advice = "see docs/doctor.md, \"The plan\": is it a kubelet, and may the agent read it?";
        self.findings.push(Finding::fail(GROUP, "plan", why.clone(), advice));
        self.problem = Some(why);
    }

    /// Its release, 36 for 1.36.
    pub(super) fn minor(&self) -> Option<u32> {
        self.plan.as_ref()?.kubelet_version.as_deref()?.strip_prefix("v1.")?.split('.').next()?.parse().ok()
    }

    /// Somebody knows better than its files whether it asks for finer rights.
    pub fn finer_rights(&mut self, told: Told) {
        let finding = match told {
            Told { on: true, by } => Finding::ok(GROUP, FINER_RIGHTS, format!("on: {by}")),
            Told { on: false, by } => {
                let off = Finding::warn(GROUP, FINER_RIGHTS, format!("off: {by}"), WITHOUT_FINER_RIGHTS);
                if has_gate(self.minor()) { off.fix(Fix::Kubelet(GATE.to_owned())) } else { off }
            }
        };
        match self.findings.iter_mut().find(|known| known.what == FINER_RIGHTS) {
            Some(known) => *known = finding,
            None => self.findings.push(finding),
        }
    }
}
