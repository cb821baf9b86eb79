//! One precondition, and what to do about it.

use serde::Serialize;

/// One precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it belongs to.
    pub group: Group,
    /// What it is about.
    pub what: &'static str,
    /// Whether it holds.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// What exactly to set; one of them is enough where they are of different kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixes: Vec<Fix>,
}

/// What preconditions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What the kernel must have.
    Kernel,
    /// What the agent must be allowed.
    Rights,
    /// What the node must have.
    Node,
    /// What is watched.
    Kubelet,
    /// What the API server tells, and lets the agent do.
    Cluster,
    /// Where events and metrics go.
    Outputs,
}

impl Group {
    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel",
            Self::Rights => "Rights of the agent",
            Self::Node => "Node",
            Self::Kubelet => "Kubelet",
            Self::Cluster => "Cluster",
            Self::Outputs => "Events and metrics",
        }
    }
}

/// Whether a precondition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It does.
    Ok,
    /// Nobody asked for what needs it.
    Off,
    /// It cannot be told, or it does not and something less works all the same.
    Warn,
    /// It does not: nothing is watched, or something that was asked for does not work.
    Fail,
}

impl State {
    /// A word of four letters at most.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// What exactly to set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "in", content = "set")]
pub enum Fix {
    /// A value of the Helm chart, as `--set` takes it.
    Helm(String),
    /// A field of the pod, where it does not come from the chart.
    Pod(String),
    /// A line of the section `[Service]` of a systemd unit.
    Systemd(String),
    /// A field of the kubelet's configuration.
    Kubelet(String),
    /// A flag of `kubewitness run`.
    Flag(String),
    /// A command to run on the node, or with a kubeconfig of an administrator.
    Command(String),
    /// An argument of the kernel's command line, or an option that it is built with.
    Kernel(String),
}

impl Fix {
    /// Where it is set, and what.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Helm(set) => ("helm --set", set),
            Self::Pod(set) => ("pod", set),
            Self::Systemd(set) => ("systemd", set),
            Self::Kubelet(set) => ("kubelet", set),
            Self::Flag(set) => ("flag", set),
            Self::Command(set) => ("run", set),
            Self::Kernel(set) => ("kernel", set),
        }
    }
}

impl Finding {
    /// It holds.
    pub fn ok(group: Group, what: &'static str, detail: impl Into<String>) -> Self {
        Self { group, what, state: State::Ok, detail: detail.into(), advice: None, fixes: Vec::new() }
    }

    /// It is not wanted.
    pub fn off(group: Group, what: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::Off, ..Self::ok(group, what, detail) }
    }

    /// It is not as it should be, or cannot be told.
    pub fn warn(group: Group, what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warn, advice: Some(advice.into()), ..Self::ok(group, what, detail) }
    }

    /// It does not hold.
    pub fn fail(group: Group, what: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Fail, advice: Some(advice.into()), ..Self::ok(group, what, detail) }
    }

    /// With something to set.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fixes.push(fix);
        self
    }
}
