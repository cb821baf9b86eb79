use super::*;
use crate::judge::Finding;
use crate::kubelet::{AccessKind, Endpoint, Verb};
use crate::rbac::Subject;
use crate::report::testing::{Scene, binding, cluster, origin, role, sa};
use crate::report::{ByAccess, Cluster, Observed, Timeline, Written};

fn page(scene: &Scene, cluster: Option<&Cluster>) -> String {
    html(&scene.report(cluster), "2026-11-10T01:02:03Z".parse().unwrap())
}

/// One that can be moved, one that cannot, a grant that nobody uses.
fn scene() -> (Scene, Cluster) {
    let mut scene = Scene::new()
        .used(&sa("agent"), Endpoint::Pods, AccessKind::Fallback, Verb::Get, 12_960)
        .used(&sa("agent"), Endpoint::Configz, AccessKind::Denied, Verb::Create, 2)
        .used(&sa("console"), Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 3)
        .used(&sa("scraper"), Endpoint::Stats, AccessKind::Single, Verb::Get, 7)
        .found(&sa("console"), Finding::UnloggedExec, 3);
    let found = scene.0.findings.values_mut().next().unwrap();
    found.examples[0].event = Some(Written { at: None, json: r#"{"userAgent":"curl/8 <b>","responseStatus":{"code":101}}"#.to_owned() });
    let from = "2026-11-01T00:00:00Z".parse().unwrap();
    let counts = ByAccess { fallback: 12_960, ..ByAccess::default() };
    let identities =
        [(Who::User(sa("agent")), [(3, counts)].into()), (Who::User("kube-apiserver-kubelet-client".to_owned()), [(4, counts)].into())];
    scene.0.timeline =
        Some(Timeline { from, step: std::time::Duration::from_hours(6), steps: 36, identities: identities.into(), left_out: 0 });
    let objects = [
        role("agent", &[(&["nodes/proxy"], &["get"])]),
        binding("agent", "agent", &[Subject::service_account("mon", "agent"), Subject::service_account("mon", "spare")]),
        role("console", &[(&["nodes/proxy"], &["get", "create"])]),
        binding("console", "console", &[Subject::service_account("mon", "console")]),
    ];
    (scene, cluster("v1.36.3", &objects))
}

#[test]
fn each_section_says_its_part() {
    let (scene, cluster) = scene();
    let page = page(&scene, Some(&cluster));
    for part in [
        "<title>kubewitness report, 2026-11-01 to 2026-11-10</title>",
        "<p>2026-11-01T00:00:00Z to 2026-11-10T00:00:00Z (9 d).</p>",
        r#"<span class="figure">1</span> critical finding"#,
        "<p>Without nodes/proxy: 1 of 4 identities.</p>",
        r#"<th scope="row"><span class="swatch s-keep"></span>Not yet</th><td class="n">1</td>"#,
        "<p>Nothing is known to be missing.</p>",
        r#"<meter min="0" max="1" value="1.000" aria-hidden="true"></meter> 100 %"#,
        "<code>unlogged-exec</code>",
        "<dt>User agent</dt><dd>curl/8 &lt;b&gt;</dd>",
        r#"<td class="n c-fallback d5">12,960<small>fallback</small></td>"#,
        r#"<td class="n c-other d1">2<small>denied create</small></td>"#,
        "in steps of 6 h",
        "+   resources: [&quot;nodes/pods&quot;]\n",
        "<li>Needs nodes/proxy: exec (3 requests). Instead: exec through the API server: create on pods/exec, in the namespaces that need it.</li>",
        "<li>take ServiceAccount mon/agent out of ClusterRoleBinding agent (ClusterRole agent). It stays for: ServiceAccount mon/spare.</li>",
        r#"<li class="goes">− goes: get nodes/proxy, by agent (agent rule 1)</li>"#,
        "<li>nodes/proxy is gone then: no other binding that was read gives it.</li>",
        "never seen to use it; could run commands, and never did",
        "Read from 3 files of events. RBAC objects from the cluster.",
        r#"<time datetime="2026-11-10T01:02:03Z">2026-11-10T01:02:03Z</time>"#,
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn what_is_not_known_is_said() {
    let mut scene =
        Scene::new().used("jane", Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 3).found("jane", Finding::UnloggedExec, 3);
    scene.0.findings.values_mut().next().unwrap().examples.clear();
    let page = page(&scene, None);
    for part in [
        "The source has no single events; the agent’s events of this identity show it.",
        "The source tells sums of the whole window and no single events",
        "Not known without RBAC objects",
        "What grants its requests is not told.",
        "No RBAC objects were read.",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let empty = html(&Report::new(&Observed::default(), &origin(), None), Timestamp::UNIX_EPOCH);
    for part in [
        "<title>kubewitness report</title>",
        "Nothing was seen: nothing can be concluded.",
        "No identity was seen",
        "<p>Nothing was seen.</p>",
    ] {
        assert!(empty.contains(part), "{part}\n{empty}");
    }
}

#[test]
fn the_api_server_is_not_told_of_over_time() {
    let (scene, cluster) = scene();
    let report = scene.report(Some(&cluster));
    assert_eq!(report.timeline.unwrap().by_proxy().map(|(who, _)| who.clone()).collect::<Vec<_>>(), [Who::User(sa("agent"))]);
}

/// `tests/tests/page` asks a browser; this is what needs none.
#[test]
fn nothing_that_callers_chose_is_markup() {
    let name = "\"><img src=x onerror=\"x()\"></style></script>]]>\u{202e}\0\n";
    let mut scene = Scene::new()
        .used(name, Endpoint::Pods, AccessKind::Fallback, Verb::Get, 1)
        .used(name, Endpoint::Exec(None), AccessKind::ProxyOnly, Verb::Get, 1)
        .known(name, |seen| _ = seen.granted_by.insert(name.to_owned(), 1))
        .found(name, Finding::UnloggedExec, 1);
    let example = &mut scene.0.findings.values_mut().next().unwrap().examples[0];
    for text in [&mut example.node, &mut example.audit_id, &mut example.request, &mut example.source_ip] {
        name.clone_into(text);
    }
    example.event = Some(Written { at: None, json: serde_json::json!({"userAgent": name, "x": {name: name}}).to_string() });
    let node = scene.0.nodes.remove("n1").unwrap();
    scene.0.nodes.insert(name.to_owned(), node);
    let objects = [role(name, &[(&["nodes/proxy"], &["get"])]), binding(name, name, &[Subject::user(name)])];
    for cluster in [None, Some(cluster("v1.36.3 <b>", &objects))] {
        let page = page(&scene, cluster.as_ref());
        assert!(page.contains("img src=x onerror") && !page.contains("<img") && !page.contains("<b>"), "{page}");
        assert_eq!((page.matches("</style>").count(), page.matches("<script>").count(), page.matches("</script>").count()), (1, 1, 1));
        assert!(!page.contains(|character| character != '\n' && crate::inert::obeyed(character)));
        assert!(!page.contains(" style=") && !page.contains(" onclick="));
    }
}
