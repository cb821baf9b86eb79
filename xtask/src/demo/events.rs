//! What the agent wrote about a request, as a row of the table. Pure: audit events in, rows out.

use std::fmt;

use serde_json::Value;

/// One request as the agent's events tell it. All of it is text, to be shown and to be compared with what must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// Namespace and name of a `ServiceAccount`, the user name of anybody else, or a dash.
    pub(super) identity: String,
    /// The first part of the path.
    pub(super) endpoint: String,
    pub(super) access: String,
    pub(super) transport: String,
    /// The HTTP status, or a dash.
    pub(super) code: String,
    /// Ids, comma separated; empty if there are none.
    pub(super) findings: String,
}

impl Row {
    /// In the order of the table.
    pub(super) fn cells(&self) -> [&str; 6] {
        [&self.identity, &self.endpoint, &self.access, &self.transport, &self.code, &self.findings]
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.cells().iter().filter(|cell| !cell.is_empty()).copied().collect::<Vec<_>>().join(" "))
    }
}

impl<const N: usize> From<[&str; N]> for Row {
    /// Cells in the order of the table; what is not given is empty.
    fn from(cells: [&str; N]) -> Self {
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default().to_owned();
        Self { identity: cell(0), endpoint: cell(1), access: cell(2), transport: cell(3), code: cell(4), findings: cell(5) }
    }
}

/// The row of a request, from the event of its end.
pub(super) fn row(event: &Value) -> Row {
    let annotation = |key: &str| text(&event["annotations"][format!("kubewitness.dev/{key}")]);
    let path = text(&event["requestURI"]);
    Row {
        identity: identity(event["user"]["username"].as_str()),
        endpoint: path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default().to_owned(),
        access: annotation("access"),
        transport: annotation("transport"),
        code: event["responseStatus"]["code"].as_u64().map_or("-".to_owned(), |code| code.to_string()),
        findings: annotation("findings"),
    }
}

/// The events of requests that are over, in the order in which they began.
pub(super) fn ended(events: &[Value]) -> Vec<&Value> {
    let mut ended: Vec<_> = events.iter().filter(|event| event["stage"] == "ResponseComplete").collect();
    ended.sort_by_key(|event| text(&event["requestReceivedTimestamp"]));
    ended
}

/// The first event of this request that says `unlogged-exec`: the alert, written while the command still ran.
pub(super) fn alert<'a>(events: &'a [Value], request: &Value) -> Option<&'a Value> {
    let said = |event: &Value| text(&event["annotations"]["kubewitness.dev/findings"]).split(',').any(|id| id == "unlogged-exec");
    events.iter().find(|event| event["auditID"] == request["auditID"] && said(event))
}

/// What of an event is worth a line on the screen, as lines of JSON.
pub(super) fn essentials(event: &Value) -> Vec<String> {
    const FIELDS: [&str; 6] = ["stage", "requestReceivedTimestamp", "stageTimestamp", "verb", "requestURI", "sourceIPs"];
    const OBJECT: [&str; 4] = ["resource", "namespace", "name", "subresource"];
    const ANNOTATIONS: [&str; 6] = ["access", "checks", "granted-by", "transport", "caller", "findings"];
    let member = |of: &Value, key: &str| of.get(key).map(|value| format!("\"{key}\": {value}"));
    let members = |of: &str, keys: &[&str]| {
        let found: Vec<_> = keys.iter().filter_map(|key| member(&event[of], key)).collect();
        format!("\"{of}\": {{{}}}", found.join(", "))
    };
    let mut lines: Vec<_> = FIELDS.iter().filter_map(|field| member(event, field)).collect();
    lines.extend([members("user", &["username"]), members("objectRef", &OBJECT), members("responseStatus", &["code"])]);
    let annotations = ANNOTATIONS.iter().filter_map(|key| member(&event["annotations"], &format!("kubewitness.dev/{key}")));
    lines.extend(annotations);
    lines
}

fn identity(user: Option<&str>) -> String {
    let user = user.unwrap_or("-");
    user.strip_prefix("system:serviceaccount:").unwrap_or(user).to_owned()
}

/// The text of a JSON string, empty for anything else.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(id: &str, stage: &str, begun: &str, findings: Option<&str>) -> Value {
        let mut event = json!({
            "auditID": id, "stage": stage, "requestReceivedTimestamp": begun,
            "requestURI": "/exec/default/web/main?command=id", "verb": "get",
            "user": {"username": "system:serviceaccount:default:intruder", "groups": ["a"]},
            "objectRef": {"apiVersion": "v1", "resource": "pods", "namespace": "default", "name": "web", "subresource": "exec"},
            "responseStatus": {"metadata": {}, "code": 101},
            "annotations": {"kubewitness.dev/access": "proxy-only", "kubewitness.dev/transport": "websocket", "other": "x"},
        });
        if let Some(findings) = findings {
            event["annotations"]["kubewitness.dev/findings"] = json!(findings);
        }
        event
    }

    #[test]
    fn rows() {
        let attack = event("1", "ResponseComplete", "t", Some("unlogged-exec"));
        assert_eq!(row(&attack), Row::from(["default:intruder", "exec", "proxy-only", "websocket", "101", "unlogged-exec"]));
        let bare = json!({"requestURI": "/pods", "annotations": {"kubewitness.dev/access": "unauthenticated", "kubewitness.dev/transport": "plain"}});
        assert_eq!(row(&bare), Row::from(["-", "pods", "unauthenticated", "plain", "-"]));
        let server = json!({"requestURI": "/healthz?x=/y", "user": {"username": "kube-apiserver"}});
        assert_eq!(row(&server), Row::from(["kube-apiserver", "healthz", "", "", "-"]));
    }

    #[test]
    fn requests_stand_in_the_order_in_which_they_began_and_only_when_they_are_over() {
        let events = [
            event("2", "ResponseComplete", "11:00", None),
            event("3", "ResponseStarted", "09:00", None),
            event("1", "ResponseComplete", "10:00", None),
        ];
        let ids: Vec<_> = ended(&events).iter().map(|event| text(&event["auditID"])).collect();
        assert_eq!(ids, ["1", "2"]);
    }

    #[test]
    fn the_alert_is_the_first_event_of_the_request_with_the_finding() {
        let events = [
            event("other", "ResponseStarted", "t", Some("unlogged-exec")),
            event("1", "ResponseStarted", "t", None),
            event("1", "ResponseStarted", "t", Some("stolen-token,unlogged-exec")),
            event("1", "ResponseComplete", "t", Some("unlogged-exec")),
        ];
        assert_eq!(alert(&events, &events[3]), Some(&events[2]));
        assert_eq!(alert(&events[..2], &events[3]), None);
        assert_eq!(alert(&[event("1", "ResponseComplete", "t", Some("not-unlogged-exec"))], &events[3]), None);
    }

    #[test]
    fn the_essentials_leave_out_the_rest() {
        let lines = essentials(&event("1", "ResponseStarted", "t", Some("unlogged-exec"))).join("\n");
        for there in
            [r#""user": {"username": "system:serviceaccount:default:intruder"}"#, r#""responseStatus": {"code": 101}"#, "unlogged-exec"]
        {
            assert!(lines.contains(there), "{there} in {lines}");
        }
        for absent in ["groups", "apiVersion", "other", "sourceIPs"] {
            assert!(!lines.contains(absent), "{absent} in {lines}");
        }
    }
}
