//! Why there is no plan.

use crate::gobin;

/// Why an executable has no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not a Go executable: nothing to see here.
    #[error("{0}")]
    NotGo(gobin::Error),
    /// A Go executable without the kubelet's server: nothing to see here.
    #[error("not a kubelet: it does not contain the kubelet's server (k8s.io/kubernetes/pkg/kubelet/server)")]
    NotAKubelet,
    /// It may be a kubelet, and cannot be read.
    #[error("the executable cannot be read, so nothing is attached: {0}")]
    Executable(gobin::Error),
    /// A function that every known kubelet has.
    #[error("the kubelet has no function {symbol}, so nothing is attached; report its version and build id")]
    Function {
        /// Its name.
        symbol: &'static str,
    },
    /// A type that every known kubelet has.
    #[error("the kubelet has no type {name}, so nothing is attached; report its version and build id")]
    Type {
        /// Its name.
        name: &'static str,
    },
    /// A field that every known kubelet has.
    #[error("the field {field} of {of} is missing or not what it was, so nothing is attached; report the kubelet's version and build id")]
    Field {
        /// The type.
        of: &'static str,
        /// The field.
        field: &'static str,
    },
    /// An itab that every known kubelet has.
    #[error("the kubelet has no itab of {concrete} as {interface}, so nothing is attached; report its version and build id")]
    Itab {
        /// The concrete type.
        concrete: String,
        /// The interface.
        interface: &'static str,
    },
    /// Two answers where one was expected, or one that is unlike all known ones.
    #[error("{what} cannot be told for certain, so nothing is attached; report the kubelet's version and build id")]
    Ambiguous {
        /// What is in doubt.
        what: &'static str,
    },
    /// An instruction that is not where it was in all known kubelets.
    #[error("{doubt}, in {symbol}, so nothing is attached; report the kubelet's version and build id")]
    Doubt {
        /// The function.
        symbol: String,
        /// What is in doubt.
        doubt: Doubt,
    },
}

impl From<gobin::Error> for PlanError {
    fn from(error: gobin::Error) -> Self {
        match error {
            gobin::Error::NotElf | gobin::Error::NotGo => Self::NotGo(error),
            gobin::Error::Unsupported(_) | gobin::Error::Malformed { .. } => Self::Executable(error),
        }
    }
}

/// What makes an instruction doubtful.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at {address:#x}")]
pub struct Doubt {
    what: &'static str,
    address: u64,
}

impl Doubt {
    pub(super) fn at(what: &'static str, address: u64) -> Self {
        Self { what, address }
    }
}
