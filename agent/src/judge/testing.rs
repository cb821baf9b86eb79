//! Synthetic exchanges and RBAC objects for tests.

use std::time::Duration;

use serde_json::json;

use crate::exchange::{Caller, Exchange, Gap, LocalCaller, Place};
use crate::observation::{Check, Decision, End, Lookup, Request, RequestId, Response, Text, Timestamp, User};
use crate::rbac::{Kind, Object, Update};

/// Builds an exchange step by step, a millisecond apart.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) exchange: Exchange,
    user: User,
    clock: u64,
}

pub(crate) const NODE: &str = "node1";
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:default:monitoring";
pub(crate) const API_SERVER: &str = "kube-apiserver-kubelet-client";
pub(crate) const REASON: &str =
    r#"RBAC: allowed by ClusterRoleBinding "monitoring-np" of ClusterRole "nodes-proxy-get" to ServiceAccount "monitoring/default""#;

/// A request as it arrives, from a service account whose token is bound to a pod of this node.
pub(crate) fn request(method: &str, uri: &str) -> Build {
    let begin = Timestamp(1_000_000_000);
    let path = uri.split('?').next().unwrap_or_default();
    let request = Request {
        time: begin,
        netns: 1,
        read_only: false,
        method: method.into(),
        path: path.into(),
        uri: uri.into(),
        remote: Some(([192, 0, 2, 7], 54758).into()),
        user_agent: Lookup::Found("curl/8.5.0".into()),
        upgrade: Lookup::Absent,
    };
    Build {
        exchange: Exchange {
            id: RequestId { tgid: 77, goroutine: 0xc000_1234, begin: Some(begin) },
            request: Some(request),
            asked_for: None,
            is_let_in: false,
            checks: Vec::new(),
            answer: None,
            end: None,
            caller: Caller::Remote,
            gaps: Vec::new(),
        },
        user: user(SERVICE_ACCOUNT),
        clock: begin.0,
    }
}

/// A user with a bound token.
pub(crate) fn user(name: &str) -> User {
    User {
        name: name.into(),
        uid: "sa-uid".into(),
        groups: vec!["system:serviceaccounts".into(), "system:authenticated".into()],
        group_count: Some(2),
        pod_name: Lookup::Found("monitoring-1".into()),
        pod_uid: Lookup::Found("pod-uid".into()),
        node_name: Lookup::Found(NODE.into()),
        node_uid: Lookup::Found("node-uid".into()),
        credential_id: Lookup::Found("JTI=1".into()),
    }
}

/// RBAC objects as the API server tells them: all of both kinds.
pub(crate) fn listing(objects: impl IntoIterator<Item = Update>) -> Vec<Update> {
    let kinds = [Kind::ClusterRole, Kind::ClusterRoleBinding];
    let listing = kinds.map(Update::Listing).into_iter().chain(objects);
    listing.chain(kinds.map(Update::Listed)).collect()
}

/// A `ClusterRole` with one rule.
pub(crate) fn role(name: &str, verbs: &[&str], resources: &[&str]) -> Update {
    appears(&json!({
        "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "verbs": verbs, "resources": resources}],
    }))
}

/// A `ClusterRoleBinding` of a role to a subject, such as `User` or `Group`.
pub(crate) fn binding(name: &str, role: &str, subject: (&str, &str)) -> Update {
    appears(&json!({
        "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": subject.0, "name": subject.1}],
    }))
}

fn appears(object: &serde_json::Value) -> Update {
    Update::Change(Object::parse(object).expect("an object").into_change())
}

impl Build {
    pub(crate) fn by(mut self, name: &str) -> Self {
        self.user = user(name);
        self
    }

    pub(crate) fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    pub(crate) fn upgrade(self, to: &str) -> Self {
        self.request(|request| request.upgrade = Lookup::Found(to.into()))
    }

    pub(crate) fn request(mut self, change: impl FnOnce(&mut Request)) -> Self {
        change(self.exchange.request.as_mut().expect("a request that was not forgotten"));
        self
    }

    pub(crate) fn without_request(mut self) -> Self {
        self.exchange.request = None;
        self.exchange.id.begin = None;
        self.gap(Gap::Begin)
    }

    pub(crate) fn check(self, subresource: &str, decision: Decision) -> Self {
        let reason = if decision == Decision::Allow { REASON } else { "" };
        self.check_because(subresource, decision, reason)
    }

    pub(crate) fn check_because(mut self, subresource: &str, decision: Decision, reason: &str) -> Self {
        let method = self.exchange.request.as_ref().and_then(|request| request.method.whole()).unwrap_or("GET");
        let verb = crate::kubelet::Verb::of_method(method).as_str();
        let time = self.tick();
        self.exchange.checks.push(Check {
            time,
            user: self.user.clone().into(),
            verb: verb.into(),
            subresource: subresource.into(),
            node: NODE.into(),
            decision,
            reason: reason.into(),
        });
        self
    }

    pub(crate) fn change_check(mut self, change: impl FnOnce(&mut Check)) -> Self {
        change(self.exchange.checks.last_mut().expect("a check"));
        self
    }

    pub(crate) fn answer(mut self, status: u16) -> Self {
        self.exchange.answer = Some((self.tick(), status));
        self
    }

    pub(crate) fn status(self, status: u16) -> Self {
        self.end(Some(Response { status, written: 10, hijacked: false }))
    }

    pub(crate) fn hijacked(self) -> Self {
        self.end(Some(Response { status: 0, written: 0, hijacked: true }))
    }

    pub(crate) fn end(mut self, response: Option<Response>) -> Self {
        self.exchange.end = Some(End { time: self.tick(), response, panicked: None });
        self
    }

    pub(crate) fn panicked(mut self, panicked: bool) -> Self {
        self.exchange.end.as_mut().expect("an end").panicked = Some(panicked);
        self
    }

    pub(crate) fn gap(mut self, gap: Gap) -> Self {
        self.exchange.gaps.push(gap);
        self
    }

    pub(crate) fn called_from(mut self, place: Place) -> Self {
        self.exchange.caller = Caller::Local(LocalCaller { pid: 4242, comm: "curl".into(), place }.into());
        self
    }

    pub(crate) fn called_from_pod(self, uid: &str) -> Self {
        self.called_from(Place::Pod { uid: uid.into(), name: Some(("default".into(), "web".into())) })
    }

    /// All of it so much later.
    pub(crate) fn later(mut self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).expect("less than centuries");
        let exchange = &mut self.exchange;
        let times = [
            exchange.id.begin.as_mut(),
            exchange.request.as_mut().map(|request| &mut request.time),
            exchange.answer.as_mut().map(|(time, _)| time),
            exchange.end.as_mut().map(|end| &mut end.time),
        ];
        let times = times.into_iter().flatten().chain(exchange.checks.iter_mut().map(|check| &mut check.time));
        times.for_each(|time| time.0 += nanos);
        self.clock += nanos;
        self
    }

    /// Served, with its end this long after the beginning of time.
    pub(crate) fn later_end(mut self, at: Duration) -> Self {
        self = self.status(200);
        let end = self.exchange.end.as_mut().expect("it was just made");
        end.time = Timestamp(1_000_000_000 + u64::try_from(at.as_nanos()).expect("less than centuries"));
        self
    }

    pub(crate) fn goroutine(mut self, goroutine: u64) -> Self {
        self.exchange.id.goroutine = goroutine;
        self
    }

    pub(crate) fn seen(self) -> Box<Exchange> {
        self.exchange.into()
    }

    fn tick(&mut self) -> Timestamp {
        self.clock += 1_000_000;
        Timestamp(self.clock)
    }
}

/// The beginning of a text that was longer.
pub(crate) fn cut(text: &str) -> Text {
    let Text::Whole(start) = Text::from(text) else { unreachable!("a text from a str is whole") };
    Text::Cut(start, text.len() + 100)
}
