//! The kubelets of this node: finding them, planning where to probe them, and who on the node calls them.

#[cfg(target_os = "linux")]
mod belief;
mod file;
#[cfg(target_os = "linux")]
mod find;
mod identity;
#[cfg(target_os = "linux")]
mod place;
pub mod plan;
#[cfg(target_os = "linux")]
mod presence;
mod settings;
#[cfg(target_os = "linux")]
mod watch;

#[cfg(target_os = "linux")]
pub use belief::{Disbelief, Disbelieved, standing};
pub use file::ExecutableFile;
#[cfg(target_os = "linux")]
pub use find::{blindness, executable, listeners, netns, own_netns};
pub use identity::FileId;
#[cfg(target_os = "linux")]
pub use place::Places;
#[cfg(target_os = "linux")]
pub(crate) use presence::bare_sites;
pub(crate) use settings::{FINER_RIGHTS, GATE, WITHOUT_FINER_RIGHTS, has_gate};
pub use settings::{Setting, node_name, settings};
#[cfg(target_os = "linux")]
pub use watch::{AdoptError, Kubelets, Presence, Status};
