//! What a configuration can say: who is asked, who may come without a name, what is served where.

use std::fs;

use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, POD},
    scenarios::{Bed, annotation},
};
use serde_json::{Value, json};

use crate::{
    doctor,
    watched::{Watched, await_pods},
};

/// Nobody is asked: whoever has a name may do everything, and no rule explains it.
pub(crate) fn always_allow(bed: &Bed) {
    bed.cluster.reconfigure_kubelet(&json!({"authorization": {"mode": "AlwaysAllow"}}), &[]).unwrap();
    await_pods(bed);
    let token = bed.identity("anybody", &[], &[]);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&token));
    for (call, status, expected) in [
        (Call::get("/pods"), 200, ["fine-grained", "get nodes/pods=allow", "outside-rbac", "outside-rbac"]),
        (Call::get("/stats/summary"), 200, ["single", "get nodes/stats=allow", "outside-rbac", "outside-rbac"]),
        (exec(), 101, ["proxy-only", "get nodes/proxy=allow", "outside-rbac", "unlogged-exec,outside-rbac"]),
        (Call::get("/nothing"), 404, ["unchecked", "", "", ""]),
    ] {
        let (answered, event) = watched.tell(&call.token(&token));
        assert_eq!((answered, said(&event)), (status, expected), "{event}");
        let user = "system:serviceaccount:default:anybody";
        assert_eq!(event["user"]["username"].as_str(), (status != 404).then_some(user), "{event}");
    }
    let (answered, event) = watched.tell(&Call::get("/pods").header("Authorization: Bearer nonsense"));
    assert_eq!((answered, annotation(&event, "access")), (401, "unauthenticated"));
    let said_by_doctor = doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap();
    assert_eq!(said_by_doctor["authorization"], ("AlwaysAllow".to_owned(), true));
    assert_eq!(said_by_doctor["anonymous"], ("off".to_owned(), false));
    let text = doctor::text(bed.cluster.kubelet_pid().unwrap());
    assert!(text.contains("→ whoever is authenticated may do everything"), "{text}");
    watched.close("authorization AlwaysAllow", "allowed `outside-rbac`, a finding each; 401 as ever");
}

/// Whoever has no token is somebody, who may nothing until somebody allows it.
pub(crate) fn anonymous(bed: &Bed) {
    let config = json!({"authentication": {"anonymous": {"enabled": true}}, "authorization": {"webhook": {"cacheUnauthorizedTTL": "1s"}}});
    bed.cluster.reconfigure_kubelet(&config, &[]).unwrap();
    await_pods(bed);
    let reader = bed.identity("scraper", &["get"], &["nodes/metrics"]);
    let mut watched = Watched::new(bed, &Call::get("/metrics").token(&reader));
    let (answered, event) = watched.tell(&Call::get("/pods"));
    assert_eq!((answered, said(&event)), (403, ["denied", "get nodes/pods=no-opinion get nodes/proxy=no-opinion", "", ""]), "{event}");
    assert_eq!(event["user"]["username"], "system:anonymous");
    assert_eq!(event["user"]["groups"], json!(["system:unauthenticated"]));

    bed.cluster.apply(&everybody_may("nodes/proxy").to_string()).unwrap();
    let grant = "ClusterRoleBinding/anonymous ClusterRole/anonymous";
    let fallback = "get nodes/pods=no-opinion get nodes/proxy=allow";
    // The API server learns of the binding some time after it was made.
    let allowed = (0..50).map(|_| watched.tell(&Call::get("/pods"))).find(|(answered, _)| *answered == 200).expect("the binding is known");
    assert_eq!(said(&allowed.1), ["fallback", fallback, grant, "anonymous-access,nodes-proxy-fallback"], "{}", allowed.1);
    let (answered, event) = watched.tell(&exec());
    // This agent follows no RBAC objects, so it does not know that there is no `create`.
    let findings = "unlogged-exec,anonymous-access";
    assert_eq!((answered, said(&event)), (101, ["proxy-only", "get nodes/proxy=allow", grant, findings]), "{event}");
    // A wrong token is not the same as none.
    let (answered, event) = watched.tell(&Call::get("/pods").header("Authorization: Bearer nonsense"));
    assert_eq!((answered, annotation(&event, "access")), (401, "unauthenticated"));
    assert_eq!(doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap()["anonymous"], ("on".to_owned(), true));
    bed.cluster.kubectl(["delete", "clusterrolebinding,clusterrole", "anonymous"]).status().unwrap();
    watched.close("anonymous requests on", "`system:anonymous`: denied, or `anonymous-access` where a binding lets it in");
}

/// A kubelet reads its configuration when it starts: the next one may serve less, or more.
pub(crate) fn another_config(bed: &Bed) {
    let token = bed.identity("operator", &["*"], &["nodes/proxy", "nodes/metrics"]);
    let reader = Call::get("/metrics").token(&token);
    bed.cluster.reconfigure_kubelet(&json!({"enableDebuggingHandlers": false}), &[]).unwrap();
    let mut watched = Watched::new(bed, &reader);
    let (answered, event) = watched.tell(&exec().token(&token));
    assert_eq!((answered, annotation(&event, "access"), annotation(&event, "findings")), (405, "proxy-only", "exec-attempt"), "{event}");
    assert_eq!(doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap()["debugging"], ("off".to_owned(), false));
    watched.close("debugging handlers off", "an exec is an `exec-attempt`, code 405");

    let folder = bed.folder.join("drop-ins");
    fs::create_dir_all(&folder).unwrap();
    let drop_in = json!({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "readOnlyPort": 10255});
    fs::write(folder.join("50-read-only.conf"), drop_in.to_string()).unwrap();
    bed.cluster.reconfigure_kubelet(&json!({}), &[&format!("--config-dir={}", folder.display())]).unwrap();
    let mut watched = Watched::new(bed, &reader);
    assert_eq!(doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap()["read-only port"], ("10255".to_owned(), true));
    for (path, status) in [("/pods", 200), ("/healthz", 200), ("/metrics", 200), ("/stats/summary", 200)] {
        let (answered, event) = watched.tell(&Call::get(path).read_only());
        assert_eq!((answered, said(&event)), (status, ["open", "", "", "read-only-port"]), "{event}");
        assert!(event["user"].is_null(), "{event}");
    }
    // Exec is not served there: the kubelet says so instead.
    let (answered, event) = watched.tell(&exec().read_only());
    assert_eq!((answered, said(&event)), (405, ["open", "", "", "read-only-port,exec-attempt"]), "{event}");
    let (answered, event) = watched.tell(&Call::get("/pods").token(&token));
    assert_eq!((answered, annotation(&event, "access")), (200, "fallback"), "{event}");
    watched.close("read-only port on, by `--config-dir`", "`open`, no user, `read-only-port` each");
}

/// A bare upgrade of an exec.
pub(crate) fn exec() -> Call {
    Call::websocket(&format!("/exec/default/{POD}/{CONTAINER}?command=true&output=1"), "v4.channel.k8s.io")
}

/// Access, checks, grant and findings.
pub(crate) fn said(event: &Value) -> [&str; 4] {
    ["access", "checks", "granted-by", "findings"].map(|name| annotation(event, name))
}

fn everybody_may(resource: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": "anonymous"},
                      "rules": [{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]});
    let binding = json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": "anonymous"},
                         "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "anonymous"},
                         "subjects": [{"apiGroup": group, "kind": "User", "name": "system:anonymous"}]});
    json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]})
}
