//! The kubelets of this node: finding them, planning where to probe them, and who on the node calls them.

mod belief;
pub mod doctor;
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
pub use settings::{Setting, settings};
pub use watch::{AdoptError, Kubelets, Presence, Status};
