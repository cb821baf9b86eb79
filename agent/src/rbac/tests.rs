//! What the RBAC objects say, by tables: each line is a rule of the Kubernetes source.

use serde_json::{Value, json};

use super::{Answer, Evidence, Object, Obscure, Question, Snapshot, Subject, Who};
use crate::kubelet::{Subresource, Verb};

const NODE: &str = "node1";

fn snapshot(objects: &[Value]) -> Snapshot {
    Snapshot::of(objects.iter().map(|object| Object::parse(object).expect("it has a kind and a name").into_change()))
}

fn role(name: &str, rules: &Value) -> Value {
    json!({"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: &str, subjects: &Value) -> Value {
    json!({"kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
}

fn user(name: &str) -> Value {
    json!([{"kind": "User", "name": name}])
}

const fn proxy(verb: Verb) -> Question<'static> {
    Question { verb, subresource: Subresource::Proxy, node: NODE }
}

fn jane() -> Who<'static> {
    Who { user: "jane", groups: &["system:authenticated"], all_groups_known: true }
}

/// `ClusterRoleBinding/b ClusterRole/r`, or why not.
fn said(answer: &Answer) -> String {
    match answer {
        Answer::Allowed(evidence) => evidence.to_string(),
        Answer::NoRule => "no rule".to_owned(),
        Answer::Unknown(why) => format!("unknown: {why}"),
    }
}

#[test]
fn a_rule_matches_as_rule_allows_does() {
    let full = |verbs: Value, groups: Value, resources: Value, names: Value| json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names});
    let rule = |verbs: Value, resources: Value| full(verbs, json!([""]), resources, Value::Null);
    let (get, create, none) = (Verb::Get, Verb::Create, Verb::None);
    let (proxy, metrics) = (Subresource::Proxy, Subresource::Metrics);
    for (rule, verb, subresource, allowed) in [
        (rule(json!(["get"]), json!(["nodes/proxy"])), get, proxy, true),
        (rule(json!(["get"]), json!(["nodes/proxy"])), create, proxy, false),
        (rule(json!(["get"]), json!(["nodes/proxy"])), get, metrics, false),
        (rule(json!(["list", "get"]), json!(["pods", "nodes/metrics"])), get, metrics, true),
        (rule(json!(["list", "watch"]), json!(["nodes/proxy"])), get, proxy, false),
        (rule(json!(["GET"]), json!(["nodes/proxy"])), get, proxy, false),
        (rule(json!(["*"]), json!(["nodes/proxy"])), create, proxy, true),
        // HEAD and unknown methods are the empty verb: `*` satisfies it, and so does the empty word.
        (rule(json!(["*"]), json!(["nodes/proxy"])), none, proxy, true),
        (rule(json!([""]), json!(["nodes/proxy"])), none, proxy, true),
        (rule(json!([""]), json!(["nodes/proxy"])), get, proxy, false),
        (rule(json!(["get", "create", "update", "patch", "delete"]), json!(["nodes/proxy"])), none, proxy, false),
        (rule(json!(["g*"]), json!(["nodes/proxy"])), get, proxy, false),
        (rule(json!([]), json!(["nodes/proxy"])), get, proxy, false),
        (rule(json!(["get"]), json!(["*"])), get, proxy, true),
        (rule(json!(["get"]), json!(["*/proxy"])), get, proxy, true),
        (rule(json!(["get"]), json!(["*/proxy"])), get, metrics, false),
        (rule(json!(["get"]), json!(["*/*"])), get, proxy, false),
        (rule(json!(["get"]), json!(["nodes/*"])), get, proxy, false),
        (rule(json!(["get"]), json!(["nodes"])), get, proxy, false),
        (rule(json!(["get"]), json!(["proxy"])), get, proxy, false),
        (rule(json!(["get"]), json!(["pods/proxy", "services/proxy"])), get, proxy, false),
        (rule(json!(["get"]), json!(["Nodes/proxy"])), get, proxy, false),
        (rule(json!(["get"]), json!(["nodes/proxy/"])), get, proxy, false),
        (rule(json!(["get"]), json!(["*/nodes/proxy"])), get, proxy, false),
        (rule(json!(["get"]), json!(["nodes/logs", "nodes/spec"])), get, Subresource::Log, false),
        (rule(json!(["get"]), json!([])), get, proxy, false),
        (full(json!(["get"]), json!(["*"]), json!(["nodes/proxy"]), json!([])), get, proxy, true),
        (full(json!(["get"]), json!(["apps", ""]), json!(["nodes/proxy"]), json!([])), get, proxy, true),
        (full(json!(["get"]), json!(["apps"]), json!(["nodes/proxy", "*"]), json!([])), get, proxy, false),
        (full(json!(["get"]), json!([]), json!(["nodes/proxy"]), json!([])), get, proxy, false),
        (full(json!(["get"]), Value::Null, json!(["nodes/proxy"]), json!([])), get, proxy, false),
        (full(json!(["get"]), json!([""]), json!(["nodes/proxy"]), json!([NODE, "other"])), get, proxy, true),
        (full(json!(["get"]), json!([""]), json!(["nodes/proxy"]), json!(["other"])), get, proxy, false),
        (full(json!(["get"]), json!([""]), json!(["nodes/proxy"]), json!([""])), get, proxy, false),
        (full(json!(["get"]), json!([""]), json!(["nodes/proxy"]), json!(["*"])), get, proxy, false),
        (json!({"verbs": ["get"], "nonResourceURLs": ["*"]}), get, proxy, false),
    ] {
        let objects = snapshot(&[role("r", &json!([rule])), binding("b", "r", &user("jane"))]);
        let answer = objects.may(&jane(), Question { verb, subresource, node: NODE });
        assert_eq!(matches!(answer, Answer::Allowed(_)), allowed, "{rule} {verb:?} {subresource:?}: {answer:?}");
        assert!(allowed || answer == Answer::NoRule, "{rule}: {answer:?}");
    }
}

#[test]
fn a_subject_matches_as_applies_to_user_does() {
    let account = "system:serviceaccount:monitoring:scraper";
    let groups = ["system:serviceaccounts", "system:serviceaccounts:monitoring", "system:authenticated"];
    for (subject, allowed) in [
        (json!({"kind": "User", "name": account}), true),
        (json!({"kind": "ServiceAccount", "namespace": "monitoring", "name": "scraper"}), true),
        (json!({"kind": "ServiceAccount", "namespace": "default", "name": "scraper"}), false),
        (json!({"kind": "ServiceAccount", "name": "scraper"}), false),
        (json!({"kind": "ServiceAccount", "namespace": "", "name": "scraper"}), false),
        (json!({"kind": "ServiceAccount", "namespace": "monitoring", "name": account}), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts"}), true),
        (json!({"kind": "Group", "name": "system:serviceaccounts:monitoring"}), true),
        (json!({"kind": "Group", "name": "system:serviceaccounts:default"}), false),
        (json!({"kind": "Group", "name": "system:authenticated"}), true),
        (json!({"kind": "Group", "name": account}), false),
        (json!({"kind": "User", "name": "system:authenticated"}), false),
        (json!({"kind": "User", "name": "*"}), false),
        (json!({"kind": "Group", "name": "*"}), false),
        (json!({"kind": "user", "name": account}), false),
        (json!({"kind": "Machine", "name": account}), false),
    ] {
        let get = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}]);
        let objects = snapshot(&[role("r", &get), binding("b", "r", &json!([subject]))]);
        let answer = objects.may(&Who { user: account, groups: &groups, all_groups_known: true }, proxy(Verb::Get));
        assert_eq!(said(&answer), if allowed { "ClusterRoleBinding/b ClusterRole/r" } else { "no rule" }, "{subject}");
    }
}

#[test]
fn a_binding_gives_the_rules_of_the_cluster_role_that_it_refers_to() {
    let get = json!([{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}, {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}]);
    let bound = binding(
        "b",
        "r",
        &json!([{"kind": "User", "name": "joe"}, {"kind": "Group", "name": "system:authenticated"}, {"kind": "User", "name": "jane"}]),
    );
    let mut namespaced = bound.clone();
    namespaced["roleRef"]["kind"] = json!("Role");
    let mut aggregated = role("r", &Value::Null);
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]});
    let mut filled = aggregated.clone();
    filled["rules"] = get.clone();
    for (what, objects, expected) in [
        ("all there", vec![role("r", &get), bound.clone()], "ClusterRoleBinding/b ClusterRole/r"),
        ("the binding came first", vec![bound.clone(), role("r", &get)], "ClusterRoleBinding/b ClusterRole/r"),
        ("no role", vec![bound.clone()], "no rule"),
        ("another role", vec![role("other", &get), bound.clone()], "no rule"),
        ("a Role", vec![role("r", &get), namespaced], "no rule"),
        ("aggregated, not yet filled", vec![aggregated, bound.clone()], "no rule"),
        ("aggregated, filled", vec![filled, bound.clone()], "ClusterRoleBinding/b ClusterRole/r"),
        ("no binding", vec![role("r", &get)], "no rule"),
        ("no subjects", vec![role("r", &get), binding("b", "r", &Value::Null)], "no rule"),
        (
            "several bindings",
            vec![role("r", &get), binding("c", "r", &user("jane")), bound.clone(), binding("z", "r", &user("jane"))],
            "ClusterRoleBinding/b ClusterRole/r",
        ),
    ] {
        assert_eq!(said(&snapshot(&objects).may(&jane(), proxy(Verb::Get))), expected, "{what}");
    }
    let grounds = snapshot(&[role("r", &get), bound, binding("c", "r", &user("jane"))]).grounds(&jane(), proxy(Verb::Get));
    let told: Vec<_> = grounds.iter().map(|it| (&*it.binding, &*it.role, it.rule, it.subject.clone())).collect();
    // Of a binding the first subject that matches counts, whatever comes behind.
    assert_eq!(told, [("b", "r", 1, Subject::group("system:authenticated")), ("c", "r", 1, Subject::user("jane"))]);
}

#[test]
fn system_masters_and_what_is_not_known() {
    let objects = snapshot(&[
        role(
            "r",
            &json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"]}, {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes/log"]}]),
        ),
        binding("b", "r", &user("jane")),
    ]);
    let who = |groups: &'static [&'static str], all| Who { user: "jane", groups, all_groups_known: all };
    let log = |verb| Question { verb, subresource: Subresource::Log, node: NODE };
    for (who, question, expected) in [
        (who(&["system:masters"], true), proxy(Verb::Create), "system:masters"),
        (who(&["system:masters"], false), proxy(Verb::Unknown), "system:masters"),
        (who(&[], true), proxy(Verb::Create), "no rule"),
        (who(&[], false), proxy(Verb::Create), "unknown: not all groups of the user are known"),
        (who(&[], false), proxy(Verb::Get), "ClusterRoleBinding/b ClusterRole/r"),
        (who(&[], true), proxy(Verb::Unknown), "unknown: the question was not seen"),
        // Whatever the verb was, `*` satisfies it.
        (who(&[], true), log(Verb::Unknown), "ClusterRoleBinding/b ClusterRole/r"),
    ] {
        assert_eq!(said(&objects.may(&who, question)), expected, "{who:?} {question:?}");
    }
    assert_eq!(objects.may(&who(&["system:masters"], true), proxy(Verb::Get)), Answer::Allowed(Evidence::Masters));
}

#[test]
fn what_cannot_be_read_matters_only_where_it_could() {
    let rule = |verbs: Value, groups: Value, resources: Value| json!({"verbs": verbs, "apiGroups": groups, "resources": resources});
    let get = json!([rule(json!(["get"]), json!([""]), json!(["nodes/proxy"]))]);
    let jane = json!([{"kind": "User", "name": "jane"}]);
    let joe = json!([{"kind": "User", "name": "joe"}]);
    let bound = binding("b", "r", &jane);
    let bare = |role_ref: Value, subjects: &Value| json!({"kind": "ClusterRoleBinding", "metadata": {"name": "b"}, "roleRef": role_ref, "subjects": subjects});
    let (no_rule, of_role, of_binding) =
        ("no rule", "unknown: ClusterRole/r could not be read", "unknown: ClusterRoleBinding/b could not be read");
    for (what, objects, expected) in [
        ("rules are no list", vec![role("r", &json!("all")), bound.clone()], of_role),
        ("a rule is no object", vec![role("r", &json!([7])), bound.clone()], of_role),
        (
            "verbs are unreadable",
            vec![role("r", &json!([rule(json!("get"), json!([""]), json!(["nodes/proxy"]))])), bound.clone()],
            of_role,
        ),
        (
            "a resource is a number",
            vec![role("r", &json!([rule(json!(["get"]), json!([""]), json!(["pods", 7]))])), bound.clone()],
            of_role,
        ),
        ("groups are unreadable", vec![role("r", &json!([rule(json!(["get"]), json!({}), json!(["*"]))])), bound.clone()], of_role),
        ("of another group", vec![role("r", &json!([rule(json!("get"), json!(["apps"]), json!(["*"]))])), bound.clone()], no_rule),
        ("of another resource", vec![role("r", &json!([rule(json!("get"), json!([""]), json!(["pods"]))])), bound.clone()], no_rule),
        ("of other verbs", vec![role("r", &json!([rule(json!(["list"]), json!([""]), json!(7))])), bound.clone()], no_rule),
        ("beside a rule that allows", vec![role("r", &json!([7, get[0]])), bound.clone()], "ClusterRoleBinding/b ClusterRole/r"),
        ("a role that nobody of interest has", vec![role("r", &json!("all")), binding("b", "r", &joe)], no_rule),
        ("a subject is unreadable", vec![role("r", &get), binding("b", "r", &json!([{"kind": "User"}]))], of_binding),
        ("subjects are no list", vec![role("r", &get), binding("b", "r", &json!("jane"))], of_binding),
        ("a subject of a role without rules for nodes", vec![binding("b", "r", &json!([{"kind": "User"}]))], no_rule),
        ("a subject of a namespaced role", vec![role("r", &get), bare(json!({"kind": "Role", "name": "r"}), &json!([7]))], no_rule),
        ("no roleRef", vec![role("r", &get), bare(Value::Null, &jane)], of_binding),
        ("no role's name", vec![role("r", &get), bare(json!({"kind": "ClusterRole"}), &jane)], of_binding),
        ("no roleRef, for others", vec![role("r", &get), bare(Value::Null, &joe)], no_rule),
        ("no roleRef, for nobody", vec![role("r", &get), bare(Value::Null, &json!([]))], no_rule),
        ("nothing of it", vec![role("r", &get), bare(Value::Null, &json!([{"kind": "User", "name": "joe"}, 7]))], of_binding),
    ] {
        assert_eq!(said(&snapshot(&objects).may(&self::jane(), proxy(Verb::Get))), expected, "{what}");
    }
    let masters = Who { groups: &["system:masters"], ..self::jane() };
    assert_eq!(said(&snapshot(&[role("r", &json!("all")), bound]).may(&masters, proxy(Verb::Get))), "system:masters");
    for nameless in [json!({"kind": "ClusterRole", "metadata": {}}), json!({"kind": "Role", "metadata": {"name": "x"}}), json!(7)] {
        assert!(Object::parse(&nameless).is_err(), "{nameless}");
    }
}

#[test]
fn a_role_says_whether_it_grants_other_things_too() {
    let reading = |groups: Value, resources: Value| json!({"verbs": ["get"], "apiGroups": groups, "resources": resources});
    for (rules, kept, other) in [
        (json!([reading(json!([""]), json!(["nodes/proxy", "nodes/metrics"]))]), 1, false),
        (json!([reading(json!([""]), json!(["nodes/proxy", "nodes"]))]), 1, true),
        (json!([reading(json!([""]), json!(["nodes/proxy"])), reading(json!([""]), json!(["pods"]))]), 1, true),
        (json!([reading(json!(["", "apps"]), json!(["nodes/proxy"]))]), 1, true),
        (json!([reading(json!([""]), json!(["*"]))]), 1, true),
        (json!([reading(json!([""]), json!(["*/proxy"]))]), 1, true),
        (json!([reading(json!([""]), json!(["nodes/proxy"])), {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]), 1, true),
        (json!([reading(json!([""]), json!(["pods"]))]), 0, true),
        (json!([]), 0, false),
    ] {
        let Ok(Object::Role(_, parsed)) = Object::parse(&role("r", &rules)) else { panic!("{rules}") };
        assert_eq!((parsed.rules.len(), parsed.other_rules), (kept, other), "{rules}");
        let objects = snapshot(&[role("r", &rules)]);
        assert_eq!(objects.role("r").is_some(), kept > 0, "{rules}");
    }
}

#[test]
fn an_unknown_says_why() {
    assert_eq!(Obscure::NotSynced.to_string(), "the RBAC objects are not known");
    assert_eq!(Obscure::Malformed("ClusterRole/x".into()).to_string(), "ClusterRole/x could not be read");
}
