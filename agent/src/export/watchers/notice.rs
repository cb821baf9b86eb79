//! What the agent tells those who watch, beside the events: lines of JSON of a kind of their own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The `apiVersion` of all of them, by which they are told from events.
pub const API_VERSION: &str = "watch.kubewitness.dev/v1";

/// Something that is no event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Notice {
    /// How the agent is: at first, and every two seconds.
    Status(Status),
    /// So many events were not sent, since this watcher reads too slowly; they would have come before the next line.
    Lost {
        /// How many.
        events: u64,
    },
    /// The agent sends no events, and closes the connection.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// How the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The node that it watches.
    pub node: String,
    /// Its own version.
    pub version: String,
    /// How far it is.
    pub state: State,
    /// The same in words: which kubelet is watched, or what is wrong.
    pub says: String,
    /// Records of the kernel programs that were lost since it started.
    pub records_lost: u64,
    /// Requests since it started of which it knows nothing but that they were.
    pub requests_unseen: u64,
}

/// How far the agent is, as `/readyz` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not looked for a kubelet yet.
    Starting,
    /// It watches a kubelet.
    Attached,
    /// There is no kubelet to watch.
    Waiting,
    /// It does not see, or not all.
    Blind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    api_version: Cow<'a, str>,
    #[serde(flatten)]
    notice: Cow<'a, Notice>,
}

impl Notice {
    /// As one line, newline included.
    pub fn line(&self) -> Vec<u8> {
        let line = Line { api_version: API_VERSION.into(), notice: Cow::Borrowed(self) };
        // It has only string keys, and writing to memory does not fail.
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a line; `None` if it is something else.
    pub fn read(line: &[u8]) -> Option<Self> {
        let Line { api_version, notice } = serde_json::from_slice(line).ok()?;
        (api_version == API_VERSION).then(|| notice.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_is() {
        let status = Status {
            node: "node1".to_owned(),
            version: "0.1.0".to_owned(),
            state: State::Attached,
            says: "kubelet v1.36.3".to_owned(),
            records_lost: 1,
            requests_unseen: 0,
        };
        for (notice, line) in [
            (Notice::Lost { events: 123 }, r#"{"apiVersion":"watch.kubewitness.dev/v1","kind":"Lost","events":123}"#),
            (
                Notice::Status(status),
                r#"{"apiVersion":"watch.kubewitness.dev/v1","kind":"Status","node":"node1","version":"0.1.0","state":"attached","says":"kubelet v1.36.3","recordsLost":1,"requestsUnseen":0}"#,
            ),
            (Notice::Refused { reason: "no".to_owned() }, r#"{"apiVersion":"watch.kubewitness.dev/v1","kind":"Refused","reason":"no"}"#),
        ] {
            assert_eq!(String::from_utf8(notice.line()).unwrap(), format!("{line}\n"));
            assert_eq!(Notice::read(line.as_bytes()), Some(notice));
        }
        for other in [
            "",
            "{}",
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1"}"#,
            r#"{"apiVersion":"watch.kubewitness.dev/v2","kind":"Lost","events":1}"#,
            r#"{"apiVersion":"watch.kubewitness.dev/v1","kind":"Lost"}"#,
        ] {
            assert_eq!(Notice::read(other.as_bytes()), None, "{other}");
        }
    }
}
