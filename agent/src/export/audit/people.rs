//! Who asked, as JSON: written once for each user, since many requests are of the same few.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::json;
use crate::exchange::bounded::Bounded;
use crate::observation::{Lookup, SHARED_USERS, SharedUser, Text, User};

/// Bytes of JSON that are worth to be kept: many times what most users have. Longer ones are written each time, so that nobody fills the memory.
const LONGEST: usize = 2048;

/// The users who were written down last.
#[derive(Debug)]
pub(super) struct People(RefCell<Bounded<SharedUser, Arc<RawValue>>>);

/// `authentication.k8s.io/v1` `UserInfo`
#[derive(Serialize)]
struct UserInfo<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<&'static str, [&'a str; 1]>,
}

impl Default for People {
    fn default() -> Self {
        Self(RefCell::new(Bounded::new(SHARED_USERS)))
    }
}

impl People {
    /// A user's `UserInfo`.
    pub(super) fn written(&self, user: &Arc<User>) -> Option<Arc<RawValue>> {
        let mut kept = self.0.borrow_mut();
        let key = SharedUser(Arc::clone(user));
        if let Some(written) = kept.get_mut(&key) {
            return Some(Arc::clone(written));
        }
        let written: Arc<RawValue> = json::inert(&UserInfo::of(user))?.into();
        if written.get().len() <= LONGEST {
            let _oldest = kept.insert(key, Arc::clone(&written));
        }
        Some(written)
    }
}

impl<'a> UserInfo<'a> {
    fn of(user: &'a User) -> Self {
        let known = |text: &'a Text| text.known().unwrap_or_default();
        let extra = [
            ("authentication.kubernetes.io/credential-id", &user.credential_id),
            ("authentication.kubernetes.io/node-name", &user.node_name),
            ("authentication.kubernetes.io/node-uid", &user.node_uid),
            ("authentication.kubernetes.io/pod-name", &user.pod_name),
            ("authentication.kubernetes.io/pod-uid", &user.pod_uid),
        ];
        Self {
            username: known(&user.name),
            uid: known(&user.uid),
            groups: user.groups.iter().map(known).collect(),
            extra: extra.into_iter().filter_map(|(key, value)| Some((key, [Lookup::known(value)?]))).collect(),
        }
    }
}
