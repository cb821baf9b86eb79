use super::*;
use crate::judge::Finding;
use crate::kubelet::{AccessKind, Endpoint, MetricsPage, Verb};
use crate::rbac::Subject;
use crate::report::testing::{Scene, binding, cluster, role, sa};
use crate::report::{Cluster, Note};

/// A legacy agent that can be moved, a terminal that cannot, a grant that nobody uses, and the API server.
fn scene() -> (Scene, Cluster) {
    let mut scene = Scene::new()
        .used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 12960)
        .used(&sa("agent"), Endpoint::Healthz, AccessKind::Fallback, Verb::Get, 864)
        .used(&sa("agent"), Endpoint::Metrics(MetricsPage::Cadvisor), AccessKind::Single, Verb::Get, 25920)
        .used(&sa("agent"), Endpoint::Configz, AccessKind::Denied, Verb::Create, 2)
        .used(&sa("console"), Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 3)
        .used(&sa("console"), Endpoint::ContainerLogs(None), AccessKind::ProxyOnly, Verb::Get, 40)
        .used(&sa("console"), Endpoint::Stats, AccessKind::Single, Verb::Get, 7)
        .used("kube-apiserver-kubelet-client", Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 5)
        .found(&sa("console"), Finding::UnloggedExec, 3)
        .found(&sa("agent"), Finding::NodesProxyFallback, 13824);
    scene.0.notes.push(Note { id: "cut-line", count: 1, text: "A line was cut short: events.jsonl:7.".to_owned() });
    let agent = Subject::service_account("mon", "agent");
    let console = Subject::service_account("mon", "console");
    let objects = [
        role("agent", &[(&["nodes/proxy", "nodes/metrics"], &["get"])]),
        role("console", &[(&["pods", "nodes/proxy"], &["get", "create"]), (&["nodes/stats"], &["get"])]),
        role("system:kubelet-api-admin", &[(&["nodes/proxy"], &["*"])]),
        binding("agent", "agent", &[agent, Subject::service_account("mon", "spare")]),
        binding("console", "console", &[console, Subject::group("support")]),
        binding("kubelet-admin", "system:kubelet-api-admin", &[Subject::user("kube-apiserver-kubelet-client")]),
    ];
    (scene, cluster("v1.36.3", &objects))
}

#[test]
fn at_80_columns() {
    let (scene, cluster) = scene();
    assert_eq!(text(&scene.report(Some(&cluster)), 80, Paint::Plain, &When::Utc), AT_80);
}

#[test]
fn at_120_columns() {
    let (scene, cluster) = scene();
    let text = text(&scene.report(Some(&cluster)), 120, Paint::Plain, &When::Utc);
    assert!(text.contains(AT_120), "{text}");
}

#[test]
fn lines_fit() {
    let (scene, cluster) = scene();
    for report in [scene.report(Some(&cluster)), scene.report(None)] {
        for width in [70, 80, 100, 120, 200] {
            for line in text(&report, width, Paint::Plain, &When::Utc).lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
}

#[test]
fn colours_change_nothing_else() {
    let (scene, cluster) = scene();
    let report = scene.report(Some(&cluster));
    let coloured = text(&report, 80, Paint::Colour, &When::Utc);
    let mut plain = String::new();
    for (index, part) in coloured.split("\x1b[").enumerate() {
        plain.push_str(if index == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) });
    }
    assert!(coloured.contains("\x1b[1;31mcritical\x1b[0m"));
    assert_eq!(plain, text(&report, 80, Paint::Plain, &When::Utc));
}

#[test]
fn without_rbac_it_says_what_is_missing() {
    let (scene, _) = scene();
    let scene = scene.known(&sa("agent"), |seen| _ = seen.granted_by.insert("ClusterRoleBinding/agent ClusterRole/agent".into(), 12960));
    let text = text(&scene.report(None), 80, Paint::Plain, &When::Utc);
    for line in [
        "  Not known without RBAC objects: name them with --rbac cluster or --rbac-from",
        "    Version not known of 2 nodes: n1, n2.",
        "    Not checked, without RBAC objects. Granted by, as the kubelets said:",
        "      ClusterRoleBinding/agent ClusterRole/agent.",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}

const AT_80: &str = "\
What was seen
  2026-11-01T00:00:00Z to 2026-11-10T00:00:00Z (9 d).
  39801 requests on 2 of 2 nodes; from 3 files of events; RBAC from the cluster.
  ! A line was cut short: events.jsonl:7. (1)

Findings
  critical  unlogged-exec sa mon/console 3 requests
              2026-11-02T03:04:05Z n1 10.0.0.7 GET
                /exec/default/web/main?command=id
                (0c1d6a51-0000-4000-8000-000000000001)
  info      nodes-proxy-fallback sa mon/agent 13824 requests
              2026-11-02T03:04:05Z n1 10.0.0.7 GET
                /exec/default/web/main?command=id
                (0c1d6a51-0000-4000-8000-000000000001)

Who used what
  IDENTITY                        ENDPOINT          ACCESS      VERB    REQUESTS
  user kube-apiserver-kubelet-client
                                  exec              proxy-only  get            5
  sa mon/agent                    pods              fallback    get        12960
                                  metrics/cadvisor  single      get        25920
                                  healthz           fallback    get          864
                                  configz           denied      create         2
  sa mon/console                  exec              proxy-only  get            3
                                  containerLogs     proxy-only  get           40
                                  stats             single      get            7

Who holds nodes/proxy
  SUBJECT               VERBS        USED   EXEC  BINDING (ROLE)
  sa mon/agent          get         13824  never  agent (agent rule 1)
  sa mon/console        get,create     43      3  console (console rule 1)
  sa mon/spare          get         never  never  agent (agent rule 1)
  user kube-apiserver-kubelet-client
                        *               5      5  kubelet-admin
                                                  (system:kubelet-api-admin rule
                                                  1, the API server)
  group support         get,create  never  never  console (console rule 1)
  Never seen to use it: sa mon/spare, group support.
  Could run commands in every pod by it, and never did: sa mon/agent, sa
    mon/spare, group support.

What would be enough instead
  sa mon/agent: nodes/proxy can be replaced by finer rights
    Rests on 39744 requests on 1 of 2 known nodes, 2026-11-01T00:00:00Z to
      2026-11-10T00:00:00Z.
    Needs kubelet 1.33 (unless KubeletFineGrainedAuthz is off), or 1.32 with
      KubeletFineGrainedAuthz on.
    # before: ClusterRole agent, as far as it concerns nodes
    - apiGroups: [\"\"]
      resources: [\"nodes/proxy\", \"nodes/metrics\"]
      verbs: [\"get\"]
    # after
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata:
      name: \"kubewitness:serviceaccount:mon:agent\"
    rules:
    - apiGroups: [\"\"]
      resources: [\"nodes/healthz\", \"nodes/metrics\", \"nodes/pods\"]
      verbs: [\"get\"]
    - nodes/proxy    get  by agent (agent rule 1)
    + nodes/healthz  get  by the new role
    + nodes/pods     get  by the new role
      nodes/metrics  get  by the new role
    1. take ServiceAccount mon/agent out of ClusterRoleBinding agent
       (ClusterRole agent). It stays for: ServiceAccount mon/spare.
    Checked: All these rights are allowed afterwards.
    Checked: nodes/proxy is gone then: no other binding that was read gives it.
    ! 2 requests refused: attempts, which the role does not cover.

  sa mon/console: nodes/proxy cannot be dropped yet; finer rights cover the rest
    Rests on 50 requests on 1 of 2 known nodes, 2026-11-01T00:00:00Z to
      2026-11-10T00:00:00Z.
    Needs nodes/proxy: exec (3 requests). Instead: exec through the API server:
      create on pods/exec, in the namespaces that need it.
    Needs nodes/proxy: containerLogs (40 requests). Instead: read logs through
      the API server: get on pods/log, in the namespaces that need it.
    Every supported kubelet honours these rights.
    # before: ClusterRole console, as far as it concerns nodes
    - apiGroups: [\"\"]
      resources: [\"nodes/proxy\"]
      verbs: [\"get\", \"create\"]
    - apiGroups: [\"\"]
      resources: [\"nodes/stats\"]
      verbs: [\"get\"]
    # after
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata:
      name: \"kubewitness:serviceaccount:mon:console\"
    rules:
    - apiGroups: [\"\"]
      resources: [\"nodes/stats\"]
      verbs: [\"get\"]
      nodes/proxy  create,get  by console (console rule 1)
      nodes/stats  get         by console (console rule 2) and the new role
    1. Once it needs it no more: take nodes/proxy out of rule 1 of ClusterRole
       console, which gives other rights as well. These lose it too: Group
       support.
    Checked: All these rights are allowed afterwards.

  sa mon/spare: holds nodes/proxy and was not seen to use it
    Rests on no request that was let in, 2026-11-01T00:00:00Z to
      2026-11-10T00:00:00Z.
    - nodes/metrics  get  by agent (agent rule 1)
    - nodes/proxy    get  by agent (agent rule 1)
    1. take ServiceAccount mon/spare out of ClusterRoleBinding agent
       (ClusterRole agent). It stays for: ServiceAccount mon/agent.
    Checked: nodes/proxy is gone then: no other binding that was read gives it.
";

const AT_120: &str = "\
Who holds nodes/proxy
  SUBJECT                             VERBS        USED   EXEC  BINDING (ROLE)
  sa mon/agent                        get         13824  never  agent (agent rule 1)
  sa mon/console                      get,create     43      3  console (console rule 1)
  sa mon/spare                        get         never  never  agent (agent rule 1)
  user kube-apiserver-kubelet-client  *               5      5  kubelet-admin (system:kubelet-api-admin rule 1, the API
                                                                server)
  group support                       get,create  never  never  console (console rule 1)
  Never seen to use it: sa mon/spare, group support.
  Could run commands in every pod by it, and never did: sa mon/agent, sa mon/spare, group support.

What would be enough instead
  sa mon/agent: nodes/proxy can be replaced by finer rights
    Rests on 39744 requests on 1 of 2 known nodes, 2026-11-01T00:00:00Z to 2026-11-10T00:00:00Z.
    Needs kubelet 1.33 (unless KubeletFineGrainedAuthz is off), or 1.32 with KubeletFineGrainedAuthz on.
";
