//! A token in the wrong hands: bound to one pod or node, used from another.

use crate::exchange::{Caller, LocalCaller, Place};
use crate::observation::{Lookup, User};

/// Whether a caller *of this node* uses a token that is bound to another pod, or to any pod from outside of one, or to another node.
/// Where the caller, its place or the binding is not known, it is not: an address alone proves nothing.
pub(super) fn is_stolen(user: &User, caller: &Caller, node: &str) -> bool {
    let Caller::Local(caller) = caller else { return false };
    let LocalCaller { place, .. } = &**caller;
    let elsewhere = whole(&user.node_name).is_some_and(|bound| bound != node);
    elsewhere
        || whole(&user.pod_uid).is_some_and(|bound| match place {
            Place::Pod { uid, .. } => uid != bound,
            Place::Host => true,
            Place::Unknown => false,
        })
}

fn whole(value: &Lookup) -> Option<&str> {
    match value {
        Lookup::Found(text) => text.whole(),
        Lookup::Absent | Lookup::Unknown => None,
    }
}
