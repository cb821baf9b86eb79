//! The kubelets of this node: finding them, planning where to probe them, and who on the node calls them.

mod belief;
mod file;
mod find;
mod place;
pub mod plan;
mod presence;
mod settings;
mod watch;

pub use belief::{Disbelief, Disbelieved, standing};
pub use file::ExecutableFile;
pub use find::{blindness, executable, listeners, netns, own_netns};
pub use place::Places;
pub(crate) use presence::bare_sites;
pub(crate) use settings::{FINER_RIGHTS, GATE, WITHOUT_FINER_RIGHTS, has_gate};
pub use settings::{Setting, node_name, settings};
pub use watch::{AdoptError, Kubelets, Presence, Status};
