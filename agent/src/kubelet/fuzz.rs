//! The body of the fuzz target, which a test calls too.

use super::{Access, Endpoint, Grant, Query, Transport, Verb, redact_commands};
use crate::observation::{Lookup, Text, User};

/// Reads a hostile request target, a path, a method, a header and a reason, one in a line each. Whatever they are, it returns.
///
/// # Panics
///
/// If a word of a command survives where commands are not to be told, or a label does not lead back to its endpoint.
pub fn fuzz_entry(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.splitn(5, '\n');
    let [uri, path, method, upgrade, reason] = [(); 5].map(|()| lines.next().unwrap_or_default());
    for path in [path, uri] {
        let endpoint = Endpoint::parse(path);
        assert!(Endpoint::of_label(endpoint.label()).is_some_and(|same| same.label() == endpoint.label()));
        assert!(endpoint.target().is_none_or(|target| path.contains(target.pod.as_str())));
        let _ = (endpoint.finer(), endpoint.required(), endpoint.is_exec_class());
    }
    let query = Query::parse(uri);
    let redacted = redact_commands(uri);
    let told = Query::parse(&redacted);
    for name in ["command", "cmd"] {
        let words = query.values(name).count();
        let numbers: Vec<_> = told.values(name).collect();
        assert_eq!(numbers.len(), usize::from(words > 0), "{redacted}");
        assert!(numbers.iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())), "{redacted}");
    }
    let _ = (Verb::of_method(method), Verb::parse(method), Transport::of(&Lookup::Found(upgrade.into())));
    let grant = Grant::parse(&Text::from(reason), &User::default());
    let _ = (grant.to_string(), Access::ProxyOnly { grant }.kind());
}
