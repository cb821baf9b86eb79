//! What was asked, what the callers were told, and what the events say of it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Requests that are alike.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// As `script.sh` calls it.
    pub(crate) name: &'static str,
    user: &'static str,
    access: &'static str,
    checks: &'static str,
    /// The status; `None` where the handler panics.
    pub(crate) code: Option<u16>,
    pub(crate) count: u64,
}

impl Call {
    pub(crate) const fn new(
        name: &'static str,
        user: &'static str,
        access: &'static str,
        checks: &'static str,
        code: Option<u16>,
        count: u64,
    ) -> Self {
        Self { name, user, access, checks, code, count }
    }

    /// The same as [`described`] makes it of an event.
    pub(crate) fn described(&self) -> String {
        let user = if self.user.is_empty() { String::new() } else { format!("system:serviceaccount:test:{}", self.user) };
        let (stage, code) = self.code.map_or(("Panic", String::new()), |code| ("ResponseComplete", code.to_string()));
        format!("{stage} {user} {} [{}] {code}", self.access, self.checks)
    }
}

/// How often requests were answered with which status, by the names of calls.
pub(crate) fn told(calls: &str) -> BTreeMap<&str, BTreeMap<String, u64>> {
    let mut told: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
    let mut name = "";
    for line in calls.lines() {
        match line.split_once(' ') {
            Some(("call", which)) => name = which,
            Some((status, count)) => {
                if let Ok(count) = count.parse() {
                    told.entry(name).or_default().insert(status.to_owned(), count);
                }
            }
            None => {}
        }
    }
    told
}

/// How many requests ended how, by the events.
pub(crate) fn ended(events: &[Value]) -> BTreeMap<String, u64> {
    let mut ended = BTreeMap::new();
    for event in events.iter().filter(|event| event["stage"] != "ResponseStarted") {
        *ended.entry(described(event)).or_default() += 1;
    }
    ended
}

fn described(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let annotation = |name: &str| text(&event["annotations"][format!("kubewitness.dev/{name}")]);
    let code = event["responseStatus"]["code"].as_u64().map(|code| code.to_string()).unwrap_or_default();
    let (stage, user) = (text(&event["stage"]), text(&event["user"]["username"]));
    format!("{stage} {user} {} [{}] {code}", annotation("access"), annotation("checks"))
}
