//! What the API server's audit log gained while something happened, without what the cluster does by itself.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::events::text;

/// One request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) user: String,
    pub(super) verb: String,
    pub(super) uri: String,
    pub(super) code: String,
}

impl Entry {
    /// Whether the kubelet asked who somebody is, or what they may do.
    pub(super) fn is_review_by_node(&self) -> bool {
        let path = self.uri.split('?').next().unwrap_or_default();
        let review = ["/tokenreviews", "/subjectaccessreviews"].iter().any(|end| path.ends_with(end));
        review && self.verb == "create" && self.user.starts_with("system:node:")
    }
}

/// Bytes in the log so far.
pub(super) fn length(log: &Path) -> Result<u64> {
    Ok(log.metadata().with_context(|| format!("cannot read {}", log.display()))?.len())
}

/// What stands in the log between two lengths.
pub(super) fn between(log: &Path, begin: u64, end: u64) -> Result<Vec<Entry>> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(begin))?;
        let mut text = String::new();
        file.take(end.saturating_sub(begin)).read_to_string(&mut text)?;
        Ok(text)
    };
    Ok(entries(&read().with_context(|| format!("cannot read {}", log.display()))?))
}

/// The requests in lines of the log, without what the node and the API server do at any time: leases, status, watches of their own.
fn entries(lines: &str) -> Vec<Entry> {
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["stage"] == "ResponseComplete").map(|event| entry(&event)).filter(|entry| !is_routine(entry)).collect()
}

fn entry(event: &Value) -> Entry {
    Entry {
        user: text(&event["user"]["username"]),
        verb: text(&event["verb"]),
        uri: text(&event["requestURI"]),
        code: event["responseStatus"]["code"].as_u64().map_or("-".to_owned(), |code| code.to_string()),
    }
}

fn is_routine(entry: &Entry) -> bool {
    entry.user == "system:apiserver" || entry.user.starts_with("system:node:") && !entry.is_review_by_node()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stage: &str, user: &str, verb: &str, uri: &str) -> String {
        format!(
            r#"{{"stage":"{stage}","user":{{"username":"{user}"}},"verb":"{verb}","requestURI":"{uri}","responseStatus":{{"code":201}}}}"#
        )
    }

    #[test]
    fn only_routine_is_left_out() {
        let node = "system:node:node1";
        for (user, verb, uri, kept, review) in [
            (node, "create", "/apis/authentication.k8s.io/v1/tokenreviews", true, true),
            (node, "create", "/apis/authorization.k8s.io/v1/subjectaccessreviews?timeout=10s", true, true),
            (node, "update", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node1", false, false),
            ("system:apiserver", "create", "/apis/authorization.k8s.io/v1/subjectaccessreviews", false, false),
            ("kubernetes-admin", "create", "/apis/authorization.k8s.io/v1/subjectaccessreviews", true, false),
            ("kubernetes-admin", "get", "/api/v1/namespaces/default/pods/web/exec?command=id", true, false),
            ("system:serviceaccount:default:intruder", "get", "/api/v1/nodes/node1/proxy/exec/default/web/main", true, false),
        ] {
            let log = format!("{}\n{}\n", line("RequestReceived", user, verb, uri), line("ResponseComplete", user, verb, uri));
            let found = entries(&log);
            assert_eq!(found.len(), usize::from(kept), "{user} {uri}");
            assert_eq!(found.iter().any(Entry::is_review_by_node), review, "{user} {uri}");
        }
    }
}
