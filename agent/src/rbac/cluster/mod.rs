//! The RBAC objects of a live cluster: followed by the daemon, loaded once by the commands. The only part of `rbac` that does I/O.

mod connect;
mod discreet;
mod load;
mod request;
mod watch;

pub use connect::{ConnectError, ConnectOptions, Connection, Elsewhere};
pub use discreet::without_secrets;
pub use load::{Loaded, NodeVersion, load};
pub use request::RequestError;
pub use watch::{WatchOptions, watch};
