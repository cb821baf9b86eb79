//! A kubelet without an API server: no webhook, no RBAC, pods from files.

use std::{
    fs,
    time::{Duration, Instant},
};

use kubewitness_tests::{
    call::Call,
    cluster::{CONTAINER, IMAGE, NODE},
    scenarios::{Bed, annotation},
};
use serde_json::json;

use crate::ways::said;
use crate::{doctor, watched::Watched};

const RUNS_WITHIN: Duration = Duration::from_secs(30);

/// Whoever reaches the port may do everything, and no one asks for a name.
pub(crate) fn standalone(bed: &Bed) {
    let pods = bed.folder.join("static-pods");
    fs::create_dir_all(&pods).unwrap();
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "static", "namespace": "default"},
        "spec": {
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": CONTAINER, "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    });
    fs::write(pods.join("static.json"), pod.to_string()).unwrap();
    let config = json!({
        "staticPodPath": pods,
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
    });
    // The last of two equal flags counts: without a kubeconfig a kubelet is on its own.
    bed.cluster.reconfigure_kubelet(&config, &["--kubeconfig="]).unwrap();
    let mut watched = Watched::new(bed, &Call::get("/metrics"));
    let everything = ["outside-rbac", "anonymous-access,outside-rbac"];
    let (answered, event) = watched.tell(&Call::get("/pods"));
    assert_eq!((answered, said(&event)), (200, ["fine-grained", "get nodes/pods=allow", everything[0], everything[1]]), "{event}");
    assert_eq!(event["user"]["username"], "system:anonymous");

    let exec = Call::websocket(&format!("/exec/default/static-{NODE}/{CONTAINER}?command=true&output=1"), "v4.channel.k8s.io");
    let begun = Instant::now();
    let event = loop {
        let (answered, event) = watched.tell(&exec);
        match answered {
            101 => break event,
            // It does not know of the pod yet, or its container does not run yet.
            404 | 500 => assert_eq!(annotation(&event, "findings"), "anonymous-access,outside-rbac,exec-attempt", "{event}"),
            _ => panic!("{answered}: {event}"),
        }
        assert!(begun.elapsed() < RUNS_WITHIN, "the static pod does not run");
    };
    assert_eq!(annotation(&event, "findings"), "unlogged-exec,anonymous-access,outside-rbac", "{event}");
    assert_eq!(event["objectRef"]["name"], format!("static-{NODE}"));
    let said_by_doctor = doctor::settings(bed.cluster.kubelet_pid().unwrap()).unwrap();
    assert_eq!(said_by_doctor["API server"].0, "none: standalone");
    assert!(["authorization", "anonymous"].iter().all(|what| said_by_doctor[*what].1), "doctor advises against it: {said_by_doctor:?}");
    watched.close("standalone, without an API server", "`system:anonymous`, `outside-rbac`, an exec is `unlogged-exec`");
}
