//! The kubelets of this node: finding them, planning where to probe them, and who on the node calls them.

pub mod doctor;
mod find;
mod place;
pub mod plan;
mod settings;
mod watch;

pub use find::{blindness, executable, listeners, netns, own_netns};
pub use place::Places;
pub use settings::{Setting, settings};
pub use watch::{AdoptError, Kubelets, Status};
