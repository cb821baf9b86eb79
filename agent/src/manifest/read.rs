//! The RBAC objects in a text.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::options::{AliasLimits, DuplicateKeyPolicy};
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter as _};

use super::split::Part;
use super::tree::{Content, Node};
use super::{BindingManifest, Manifests, Place, Problem, RoleManifest};
use crate::rbac::{Object, SubresourceSet};

/// What aliases of one document may repeat, in values; an honest manifest has none or a few.
const REPEATED: usize = 100_000;
/// The values of one document: a listing of all roles of a large cluster is one.
const VALUES: usize = 8_000_000;

const RENDER: &str = "render it first, as with `helm template CHART | kubewitness rbac -`";

/// Lists in lists; `kubectl` makes none.
const LIST_DEPTH: u8 = 4;

pub(super) fn text(into: &mut Manifests, file: &str, bytes: &[u8]) {
    let file: Arc<str> = file.into();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = line_of(bytes, error.valid_up_to());
            let text = "this is not UTF-8, which manifests are in: convert the file".to_owned();
            into.problems.push(Problem { place: Place { file, line, template: None }, text });
            return;
        }
    };
    for part in Part::all(text) {
        into.documents += 1;
        if !part.is_empty() {
            document(into, &Document { file: file.clone(), part, template: part.template().map(Arc::from) });
        }
    }
}

fn line_of(bytes: &[u8], at: usize) -> u32 {
    u32::try_from(bytes[..at].split(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}

struct Document<'a> {
    file: Arc<str>,
    part: Part<'a>,
    template: Option<Arc<str>>,
}

impl Document<'_> {
    /// The place of a line of the document, from 1.
    fn place(&self, line: u32) -> Place {
        let line = self.part.line.saturating_add(line.saturating_sub(1));
        Place { file: self.file.clone(), line, template: self.template.clone() }
    }

    fn problem(&self, line: u32, text: impl Into<String>) -> Problem {
        Problem { place: self.place(line), text: text.into() }
    }
}

fn document(into: &mut Manifests, document: &Document<'_>) {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: VALUES, max_events: 2 * VALUES },
        alias_limits: limits(),
        duplicate_keys: DuplicateKeyPolicy::Error,
        // `n`, `on` and `yes` are words, as in YAML 1.2: names that an older parser takes for booleans must not hide a subject.
        strict_booleans: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Node>(document.part.text, options) {
        Ok(node) => object(into, document, &node, None, LIST_DEPTH),
        Err(error) => {
            let line = error.location().and_then(|location| u32::try_from(location.line()).ok()).filter(|line| *line > 0);
            let text = if document.part.text.contains("{{") {
                format!("this is a template, not a manifest: {RENDER}")
            } else {
                // The message alone: the line that it would add is one of the document, not of the file.
                DefaultMessageFormatter.format_message(error.without_snippet()).into_owned()
            };
            into.problems.push(document.problem(line.unwrap_or(1), text));
        }
    }
}

fn limits() -> AliasLimits {
    serde_saphyr::alias_limits! { max_total_replayed_events: REPEATED }
}

/// `kind` is that of the items of a typed list, which the API server does not repeat in each of them.
fn object(into: &mut Manifests, document: &Document<'_>, node: &Node, kind: Option<&str>, depth: u8) {
    let Content::Map(_) = node.content else {
        return leave_out(into, "not an object");
    };
    let group = node.field("apiVersion").and_then(Node::text).and_then(|version| version.split_once('/')).map(|(group, _)| group);
    let kind = node.field("kind").and_then(Node::text).or(kind).unwrap_or_default();
    // Items of a typed list have neither kind nor version; OpenShift serves the same objects in a group of its own, too.
    let is_rbac = matches!(group, None | Some("rbac.authorization.k8s.io" | "authorization.openshift.io"));
    match kind {
        "List" | "ClusterRoleList" | "ClusterRoleBindingList" | "RoleList" | "RoleBindingList" if depth > 0 => {
            let of = kind.strip_suffix("List").filter(|of| !of.is_empty());
            for item in node.field("items").map(Node::items).unwrap_or_default() {
                object(into, document, item, of, depth - 1);
            }
        }
        "ClusterRole" | "ClusterRoleBinding" if is_rbac => rbac(into, document, node, kind),
        "" => leave_out(into, "no kind"),
        other => leave_out(into, other),
    }
}

fn leave_out(into: &mut Manifests, kind: &str) {
    // Kinds are few; a hostile input must not make a map of millions.
    let kind = if into.left_out.len() < 1000 || into.left_out.contains_key(kind) { kind } else { "others" };
    *into.left_out.entry(kind.to_owned()).or_default() += 1;
}

fn rbac(into: &mut Manifests, document: &Document<'_>, node: &Node, kind: &str) {
    let mut value = node.value();
    value["kind"] = kind.into();
    let place = document.place(node.line);
    // Quoted, a template is good YAML.
    let fields = ["/metadata/name", "/rules", "/roleRef", "/subjects"].into_iter().filter_map(|path| value.pointer(path));
    if fields.map(Value::to_string).any(|text| text.contains("{{")) {
        let text = format!("this {kind} is a template, not a manifest: {RENDER}");
        return into.problems.push(Problem { place, text });
    }
    match Object::parse(&value) {
        Ok(Object::Role(name, role)) => {
            let rules = node.field("rules").map(Node::items).unwrap_or_default();
            let rules = role.rules.iter().map(|rule| document.place(rules.get(usize::from(rule.index)).map_or(node.line, line_of_rule)));
            let rules = rules.collect();
            let labels = labels(value.pointer("/metadata/labels"));
            into.roles.push(RoleManifest { name, role, place, rules, labels, gathers: gathers(&value) });
        }
        Ok(Object::Binding(name, binding)) => into.bindings.push(BindingManifest { name, binding, place }),
        Err(error) => into.problems.push(Problem { place, text: format!("{error}: give it a name, or take it out") }),
    }
}

/// The line of the resource that reaches furthest: `nodes/proxy`, or else any that concerns nodes, or else of the rule.
fn line_of_rule(rule: &Node) -> u32 {
    let resources = rule.field("resources").map(Node::items).unwrap_or_default();
    let proxy = resources.iter().find(|resource| matches!(resource.text(), Some("nodes/proxy" | "*/proxy" | "*")));
    let of_nodes = || resources.iter().find(|resource| !SubresourceSet::parse(resource.text()).is_empty());
    proxy.or_else(of_nodes).unwrap_or(rule).line
}

fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let labels = value.and_then(Value::as_object).into_iter().flatten();
    labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn gathers(value: &Value) -> Vec<Option<BTreeMap<String, String>>> {
    // Only an API server gives objects a uid, and it has filled the rules in (`clusterroleaggregation_controller.go`).
    let from_api_server = value.pointer("/metadata/uid").is_some_and(Value::is_string);
    let Some(rule) = value.get("aggregationRule").filter(|rule| !rule.is_null() && !from_api_server) else { return Vec::new() };
    match rule.get("clusterRoleSelectors").and_then(Value::as_array) {
        Some(selectors) => selectors.iter().map(selector).collect(),
        None => vec![None],
    }
}

/// `None` if it is more than labels.
fn selector(value: &Value) -> Option<BTreeMap<String, String>> {
    let fields = value.as_object()?;
    let only_labels = fields.keys().all(|key| key == "matchLabels");
    only_labels.then(|| labels(fields.get("matchLabels"))).filter(|labels| !labels.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::rbac::Subject;

    fn read(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        manifests.take("f.yaml", text.as_bytes());
        manifests
    }

    fn problems(manifests: &Manifests) -> Vec<String> {
        manifests.problems.iter().map(ToString::to_string).collect()
    }

    const BOTH: &str = "\
# The rights of the agent.
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: agent
  labels: {team: logs}
rules:
  - apiGroups: [\"\"]
    resources: [pods]
    verbs: [get]
  - apiGroups:
      - \"\"
    resources:
      - nodes/metrics
      - nodes/proxy
    verbs:
      - get
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: agent
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: agent
subjects:
  - kind: ServiceAccount
    name: agent
    namespace: logs
";

    #[test]
    fn objects_and_their_places() {
        let manifests = read(BOTH);
        assert_eq!((problems(&manifests), manifests.documents), (vec![], 2));
        let [role] = &manifests.roles[..] else { panic!("{:?}", manifests.roles) };
        assert_eq!((&*role.name, role.place.line, role.role.rules.len()), ("agent", 3, 1));
        assert_eq!((role.role.rules[0].index, role.rules[0].to_string()), (1, "f.yaml:16".to_owned()));
        assert_eq!(role.labels, BTreeMap::from([("team".to_owned(), "logs".to_owned())]));
        let [binding] = &manifests.bindings[..] else { panic!("{:?}", manifests.bindings) };
        assert_eq!((binding.place.line, &binding.binding.subjects[..]), (20, &[Subject::service_account("logs", "agent")][..]));
    }

    #[test]
    fn the_same_in_other_clothes() {
        let plain = read(BOTH);
        let as_windows = read(&format!("\u{feff}{}", BOTH.replace('\n', "\r\n")));
        assert_eq!(as_windows, plain);

        let value: Vec<Value> = Part::all(BOTH).iter().map(|part| serde_saphyr::from_str::<Node>(part.text).unwrap().value()).collect();
        let bare = |mut object: Value| {
            let fields = object.as_object_mut().unwrap();
            fields.remove("kind");
            fields.remove("apiVersion");
            object
        };
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": value});
        let typed = [
            serde_json::json!({"kind": "ClusterRoleList", "items": [bare(value[0].clone())]}),
            serde_json::json!({"kind": "ClusterRoleBindingList", "items": [bare(value[1].clone())]}),
        ];
        let indented = serde_json::to_string_pretty(&list).unwrap();
        let with_tabs = indented.replace("  ", "\t");
        let typed = format!("{}\n---\n{}", typed[0], typed[1]);
        for text in [list.to_string(), indented, with_tabs, typed] {
            let manifests = read(&text);
            assert_eq!(problems(&manifests), Vec::<String>::new(), "{text}");
            assert_eq!(manifests.roles[0].role, plain.roles[0].role, "{text}");
            assert_eq!(manifests.bindings[0].binding, plain.bindings[0].binding, "{text}");
        }
    }

    #[test]
    fn a_template_gives_the_place_and_lists_have_lines() {
        let text = "---\n# Source: agent/templates/all.yaml\nkind: List\nitems:\n- kind: ClusterRoleBinding\n  metadata: {name: b}\n  roleRef: {kind: ClusterRole, name: r}\n- kind: ClusterRole\n  metadata: {name: r}\n";
        let manifests = read(text);
        assert_eq!(manifests.bindings[0].place.to_string(), "f.yaml:5 (agent/templates/all.yaml)");
        assert_eq!(manifests.roles[0].place.line, 8);
    }

    #[test]
    fn aliases_repeat_and_merge() {
        let text = "kind: ClusterRole\nmetadata: {name: r}\nrules:\n- &read\n  apiGroups: [\"\"]\n  verbs: [get]\n  resources: [nodes/proxy]\n- <<: *read\n  resources: [nodes/stats]\n- *read\n";
        let manifests = read(text);
        assert_eq!(problems(&manifests), Vec::<String>::new());
        let rules: Vec<_> = manifests.roles[0].role.rules.iter().map(|rule| rule.subresources.words()).collect();
        assert_eq!(rules, [["nodes/proxy"], ["nodes/stats"], ["nodes/proxy"]]);
    }

    #[test]
    fn one_broken_document_is_told_with_its_line_and_the_others_are_read() {
        let good = "kind: ClusterRole\nmetadata: {name: good}\n";
        for (bad, line, word) in [
            ("kind: ClusterRole\nmetadata:\n\tname: x\n", 5, "tab"),
            ("kind: ClusterRole\n  metadata: 1\n", 4, ""),
            ("kind: ClusterRole\nmetadata: {name: a}\nkind: ClusterRoleBinding\n", 5, "duplicate"),
            ("kind: ClusterRole\nmetadata: {name: [\n", 4, ""),
            ("{{- if .Values.rbac.create }}\nkind: ClusterRole\n{{- end }}\n", 3, "render it first"),
            ("kind: ClusterRole\nmetadata:\n  name: {{ .Release.Name }}\n", 5, "render it first"),
            ("kind: ClusterRole\nmetadata:\n  name: \"{{ .Release.Name }}\"\n", 3, "render it first"),
            ("kind: ClusterRole\nmetadata: {}\n", 3, "metadata.name"),
            ("a: *nowhere\n", 3, ""),
        ] {
            let manifests = read(&format!("{good}---\n{bad}---\n{good}"));
            assert_eq!(manifests.roles.len(), 2, "{bad}");
            let [problem] = &manifests.problems[..] else { panic!("{bad}: {:?}", manifests.problems) };
            assert!(problem.text.to_lowercase().contains(word), "{bad}: {problem}");
            assert!((problem.place.line).abs_diff(line) <= 1, "{bad}: {problem}");
            assert!(!problem.text.contains("line ") && !problem.text.contains('\n'), "a line of the document would mislead: {problem}");
        }
    }

    #[test]
    fn what_is_no_business_of_it_is_counted() {
        let text = "kind: Role\n---\nkind: RoleBinding\n---\nkind: Deployment\n---\n- 1\n---\njust words\n---\na: b\n---\n# nothing\n---\napiVersion: rbac.example.com/v1\nkind: ClusterRole\n---\napiVersion: v1\nkind: List\nitems: [{kind: Role}]\n";
        let manifests = read(text);
        let counts: Vec<_> = manifests.left_out.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        let expected = [("ClusterRole", 1), ("Deployment", 1), ("Role", 2), ("RoleBinding", 1), ("no kind", 1), ("not an object", 2)];
        assert_eq!((counts, manifests.documents), (expected.to_vec(), 9));
        assert_eq!(problems(&manifests), Vec::<String>::new());
    }

    #[test]
    fn laughs_are_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{items}]").unwrap();
        }
        assert_eq!(read(&text).problems.len(), 1);
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep).problems.len(), 1);
    }

    #[test]
    fn bytes_that_are_no_text() {
        let mut manifests = Manifests::default();
        manifests.take("f", b"a: b\n\xff\xfe");
        assert_eq!(problems(&manifests), ["f:2: this is not UTF-8, which manifests are in: convert the file"]);
    }

    #[test]
    fn what_an_api_server_gathered_is_whole() {
        let gathers = |metadata: &str, rule: &str| {
            let manifests = read(&format!("kind: ClusterRole\nmetadata: {metadata}\naggregationRule: {rule}\n"));
            assert_eq!(problems(&manifests), Vec::<String>::new());
            manifests.roles[0].gathers.clone()
        };
        let by_label = "{clusterRoleSelectors: [{matchLabels: {a: b}}]}";
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        assert_eq!(gathers("{name: r}", by_label), [Some(labels)]);
        assert_eq!(gathers("{name: r, uid: 5e3a}", by_label), []);
        assert_eq!(gathers("{name: r}", "null"), []);
        let by_more = "{clusterRoleSelectors: [{matchExpressions: [{key: a, operator: Exists}]}]}";
        assert_eq!(gathers("{name: r}", by_more), [None]);
    }
}
