//! Manifests: YAML or JSON text, as `helm template`, `kubectl get -o yaml` or an editor leave it, to the RBAC objects in it, each with its
//! place. Pure but for `input`.

mod fuzz;
mod input;
mod merge;
mod read;
mod split;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::rbac::{Binding, Role};

pub use fuzz::fuzz_entry;
pub use input::{InputError, read, read_and_tell};
pub use merge::{Objects, Unsure};

/// What was found in manifests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// The `ClusterRole`s, in the order in which they were read. A name may come more than once.
    pub roles: Vec<RoleManifest>,
    /// The `ClusterRoleBinding`s, likewise.
    pub bindings: Vec<BindingManifest>,
    /// What could not be read. Everything else was.
    pub problems: Vec<Problem>,
    /// What was left out on purpose, by kind, such as `Role`, with the number of objects.
    pub left_out: BTreeMap<String, u64>,
    /// Documents, the empty ones too.
    pub documents: u64,
}

/// A `ClusterRole`.
#[derive(Clone, Debug, PartialEq)]
pub struct RoleManifest {
    /// Its name.
    pub name: Arc<str>,
    /// What it gives on `nodes/*`.
    pub role: Role,
    /// Where it is.
    pub place: Place,
    /// Where the rules of `role` are, in its order: the line of the resource that makes it concern nodes.
    pub rules: Vec<Place>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The labels by which it gathers the rules of other roles (`aggregationRule`), if it is not known that this was done: an API server
    /// has done it, a file has not. `None` in the list for a selector that is more than labels.
    pub gathers: Vec<Option<BTreeMap<String, String>>>,
}

/// A `ClusterRoleBinding`.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingManifest {
    /// Its name.
    pub name: Arc<str>,
    /// Whom it gives what.
    pub binding: Binding,
    /// Where it is.
    pub place: Place,
}

/// A place in the manifests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as it was named; [`STDIN`] for standard input.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The template that it was rendered from, as Helm says.
    pub template: Option<Arc<str>>,
}

/// The name of standard input in a [`Place`].
pub const STDIN: &str = "<stdin>";

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Manifests {
    /// Reads a text and adds what is in it.
    pub fn take(&mut self, file: &str, text: &[u8]) {
        read::text(self, file, text);
    }
}

/// `deploy/rbac.yaml:12`, or `<stdin>:40 (chart/templates/role.yaml)`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        self.template.as_ref().map_or(Ok(()), |template| write!(f, " ({template})"))
    }
}

/// `rbac.yaml:3: mapping values are not allowed here`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
