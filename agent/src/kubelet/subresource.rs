//! The subresources of `nodes` that the kubelet asks its authorizer about.

/// A subresource of `nodes` (`auth.go`, `GetRequestAttributes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the subresources")]
pub enum Subresource {
    Proxy,
    Stats,
    Metrics,
    Log,
    Checkpoint,
    Pods,
    Healthz,
    Configz,
    Statusz,
}

impl Subresource {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Proxy, Self::Stats, Self::Metrics, Self::Log, Self::Checkpoint, Self::Pods, Self::Healthz, Self::Configz, Self::Statusz];

    /// The subresource of this name; `None` if no release up to 1.37 asks for it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subresource| subresource.as_str() == name)
    }

    /// Its name in RBAC rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Stats => "stats",
            Self::Metrics => "metrics",
            Self::Log => "log",
            Self::Checkpoint => "checkpoint",
            Self::Pods => "pods",
            Self::Healthz => "healthz",
            Self::Configz => "configz",
            Self::Statusz => "statusz",
        }
    }
}
