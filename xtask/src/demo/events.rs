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
    lines.push("\"annotations\":".to_owned());
    lines.extend(annotations.map(|line| format!("  {line}")));
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
