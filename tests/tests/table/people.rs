//! Who calls: one `ServiceAccount` for each right, so that every answer of the authorizer has one cause.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kubewitness_tests::cluster::{Cluster, Token};
use serde_json::{Value, json};

/// A right on a subresource of `nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    /// The subresource.
    pub(crate) subresource: &'static str,
    /// `*`, or one verb.
    pub(crate) verb: &'static str,
}

/// Who calls the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A `ServiceAccount` that has this right alone.
    With(Right),
    /// A `ServiceAccount` without any right.
    Powerless,
    /// Somebody with a token that nobody issued.
    Forger,
    /// Somebody without a token.
    Nobody,
    /// The API server, with its certificate.
    ApiServer,
}

/// A `ServiceAccount` of the cluster.
pub(crate) struct Account {
    name: String,
    uid: String,
    token: Token,
}

/// All of them.
pub(crate) struct People {
    accounts: Vec<Account>,
}

/// Verbs are `*`, which satisfies the empty verb of HEAD too.
pub(crate) const fn right(subresource: &'static str) -> Right {
    Right { subresource, verb: "*" }
}

/// The right that the announcement's attack needs, and no more.
pub(crate) const GET_PROXY: Right = Right { subresource: "proxy", verb: "get" };

const RIGHTS: [Right; 10] = [
    right("proxy"),
    right("stats"),
    right("metrics"),
    right("log"),
    right("checkpoint"),
    right("pods"),
    right("healthz"),
    right("configz"),
    right("statusz"),
    GET_PROXY,
];

impl Right {
    /// Whether it is enough for this question.
    pub(crate) fn allows(self, verb: &str, subresource: &str) -> bool {
        self.subresource == subresource && (self.verb == "*" || self.verb == verb)
    }

    /// The name of the `ServiceAccount` that has it; its role and its binding are named after it.
    pub(crate) fn account(self) -> String {
        if self.verb == "*" { self.subresource.to_owned() } else { format!("{}-{}", self.verb, self.subresource) }
    }
}

impl Caller {
    /// The name of their `ServiceAccount`.
    pub(crate) fn account(self) -> Option<String> {
        match self {
            Self::With(right) => Some(right.account()),
            Self::Powerless => Some("powerless".to_owned()),
            Self::Forger | Self::Nobody | Self::ApiServer => None,
        }
    }

    /// Whether the authorizer says yes.
    pub(crate) fn may(self, verb: &str, subresource: &str) -> bool {
        match self {
            Self::With(right) => right.allows(verb, subresource),
            Self::ApiServer => true,
            Self::Powerless | Self::Forger | Self::Nobody => false,
        }
    }

    /// Whether the authenticator knows them.
    pub(crate) fn is_known(self) -> bool {
        !matches!(self, Self::Forger | Self::Nobody)
    }
}

impl People {
    /// Makes them all, and waits until the API server knows what they may.
    pub(crate) fn create(cluster: &Cluster) -> Self {
        let mut items = vec![account("powerless")];
        for right in RIGHTS {
            items.push(account(&right.account()));
            items.extend(role(right));
        }
        cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).expect("objects can be made");
        let uids = &uids(cluster);
        let callers = RIGHTS.map(Caller::With).into_iter().chain([Caller::Powerless]);
        let accounts = thread::scope(|scope| {
            let made: Vec<_> = callers.map(|caller| scope.spawn(move || Account::of(cluster, caller, uids))).collect();
            made.into_iter().map(|account| account.join().expect("an account can be made")).collect()
        });
        Self { accounts }
    }

    /// The bearer token that a caller shows.
    pub(crate) fn token(&self, caller: Caller) -> Option<&str> {
        match caller {
            Caller::Forger => Some("nobody-issued-this"),
            _ => self.of(caller).map(|account| account.token.expose()),
        }
    }

    /// The `user` of an event, without the id of the credential.
    pub(crate) fn user(&self, caller: Caller) -> Option<Value> {
        if caller == Caller::ApiServer {
            return Some(json!({"username": "kube-apiserver-kubelet-client", "groups": ["system:masters", "system:authenticated"]}));
        }
        let account = self.of(caller)?;
        Some(json!({
            "username": format!("system:serviceaccount:default:{}", account.name),
            "uid": account.uid,
            "groups": ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        }))
    }

    fn of(&self, caller: Caller) -> Option<&Account> {
        let name = caller.account()?;
        self.accounts.iter().find(|account| account.name == name)
    }
}

impl Account {
    fn of(cluster: &Cluster, caller: Caller, uids: &[(String, String)]) -> Self {
        let name = caller.account().expect("only those who have one are made");
        if let Caller::With(right) = caller {
            until_known(cluster, right, &name);
        }
        let uid = uids.iter().find(|(account, _)| *account == name).expect("it was just made").1.clone();
        let token = cluster.token(&name, None).expect("a token is issued");
        Self { name, uid, token }
    }
}

/// The API server learns of roles and bindings some time after they were made, and the kubelet would remember its no for 30 s.
fn until_known(cluster: &Cluster, right: Right, account: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let verb = if right.verb == "*" { "delete" } else { right.verb };
    let subresource = format!("--subresource={}", right.subresource);
    let who = format!("--as=system:serviceaccount:default:{account}");
    while !succeeds(&mut cluster.kubectl(["auth", "can-i", verb, "nodes", &subresource, &who])) {
        assert!(Instant::now() < deadline, "the rights of {account} did not come into force");
        thread::sleep(Duration::from_millis(100));
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn uids(cluster: &Cluster) -> Vec<(String, String)> {
    let output = cluster.kubectl(["get", "serviceaccounts", "--output=json"]).output().expect("kubectl runs");
    let list: Value = serde_json::from_slice(&output.stdout).expect("kubectl writes JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| (text(&item["metadata"]["name"]), text(&item["metadata"]["uid"]))).collect()
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}})
}

/// Binding and role have different names, so that one cannot be taken for the other.
fn role(right: Right) -> [Value; 2] {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let name = right.account();
    [
        json!({
            "apiVersion": version,
            "kind": "ClusterRole",
            "metadata": {"name": format!("{name}-role")},
            "rules": [{"apiGroups": [""], "resources": [format!("nodes/{}", right.subresource)], "verbs": [right.verb]}],
        }),
        json!({
            "apiVersion": version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{name}-binding")},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": format!("{name}-role")},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        }),
    ]
}
